//! TOML whose line ends were taken out on the way.
//!
//! `curl -d @file` does that, and document 2 prints it. Where each statement ends can still
//! be told, unless there was a comment: nobody knows where that ended.

/// Why the line ends cannot be put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotJoined {
    /// It is not one line, or not made of statements.
    Other,
    /// It has a comment.
    Comment,
}

/// Puts each statement of a text without line ends on a line of its own.
pub(super) fn apart(text: &str) -> Result<String, NotJoined> {
    if text.trim_end().contains('\n') {
        return Err(NotJoined::Other);
    }
    let mut lines = String::with_capacity(text.len() + 64);
    let mut rest = text.trim();
    while !rest.is_empty() {
        let end = statement(rest)?;
        let (line, after) = rest.split_at_checked(end).ok_or(NotJoined::Other)?;
        lines.push_str(line);
        lines.push('\n');
        rest = after.trim_start();
    }
    Ok(lines)
}

/// Length of the first statement: a table's header, or a key with its value.
fn statement(text: &str) -> Result<usize, NotJoined> {
    if text.starts_with('#') {
        return Err(NotJoined::Comment);
    }
    if text.starts_with('[') {
        return bracketed(text);
    }
    let equals = outside_quotes(text, '=')?;
    let value = text.get(equals + 1..).ok_or(NotJoined::Other)?;
    let blank = value.len() - value.trim_start().len();
    Ok(equals + 1 + blank + length_of_value(value.trim_start())?)
}

fn length_of_value(value: &str) -> Result<usize, NotJoined> {
    match value.chars().next().ok_or(NotJoined::Other)? {
        '"' | '\'' => quoted(value),
        '[' | '{' => bracketed(value),
        't' if value.starts_with("true") => Ok("true".len()),
        'f' if value.starts_with("false") => Ok("false".len()),
        '0'..='9' | '+' | '-' => number(value),
        _ => Err(NotJoined::Other),
    }
}

/// Length of a number: digits, then a fraction, then an exponent, as far as they are there.
fn number(text: &str) -> Result<usize, NotJoined> {
    let digits = |from: usize| {
        let rest = text.get(from..).unwrap_or_default();
        let run = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit() || c == '_').len();
        // A key may begin with an underscore; a number does not end with one.
        rest.get(..run).unwrap_or_default().trim_end_matches('_').len()
    };
    let sign = usize::from(text.starts_with(['+', '-']));
    let mut end = sign + digits(sign);
    if end == sign {
        return Err(NotJoined::Other);
    }
    let after = |end: usize| text.get(end..).unwrap_or_default();
    if after(end).starts_with('.') && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    if after(end).starts_with(['e', 'E']) {
        let sign = usize::from(after(end + 1).starts_with(['+', '-']));
        if digits(end + 1 + sign) > 0 {
            end += 1 + sign + digits(end + 1 + sign);
        }
    }
    Ok(end)
}

/// Length of a string with its quotes.
fn quoted(text: &str) -> Result<usize, NotJoined> {
    let quote = text.get(..1).ok_or(NotJoined::Other)?;
    let triple = quote.repeat(3);
    let mark = if text.starts_with(&triple) { triple.as_str() } else { quote };
    let mut at = mark.len();
    loop {
        let rest = text.get(at..).ok_or(NotJoined::Other)?;
        if rest.starts_with(mark) {
            return Ok(at + mark.len());
        }
        let next = rest.chars().next().ok_or(NotJoined::Other)?;
        let escapes = next == '\\' && quote == "\"";
        at += next.len_utf8();
        if escapes {
            at += text.get(at..).and_then(|rest| rest.chars().next()).map_or(0, char::len_utf8);
        }
    }
}

/// Length of what begins with a bracket, up to the one that closes it.
fn bracketed(text: &str) -> Result<usize, NotJoined> {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
        match next {
            '"' | '\'' => {
                at += quoted(text.get(at..).unwrap_or_default())?;
                continue;
            }
            '#' => return Err(NotJoined::Comment),
            '[' | '{' => depth += 1,
            ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += next.len_utf8();
        if depth == 0 {
            return Ok(at);
        }
    }
    Err(NotJoined::Other)
}

/// Where a character stands first outside of quotes.
fn outside_quotes(text: &str, wanted: char) -> Result<usize, NotJoined> {
    let mut at = 0;
    while let Some(next) = text.get(at..).and_then(|rest| rest.chars().next()) {
        match next {
            '"' | '\'' => at += quoted(text.get(at..).unwrap_or_default())?,
            '#' => return Err(NotJoined::Comment),
            next if next == wanted => return Ok(at),
            next => at += next.len_utf8(),
        }
    }
    Err(NotJoined::Other)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What curl does to a file.
    fn joined(text: &str) -> String {
        text.replace(['\r', '\n'], "")
    }

    #[test]
    fn what_curl_joined_says_the_same_when_it_is_put_apart() {
        let text = r#"
[settings]
data_dir = "/var/lib/tenement"
health_check_interval = 10
backoff_stable = 1.5
rate_limit_per_minute = 1_000
"quoted key" = 'a "b" # no comment'

[service.api]
command = "./api"
args = ["--a", "b]=c",
        "d"]
storage_persist = true
env = { A = "x", B = "1 = 2" }
socket = "/tmp/api-{id}.sock"
[service."w"]
command = """say \"hi\""""
"#;
        let apart = apart(&joined(text)).expect("it can be told apart");
        let parsed = |text: &str| text.parse::<toml::Table>().expect("TOML");
        assert_eq!(parsed(&apart), parsed(text));
    }

    #[test]
    fn a_comment_cannot_be_told_from_what_follows() {
        assert_eq!(apart("a = 1 # one[b]c = 2"), Err(NotJoined::Comment));
        assert_eq!(apart("# all of it"), Err(NotJoined::Comment));
        assert_eq!(apart("a = [1, # x 2]"), Err(NotJoined::Comment));
    }

    #[test]
    fn what_is_no_joined_toml_is_left_alone() {
        for text in ["a = 1\nb = 2", "hello", "a = ", "a = \"x", "[x", "= ", "a = é", "\u{e9}"] {
            assert_eq!(apart(text), Err(NotJoined::Other), "{text}");
        }
        assert_eq!(apart(""), Ok(String::new()));
    }
}
