//! What tenants look like, and the analyses of their websites; the last few of each tenant.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::{OrdMap, Vector};
use serde::{Deserialize, Serialize};
use tenantry_journal::event::theme::{
    AnalysisCompleted, AnalysisFailed, AnalysisRequested, AnalysisResult, AnalysisStarted, LogoFormat,
    Suggestion, ThemeApplied, ThemeOrigin, ThemeUpdated,
};
use tenantry_journal::id::{AnalysisId, Seq, SuggestionId, TenantId};
use tenantry_journal::recorded::Recorded;
use tenantry_journal::sealed::Sealed;
use tenantry_journal::time::Timestamp;

use super::{Attention, World};

/// How many analyses of a tenant stay in the World; older ones are found by as-of.
const KEPT_PER_TENANT: usize = 20;

/// An uploaded picture.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logo {
    /// BLAKE3 of the file, hex.
    pub digest: String,
    /// What kind of picture it is.
    pub format: LogoFormat,
}

/// A tenant's look, as far as somebody set it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Theme {
    /// Colors that were set, by field.
    pub colors: BTreeMap<String, String>,
    /// Uploaded logos, by field.
    pub logos: BTreeMap<String, Logo>,
    /// Where the colors came from, when they were suggested.
    pub origin: Option<Sealed<ThemeOrigin>>,
    /// When something was set first.
    pub created_at: Option<Timestamp>,
    /// The event that changed it last; 0 before any did.
    pub changed: Seq,
    /// What `changed` was when it was last written into the tenant's directory.
    pub applied: Seq,
}

/// How an analysis stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AnalysisState {
    /// It has not ended.
    Processing,
    /// It has suggestions.
    Complete(Sealed<AnalysisResult>),
    /// It has none; a sentence says why.
    Failed(Sealed<String>),
}

/// One look at a customer's website.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// Its id.
    pub id: AnalysisId,
    /// For whom.
    pub tenant_id: TenantId,
    /// The address of the page.
    pub website: Sealed<String>,
    /// Whether a picture of it is wanted.
    pub capture_screenshot: bool,
    /// How often it was begun.
    pub attempts: u32,
    /// How it stands.
    pub state: AnalysisState,
    /// When it was requested.
    pub requested_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// The last event about it.
    pub changed: Seq,
}

impl Analysis {
    /// Whether it has ended.
    #[must_use]
    pub fn is_over(&self) -> bool {
        !matches!(self.state, AnalysisState::Processing)
    }

    /// What it came to; `None` before that, when it failed, and when it was erased.
    #[must_use]
    pub fn result(&self) -> Option<&AnalysisResult> {
        match &self.state {
            AnalysisState::Complete(result) => result.open(),
            AnalysisState::Processing | AnalysisState::Failed(_) => None,
        }
    }
}

/// The analyses that are kept, in the order in which they were requested.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Analyses {
    by_id: OrdMap<AnalysisId, Arc<Analysis>>,
    by_tenant: OrdMap<TenantId, Vector<AnalysisId>>,
}

impl Analyses {
    /// One analysis.
    #[must_use]
    pub fn get(&self, id: AnalysisId) -> Option<&Arc<Analysis>> {
        self.by_id.get(&id)
    }

    /// All that are kept, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Analysis>> {
        self.by_id.values()
    }

    /// Those of one tenant, oldest first.
    pub fn of(&self, tenant: TenantId) -> impl DoubleEndedIterator<Item = &Arc<Analysis>> {
        self.by_tenant.get(&tenant).into_iter().flatten().filter_map(|id| self.by_id.get(id))
    }

    /// A suggestion to a tenant, with the analysis that made it.
    #[must_use]
    pub fn suggestion(&self, tenant: TenantId, id: SuggestionId) -> Option<(&Analysis, &Suggestion)> {
        self.of(tenant).rev().find_map(|analysis| {
            let suggestion = analysis.result()?.suggestions.iter().find(|one| one.id == id)?;
            Some((&**analysis, suggestion))
        })
    }

    fn change(&mut self, id: AnalysisId, seq: Seq, change: impl FnOnce(&mut Analysis)) {
        if let Some(analysis) = self.by_id.get_mut(&id) {
            let analysis = Arc::make_mut(analysis);
            analysis.changed = seq;
            change(analysis);
        }
    }

    /// Forgets all of a tenant's; gives their ids.
    pub(super) fn forget_tenant(&mut self, tenant: TenantId) -> Vec<AnalysisId> {
        let ids: Vec<AnalysisId> =
            self.by_tenant.remove(&tenant).map(|ids| ids.into_iter().collect()).unwrap_or_default();
        for id in &ids {
            self.by_id.remove(id);
        }
        ids
    }
}

impl World {
    pub(super) fn theme_updated(&mut self, recorded: &Recorded, event: &ThemeUpdated) {
        if self.tenants.get(event.tenant_id).is_none() {
            return;
        }
        self.tenants.change(event.tenant_id, recorded.seq, |tenant| {
            let theme = &mut tenant.theme;
            let cleared = event.cleared.iter().filter(|field| theme.colors.remove(*field).is_some()).count();
            if !event.colors.is_empty() || cleared > 0 {
                theme.origin.clone_from(&event.origin);
            }
            theme.colors.extend(event.colors.clone());
            for field in &event.cleared {
                theme.logos.remove(field);
            }
            for (field, digest) in &event.logos {
                let format = event.formats.get(field).copied().unwrap_or_default();
                theme.logos.insert(field.clone(), Logo { digest: digest.clone(), format });
            }
            theme.created_at.get_or_insert(recorded.at);
            theme.changed = recorded.seq;
        });
        self.attention.insert(Attention::Theme(event.tenant_id));
    }

    pub(super) fn theme_applied(&mut self, event: &ThemeApplied) {
        let mut applied = false;
        self.tenants.change_quietly(event.tenant_id, |tenant| {
            tenant.theme.applied = tenant.theme.applied.max(event.theme);
            applied = tenant.theme.applied >= tenant.theme.changed;
        });
        if applied {
            self.attention.remove(&Attention::Theme(event.tenant_id));
        }
    }

    pub(super) fn analysis_requested(&mut self, recorded: &Recorded, event: &AnalysisRequested) {
        let id = event.analysis_id;
        if self.tenants.get(event.tenant_id).is_none() || self.analyses.get(id).is_some() {
            return;
        }
        let analysis = Analysis {
            id,
            tenant_id: event.tenant_id,
            website: event.website.clone(),
            capture_screenshot: event.capture_screenshot,
            attempts: 0,
            state: AnalysisState::Processing,
            requested_at: recorded.at,
            finished_at: None,
            changed: recorded.seq,
        };
        self.analyses.by_id.insert(id, Arc::new(analysis));
        let mut ids = self.analyses.by_tenant.get(&event.tenant_id).cloned().unwrap_or_default();
        ids.push_back(id);
        if ids.len() > KEPT_PER_TENANT
            && let Some(oldest) = ids.pop_front()
        {
            self.analyses.by_id.remove(&oldest);
            self.attention.remove(&Attention::Analysis(oldest));
        }
        self.analyses.by_tenant.insert(event.tenant_id, ids);
        self.attention.insert(Attention::Analysis(id));
    }

    pub(super) fn analysis_started(&mut self, recorded: &Recorded, event: &AnalysisStarted) {
        self.analyses.change(event.analysis_id, recorded.seq, |analysis| analysis.attempts += 1);
    }

    fn analysis_ended(&mut self, recorded: &Recorded, id: AnalysisId, state: AnalysisState) {
        self.analyses.change(id, recorded.seq, |analysis| {
            analysis.state = state;
            analysis.finished_at = Some(recorded.at);
        });
        self.attention.remove(&Attention::Analysis(id));
    }

    pub(super) fn analysis_completed(&mut self, recorded: &Recorded, event: &AnalysisCompleted) {
        let state = AnalysisState::Complete(event.result.clone());
        self.analysis_ended(recorded, event.analysis_id, state);
    }

    pub(super) fn analysis_failed(&mut self, recorded: &Recorded, event: &AnalysisFailed) {
        let state = AnalysisState::Failed(event.reason.clone());
        self.analysis_ended(recorded, event.analysis_id, state);
    }
}
