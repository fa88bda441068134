//! A theme as it was: what is to be set, and what is to be taken away again.

use std::collections::BTreeMap;

use tenantry_journal::event::Event;
use tenantry_journal::event::theme::ThemeUpdated;
use tenantry_journal::id::TenantId;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::themes::{Logo, Theme};

use super::{Plan, Restore};

/// What makes the present theme the one of then, without logos whose files are lost.
pub(super) fn back(restore: &Restore, now: &Theme, plan: &mut Plan) -> Option<Event> {
    let mut then = restore.then.tenant.theme.clone();
    let lost = |logo: &Logo| restore.lost_logos.contains(&logo.digest);
    for field in then.logos.iter().filter(|(_, logo)| lost(logo)).map(|(field, _)| field) {
        plan.lacks(&format!("theme.{field}"), "its file is lost");
    }
    then.logos.retain(|_, logo| !lost(logo));
    change(restore.tenant_id, now, &then)
}

/// What makes one theme another; `None` when they are the same.
pub(in crate::domain) fn change(tenant_id: TenantId, now: &Theme, then: &Theme) -> Option<Event> {
    let origin = |theme: &Theme| theme.origin.as_ref().and_then(Sealed::open).cloned();
    let is_another_origin = origin(now) != origin(then);
    let set = |field: &String, color: &String| is_another_origin || now.colors.get(field) != Some(color);
    let colors: BTreeMap<String, String> = then
        .colors
        .iter()
        .filter(|(field, color)| set(field, color))
        .map(|(field, color)| (field.clone(), color.clone()))
        .collect();
    let logos = || then.logos.iter().filter(|(field, logo)| now.logos.get(*field) != Some(*logo));
    let gone = now.colors.keys().filter(|field| !then.colors.contains_key(*field));
    let cleared: Vec<String> =
        gone.chain(now.logos.keys().filter(|field| !then.logos.contains_key(*field))).cloned().collect();
    if colors.is_empty() && cleared.is_empty() && logos().next().is_none() {
        return None;
    }
    Some(
        ThemeUpdated {
            tenant_id,
            colors,
            logos: logos().map(|(field, logo)| (field.clone(), logo.digest.clone())).collect(),
            formats: logos().map(|(field, logo)| (field.clone(), logo.format)).collect(),
            cleared,
            origin: then.origin.clone(),
        }
        .into(),
    )
}
