//! Objects of the API for people when they have no table of their own: names and values,
//! indented like an outline.

use serde_json::Value;

use super::safe_text::safe;
use super::screen::{Screen, faint, style_of};

/// An object, one member a line; longer texts below their names.
pub(super) fn outline(value: &Value, screen: &Screen) -> String {
    let mut out = String::new();
    write(value, 0, screen, &mut out);
    out
}

fn write(value: &Value, depth: usize, screen: &Screen, out: &mut String) {
    match value {
        Value::Object(members) => {
            let width = members.keys().map(|name| name.chars().count()).max().unwrap_or_default();
            for (name, value) in members {
                indent(depth, out);
                let padded = format!("{:<width$}", safe(name));
                match scalar(value, screen) {
                    Some(text) => out.push_str(&format!("{}  {text}\n", screen.paint(faint(), &padded))),
                    None => {
                        out.push_str(&format!("{}\n", screen.paint(faint(), padded.trim_end())));
                        write(value, depth + 1, screen, out);
                    }
                }
            }
        }
        Value::Array(entries) => {
            for entry in entries {
                match scalar(entry, screen) {
                    Some(text) => {
                        indent(depth, out);
                        out.push_str(&format!("{text}\n"));
                    }
                    None => {
                        write(entry, depth, screen, out);
                        out.push('\n');
                    }
                }
            }
            trim_blank_line(entries, out);
        }
        Value::String(text) => {
            for line in text.lines() {
                indent(depth, out);
                out.push_str(&format!("{}\n", safe(line)));
            }
        }
        other => out.push_str(&format!("{other}\n")),
    }
}

/// Between entries there is a blank line, after the last one none.
fn trim_blank_line(entries: &[Value], out: &mut String) {
    if !entries.is_empty() && out.ends_with("\n\n") {
        out.pop();
    }
}

fn indent(depth: usize, out: &mut String) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// What fits on the line of its name.
fn scalar(value: &Value, screen: &Screen) -> Option<String> {
    match value {
        Value::Null => Some("-".to_owned()),
        Value::String(text) if !text.trim_end().contains('\n') => {
            Some(screen.paint(style_of(text), &safe(text.trim_end())))
        }
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::Array(entries) if entries.is_empty() => Some("none".to_owned()),
        Value::Object(members) if members.is_empty() => Some("none".to_owned()),
        Value::String(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_object_is_told_by_its_names() {
        let value = json!({"instance": "api:a", "health_checks": {"total": 12, "failed": 0}, "none": null,
            "steps": [{"name": "Copy files\u{7}"}, {"name": "Start"}], "logs": "one\ntwo\u{1b}[2J\n", "ids": []});
        assert_eq!(
            outline(&value, &Screen::plain()),
            "health_checks\n  failed  0\n  total   12\n\
             ids            none\n\
             instance       api:a\n\
             logs\n  one\n  two\\x1b[2J\n\
             none           -\n\
             steps\n  name  Copy files\\x07\n\n  name  Start\n"
        );
    }
}
