//! Rules for themes: colours are colours, suggestions are checked, one analysis at a time.

pub mod color;
pub mod look;
pub mod scale;
pub mod suggestion;
pub mod theory;

use std::collections::BTreeMap;

use tenantry_journal::event::Event;
use tenantry_journal::event::theme::{
    AnalysisCompleted, AnalysisFailed, AnalysisRequested, AnalysisResult, AnalysisStarted, Suggestion,
    SuggestionSource, Swatch, ThemeApplied, ThemeOrigin, ThemeUpdated,
};
use tenantry_journal::id::{AnalysisId, Seq, SuggestionId, TenantId};
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::themes::{Analysis, Logo};

use super::ctx::Ctx;
use super::rejection::Rejection;
use super::tenant::existing;
use color::Rgb;
use suggestion::Draft;

/// Colour fields of document 1.
pub const COLOR_FIELDS: [&str; 5] =
    ["primary_color", "secondary_color", "accent_color", "text_color", "sidebar_color"];
/// Logo fields of document 1.
pub const LOGO_FIELDS: [&str; 4] = ["logo_full", "logo_cropped", "logo_icon", "logo_name"];
/// How often an analysis is begun: one that ends the program each time must not do so for ever.
const MOST_ATTEMPTS: u32 = 5;
/// The longest sentence that says why there are no suggestions, in characters.
const REASON_CHARS: usize = 500;

/// What is to be changed of a theme; what is not named stays.
#[derive(Clone, Debug, Default)]
pub struct ThemeChanges {
    /// Colours by field.
    pub colors: BTreeMap<String, String>,
    /// Logos by field; their files are kept already.
    pub logos: BTreeMap<String, Logo>,
    /// Logos that go.
    pub cleared: Vec<String>,
}

/// What an analysis found.
#[derive(Clone, Debug)]
pub struct Found {
    /// Who thought of the suggestions.
    pub source: SuggestionSource,
    /// The model, when it was one.
    pub model: Option<String>,
    /// The suggestions, best first.
    pub drafts: Vec<Draft>,
    /// The colours that were found, the most frequent first.
    pub palette: Vec<Swatch>,
    /// BLAKE3 of the picture of the page, hex.
    pub screenshot: Option<String>,
    /// Sentences: what was left out, and why.
    pub notes: Vec<String>,
}

/// A colour as it is stored.
///
/// # Errors
/// [`Rejection`] that names the field.
pub fn color(field: &str, text: &str) -> Result<String, Rejection> {
    text.parse::<Rgb>().map(|rgb| rgb.to_string()).map_err(|_| {
        let shown: String = text.chars().take(40).flat_map(char::escape_default).collect();
        Rejection::invalid("invalid_color", format!("{field} is '{shown}', must be a color such as #0e173e"))
    })
}

fn known(field: &str, fields: &[&str]) -> Result<(), Rejection> {
    if fields.contains(&field) {
        return Ok(());
    }
    Err(Rejection::invalid("invalid_field", format!("'{field}' is no field of a theme")))
}

pub(super) fn update(
    world: &World,
    tenant_id: TenantId,
    changes: &ThemeChanges,
) -> Result<Vec<Event>, Rejection> {
    let theme = &existing(world, tenant_id)?.theme;
    let mut event = ThemeUpdated {
        tenant_id,
        colors: BTreeMap::new(),
        logos: BTreeMap::new(),
        formats: BTreeMap::new(),
        cleared: Vec::new(),
        origin: None,
    };
    for (field, text) in &changes.colors {
        known(field, &COLOR_FIELDS)?;
        let color = color(field, text)?;
        if theme.colors.get(field) != Some(&color) {
            event.colors.insert(field.clone(), color);
        }
    }
    for (field, logo) in &changes.logos {
        known(field, &LOGO_FIELDS)?;
        if theme.logos.get(field) != Some(logo) {
            event.logos.insert(field.clone(), logo.digest.clone());
            event.formats.insert(field.clone(), logo.format);
        }
    }
    for field in &changes.cleared {
        known(field, &LOGO_FIELDS)?;
        if theme.logos.contains_key(field) && !changes.logos.contains_key(field) {
            event.cleared.push(field.clone());
        }
    }
    let nothing = event.colors.is_empty() && event.logos.is_empty() && event.cleared.is_empty();
    Ok(if nothing { Vec::new() } else { vec![event.into()] })
}

pub(super) fn apply_suggestion(
    world: &World,
    tenant_id: TenantId,
    suggestion_id: SuggestionId,
) -> Result<Vec<Event>, Rejection> {
    let theme = &existing(world, tenant_id)?.theme;
    let found = world.analyses.suggestion(tenant_id, suggestion_id);
    let (analysis, suggestion) = found.ok_or_else(|| {
        Rejection::not_found("suggestion_not_found", format!("suggestion '{suggestion_id}' does not exist"))
    })?;
    let applied = theme.origin.as_ref().and_then(Sealed::open);
    if applied.is_some_and(|origin| origin.suggestion_id == suggestion_id) {
        return Ok(Vec::new());
    }
    let colors = [
        ("primary_color", &suggestion.primary_color),
        ("secondary_color", &suggestion.secondary_color),
        ("accent_color", &suggestion.accent_color),
        ("text_color", &suggestion.text_color),
    ];
    let origin = ThemeOrigin {
        analysis_id: analysis.id,
        suggestion_id,
        website: analysis.website.open().cloned().unwrap_or_default(),
        source: analysis.result().map_or(SuggestionSource::Palette, |result| result.source),
    };
    Ok(vec![
        ThemeUpdated {
            tenant_id,
            colors: colors.into_iter().map(|(field, color)| (field.to_owned(), color.clone())).collect(),
            logos: BTreeMap::new(),
            formats: BTreeMap::new(),
            cleared: Vec::new(),
            origin: Some(Sealed::new(tenant_id, origin)),
        }
        .into(),
    ])
}

pub(super) fn applied(world: &World, tenant_id: TenantId, theme: Seq) -> Vec<Event> {
    let lacking = world.tenants.get(tenant_id).is_some_and(|tenant| tenant.theme.applied < theme);
    if lacking { vec![ThemeApplied { tenant_id, theme }.into()] } else { Vec::new() }
}

pub(super) fn request_analysis(
    world: &World,
    tenant_id: TenantId,
    website: &str,
    capture_screenshot: bool,
    ctx: &Ctx,
) -> Result<Vec<Event>, Rejection> {
    existing(world, tenant_id)?;
    if let Some(running) = world.analyses.of(tenant_id).find(|analysis| !analysis.is_over()) {
        return Err(Rejection::conflict(
            "analysis_running",
            format!("analysis '{}' of this tenant is under way", running.id),
            "wait until it has ended",
        ));
    }
    let website = Sealed::new(tenant_id, website.to_owned());
    let analysis_id = ctx.ids.make();
    Ok(vec![AnalysisRequested { analysis_id, tenant_id, website, capture_screenshot }.into()])
}

fn under_way(world: &World, id: AnalysisId) -> Option<&Analysis> {
    let analysis = world.analyses.get(id).filter(|analysis| !analysis.is_over())?;
    let stays = world.tenants.get(analysis.tenant_id).is_some_and(|tenant| tenant.deletion.is_none());
    stays.then_some(analysis)
}

pub(super) fn begin_analysis(world: &World, id: AnalysisId) -> Vec<Event> {
    let Some(analysis) = under_way(world, id) else { return Vec::new() };
    if analysis.attempts >= MOST_ATTEMPTS {
        return vec![failed(
            analysis,
            &format!("it was cut off {MOST_ATTEMPTS} times and is not begun again"),
        )];
    }
    vec![AnalysisStarted { analysis_id: id, tenant_id: analysis.tenant_id }.into()]
}

fn failed(analysis: &Analysis, reason: &str) -> Event {
    let reason: String = reason.chars().filter(|c| !c.is_control()).take(REASON_CHARS).collect();
    let reason = Sealed::new(analysis.tenant_id, reason);
    AnalysisFailed { analysis_id: analysis.id, tenant_id: analysis.tenant_id, reason }.into()
}

pub(super) fn finish_analysis(
    world: &World,
    id: AnalysisId,
    report: &Result<Found, String>,
    ctx: &Ctx,
) -> Vec<Event> {
    let Some(analysis) = under_way(world, id) else { return Vec::new() };
    let found = match report {
        Ok(found) => found,
        Err(reason) => return vec![failed(analysis, reason)],
    };
    let drafts = match suggestion::checked(&found.drafts) {
        Ok(drafts) => drafts,
        Err(why) => return vec![failed(analysis, &format!("the suggestions cannot be used: {why}"))],
    };
    let suggestions = drafts
        .into_iter()
        .map(|draft| Suggestion {
            id: ctx.ids.make(),
            name: draft.name,
            description: draft.description,
            primary_color: draft.primary_color,
            secondary_color: draft.secondary_color,
            accent_color: draft.accent_color,
            text_color: draft.text_color,
            reasoning: draft.reasoning,
        })
        .collect();
    let result = AnalysisResult {
        source: found.source,
        model: found.model.clone(),
        suggestions,
        palette: found.palette.clone(),
        screenshot: found.screenshot.clone(),
        notes: found.notes.clone(),
    };
    let tenant_id = analysis.tenant_id;
    vec![AnalysisCompleted { analysis_id: id, tenant_id, result: Sealed::new(tenant_id, result) }.into()]
}
