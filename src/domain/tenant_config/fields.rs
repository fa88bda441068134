//! The fields of a configuration: what each may be, and what it is when nobody set it.

use tenantry_journal::event::tenant::TenantDetails;
use tenantry_journal::sealed::Sealed;
use tenantry_projections::world::tenants::Tenant;
use url::Url;

use crate::domain::rejection::Rejection;
use crate::domain::text;

/// Longest address, in characters: what browsers allow for.
const URL_CHARS: usize = 2_048;

/// What a field may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A line of text.
    Line,
    /// A mail address.
    Mail,
    /// An address with one of these schemes.
    Address(&'static [&'static str]),
    /// A model's name as Ollama writes it, such as `gemma3:12b`.
    Model,
}

/// A field of a configuration.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// As document 1 prints it.
    pub name: &'static str,
    kind: Kind,
}

const HTTP: Kind = Kind::Address(&["http", "https"]);

/// All of them, in the order of document 1.
pub const FIELDS: [Field; 10] = [
    Field { name: "app_name", kind: Kind::Line },
    Field { name: "app_name_short", kind: Kind::Line },
    Field { name: "project_name", kind: Kind::Line },
    Field { name: "admin_email", kind: Kind::Mail },
    Field { name: "frontend_url", kind: HTTP },
    Field { name: "backend_api_url", kind: HTTP },
    Field { name: "ws_base_url", kind: Kind::Address(&["ws", "wss"]) },
    Field { name: "ollama_embed_model", kind: Kind::Model },
    Field { name: "ollama_llm_model", kind: Kind::Model },
    Field { name: "ollama_base_url", kind: HTTP },
];

impl Field {
    /// The environment variable that carries it.
    #[must_use]
    pub fn variable(&self) -> String {
        self.name.to_ascii_uppercase()
    }
}

/// What each field is: as it was set, else as it follows from the tenant.
#[must_use]
pub fn effective(tenant: &Tenant, details: &TenantDetails) -> Vec<(&'static Field, String)> {
    let set = tenant.config.as_ref().and_then(Sealed::open);
    let value = |name: &str| {
        let set = set.and_then(|config| config.fields.get(name)).cloned();
        set.or_else(|| derived(name, tenant, details))
    };
    FIELDS.iter().filter_map(|field| Some((field, value(field.name)?))).collect()
}

/// What a field is when nobody set it.
pub(super) fn derived(name: &str, tenant: &Tenant, details: &TenantDetails) -> Option<String> {
    let domain = &details.domain;
    Some(match name {
        "app_name" => details.name.clone(),
        "app_name_short" => short(&details.name),
        "project_name" => details.slug.to_string(),
        "admin_email" => format!("admin@{domain}"),
        "frontend_url" => format!("https://{domain}"),
        "backend_api_url" => format!("http://localhost:{}/api", tenant.ports?.backend),
        "ws_base_url" => format!("wss://{domain}"),
        "ollama_embed_model" => "nomic-embed-text:latest".to_owned(),
        "ollama_llm_model" => "gemma3:12b".to_owned(),
        "ollama_base_url" => "http://localhost:11434".to_owned(),
        _ => return None,
    })
}

/// The last name of whoever runs for something, else the first word: `Ed Gallrein for State
/// Rep` is `Gallrein`.
fn short(name: &str) -> String {
    let (who, runs) = name.split_once(" for ").map_or((name, false), |(who, _)| (who, true));
    let mut words = who.split_whitespace();
    let word = if runs { words.next_back() } else { words.next() };
    word.unwrap_or(name).to_owned()
}

/// Refuses what a field may not be, with the field's name.
pub(super) fn check(name: &str, value: &str) -> Result<(), Rejection> {
    let Some(field) = FIELDS.iter().find(|field| field.name == name) else {
        return Err(invalid(format!("there is no field '{name}'")));
    };
    match field.kind {
        Kind::Line => text::line(name, value, text::NAME_CHARS),
        Kind::Mail => text::mail(name, value),
        Kind::Address(schemes) => address(name, value, schemes),
        Kind::Model => model(name, value),
    }
}

fn invalid(message: String) -> Rejection {
    Rejection::invalid("invalid_field", message)
}

fn address(name: &str, value: &str, schemes: &[&str]) -> Result<(), Rejection> {
    text::line(name, value, URL_CHARS)?;
    let wrong = |why: &str| {
        Err(invalid(format!(
            "{name} must be an address that begins with {}://: {why}",
            schemes.join(":// or ")
        )))
    };
    if value.contains(char::is_whitespace) {
        return wrong("it holds white space");
    }
    match Url::parse(value) {
        Err(error) => wrong(&error.to_string()),
        Ok(url) if !schemes.contains(&url.scheme()) => wrong("it begins otherwise"),
        Ok(url) if !url.has_host() => wrong("it names no host"),
        Ok(url) if !url.username().is_empty() || url.password().is_some() => wrong(
            "it holds a user or a password, which everybody who reads the configuration would see; put them into custom_env",
        ),
        Ok(_) => Ok(()),
    }
}

fn model(name: &str, value: &str) -> Result<(), Rejection> {
    let plain = (1..=text::NAME_CHARS).contains(&value.len())
        && value.starts_with(|c: char| c.is_ascii_alphanumeric())
        && value.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:/-".contains(&b));
    if plain {
        return Ok(());
    }
    Err(invalid(format!(
        "{name} must be a model's name such as gemma3:12b: letters, digits, '.', '_', ':', '/', '-'"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_name_is_the_last_name_of_whoever_runs_else_the_first_word() {
        assert_eq!(short("Ed Gallrein for State Rep"), "Gallrein");
        assert_eq!(short("John Smith for Senate"), "Smith");
        assert_eq!(short("Acme Widgets"), "Acme");
        assert_eq!(short("x"), "x");
        assert_eq!(short("Vote for "), "Vote");
    }

    #[test]
    fn each_field_takes_its_kind_and_nothing_else() {
        for (name, good, bad) in [
            ("app_name", "Ed's \"App\"", "a\nb"),
            ("project_name", "x", " "),
            ("admin_email", "a@b.example", "nobody"),
            ("frontend_url", "https://h.example/x", "javascript:alert(1)"),
            ("backend_api_url", "http://localhost:32301/api", "http://"),
            ("ws_base_url", "wss://h.example", "https://h.example"),
            ("ollama_llm_model", "hf.co/org/model:Q4_K_M", "--help"),
            ("ollama_base_url", "http://10.0.0.1:11434", "http://user:password@h"),
        ] {
            assert_eq!(check(name, good), Ok(()), "{name}");
            let refused = check(name, bad).expect_err(name).message;
            assert!(refused.contains(name), "{refused}");
        }
        assert!(check("colour", "red").is_err());
        assert!(!check("ollama_base_url", "http://u:hunter2@h").unwrap_err().message.contains("hunter2"));
    }
}
