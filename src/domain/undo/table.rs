//! Which commands can be taken back, by the kinds of their events.

use Way::{Back, Never};

/// Whether what an event's command did can be taken back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By this.
    Back(&'static str),
    /// Not at all, for this reason.
    Never(&'static str),
}

const OBSERVED: Way = Never("it says what was found, and nobody wished it");
const EFFECT: Way = Never("it is a part of what another command does; undo that one");
const FACT: Way = Never("it says what the control plane itself went through");

/// Every kind of event. The README shows what of it people meet.
pub const TABLE: [(&str, Way); 72] = [
    ("system.started", FACT),
    ("system.keeper_connected", FACT),
    ("system.keeper_lost", FACT),
    ("access.denied", OBSERVED),
    ("access.login_failed", OBSERVED),
    ("access.unrecorded", OBSERVED),
    ("tenant.created", Back("the tenant is deleted, as long as it was never deployed")),
    ("tenant.updated", Back("the changed fields get the values before")),
    ("tenant.deletion_requested", Back("the tenant is restored to the moment before")),
    ("tenant.deleted", Back("the tenant is restored to the moment before")),
    ("tenant.restored", Back("the tenant is restored to the moment before, unless it had been deleted")),
    ("tenant.erasure_requested", Never("the key is destroyed, and nothing opens what was sealed under it")),
    ("tenant.erased", OBSERVED),
    ("tenant.config_updated", Back("the changed fields get the values before")),
    ("tenant.backed_up", Never("a backup takes nothing away; delete the file in the tenant's application")),
    (
        "tenant.env_requested",
        Never("the file follows the configuration, and the one before is kept beside it"),
    ),
    ("tenant.env_written", OBSERVED),
    ("tenant.env_failed", OBSERVED),
    ("port.allocated", EFFECT),
    ("port.released", EFFECT),
    ("instance.spawned", Back("the instance is deleted")),
    ("instance.respecified", EFFECT),
    ("instance.start_requested", Back("it is stopped")),
    ("instance.stop_requested", Back("it is started")),
    (
        "instance.restart_requested",
        Never("the run before has ended, and another restart would not bring it back"),
    ),
    ("instance.removal_requested", Back("an instance of that name and environment is started")),
    ("instance.starting", OBSERVED),
    ("instance.successor_starting", OBSERVED),
    ("instance.successor_promoted", OBSERVED),
    ("instance.replacement_cancelled", EFFECT),
    ("instance.started", OBSERVED),
    ("instance.start_failed", OBSERVED),
    ("instance.health_changed", OBSERVED),
    ("instance.stopping", OBSERVED),
    ("instance.exited", OBSERVED),
    ("instance.restart_scheduled", OBSERVED),
    ("instance.ended", OBSERVED),
    ("instance.adopted", OBSERVED),
    ("instance.weight_changed", Back("it gets the weight before")),
    ("instance.fell_asleep", OBSERVED),
    ("instance.woken", OBSERVED),
    ("instance.removed", OBSERVED),
    ("deployment.requested", Back("it is cancelled while it runs, and rolled back after")),
    ("deployment.step_started", EFFECT),
    ("deployment.step_finished", EFFECT),
    ("deployment.step_rolled_back", EFFECT),
    ("deployment.release_activated", EFFECT),
    ("deployment.cancel_requested", Back("the deployment is taken up again")),
    ("deployment.retried", Never("what was tried has been done; cancel or roll back the deployment itself")),
    ("deployment.releases_pruned", Never("the files are gone; deploy that commit again")),
    ("deployment.finished", OBSERVED),
    ("health.changed", OBSERVED),
    ("theme.updated", Back("the changed fields get the values before")),
    ("theme.applied", OBSERVED),
    ("theme.analysis_requested", Never("looking at a website changes nothing")),
    ("theme.analysis_started", OBSERVED),
    ("theme.analysis_completed", OBSERVED),
    ("theme.analysis_failed", OBSERVED),
    ("setting.changed", Back("it gets the value before")),
    ("setting.cleared", Back("it gets the value before")),
    ("user.created", Back("the user is deleted")),
    ("user.password_changed", Never("an old password never opens anything again; set a new one")),
    ("user.updated", Back("the user gets mail address, role, limits and state of before")),
    ("user.deleted", Never("logins of a deleted user stay void; create the user again, with a password")),
    ("token.created", Back("the token is revoked")),
    ("token.revoked", Never("a revoked token never opens anything again; create another")),
    ("config.changed", Never("the configuration stands in its file; change the file and have it read again")),
    ("nginx.reloaded", Never("nginx has read its configuration; reading it changes nothing")),
    ("site.configured", OBSERVED),
    ("certificate.requested", EFFECT),
    ("certificate.issued", OBSERVED),
    ("certificate.failed", OBSERVED),
];

/// What stands in the table for a kind.
#[must_use]
pub fn way(kind: &str) -> Way {
    TABLE.iter().find(|(known, _)| *known == kind).map_or(EFFECT, |(_, way)| *way)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tenantry_journal::event::Event;

    use super::*;

    #[test]
    fn every_kind_of_event_stands_in_the_table_once() {
        let kinds: BTreeSet<&str> = Event::KINDS.iter().map(|(kind, _)| *kind).collect();
        let listed: BTreeSet<&str> = TABLE.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(listed, kinds);
        assert_eq!(TABLE.len(), Event::KINDS.len());
    }
}
