//! Which tenants are to be checked now: those whose processes changed, and each once an
//! interval at a turn of its own.
//!
//! After a start of the control plane what is recorded counts as checked, unless it cannot be
//! so any more: a thousand tenants are not all looked at in the first moment.

use std::collections::HashMap;
use std::time::Duration;

use tenantry_journal::event::instance::InstanceHealth;
use tenantry_journal::id::TenantId;
use tenantry_projections::world::World;
use tenantry_projections::world::instances::{Desired, Phase};
use tenantry_projections::world::tenants::Tenant;
use tokio::time::Instant;

use super::super::turns::{Turn, Turns};

/// Frontend and backend: what makes a check necessary when it changes.
type Seen = [Option<(Phase, InstanceHealth)>; 2];

/// A tenant as it is recorded at present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Present {
    pub(super) tenant: TenantId,
    seen: Seen,
    /// Whether what the last check found can still be so.
    may_hold: bool,
}

impl Present {
    /// `None` when there is nothing to check, or not now.
    pub(super) fn of(world: &World, tenant: &Tenant) -> Option<Present> {
        // Never deployed.
        if tenant.frontend.is_none() && tenant.backend.is_none() {
            return None;
        }
        let seen = seen(world, tenant);
        // What is about to be well or not is not looked at yet: the change of phase makes the
        // check due, and until then a tenant that starts would be called unhealthy.
        if is_on_its_way(&seen) {
            return None;
        }
        let words = tenant.health.as_ref().map(|health| [&*health.frontend, &*health.backend]);
        let may_hold = words.is_some_and(|words| may_hold(words, &seen));
        Some(Present { tenant: tenant.id, seen, may_hold })
    }
}

fn seen(world: &World, tenant: &Tenant) -> Seen {
    [tenant.frontend, tenant.backend].map(|id| {
        let instance = world.instances.get(id?)?;
        // It is about to be started.
        let is_awaited = instance.phase == Phase::Idle && instance.desired == Desired::Running;
        let phase = if is_awaited { Phase::Starting } else { instance.phase };
        Some((phase, instance.health))
    })
}

fn is_on_its_way(seen: &Seen) -> bool {
    seen.iter().flatten().any(|(phase, _)| matches!(phase, Phase::Starting | Phase::Stopping))
}

/// Whether `up` and `down` fit what runs. They do not when a process came or went while nobody
/// looked.
fn may_hold(words: [&str; 2], seen: &Seen) -> bool {
    let is_up = |part: &Option<(Phase, InstanceHealth)>| {
        part.is_some_and(|(phase, health)| phase == Phase::Running && health != InstanceHealth::Unhealthy)
    };
    words.into_iter().zip(seen).all(|(word, part)| (word == "up") == is_up(part))
}

/// What is known of a tenant that is looked at.
struct Known {
    seen: Seen,
    turn: Turn,
    /// When its turn comes next.
    next: Instant,
}

/// When each tenant is to be checked.
pub(super) struct Schedule {
    known: HashMap<TenantId, Known>,
    turns: Turns,
    began: Instant,
    interval: Duration,
}

impl Schedule {
    pub(super) fn new(now: Instant, interval: Duration) -> Schedule {
        Schedule { known: HashMap::new(), turns: Turns::default(), began: now, interval }
    }

    /// Takes on another interval.
    pub(super) fn follow(&mut self, interval: Duration, now: Instant) {
        if interval != self.interval {
            self.interval = interval;
            for known in self.known.values_mut() {
                known.next = now + known.turn.wait(now - self.began, interval);
            }
        }
    }

    /// Forgets the others.
    pub(super) fn retain(&mut self, is_there: impl Fn(TenantId) -> bool) {
        self.known.retain(|id, _| is_there(*id));
    }

    /// Whether a tenant is to be checked now; then it is not any more.
    pub(super) fn is_due(&mut self, present: &Present, now: Instant) -> bool {
        let Present { tenant, seen, may_hold } = *present;
        let Some(known) = self.known.get_mut(&tenant) else {
            let turn = self.turns.give();
            let next = now + turn.wait(now - self.began, self.interval);
            self.known.insert(tenant, Known { seen, turn, next });
            return !may_hold;
        };
        let has_changed = std::mem::replace(&mut known.seen, seen) != seen;
        let has_come = now >= known.next;
        if has_come {
            known.next = now + known.turn.wait(now - self.began, self.interval);
        }
        has_changed || has_come
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);
    const LOOK: Duration = Duration::from_millis(250);
    const WELL: Option<(Phase, InstanceHealth)> = Some((Phase::Running, InstanceHealth::Healthy));
    const ILL: Option<(Phase, InstanceHealth)> = Some((Phase::Running, InstanceHealth::Unhealthy));

    fn tenants(count: u128, may_hold: bool) -> Vec<Present> {
        (0..count)
            .map(|n| Present { tenant: TenantId(uuid::Uuid::from_u128(n)), seen: [WELL, WELL], may_hold })
            .collect()
    }

    /// How many are due in each twentieth of a time.
    fn twentieths(schedule: &mut Schedule, all: &[Present], from: Instant, time: Duration) -> Vec<usize> {
        let looks = time.as_millis() / LOOK.as_millis();
        let mut parts = vec![0; 20];
        for look in 0..looks {
            let now = from + LOOK * u32::try_from(look).unwrap();
            let due = all.iter().filter(|present| schedule.is_due(present, now)).count();
            parts[usize::try_from(look * 20 / looks).unwrap()] += due;
        }
        parts
    }

    #[test]
    fn a_thousand_tenants_that_were_well_are_checked_evenly_from_the_start_on() {
        let (all, now) = (tenants(1000, true), Instant::now());
        let mut schedule = Schedule::new(now, INTERVAL);
        for round in 0..3 {
            let parts = twentieths(&mut schedule, &all, now + INTERVAL * round, INTERVAL);
            assert!(parts.iter().all(|part| part.abs_diff(50) <= 3), "{round}: {parts:?}");
            assert!(parts.iter().sum::<usize>().abs_diff(1000) <= 1, "once each: {parts:?}");
        }
        // Another interval is held from the moment on at which it is known.
        let (from, shorter) = (now + INTERVAL * 3, INTERVAL / 10);
        schedule.follow(shorter, from);
        let parts = twentieths(&mut schedule, &all, from, shorter);
        assert!(parts.iter().all(|part| part.abs_diff(50) <= 12), "looks are a sixth of a part: {parts:?}");
        assert!(parts.iter().sum::<usize>().abs_diff(1000) <= 10, "{parts:?}");
    }

    #[test]
    fn what_cannot_be_so_any_more_and_what_changes_is_checked_at_once() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now, INTERVAL);
        let [well, unknown] = [tenants(2, true)[0], tenants(2, false)[1]];
        assert!(!schedule.is_due(&well, now));
        assert!(schedule.is_due(&unknown, now));
        assert!(!schedule.is_due(&unknown, now), "once");
        let changed = Present { seen: [WELL, ILL], ..well };
        assert!(schedule.is_due(&changed, now));
        assert!(!schedule.is_due(&changed, now));
        schedule.retain(|id| id != well.tenant);
        assert!(!schedule.is_due(&well, now), "somebody else by the same id");
    }

    #[test]
    fn words_hold_while_the_processes_they_speak_of_are_so() {
        assert!(may_hold(["up", "up"], &[WELL, WELL]));
        assert!(may_hold(["up", "down"], &[WELL, ILL]));
        assert!(may_hold(["up", "down"], &[WELL, None]));
        assert!(!may_hold(["up", "up"], &[WELL, ILL]));
        assert!(!may_hold(["up", "up"], &[WELL, Some((Phase::Backoff, InstanceHealth::Unknown))]));
        assert!(!may_hold(["down", "up"], &[WELL, WELL]));
    }

    #[test]
    fn a_process_that_starts_or_stops_is_on_its_way() {
        let well = Some((Phase::Running, InstanceHealth::Healthy));
        assert!(!is_on_its_way(&[well, None]));
        assert!(!is_on_its_way(&[well, Some((Phase::Backoff, InstanceHealth::Unknown))]));
        for phase in [Phase::Starting, Phase::Stopping] {
            assert!(is_on_its_way(&[well, Some((phase, InstanceHealth::Unknown))]));
        }
    }
}
