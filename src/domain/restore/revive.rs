//! A tenant that was deleted comes back: under its names and ports where they are free, with the
//! releases whose files still lie in its directory.

use tenantry_journal::event::configuration::EnvRequested;
use tenantry_journal::event::port::PortAllocated;
use tenantry_journal::event::tenant::{KeptRelease, Part, Revived, TenantDetails};
use tenantry_journal::id::TenantId;
use tenantry_journal::name::{Domain, Slug};
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::World;
use tenantry_projections::world::releases::ReleaseStatus;
use tenantry_projections::world::tenants::{Gone, Tenant};
use tenantry_projections::world::themes::Theme;

use super::{Plan, Restore, Whereabouts, check_ports, gone_release, restored, theme};
use crate::domain::ctx::Ctx;
use crate::domain::rejection::Rejection;
use crate::domain::tenant::details;
use crate::domain::{ports, request, tenant_config};

/// Names that are tried in place of a taken one: nobody has so many of one name.
const MOST_TRIES: u32 = 10_000;

pub(super) fn plan(
    world: &World,
    restore: &Restore,
    gone: &Gone,
    ctx: &Ctx,
    plan: &mut Plan,
) -> Result<(), Rejection> {
    let (id, then) = (restore.tenant_id, &restore.then);
    let last = gone.details.open().ok_or_else(|| {
        Rejection::conflict("tenant_erased", format!("the data of tenant '{id}' was erased"), "")
    })?;
    let wanted = if restore.includes(Part::Details) { details(&then.tenant)? } else { last };
    let names = named(world, last, wanted, ctx, plan)?;
    let has_files = !gone.removed.files
        && match restore.left.whereabouts {
            Whereabouts::Found => true,
            Whereabouts::Unmarked => names.directory == last.directory && !gone.is_displaced,
            Whereabouts::Lost => false,
        };
    let kept: Vec<KeptRelease> = gone
        .kept
        .iter()
        .filter(|release| has_files && restore.left.releases.contains(&release.number))
        .map(|release| KeptRelease {
            number: release.number,
            deployment_id: release.deployment,
            made_at: release.made_at,
            commit: release.commit.clone(),
            served: release.status == ReleaseStatus::Healthy,
        })
        .collect();
    let pair = pair(world, restore, ctx, plan)?;
    let had_files = gone.kept.iter().next().is_some() || restore.left.whereabouts != Whereabouts::Lost;
    if !has_files && (had_files || gone.removed.files) {
        plan.lacks("files", lost_files(gone, restore.left.whereabouts));
    }

    let mut events = vec![PortAllocated { tenant_id: id, ports: pair }.into()];
    let config = then.tenant.config.as_ref().filter(|_| restore.includes(Part::Config));
    let config = config.and_then(Sealed::open).cloned().unwrap_or_default();
    let bare = Tenant { config: None, ..Tenant::clone(&then.tenant) };
    events.extend(tenant_config::replaced(&bare, config).map(Into::into));
    if restore.includes(Part::Theme) {
        events.extend(theme::back(restore, &Theme::default(), plan));
    }
    if has_files {
        events.push(EnvRequested { tenant_id: id }.into());
    }
    let served = then.tenant.release.filter(|_| restore.includes(Part::Release));
    if let Some(release) = served {
        let there = kept.iter().find(|kept| kept.number == release && kept.served);
        if there.is_some() {
            let again = Tenant { details: Sealed::new(id, names.clone()), ..Tenant::clone(&then.tenant) };
            let starts = then.ran != Some(false);
            events.push(request::bring_back(&again, release, starts, request::Sites::Anew, ctx)?);
        } else {
            let commit = then.tenant.kept.get(release).and_then(|kept| kept.commit.as_deref());
            plan.lacks("release", gone_release(release, commit));
        }
    }
    let revived = Revived {
        details: Sealed::new(id, names),
        created_at: gone.created_at,
        releases: gone.releases,
        kept,
    };
    let mut first = restored(restore, plan);
    first.revived = Some(revived);
    plan.events = std::iter::once(first.into()).chain(events).collect();
    Ok(())
}

/// Why files are not there any more.
fn lost_files(gone: &Gone, whereabouts: Whereabouts) -> &'static str {
    match whereabouts {
        _ if gone.removed.files => {
            "the tenant's directory was removed with it, its database and its backups too"
        }
        Whereabouts::Unmarked => {
            "another tenant came to the directory since, and nothing says that what lies there is this one's"
        }
        Whereabouts::Found | Whereabouts::Lost => "they are no longer where the tenant left them",
    }
}

/// The names as they were, with a number behind those that somebody else has by now.
fn named(
    world: &World,
    last: &TenantDetails,
    wanted: &TenantDetails,
    ctx: &Ctx,
    plan: &mut Plan,
) -> Result<TenantDetails, Rejection> {
    let mut after = TenantDetails { directory: last.directory.clone(), ..wanted.clone() };
    if let Some(holder) = world.tenants.by_slug(&wanted.slug) {
        after.slug = free(wanted.slug.as_str(), "", |slug: &Slug| world.tenants.by_slug(slug).is_none())?;
        after.directory = ctx.policy.tenant_directory(&after.slug).display().to_string();
        plan.conflict("slug", wanted.slug.to_string(), Some(holder), Some(after.slug.to_string()));
    }
    if let Some((domain, holder)) = free_domain(world, &wanted.domain, None)? {
        plan.conflict("domain", wanted.domain.to_string(), Some(holder), Some(domain.to_string()));
        after.domain = domain;
    }
    if let Some(api_domain) = &wanted.api_domain
        && let Some((domain, holder)) = free_domain(world, api_domain, Some(&after.domain))?
    {
        plan.conflict("api_domain", api_domain.to_string(), Some(holder), Some(domain.to_string()));
        after.api_domain = Some(domain);
    }
    Ok(after)
}

/// Who has a domain, and a free one that is like it; `None` when nobody has it.
fn free_domain(
    world: &World,
    wanted: &Domain,
    but: Option<&Domain>,
) -> Result<Option<(Domain, TenantId)>, Rejection> {
    let Some(holder) = world.tenants.by_domain(wanted) else { return Ok(None) };
    let (first, rest) = wanted.as_str().split_once('.').unwrap_or((wanted.as_str(), ""));
    let is_free = |domain: &Domain| world.tenants.by_domain(domain).is_none() && but != Some(domain);
    let domain = free(first, &format!(".{rest}"), is_free)?;
    Ok(Some((domain, holder)))
}

/// The first name of the form `begin-2end`, `begin-3end` and so on that is one, and free.
fn free<T: std::str::FromStr>(begin: &str, end: &str, is_free: impl Fn(&T) -> bool) -> Result<T, Rejection> {
    let mut tried = (2..MOST_TRIES).filter_map(|n| format!("{begin}-{n}{end}").parse::<T>().ok());
    tried.find(is_free).ok_or_else(|| {
        Rejection::conflict("no_name_left", format!("there is no free name like '{begin}{end}'"), "")
    })
}

/// The ports that it had, or the next free pair.
fn pair(
    world: &World,
    restore: &Restore,
    ctx: &Ctx,
    plan: &mut Plan,
) -> Result<tenantry_journal::event::port::PortPair, Rejection> {
    let next = ports::next_free(world, &ctx.policy, &restore.listening);
    let wanted = restore.then.tenant.ports.filter(|_| restore.includes(Part::Ports));
    if let Some(wanted) = wanted
        && check_ports(world, restore, wanted, None, plan, |half| next.map(half))
    {
        return Ok(wanted);
    }
    next.map_or_else(|| ports::choose(world, &ctx.policy, &restore.listening, None, None), Ok)
}
