//! Reads what is to be run: `[service.NAME]`, and the entries of `[deploy.template]`.
//!
//! A command line is split into words here and its placeholders are filled in later, so a
//! value that is filled in is always one word. No shell ever sees it.

use std::collections::BTreeMap;
use std::path::Path;

use tenantry_journal::event::instance::{Isolation, Limits, RestartMode, RestartPolicy};

use super::Service;
use super::reader::{Found, Place, Section, TableOrWords};
use crate::domain::policy::ServiceTemplate;

/// A day, in seconds: a longer timeout is a mistake.
const DAY: u64 = 86_400;
/// Most megabytes that a limit can name: a pebibyte.
const MEGABYTES: u64 = 1 << 30;
/// Most open files that a kernel allows (the default of `fs.nr_open`).
const OPEN_FILES: u64 = 1 << 20;

/// Longest path of a unix socket: the kernel's `sun_path` of 108 bytes less its final NUL.
const SOCKET_PATH_BYTES: usize = 107;
/// Letters that an instance's id should be able to have.
const USUAL_ID: usize = 12;

/// What a service gets that says nothing about it.
#[derive(Clone, Copy)]
pub(super) struct Defaults<'a> {
    pub(super) working_dir: &'a Path,
    pub(super) data_dir: &'a Path,
    pub(super) startup_timeout_ms: u64,
    pub(super) stop_timeout_ms: u64,
    pub(super) health_interval_ms: u64,
    pub(super) restart: RestartPolicy,
    pub(super) restart_mode: RestartMode,
}

/// Reads `[service.NAME]`.
pub(super) fn service(name: &str, section: Section<'_>, defaults: Defaults<'_>) -> Option<Service> {
    let socket = section.text("socket").map(|found| {
        let path = absolute(&found.value, defaults.working_dir);
        check_socket(&section, name, &path, defaults.data_dir, &found.place);
        path
    });
    let template = process(&format!("Service '{name}'"), &section, socket, defaults);
    let idle_timeout_ms =
        section.seconds_as_ms("idle_timeout", 0..=DAY * 365).map(|found| found.value).filter(|ms| *ms > 0);
    let storage_persist = section.boolean("storage_persist").is_some_and(|found| found.value);
    section.finish();
    let template = ServiceTemplate { idle_timeout_ms, ..template? };
    Some(Service { template, storage_persist })
}

/// Warns of a path that does not fit the address of a unix socket.
fn check_socket(section: &Section<'_>, name: &str, path: &str, data_dir: &Path, place: &Place) {
    let filled = path.replace("{name}", name).replace("{data_dir}", &data_dir.display().to_string());
    let (bytes, ids) = (filled.replace("{id}", "").len(), filled.matches("{id}").count());
    if bytes + ids > SOCKET_PATH_BYTES {
        let message = format!(
            "service '{name}': the socket path is too long for a unix socket, which takes {SOCKET_PATH_BYTES} \
             bytes; this has {}",
            bytes + ids
        );
        section.notes.warn_at(place, message);
    } else if bytes + ids * USUAL_ID > SOCKET_PATH_BYTES {
        let left = (SOCKET_PATH_BYTES - bytes) / ids;
        let message = format!(
            "service '{name}': the socket path is too long for a unix socket once an {{id}} has more than \
             {left} letters"
        );
        section.notes.warn_at(place, message);
    }
}

/// Reads an entry of `[deploy.template]`: a command line, an array of words, or a table.
pub(super) fn entry(key: &str, template: &Section<'_>, defaults: Defaults<'_>) -> Option<ServiceTemplate> {
    match template.table_or_words(key)? {
        TableOrWords::Table(section) => {
            let read = process(&format!("[deploy.template] '{key}'"), &section, None, defaults);
            section.finish();
            read
        }
        TableOrWords::Words(words) => {
            let (command, args) = program(template, key, words)?;
            Some(ServiceTemplate {
                command,
                args,
                env: BTreeMap::new(),
                socket: None,
                health: None,
                // The domain starts a tenant's processes in the tenant's directory.
                workdir: None,
                restart: defaults.restart,
                startup_timeout_ms: defaults.startup_timeout_ms,
                stop_timeout_ms: defaults.stop_timeout_ms,
                health_interval_ms: defaults.health_interval_ms,
                limits: Limits::default(),
                idle_timeout_ms: None,
                restart_mode: defaults.restart_mode,
            })
        }
    }
}

/// Reads the program and arguments of a command that runs once.
pub(super) fn once(key: &str, template: &Section<'_>) -> Option<Vec<String>> {
    let words = match template.table_or_words(key)? {
        TableOrWords::Words(words) => words,
        TableOrWords::Table(section) => {
            let words = command(&format!("[deploy.template] '{key}'"), &section);
            section.finish();
            words?
        }
    };
    let (command, mut args) = program(template, key, words)?;
    args.insert(0, command);
    Some(args)
}

fn process(
    title: &str,
    section: &Section<'_>,
    socket: Option<String>,
    defaults: Defaults<'_>,
) -> Option<ServiceTemplate> {
    let words = command(title, section);
    let workdir = section.text("workdir").map(|found| absolute(&found.value, defaults.working_dir));
    let restart_mode = section
        .choice("restart_mode", &[("replace", RestartMode::Replace), ("rolling", RestartMode::Rolling)])
        .map_or(defaults.restart_mode, |found| found.value);
    let health = section.text("health").and_then(|found| health_path(section, found));
    let restart = section.choice(
        "restart",
        &[
            ("always", RestartPolicy::Always),
            ("on-failure", RestartPolicy::OnFailure),
            ("never", RestartPolicy::Never),
        ],
    );
    let ms =
        |key, default| section.seconds_as_ms(key, 0..=DAY).map_or(default, |found: Found<u64>| found.value);
    let startup_timeout_ms = ms("startup_timeout", defaults.startup_timeout_ms);
    let stop_timeout_ms = ms("stop_timeout", defaults.stop_timeout_ms);
    let health_interval_ms = section
        .seconds_as_ms("health_check_interval", 1..=DAY)
        .map_or(defaults.health_interval_ms, |found| found.value);
    let env = environment(section);
    let limits = limits(section);
    let (command, args) = program(section, "command", words?)?;
    let command = match &workdir {
        // A path in a command is relative to where it starts. Without a working directory of
        // its own that would be an empty directory, so then it is relative to ours.
        None if command.contains('/') => absolute(&command, defaults.working_dir),
        _ => command,
    };
    Some(ServiceTemplate {
        command,
        args,
        env,
        socket,
        health,
        workdir,
        restart: restart.map_or(defaults.restart, |found| found.value),
        startup_timeout_ms,
        stop_timeout_ms,
        health_interval_ms,
        limits,
        idle_timeout_ms: None,
        restart_mode,
    })
}

/// What it may use, and as whom it runs. Names of users are looked up when it is started.
fn limits(section: &Section<'_>) -> Limits {
    let whole = |key, last| section.whole(key, 1..=last).map(|found: Found<u64>| found.value);
    let name = |key| section.text(key).and_then(|found| account(section, key, found));
    let isolation = section
        .choice("isolation", &[("process", "process"), ("namespace", "namespace"), ("sandbox", "sandbox")]);
    let isolation = match isolation.map(|found| found.value) {
        Some("namespace") => Isolation::Namespace,
        Some("sandbox") => {
            let title = &section.title;
            section.notes.warn(format!("{title}: this version has no sandbox, 'namespace' is used instead"));
            Isolation::Namespace
        }
        _ => Isolation::Process,
    };
    let limits = Limits {
        memory_limit_mb: whole("memory_limit_mb", MEGABYTES),
        cpu_shares: whole("cpu_shares", 10_000),
        max_open_files: whole("max_open_files", OPEN_FILES),
        user: name("user"),
        group: name("group"),
        isolation,
        storage_quota_mb: whole("storage_quota_mb", MEGABYTES),
    };
    if limits.group.is_some() && limits.user.is_none() {
        section.notes.bad(&section.place, format!("{}: 'group' needs 'user' beside it", section.title));
    }
    limits
}

/// The name or number of a user or group.
fn account(section: &Section<'_>, key: &str, found: Found<String>) -> Option<String> {
    let name = found.value;
    let is_one = (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-.@$".contains(&byte));
    if is_one {
        return Some(name);
    }
    section.notes.bad(&found.place, format!("'{key}' is no name of an account: '{}'", name.escape_default()));
    None
}

/// `command` and `args` as one list. A command text is split into words only when `args` is absent.
fn command(title: &str, section: &Section<'_>) -> Option<Found<Vec<String>>> {
    let args = section.list("args");
    let words = if args.is_some() { section.whole_words("command") } else { section.words("command") };
    let Some(mut words) = words else {
        if !section.has("command") {
            section.notes.bad(&section.place, format!("{title} missing required field: command"));
        }
        return None;
    };
    words.value.extend(args.into_iter().flat_map(|args| args.value));
    Some(words)
}

fn program(section: &Section<'_>, key: &str, words: Found<Vec<String>>) -> Option<(String, Vec<String>)> {
    let mut all = words.value.into_iter();
    match all.next().filter(|program| !program.is_empty()) {
        Some(program) => Some((program, all.collect())),
        None => {
            section.notes.bad(&words.place, format!("'{key}' names no program"));
            None
        }
    }
}

fn health_path(section: &Section<'_>, found: Found<String>) -> Option<String> {
    let path = found.value;
    if path.is_empty() {
        return None;
    }
    if path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Some(path);
    }
    if !path.contains(':') && path.bytes().all(|byte| byte.is_ascii_graphic()) {
        let message =
            format!("'health' is '{path}', which is taken as '/{path}'; a path begins with a slash");
        section.notes.warn_at(&found.place, message);
        return Some(format!("/{path}"));
    }
    section.notes.bad(&found.place, format!("'health' is '{path}', must be a path such as /health"));
    None
}

fn environment(section: &Section<'_>) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    for (name, Found { value, place }) in section.texts("env") {
        if is_variable(&name) && !value.contains('\0') {
            env.insert(name, value);
        } else {
            let message = format!("the environment variable '{}' cannot be passed on", name.escape_default());
            section.notes.bad(&place, message);
        }
    }
    env
}

/// Whether this can name an environment variable (any name that shells can set).
fn is_variable(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Makes a path absolute unless it is, or begins with a placeholder that is.
pub(super) fn absolute(path: &str, working_dir: &Path) -> String {
    if path.starts_with('/') || path.starts_with('{') {
        return path.to_owned();
    }
    let path = path.strip_prefix("./").unwrap_or(path);
    let joined = if path == "." { working_dir.to_path_buf() } else { working_dir.join(path) };
    joined.display().to_string()
}

/// Refuses a path that leaves the directory that it is below.
pub(super) fn is_inside(path: &str) -> bool {
    let path = Path::new(path);
    path.components().next().is_some()
        && path.components().all(|part| matches!(part, std::path::Component::Normal(_)))
}
