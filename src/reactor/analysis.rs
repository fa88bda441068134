//! A look at a customer's website: the page with what belongs to it, a picture, the colours of
//! both, and suggestions by a language model or, without one, by colour theory.
//!
//! It is recorded before it is begun and when it ended. Cut off by a crash, it is begun anew:
//! nothing of it lies anywhere but in this task and in the browser's own directory.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tenantry_journal::event::theme::SuggestionSource;
use tenantry_journal::id::{AnalysisId, Seq};
use tenantry_journal::sealed::{Sealed, Secret};
use tenantry_projections::world::World;
use tenantry_projections::world::tenants::Tenant;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use super::outside::{Outside, TaskError, blocking};
use crate::config::Analyze;
use crate::domain::command::Command;
use crate::domain::setting;
use crate::domain::theme::{Found, theory};
use crate::drivers::analyzer::{self, Anthropic, Facts, Ollama};
use crate::drivers::blob::Blobs;
use crate::drivers::fetch::{FetchError, Fetched, Fetcher, Guard};
use crate::drivers::palette::Seen;
use crate::drivers::{chromium, logo, page, palette};
use crate::error::chain;

/// How many analyses run at once: each may have a browser of some hundred MB.
const AT_ONCE: usize = 2;
/// How long the page and what belongs to it may take.
const FETCH: Duration = Duration::from_secs(30);
/// How long all of it may take; three tries of a slow model, and a browser.
const ALL: Duration = Duration::from_secs(420);
/// The longest page, style sheet and picture, in bytes.
const PAGE_BYTES: usize = 4 * 1024 * 1024;
const SHEET_BYTES: usize = 1024 * 1024;
const PICTURE_BYTES: usize = logo::LOGO_BYTES;
/// The longest note, in characters.
const NOTE_CHARS: usize = 300;
/// The longest file that holds a key, in bytes.
const KEY_BYTES: usize = 4096;

/// What a tenant's configuration says when nobody set it.
const OLLAMA: &str = "http://localhost:11434";
const OLLAMA_HOST: &str = "localhost:11434";
const OLLAMA_MODEL: &str = "gemma3:12b";

/// What themes and analyses work with.
pub struct Themes {
    /// Uploaded files and screenshots.
    pub blobs: Arc<Blobs>,
    /// The `[analyze]` section, as it is now.
    pub analyze: Arc<ArcSwap<Analyze>>,
    places: Semaphore,
}

impl Themes {
    /// Puts them together.
    #[must_use]
    pub fn new(blobs: Arc<Blobs>, analyze: Arc<ArcSwap<Analyze>>) -> Themes {
        Themes { blobs, analyze, places: Semaphore::new(AT_ONCE) }
    }
}

/// The key for Claude: the setting `anthropic_api_key`, else the configured file's text.
async fn anthropic_key(world: &World, config: &Analyze) -> Result<Option<Secret>, String> {
    if let Some(key) = world.settings.value(setting::ANTHROPIC_API_KEY).filter(|key| !key.trim().is_empty()) {
        return Ok(Some(Secret::new(key.to_owned())));
    }
    let Some(file) = config.anthropic_api_key_file.clone() else { return Ok(None) };
    let text = blocking(move |_| std::fs::read_to_string(&file)).await?;
    match text {
        Ok(text) if text.len() <= KEY_BYTES && !text.trim().is_empty() => {
            Ok(Some(Secret::new(text.trim().to_owned())))
        }
        Ok(_) => Err("the file of [analyze] anthropic_api_key_file holds no key".into()),
        Err(error) => Err(format!("the file of [analyze] anthropic_api_key_file cannot be read: {error}")),
    }
}

/// Which Ollama a tenant's configuration names.
fn ollama(tenant: &Tenant) -> Ollama {
    let config = tenant.config.as_ref().and_then(Sealed::open);
    let field = |name: &str, default: &str| {
        let set = config.and_then(|config| config.fields.get(name)).filter(|text| !text.trim().is_empty());
        set.map_or_else(|| default.to_owned(), |text| text.trim().to_owned())
    };
    Ollama { base_url: field("ollama_base_url", OLLAMA), model: field("ollama_llm_model", OLLAMA_MODEL) }
}

fn is_wanted(world: &World, id: AnalysisId) -> bool {
    world.analyses.get(id).is_some_and(|analysis| {
        let tenant = world.tenants.get(analysis.tenant_id);
        !analysis.is_over() && tenant.is_some_and(|tenant| tenant.deletion.is_none())
    })
}

pub(super) async fn analyze(outside: &Outside, id: AnalysisId, cause: Seq) -> Result<(), TaskError> {
    let Some(themes) = &outside.themes else { return Ok(()) };
    // It is never closed.
    let Ok(_place) = themes.places.acquire().await else { return Ok(()) };
    let begun = outside.submit(Command::BeginAnalysis { analysis_id: id }, cause).await?;
    if !is_wanted(&begun.world, id) {
        return Ok(());
    }
    let began = Instant::now();
    let report = tokio::select! {
        biased;
        () = outside.until(|world| !is_wanted(world, id)) => return Ok(()),
        report = tokio::time::timeout(ALL, work(outside, themes, &begun.world, id)) => {
            report.unwrap_or_else(|_| Err(format!("it took longer than {} s", ALL.as_secs())))
        }
    };
    let duration_ms = began.elapsed().as_millis();
    match &report {
        // The website and the reason are the customer's.
        Ok(found) => {
            tracing::info!(analysis.id = %id, source = ?found.source, duration_ms, "a website was analyzed")
        }
        Err(_) => tracing::warn!(analysis.id = %id, duration_ms, "an analysis of a website failed"),
    }
    let report = Box::new(report);
    outside.submit(Command::FinishAnalysis { analysis_id: id, report }, begun.seq).await.map(drop)
}

/// Everything of a page that was fetched.
struct Parts {
    html: String,
    sheets: Vec<String>,
    pictures: Vec<Bytes>,
    notes: Vec<String>,
}

async fn work(outside: &Outside, themes: &Themes, world: &World, id: AnalysisId) -> Result<Found, String> {
    let analysis = world.analyses.get(id).ok_or("the analysis is gone")?;
    let tenant = world.tenants.get(analysis.tenant_id).ok_or("the tenant is gone")?;
    let website = analysis.website.open().ok_or("the address was erased")?;
    let config = themes.analyze.load_full();
    let guard = Guard::new(&config.allow_hosts);
    let url = guard.check(website).map_err(|error| error.to_string())?;
    let fetcher = Fetcher::new(guard.clone(), Instant::now() + FETCH).map_err(|error| chain(&error))?;
    let accept = "text/html,application/xhtml+xml";
    let fetched = fetcher.get(&url, accept, PAGE_BYTES).await.map_err(|error| chain(&error))?;
    if !matches!(fetched.media_type.as_str(), "text/html" | "application/xhtml+xml" | "") {
        let kind: String = fetched.media_type.chars().filter(|c| c.is_ascii_graphic()).take(60).collect();
        return Err(format!("it is no web page, but {kind}"));
    }
    let html = String::from_utf8_lossy(&fetched.bytes).into_owned();
    let (outline, html) = {
        let base = fetched.url.clone();
        blocking(move |_| (page::outline(&html, &base), html)).await?
    };
    let picture = async {
        if !analysis.capture_screenshot {
            return Err("no screenshot was asked for".to_owned());
        }
        let no = |why: chromium::NoPicture| format!("there is no screenshot: {}", chain(&why));
        let browser = chromium::find(config.chromium.as_deref()).map_err(no)?;
        let claim = outside.policy.load().data_dir.join("claims").join(id.to_string());
        chromium::capture(&browser, &fetched.url, fetcher.pins(), &id.to_string(), &claim).await.map_err(no)
    };
    let (parts, picture) = tokio::join!(belonging(&fetcher, html, &outline), picture);
    let Parts { html, sheets, pictures, mut notes } = parts;
    let (blobs, tenant_id) = (Arc::clone(&themes.blobs), analysis.tenant_id);
    let measured = blocking(move |_| {
        let picture = picture.and_then(|bytes| {
            logo::dots(&bytes).map_err(|why| format!("there is no screenshot: it {why}"))?;
            let digest = blobs.keep(tenant_id, &bytes).map_err(|error| chain(&error))?;
            Ok((digest, bytes))
        });
        let seen = Seen {
            styles: page::colors(&html, &sheets),
            pictures: pictures
                .iter()
                .map(|bytes| palette::of_picture(bytes))
                .filter(|c| !c.is_empty())
                .collect(),
            screenshot: picture.as_ref().map(|(_, bytes)| palette::of_picture(bytes)).unwrap_or_default(),
        };
        (palette::swatches(&seen), picture)
    });
    let (palette, picture) = measured.await?;
    let (screenshot, bytes) = match picture {
        Ok((digest, bytes)) => (Some(digest), Some(bytes)),
        Err(why) => {
            notes.push(why);
            (None, None)
        }
    };
    if palette.is_empty() {
        notes.push("no colors were found on the page".into());
    }
    let facts = Facts {
        host: fetched.url.host_str().unwrap_or_default().to_owned(),
        title: outline.title,
        description: outline.description,
        headings: outline.headings,
        palette: palette.clone(),
        screenshot: bytes,
    };
    let (source, model, drafts) = suggest(world, tenant, &config, guard, &facts, &mut notes).await;
    let notes = notes
        .iter()
        .map(|note| note.chars().filter(|c| !c.is_control()).take(NOTE_CHARS).collect())
        .collect();
    Ok(Found { source, model, drafts, palette, screenshot, notes })
}

/// Fetches what belongs to a page; what is missing is noted.
async fn belonging(fetcher: &Fetcher, html: String, outline: &page::Outline) -> Parts {
    let mut notes = Vec::new();
    let mut missing = 0_usize;
    let mut get = async |url: &Url, accept: &str, limit: usize| -> Option<Bytes> {
        match fetcher.get(url, accept, limit).await {
            Ok(Fetched { bytes, .. }) => Some(bytes),
            Err(FetchError::Forbidden(why)) => {
                notes.push(format!("a part of the page was not fetched: {why}"));
                None
            }
            Err(_) => {
                missing += 1;
                None
            }
        }
    };
    let (mut sheets, mut pictures) = (Vec::new(), Vec::new());
    for url in &outline.sheets {
        sheets.extend(get(url, "text/css", SHEET_BYTES).await);
    }
    for url in &outline.pictures {
        pictures.extend(get(url, "image/png,image/jpeg,image/webp", PICTURE_BYTES).await);
    }
    notes.truncate(5);
    if missing > 0 {
        notes.push(format!("{missing} parts of the page could not be fetched"));
    }
    let sheets = sheets.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect();
    Parts { html, sheets, pictures, notes }
}

type Suggested = (SuggestionSource, Option<String>, Vec<crate::domain::theme::suggestion::Draft>);

/// Asks Claude, then the tenant's Ollama, then nobody.
async fn suggest(
    world: &World,
    tenant: &Tenant,
    config: &Analyze,
    guard: Guard,
    facts: &Facts,
    notes: &mut Vec<String>,
) -> Suggested {
    // A setting goes over the file.
    let said = |key, file: Option<&str>| world.settings.value(key).or(file).map(str::to_owned);
    match anthropic_key(world, config).await {
        Ok(Some(key)) => {
            let settings = Anthropic {
                base_url: said(setting::ANTHROPIC_BASE_URL, config.anthropic_base_url.as_deref())
                    .unwrap_or_else(|| setting::DEFAULT_ANTHROPIC_BASE_URL.to_owned()),
                model: said(setting::ANTHROPIC_MODEL, config.anthropic_model.as_deref())
                    .unwrap_or_else(|| setting::DEFAULT_ANTHROPIC_MODEL.to_owned()),
                key,
            };
            match analyzer::ask_anthropic(&settings, facts).await {
                Ok(drafts) => return (SuggestionSource::Anthropic, Some(settings.model), drafts),
                Err(why) => notes.push(format!("Claude made no suggestions: {}", chain(&why))),
            }
        }
        Ok(None) => {}
        Err(why) => notes.push(why),
    }
    let ollama = ollama(tenant);
    let guard = if ollama.base_url.trim_end_matches('/') == OLLAMA { guard.and(OLLAMA_HOST) } else { guard };
    match analyzer::ask_ollama(&ollama, guard, facts).await {
        Ok(drafts) => return (SuggestionSource::Ollama, Some(ollama.model), drafts),
        Err(why) => notes.push(format!("Ollama made no suggestions: {}", chain(&why))),
    }
    notes.push(
        "the suggestions are made from the page's own colors by color theory, without a language model"
            .into(),
    );
    (SuggestionSource::Palette, None, theory::suggest(&facts.palette))
}
