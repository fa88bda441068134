//! Why a command is refused: the caller is wrong, nothing was recorded.
//!
//! Failures of our own are another type (`engine::SubmitError::Unavailable`).

use tenantry_journal::name::BadName;

/// The class of a refusal; each API family maps it to its status codes once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// What is asked for does not exist.
    NotFound,
    /// It contradicts what is there.
    Conflict,
    /// The input is wrong.
    Invalid,
    /// The input is well-formed and cannot be carried out.
    Unprocessable,
    /// What it speaks of has changed since the caller looked (`If-Match`).
    Stale,
}

/// A refusal, with everything that its answer needs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Rejection {
    /// Its class.
    pub reason: Reason,
    /// A stable name, lower snake case, such as `slug_taken`.
    pub code: &'static str,
    /// A sentence for the person: what is wrong, with the value.
    pub message: String,
    /// A sentence: what to do next. May be empty.
    pub hint: String,
}

impl Rejection {
    /// Refuses because something does not exist.
    #[must_use]
    pub fn not_found(code: &'static str, message: String) -> Rejection {
        Rejection { reason: Reason::NotFound, code, message, hint: String::new() }
    }

    /// Refuses because it contradicts what is there.
    #[must_use]
    pub fn conflict(code: &'static str, message: String, hint: &str) -> Rejection {
        Rejection { reason: Reason::Conflict, code, message, hint: hint.to_owned() }
    }

    /// Refuses wrong input.
    #[must_use]
    pub fn invalid(code: &'static str, message: String) -> Rejection {
        Rejection { reason: Reason::Invalid, code, message, hint: String::new() }
    }

    /// Refuses well-formed input that cannot be carried out.
    #[must_use]
    pub fn unprocessable(code: &'static str, message: String, hint: &str) -> Rejection {
        Rejection { reason: Reason::Unprocessable, code, message, hint: hint.to_owned() }
    }
}

impl From<BadName> for Rejection {
    fn from(bad: BadName) -> Rejection {
        Rejection::invalid("invalid_name", bad.0)
    }
}
