//! What may happen to a theme, decided without anything outside.

use tenantry::domain::command::Command;
use tenantry::domain::effect::Effect;
use tenantry::domain::rejection::Reason;
use tenantry::domain::theme::{Found, ThemeChanges, theory};
use tenantry_journal::event::tenant::Removal;
use tenantry_journal::event::theme::SuggestionSource;
use tenantry_journal::id::{AnalysisId, SuggestionId, TenantId};
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::themes::AnalysisState;

use crate::support::scenario::Scenario;

fn colors(tenant_id: TenantId, colors: &[(&str, &str)]) -> Command {
    let colors = colors.iter().map(|(field, color)| ((*field).to_owned(), (*color).to_owned())).collect();
    Command::UpdateTheme { tenant_id, changes: ThemeChanges { colors, ..ThemeChanges::default() } }
}

fn request(tenant_id: TenantId) -> Command {
    let website = "https://example.com/".to_owned();
    Command::RequestAnalysis { tenant_id, website, capture_screenshot: true }
}

fn found(source: SuggestionSource) -> Found {
    Found {
        source,
        model: None,
        drafts: theory::suggest(&[]),
        palette: Vec::new(),
        screenshot: None,
        notes: Vec::new(),
    }
}

fn begun(s: &mut Scenario, tenant_id: TenantId) -> AnalysisId {
    s.when(request(tenant_id)).then(&["theme.analysis_requested"]);
    let analysis_id = s.world.analyses.of(tenant_id).next_back().unwrap().id;
    s.when(Command::BeginAnalysis { analysis_id }).then(&["theme.analysis_started"]);
    analysis_id
}

fn first_suggestion(s: &Scenario, tenant_id: TenantId) -> SuggestionId {
    s.world.analyses.of(tenant_id).next_back().unwrap().result().unwrap().suggestions[0].id
}

#[test]
fn a_theme_is_to_be_applied_until_its_latest_change_was() {
    let mut s = Scenario::new();
    let tenant_id = s.tenant("smith");
    s.when(colors(tenant_id, &[("primary_color", "#ABC")])).then(&["theme.updated"]);
    let first = s.world.tenants.get(tenant_id).unwrap().theme.changed;
    assert_eq!(s.effects(), [Effect::ApplyTheme(tenant_id)]);
    s.when(colors(tenant_id, &[("primary_color", "#aabbcc")])).then(&[]);
    s.when(colors(tenant_id, &[("accent_color", "#000000")])).then(&["theme.updated"]);
    s.when(Command::ThemeApplied { tenant_id, theme: first }).then(&["theme.applied"]);
    assert_eq!(s.effects(), [Effect::ApplyTheme(tenant_id)], "what was written is not the latest");
    let latest = s.world.tenants.get(tenant_id).unwrap().theme.changed;
    s.when(Command::ThemeApplied { tenant_id, theme: latest }).then(&["theme.applied"]);
    assert_eq!(s.effects(), []);
    s.when(Command::ThemeApplied { tenant_id, theme: latest }).then(&[]);
    for bad in ["red", "", "#12", "#1234567", "#ggg", "url(x)"] {
        s.when(colors(tenant_id, &[("text_color", bad)])).rejected(Reason::Invalid, "invalid_color");
    }
    s.when(colors(tenant_id, &[("color", "#fff")])).rejected(Reason::Invalid, "invalid_field");
    let nobody = TenantId(uuid::Uuid::from_u128(9));
    s.when(colors(nobody, &[])).rejected(Reason::NotFound, "tenant_not_found");
}

#[test]
fn one_analysis_of_a_tenant_runs_at_a_time_and_one_that_is_cut_off_again_and_again_ends() {
    let mut s = Scenario::new();
    let (smith, jones) = (s.tenant("smith"), s.tenant("jones"));
    let analysis_id = begun(&mut s, smith);
    s.when(request(smith)).rejected(Reason::Conflict, "analysis_running");
    s.when(request(jones)).then(&["theme.analysis_requested"]);
    assert!(s.effects().contains(&Effect::Analyze(analysis_id)));
    for _ in 1..5 {
        s.when(Command::BeginAnalysis { analysis_id }).then(&["theme.analysis_started"]);
    }
    s.when(Command::BeginAnalysis { analysis_id }).then(&["theme.analysis_failed"]);
    assert!(!s.effects().contains(&Effect::Analyze(analysis_id)));
    s.when(Command::BeginAnalysis { analysis_id }).then(&[]);
    let report = Box::new(Ok(found(SuggestionSource::Palette)));
    s.when(Command::FinishAnalysis { analysis_id, report }).then(&[]);
    s.when(request(smith)).then(&["theme.analysis_requested"]);
}

#[test]
fn what_a_model_says_is_checked_before_it_is_stored() {
    let mut s = Scenario::new();
    let tenant_id = s.tenant("smith");
    let analysis_id = begun(&mut s, tenant_id);
    let mut bad = found(SuggestionSource::Anthropic);
    bad.drafts[0].name = "x\u{1b}[31m".into();
    s.when(Command::FinishAnalysis { analysis_id, report: Box::new(Ok(bad)) })
        .then(&["theme.analysis_failed"]);
    let state = &s.world.analyses.get(analysis_id).unwrap().state;
    let AnalysisState::Failed(reason) = state else { panic!("{state:?}") };
    assert!(reason.open().unwrap().contains("control characters"));
}

#[test]
fn a_suggestion_is_taken_once_and_its_origin_goes_with_the_next_colours() {
    let mut s = Scenario::new();
    let (tenant_id, other) = (s.tenant("smith"), s.tenant("jones"));
    let analysis_id = begun(&mut s, tenant_id);
    let report = Box::new(Ok(found(SuggestionSource::Anthropic)));
    s.when(Command::FinishAnalysis { analysis_id, report }).then(&["theme.analysis_completed"]);
    let suggestion_id = first_suggestion(&s, tenant_id);
    s.when(Command::ApplySuggestion { tenant_id: other, suggestion_id })
        .rejected(Reason::NotFound, "suggestion_not_found");
    s.when(Command::ApplySuggestion { tenant_id, suggestion_id }).then(&["theme.updated"]);
    s.when(Command::ApplySuggestion { tenant_id, suggestion_id }).then(&[]);
    let origin = |s: &Scenario| {
        let theme = &s.world.tenants.get(tenant_id).unwrap().theme;
        theme.origin.as_ref().and_then(Sealed::open).map(|origin| origin.website.clone())
    };
    assert_eq!(origin(&s).as_deref(), Some("https://example.com/"));
    s.when(colors(tenant_id, &[("text_color", "#000000")])).then(&["theme.updated"]);
    assert_eq!(origin(&s), None);
    s.when(Command::ApplySuggestion { tenant_id, suggestion_id }).then(&["theme.updated"]);
}

#[test]
fn a_tenant_that_goes_takes_its_theme_and_analyses_along() {
    let mut s = Scenario::new();
    let tenant_id = s.tenant("smith");
    s.when(colors(tenant_id, &[("primary_color", "#123456")])).then(&["theme.updated"]);
    let analysis_id = begun(&mut s, tenant_id);
    let remove = Removal { files: true, nginx: true, services: true };
    s.attempt(&Command::DeleteTenant { tenant_id, remove }).unwrap();
    assert_eq!(s.effects(), [Effect::RemoveTenant(tenant_id)]);
    let report = Box::new(Ok(found(SuggestionSource::Palette)));
    s.when(Command::FinishAnalysis { analysis_id, report }).then(&[]);
    s.attempt(&Command::TenantRemoved { tenant_id, removed: remove }).unwrap();
    assert!(s.world.analyses.get(analysis_id).is_none());
    assert!(s.world.attention.is_empty(), "{:?}", s.world.attention);
}
