//! Reads how much of what processes print is kept: `log_retention_days` and `log_max_mb`, in
//! `[settings]`, in `[service.NAME]`, and in `[deploy.template]` for tenants' processes.

use tenantry_journal::name::ServiceName;
use tenantry_journal::spool::Retain;

use super::reader::Section;
use crate::domain::policy::Retention;

/// Ten years, in days: what is to be kept for longer belongs somewhere else.
const LONGEST: u64 = 3650;
/// A TiB for one instance, in MiB.
const LARGEST: u64 = 1 << 20;

/// What a section says, else `usual`. A section that says nothing gives `None`.
pub(super) fn retain(section: &Section<'_>, usual: Retain) -> Option<Retain> {
    let ms = section.days_as_ms("log_retention_days", 0..=LONGEST).map(|found| found.value);
    let bytes = section.whole("log_max_mb", 1..=LARGEST).map(|found| found.value << 20);
    (ms.is_some() || bytes.is_some()).then(|| Retain {
        // 0 days: no limit of age.
        ms: ms.map_or(usual.ms, |ms| Some(ms).filter(|ms| *ms > 0)),
        bytes: bytes.unwrap_or(usual.bytes),
    })
}

/// What is kept of tenants' processes, whose services are called so.
pub(super) fn of_tenants(retention: &mut Retention, section: &Section<'_>) {
    if let Some(retain) = retain(section, retention.usual) {
        let names = ["frontend", "backend"].into_iter().filter_map(|name| name.parse::<ServiceName>().ok());
        retention.services.extend(names.map(|name| (name, retain)));
    }
}
