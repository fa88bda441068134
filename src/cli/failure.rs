//! Why a command did not do what was asked: what it says, what to do next, the exit code.
//!
//! The one place where the API's errors become exit codes. They are documented in `--help`
//! and the README; scripts stand on them.

use std::process::ExitCode;

use reqwest::StatusCode;
use serde_json::Value;

use super::safe_text::safe;

/// Something failed, or the server refused for a reason that has no code of its own.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong; what clap ends with.
pub(super) const USAGE: u8 = 2;
/// What was checked is not valid: a configuration, a journal.
pub(super) const NOT_VALID: u8 = 3;
/// No server answers.
pub(super) const UNREACHABLE: u8 = 4;
/// No credential, none that is valid, or one that does not go that far.
pub(super) const NOT_ALLOWED: u8 = 5;
/// The server has no such thing.
pub(super) const NOT_FOUND: u8 = 6;

/// Why it ended, with what a person can do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct Failure {
    pub(super) code: u8,
    pub(super) message: String,
    /// A sentence; empty when there is nothing to say.
    pub(super) next: String,
}

impl Failure {
    /// With a code, a message and what to do next.
    pub(super) fn new(code: u8, message: impl Into<String>, next: impl Into<String>) -> Failure {
        Failure { code, message: message.into(), next: next.into() }
    }

    /// The command line asks for something that cannot be.
    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(USAGE, message, "")
    }

    /// No answer came.
    pub(super) fn unreachable(server: &str, why: &str) -> Failure {
        Failure::new(
            UNREACHABLE,
            format!("the server at {} cannot be reached: {}", safe(server), safe(why)),
            "Is `tenantry serve` running? --server or TENANTRY_SERVER say where it is.",
        )
    }

    /// What an answer that is no success means.
    pub(super) fn answered(server: &str, status: StatusCode, body: &Value) -> Failure {
        let told = Told::new(body);
        let message = told.message.map_or_else(|| format!("the server answered {status}"), str::to_owned);
        let own = match status {
            StatusCode::UNAUTHORIZED => {
                format!("Log in with `tenantry login --server {server}`, or set TENANTRY_TOKEN.")
            }
            StatusCode::FORBIDDEN => "Ask an administrator for a role or token that goes so far.".to_owned(),
            StatusCode::TOO_MANY_REQUESTS => "Wait a little; the limit is per minute and hour.".to_owned(),
            StatusCode::MISDIRECTED_REQUEST => {
                "Use an address or name under which the server knows itself ([settings] allowed_hosts)."
                    .to_owned()
            }
            _ => String::new(),
        };
        let next = match told.hint {
            Some(hint) if own.is_empty() => hint.to_owned(),
            _ => own,
        };
        Failure::new(code_of(status), safe(&message).into_owned(), safe(&next).into_owned())
    }

    /// The exit code.
    pub(super) fn exit(&self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

fn code_of(status: StatusCode) -> u8 {
    match status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => NOT_ALLOWED,
        StatusCode::NOT_FOUND => NOT_FOUND,
        _ => FAILED,
    }
}

/// What an error of either document tells.
struct Told<'a> {
    message: Option<&'a str>,
    hint: Option<&'a str>,
}

impl<'a> Told<'a> {
    fn new(body: &'a Value) -> Told<'a> {
        let text = |name: &str| body.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        match text("message") {
            // Documents 2 and 3: `error` is a name, the hint stands in the message.
            Some(message) => Told { message: Some(message), hint: None },
            // Document 1: `error` is a sentence, `detail` another one or the same.
            None => {
                let message = text("error");
                Told { message, hint: text("detail").filter(|detail| Some(*detail) != message) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn answered(status: u16, body: &Value) -> (u8, String, String) {
        let status = StatusCode::from_u16(status).expect("a status");
        let failure = Failure::answered("http://h:1", status, body);
        (failure.code, failure.message, failure.next)
    }

    #[test]
    fn both_error_shapes_are_told_in_their_own_words() {
        let body =
            json!({"error": "instance_not_found", "message": "Instance 'api:x' not found", "status": 404});
        assert_eq!(answered(404, &body), (NOT_FOUND, "Instance 'api:x' not found".into(), String::new()));
        let body = json!({"error": "slug 'a' is taken.", "detail": "choose another slug.", "code": "X"});
        assert_eq!(
            answered(409, &body),
            (FAILED, "slug 'a' is taken.".into(), "choose another slug.".into())
        );
        let body = json!({"error": "No.", "detail": "No.", "code": "X"});
        assert_eq!(answered(500, &body), (FAILED, "No.".into(), String::new()));
        assert_eq!(answered(502, &Value::Null).1, "the server answered 502 Bad Gateway");
    }

    #[test]
    fn who_is_not_allowed_is_told_how_to_log_in() {
        let (code, _, next) = answered(401, &json!({"error": "unauthorized", "message": "No."}));
        assert_eq!(code, NOT_ALLOWED);
        assert!(next.contains("tenantry login --server http://h:1"), "{next}");
        assert_eq!(answered(403, &Value::Null).0, NOT_ALLOWED);
    }

    #[test]
    fn a_server_commands_no_terminal_by_its_errors() {
        let body = json!({"error": "x", "message": "\u{1b}[2Jgone", "status": 409});
        assert_eq!(answered(409, &body).1, "\\x1b[2Jgone");
    }
}
