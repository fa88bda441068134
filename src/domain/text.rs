//! Checks of free text that people send.

use super::rejection::Rejection;

/// Longest display name or user name, in characters.
pub const NAME_CHARS: usize = 200;
/// Longest remarks, in characters: a few pages.
pub const NOTES_CHARS: usize = 10_000;
/// Longest address of a repository, in characters: what browsers and git hosts allow for.
const REPO_CHARS: usize = 2_048;
/// Longest name of a branch or tag, in bytes: as a file it could not be longer.
const REF_BYTES: usize = 255;

/// A line of text: not empty, no control characters, bounded.
///
/// # Errors
/// [`Rejection`] that names the field.
pub fn line(field: &str, text: &str, longest: usize) -> Result<(), Rejection> {
    let problem = if text.trim().is_empty() {
        "must not be empty"
    } else if text.chars().count() > longest {
        "is too long"
    } else if text.chars().any(char::is_control) {
        "must not contain control characters"
    } else {
        return Ok(());
    };
    Err(Rejection::invalid("invalid_field", format!("{field} {problem}")))
}

/// Several lines of text: line breaks and tabs allowed, other control characters not; bounded.
///
/// # Errors
/// [`Rejection`] that names the field.
pub fn lines(field: &str, text: &str, longest: usize) -> Result<(), Rejection> {
    if text.chars().count() > longest {
        return Err(Rejection::invalid(
            "invalid_field",
            format!("{field} is longer than {longest} characters"),
        ));
    }
    if text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t')) {
        return Err(Rejection::invalid(
            "invalid_field",
            format!("{field} must not contain control characters"),
        ));
    }
    Ok(())
}

/// A mail address: something, an at sign, a host; no white space.
///
/// # Errors
/// [`Rejection`] that names the field.
pub fn mail(field: &str, text: &str) -> Result<(), Rejection> {
    line(field, text, NAME_CHARS)?;
    let parts = text.rsplit_once('@').filter(|(name, host)| !name.is_empty() && !host.is_empty());
    if parts.is_some() && !text.contains(char::is_whitespace) {
        return Ok(());
    }
    Err(Rejection::invalid("invalid_field", format!("{field} must be a mail address")))
}

/// Where a release comes from: `https://`, `http://`, `ssh://`, `file://`, `user@host:path`,
/// or an absolute path. Nothing that git would take for an option or a helper program.
///
/// # Errors
/// [`Rejection`] that says what is allowed.
pub fn repository(text: &str) -> Result<(), Rejection> {
    let scheme = ["https://", "http://", "ssh://", "file:///"].iter().any(|scheme| text.starts_with(scheme));
    let scp_like = text.split_once(':').is_some_and(|(host, path)| {
        !host.is_empty()
            && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'@' | b'.' | b'-' | b'_'))
            && !host.starts_with('-')
            && host.contains('@')
            && !path.is_empty()
            && !path.starts_with('-')
            && !path.starts_with(':')
    });
    let plain =
        text.chars().count() <= REPO_CHARS && !text.chars().any(|c| c.is_control() || c.is_whitespace());
    if plain && (scheme || scp_like || text.starts_with('/')) {
        return Ok(());
    }
    Err(Rejection::invalid(
        "invalid_repository",
        "github_repo must be an https, ssh or file address, user@host:path, or an absolute path, without spaces"
            .into(),
    ))
}

/// A branch, tag or commit (git-check-ref-format(1), and nothing that git would take for an
/// option, a range or a refspec).
///
/// # Errors
/// [`Rejection`] that says what is allowed.
pub fn git_ref(text: &str) -> Result<(), Rejection> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | '+' | '@' | '#');
    let is_good = !text.is_empty()
        && text.len() <= REF_BYTES
        && text.chars().all(plain)
        && !text.starts_with(['-', '/', '.', '+'])
        && !text.ends_with(['/', '.'])
        && !["..", "//", "@{", "/."].iter().any(|bad| text.contains(bad))
        && !text.split('/').any(|part| part.ends_with(".lock"))
        && text != "@";
    if is_good {
        return Ok(());
    }
    Err(Rejection::invalid(
        "invalid_git_ref",
        "git_ref must be the name of a branch or tag, or a whole commit id".into(),
    ))
}

/// An environment variable that may be set for a process.
///
/// # Errors
/// [`Rejection`] that names the variable.
pub fn environment(name: &str, value: &str) -> Result<(), Rejection> {
    /// The kernel limits one string of an environment to 128 KiB; a quarter of that is plenty.
    const VALUE_BYTES: usize = 32 * 1024;
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let word = name.len() <= 128 && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let shown: String = name.chars().take(64).flat_map(char::escape_default).collect();
    if !first || !word {
        return Err(Rejection::invalid(
            "invalid_env",
            format!(
                "environment variable '{shown}' must be letters, digits and '_', not beginning with a digit"
            ),
        ));
    }
    if name.starts_with("TENANTRY_") {
        return Err(Rejection::invalid("invalid_env", format!("environment variable '{shown}' is reserved")));
    }
    if value.len() > VALUE_BYTES || value.contains('\0') {
        return Err(Rejection::invalid(
            "invalid_env",
            format!("the value of environment variable '{shown}' is too long or contains a NUL"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_an_address_and_never_an_option_or_a_helper() {
        for good in
            ["https://h/x.git", "ssh://git@h/x", "git@github.com:org/x.git", "file:///srv/x", "/srv/x"]
        {
            assert!(repository(good).is_ok(), "{good} was refused");
        }
        for bad in [
            "--upload-pack=x",
            "ext::sh -c id",
            "-x@h:y",
            "git@h:-oProxy",
            "x",
            "",
            "https://h/a b",
            "file://h/x",
            "a@b::c",
        ] {
            assert!(repository(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn a_git_ref_is_a_name_and_never_an_option_or_a_range() {
        for good in ["main", "v1.2.3", "feature/x_y-z", "0123456789012345678901234567890123456789", "a#1"] {
            assert!(git_ref(good).is_ok(), "{good} was refused");
        }
        for bad in [
            "",
            "-x",
            "--upload-pack=id",
            "a b",
            "a..b",
            "a:b",
            "+main",
            "a~1",
            "a^",
            "/a",
            "a/",
            "@{1}",
            "x.lock",
            "a\n",
        ] {
            assert!(git_ref(bad).is_err(), "{bad} was accepted");
        }
    }

    #[test]
    fn an_environment_variable_is_a_word() {
        assert!(environment("A_1", "any\nthing").is_ok());
        for (name, value) in
            [("1A", ""), ("", ""), ("A=B", ""), ("A B", ""), ("A", "\0"), ("TENANTRY_RUN", "x")]
        {
            assert!(environment(name, value).is_err(), "{name}={value:?} was accepted");
        }
    }
}
