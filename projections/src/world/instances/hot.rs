//! What changes of an instance with nearly every event about it, in some fifty bytes: its
//! present run and what was observed. What is sealed, and what somebody wished, is not in it:
//! that is the earlier instance's.

use tenantry_journal::event::instance::{ExitStatus, InstanceHealth};
use tenantry_journal::id::{RunId, Seq};
use tenantry_journal::time::Timestamp;
use uuid::Uuid;

use super::{Desired, Instance, LastExit, Phase, Rest, Run};
use crate::world::ProcessMark;

/// Whether all that [`put`] does not say is the same of both.
pub(crate) fn differs_only_in_what_is_hot(before: &Instance, now: &Instance) -> bool {
    // Every field is named, so that a new one has to be thought of.
    let Instance {
        id,
        name,
        tenant,
        spec,
        deployment,
        created_at,
        changed: _,
        cause: _,
        desired: _,
        phase: _,
        run: _,
        restart,
        wanted,
        health: _,
        restart_count: _,
        failures: _,
        not_before: _,
        last_exit,
        weight,
        rest: _,
        beside,
    } = now;
    let is_plain_exit = last_exit.as_ref().is_none_or(|exit| exit.reason.is_none());
    *id == before.id
        && name.is_same(&before.name)
        && *tenant == before.tenant
        && spec.is_same(&before.spec)
        && *deployment == before.deployment
        && *created_at == before.created_at
        && *restart == before.restart
        && *wanted == before.wanted
        && *weight == before.weight
        && is_plain_exit
        && beside.is_none()
        && before.beside.is_none()
}

/// Writes what is hot of an instance.
pub(crate) fn put(out: &mut Vec<u8>, instance: &Instance) {
    number(out, instance.changed.0);
    distance(out, instance.changed.0, instance.cause.0);
    out.push(of_desired(instance.desired) << 4 | of_phase(instance.phase));
    out.push(of_health(instance.health) << 4 | of_rest(instance.rest));
    number(out, u64::from(instance.restart_count));
    number(out, u64::from(instance.failures));
    let there = [instance.run.is_some(), instance.not_before.is_some(), instance.last_exit.is_some()];
    out.push(bits(there));
    let mut since = instance.created_at.0;
    if let Some(Run { id, named_at, process, started_at, healthy_at }) = &instance.run {
        out.extend_from_slice(id.0.as_bytes());
        distance(out, since, named_at.0);
        since = named_at.0;
        out.push(bits([process.is_some(), started_at.is_some(), healthy_at.is_some()]));
        if let Some(ProcessMark { pid, start_ticks }) = process {
            number(out, u64::from(*pid));
            number(out, *start_ticks);
        }
        for at in [started_at, healthy_at].into_iter().flatten() {
            distance(out, since, at.0);
        }
    }
    if let Some(at) = instance.not_before {
        distance(out, since, at.0);
    }
    if let Some(LastExit { status, at, reason: _ }) = &instance.last_exit {
        let (kind, code) = match status {
            None => (0, 0),
            Some(ExitStatus::Code(code)) => (1, *code),
            Some(ExitStatus::Signal(signal)) => (2, *signal),
            Some(ExitStatus::Unknown) => (3, 0),
            Some(ExitStatus::MemoryLimit) => (4, 0),
        };
        out.push(kind);
        distance(out, 0, i64::from(code) as u64);
        distance(out, since, at.0);
    }
}

/// The instance that was written, with what it shares with an earlier one of it.
pub(crate) fn take(bytes: &mut &[u8], earlier: &Instance) -> Option<Instance> {
    let changed = take_number(bytes)?;
    let cause = take_distance(bytes, changed)?;
    let (desired, phase) = halves(bytes)?;
    let (health, rest) = halves(bytes)?;
    let restart_count = u32::try_from(take_number(bytes)?).ok()?;
    let failures = u32::try_from(take_number(bytes)?).ok()?;
    let [has_run, has_moment, has_exit] = take_bits(bytes)?;
    let mut since = earlier.created_at.0;
    let mut run = None;
    if has_run {
        let (id, rest) = bytes.split_first_chunk::<16>()?;
        *bytes = rest;
        let named_at = take_distance(bytes, since)?;
        since = named_at;
        let [has_process, has_started, was_healthy] = take_bits(bytes)?;
        let mut process = None;
        if has_process {
            let pid = u32::try_from(take_number(bytes)?).ok()?;
            process = Some(ProcessMark { pid, start_ticks: take_number(bytes)? });
        }
        let mut moment = |is_there: bool| -> Option<Option<Timestamp>> {
            if is_there { Some(Some(Timestamp(take_distance(bytes, since)?))) } else { Some(None) }
        };
        let (started_at, healthy_at) = (moment(has_started)?, moment(was_healthy)?);
        let (id, named_at) = (RunId(Uuid::from_bytes(*id)), Timestamp(named_at));
        run = Some(Run { id, named_at, process, started_at, healthy_at });
    }
    let not_before = if has_moment { Some(Timestamp(take_distance(bytes, since)?)) } else { None };
    let mut last_exit = None;
    if has_exit {
        let kind = take_byte(bytes)?;
        let code = i32::try_from(take_distance(bytes, 0)? as i64).ok()?;
        let status = match kind {
            0 => None,
            1 => Some(ExitStatus::Code(code)),
            2 => Some(ExitStatus::Signal(code)),
            3 => Some(ExitStatus::Unknown),
            4 => Some(ExitStatus::MemoryLimit),
            _ => return None,
        };
        last_exit = Some(LastExit { status, at: Timestamp(take_distance(bytes, since)?), reason: None });
    }
    Some(Instance {
        id: earlier.id,
        name: earlier.name.clone(),
        tenant: earlier.tenant,
        spec: earlier.spec.clone(),
        deployment: earlier.deployment,
        created_at: earlier.created_at,
        changed: Seq(changed),
        cause: Seq(cause),
        desired: to_desired(desired)?,
        phase: to_phase(phase)?,
        run,
        restart: earlier.restart,
        wanted: earlier.wanted,
        health: to_health(health)?,
        restart_count,
        failures,
        not_before,
        last_exit,
        weight: earlier.weight,
        rest: to_rest(rest)?,
        beside: None,
    })
}

fn of_desired(desired: Desired) -> u8 {
    match desired {
        Desired::Running => 0,
        Desired::Stopped => 1,
        Desired::Removed => 2,
    }
}

fn to_desired(byte: u8) -> Option<Desired> {
    [Desired::Running, Desired::Stopped, Desired::Removed].get(usize::from(byte)).copied()
}

fn of_phase(phase: Phase) -> u8 {
    match phase {
        Phase::Idle => 0,
        Phase::Starting => 1,
        Phase::Running => 2,
        Phase::Stopping => 3,
        Phase::Backoff => 4,
        Phase::Failed => 5,
    }
}

fn to_phase(byte: u8) -> Option<Phase> {
    use Phase::{Backoff, Failed, Idle, Running, Starting, Stopping};
    [Idle, Starting, Running, Stopping, Backoff, Failed].get(usize::from(byte)).copied()
}

fn of_health(health: InstanceHealth) -> u8 {
    match health {
        InstanceHealth::Unknown => 0,
        InstanceHealth::Healthy => 1,
        InstanceHealth::Unhealthy => 2,
    }
}

fn to_health(byte: u8) -> Option<InstanceHealth> {
    use InstanceHealth::{Healthy, Unhealthy, Unknown};
    [Unknown, Healthy, Unhealthy].get(usize::from(byte)).copied()
}

fn of_rest(rest: Rest) -> u8 {
    match rest {
        Rest::Awake => 0,
        Rest::Asleep => 1,
        Rest::Waking => 2,
    }
}

fn to_rest(byte: u8) -> Option<Rest> {
    [Rest::Awake, Rest::Asleep, Rest::Waking].get(usize::from(byte)).copied()
}

fn bits([first, second, third]: [bool; 3]) -> u8 {
    u8::from(first) | u8::from(second) << 1 | u8::from(third) << 2
}

fn take_bits(bytes: &mut &[u8]) -> Option<[bool; 3]> {
    let byte = take_byte(bytes)?;
    Some([byte & 1 != 0, byte & 2 != 0, byte & 4 != 0])
}

fn halves(bytes: &mut &[u8]) -> Option<(u8, u8)> {
    let byte = take_byte(bytes)?;
    Some((byte >> 4, byte & 0xf))
}

fn take_byte(bytes: &mut &[u8]) -> Option<u8> {
    let (byte, rest) = bytes.split_first()?;
    *bytes = rest;
    Some(*byte)
}

/// Seven bits a byte, the lowest first.
pub(crate) fn number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..64).step_by(7) {
        let byte = take_byte(bytes)?;
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(number);
        }
    }
    None
}

/// How far a number is from another, either way.
fn distance(out: &mut Vec<u8>, from: u64, to: u64) {
    let far = to.wrapping_sub(from) as i64;
    number(out, (far << 1 ^ far >> 63) as u64);
}

fn take_distance(bytes: &mut &[u8], from: u64) -> Option<u64> {
    let far = take_number(bytes)?;
    Some(from.wrapping_add((far >> 1) ^ (far & 1).wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_distances_come_back() {
        let some = [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX / 2, u64::MAX - 1, u64::MAX];
        for from in some {
            let mut out = Vec::new();
            number(&mut out, from);
            assert_eq!(take_number(&mut out.as_slice()), Some(from));
            for to in some {
                let mut out = Vec::new();
                distance(&mut out, from, to);
                let mut bytes = out.as_slice();
                assert_eq!((take_distance(&mut bytes, from), bytes.len()), (Some(to), 0));
            }
        }
    }
}
