//! How words and paths are written in a unit file, and values in an environment file, so that
//! systemd reads back what was meant (systemd.syntax(7), systemd.service(5), systemd.exec(5)).
//!
//! What cannot be written is refused. Nothing is ever left for systemd to replace: `%` is doubled, and
//! `$` means nothing in a command line that begins with `:`.

use std::fmt::Write as _;
use std::path::Path;

use super::SystemdError;

/// Longest command line: systemd takes lines of up to 1 MiB, and Linux hands over 2 MiB of
/// arguments and environment together.
const COMMAND_BYTES: usize = 512 * 1024;

fn refused(what: &'static str, text: &str) -> SystemdError {
    SystemdError::Unwritable { what, text: text.chars().take(200).collect() }
}

/// A command line: the program's absolute path and its arguments, each word as it is.
pub(super) fn command(program: &Path, args: &[String]) -> Result<String, SystemdError> {
    let program = program.to_str().ok_or_else(|| refused("program", &program.to_string_lossy()))?;
    if !program.starts_with('/') {
        return Err(refused("program", program));
    }
    let mut line = String::from(":");
    for (index, word) in std::iter::once(program).chain(args.iter().map(String::as_str)).enumerate() {
        if word.contains('\0') {
            return Err(refused("argument", word));
        }
        if index > 0 {
            line.push(' ');
        }
        push_word(&mut line, word);
    }
    if line.len() > COMMAND_BYTES {
        return Err(SystemdError::TooLong { bytes: line.len(), most: COMMAND_BYTES });
    }
    Ok(line)
}

fn push_word(line: &mut String, word: &str) {
    line.push('"');
    for char in word.chars() {
        match char {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '%' => line.push_str("%%"),
            '\n' => line.push_str("\\n"),
            control if control.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(line, "\\x{:02x}", u32::from(control));
            }
            other => line.push(other),
        }
    }
    line.push('"');
}

/// A path as a whole value, or as one of several when it is put in quotes. Lists of paths know
/// no escapes but these and split at colons, so what would need more is refused.
pub(super) fn path(path: &Path) -> Result<String, SystemdError> {
    let text = path.to_str().ok_or_else(|| refused("path", &path.to_string_lossy()))?;
    let is_plain = |char: char| !char.is_control() && !matches!(char, '"' | '\'' | '\\' | ':');
    if !text.starts_with('/') || !text.chars().all(is_plain) || text.trim() != text {
        return Err(refused("path", text));
    }
    Ok(text.replace('%', "%%"))
}

/// Paths in quotes, separated by spaces.
pub(super) fn paths(all: &[std::path::PathBuf], after: &str) -> Result<String, SystemdError> {
    let quoted: Result<Vec<String>, SystemdError> =
        all.iter().map(|one| Ok(format!("\"{}{after}\"", path(one)?))).collect();
    Ok(quoted?.join(" "))
}

/// A line of an environment file.
pub(super) fn variable(name: &str, value: &str) -> Result<String, SystemdError> {
    let mut chars = name.chars();
    let begins = chars.next().is_some_and(|char| char.is_ascii_alphabetic() || char == '_');
    if !begins || !chars.all(|char| char.is_ascii_alphanumeric() || char == '_') {
        return Err(refused("name of a variable", name));
    }
    if value.contains('\0') {
        return Err(refused("value of the variable", name));
    }
    let mut line = format!("{name}=\"");
    for char in value.chars() {
        if matches!(char, '"' | '\\' | '$' | '`') {
            line.push('\\');
        }
        line.push(char);
    }
    line.push_str("\"\n");
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_word_is_read_as_syntax() {
        let args = ["50% $HOME ${X}", "a\"b\\c", "x\ny\u{1b}\u{7f}", "", "; rm", "ü"].map(str::to_owned);
        let line = command(Path::new("/bin/my app"), &args).unwrap();
        let expected = r#":"/bin/my app" "50%% $HOME ${X}" "a\"b\\c" "x\ny\x1b\x7f" "" "; rm" "ü""#;
        assert_eq!(line, expected);
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        assert!(command(Path::new("bin/app"), &[]).is_err());
        assert!(command(Path::new("/bin/app"), &["a\0b".into()]).is_err());
        assert!(command(Path::new("/bin/app"), &["x".repeat(COMMAND_BYTES)]).is_err());
        for bad in ["relative", "/a\nExecStart=/bin/sh", "/a\"b", "/a:b", "/a\\", "/a "] {
            assert!(path(Path::new(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(path(Path::new("/a b/50%")).unwrap(), "/a b/50%%");
        for bad in ["", "1A", "A=B", "A B", "Ä", "A\nB"] {
            assert!(variable(bad, "x").is_err(), "{bad:?}");
        }
        assert!(variable("A", "x\0y").is_err());
    }

    #[test]
    fn a_value_keeps_its_quotes_dollars_and_line_ends() {
        let line = variable("A", "x \"q\" $HOME \\ `id` %n\nB=2").unwrap();
        assert_eq!(line, "A=\"x \\\"q\\\" \\$HOME \\\\ \\`id\\` %n\nB=2\"\n");
    }
}
