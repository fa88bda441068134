//! Words and examples for fields that have none of their own: by the field's name, and where
//! one name means several things by schema and name. A comment on the field wins over both, but
//! not over a parameter's own words.

use serde_json::{Map, Value, json};

/// Where a name means something else than elsewhere.
const SPECIAL: &[(&str, &str)] = &[
    ("Problem.status", "The status code."),
    ("ApiError.status", "The status code."),
    ("RefusedRestore.status", "The status code."),
    ("ApiError.error", "What is wrong, as a name."),
    ("RefusedRestore.error", "What is wrong, as a name."),
    ("ManagerError.error", "What is wrong, a sentence."),
    ("ManagerError.detail", "More of what is wrong, or what to do next."),
    ("ManagerError.code", "What is wrong, as a name."),
    ("Problem.code", "What is wrong, as a name."),
    ("ThemeAnalysis.error", "Why there are no suggestions, when it failed."),
    ("FeedNotice.error", "What was wrong with the client's message, as a name."),
    ("ConfigProblem.message", "What is wrong."),
    ("ConfigProblem.line", "Where, in the text that was checked."),
    ("Setting.key", "The setting's name."),
    ("Setting.value", "Its value as text; `***hidden***` for a secret, `null` when nothing is set."),
    ("SettingList.settings", "Every setting there is."),
    ("Token.name", "What its owner calls it."),
    ("CreatedToken.name", "What its owner calls it."),
    ("CreatedToken.token", "The token itself; it is shown here and nowhere else."),
    ("NewToken.name", "What its owner calls it."),
    (
        "LogSearch.query",
        "Words, all of which must match; also `\"phrases\"`, `prefix*`, `AND`, `OR`, `NOT`, parentheses, `instance:`, `service:`, `level:`.",
    ),
    ("SearchResults.total", "How many lines match in all."),
    ("CheckCounts.total", "Checks since the control plane started."),
    ("PersonsCount.total", "How many persons there are."),
    ("RemoteStats.events", "Campaign events of the tenant."),
    ("Instance.id", "Its name within the service."),
    ("InstanceSummary.id", "Its name within the service."),
    ("NewInstance.id", "Its name within the service."),
    ("LastExit.at", "When it ended."),
    ("DeploymentLogs.logs", "What the steps printed."),
    ("Deployment.logs", "What the steps printed; not there in lists and in the past."),
    ("ServiceLogs.logs", "The lines."),
    ("UndoneCommand.events", "What taking it back recorded."),
    ("UndoneCommand.seq", "The position of the last of them."),
    ("RestoredTenant.seq", "The position of the last event it recorded; `null` for a dry run."),
    ("DryRun.events", "What would be recorded."),
    ("MetricsSample.at", "When it was measured."),
    ("NginxTest.valid", "Whether nginx takes the configuration."),
    ("ReloadedNginx.timestamp", "When it was reloaded."),
    ("ManagerError.timestamp", "When it was answered."),
    ("Problem.timestamp", "When it was answered."),
    ("LogLine.timestamp", "When it was read from the process."),
    ("SearchHit.timestamp", "When it was read from the process."),
    ("LoggedIn.user", "Who is logged in."),
    ("Problem.type", "A URN with the name of what is wrong."),
    ("Problem.detail", "What is wrong, a sentence."),
    ("NginxConfig.type", "What it serves."),
    ("HealthMessage.type", "What sort of message it is."),
    ("DeploymentMessage.type", "What sort of message it is."),
    ("FeedRequest.type", "What sort of message it is."),
    ("FeedNotice.type", "What sort of message it is."),
    ("FeedEvent.type", "What sort of message it is."),
    ("LogStreamRequest.type", "What sort of message it is."),
    ("SocketAuth.type", "What sort of message it is."),
    ("SocketAuth.token", "A login's `access_token` or an API token."),
    ("DatabaseCheck.size_mb", "Its size in MB."),
    ("RemoteBackup.size_mb", "The size of the backup in MB, when the tenant told it."),
    (
        "InstanceMetrics.source",
        "Where memory and processor time were read: of a control group, or of processes.",
    ),
    ("ThemeAnalysis.source", "Who thought of the suggestions."),
    ("DeploymentStep.started", "When it began, while it runs."),
    ("Highlight.text", "What stands there."),
    ("Certificate.domain", "The first name that it is for."),
    ("ThemeSuggestion.name", "What it is called."),
    ("DeploymentStep.name", "Which step."),
    ("ReloadedConfig.hash", "Names the configuration that holds."),
    ("ReloadedConfig.changed", "What is not as it was, such as `settings.domain`."),
    ("NotRestored.reason", "Why."),
    ("TenantDiff.from_seq", "The position of the one moment."),
    ("TenantDiff.to_seq", "The position of the other moment."),
    ("ThemeAnalysis.notes", "What was left out, and why."),
];

/// What a name means wherever it stands, and an example from the documents.
const FIELDS: &[(&str, &str, &str)] = &[
    ("accent_color", "What stands out, `#rrggbb`.", "#f1c613"),
    ("access_token", "The credential, as `Authorization: Bearer`.", ""),
    ("actor", "Who did it.", ""),
    ("admin_email", "Mail address of the application's administrator.", "admin@kentucky.nominate.ai"),
    ("ai_generated", "Whether a model named the colours.", ""),
    ("allocated_at", "Since when it is held.", "2025-11-13T12:00:00.000Z"),
    ("allocations", "Pairs of ports, by number.", ""),
    ("analysis_id", "The analysis.", ""),
    ("api_domain", "Where the backend is served.", "kentuckyapi.nominate.ai"),
    ("app_name", "What the application is called.", "Ed Gallrein for State Rep"),
    ("app_name_short", "What it is called where there is little room.", "Gallrein"),
    ("as_of", "A position or an RFC 3339 time.", ""),
    ("at", "When it was decided.", ""),
    ("available_count", "How many pairs are free.", ""),
    ("backend", "Of the backend.", ""),
    ("backend_api_url", "Where the frontend finds the backend.", "http://localhost:32301/api"),
    ("backend_port", "Where the backend listens.", "32301"),
    ("backend_service", "The backend's process.", ""),
    (
        "backup",
        "Where the file before it was kept; `null` when there was none.",
        "/home/bisenbek/projects/nominate/gallrein/.env.backup.20251114",
    ),
    ("backup_path", "Where the backup lies, as the tenant told.", "/backups/gallrein-20251114.db"),
    ("by_status", "How many of each status.", ""),
    ("capture_screenshot", "Whether a picture of the page is wanted.", ""),
    ("category", "What the line is about.", "deployment"),
    ("causes", "Its chain of causes, up to the command.", ""),
    ("certificate", "The certificate of the tenant's sites, when there is one.", ""),
    ("chain", "The causes, the last event first.", ""),
    ("changed", "What is not as it was.", ""),
    ("changes", "Fields that are not what they were.", ""),
    ("checks", "What was found.", ""),
    ("code", "What is wrong, as a name.", ""),
    ("colors", "Colours that were found on the page, the most frequent first.", ""),
    ("command_id", "The command.", ""),
    ("commit", "The commit of its files, when they came from git.", ""),
    ("communications", "Messages sent.", ""),
    ("complete", "Whether files, services and release are as recorded by now.", ""),
    ("configs", "The sites.", ""),
    ("conflicts", "What somebody else holds by now.", ""),
    ("connections", "How many processes have it open.", ""),
    ("cpu_percent", "Of one processor.", "12.3"),
    ("created_at", "When it was created.", "2025-11-13T12:00:00.000Z"),
    ("current", "Whether it is the one that serves.", ""),
    ("current_password", "The one that holds; for one's own.", ""),
    ("current_step", "What is being done; `null` when it is over.", "Configuring NGINX"),
    ("custom_env", "Further environment variables; secrets are hidden.", ""),
    ("database", "Of the database.", ""),
    ("database_size_mb", "The size of its database in MB.", ""),
    ("deployed_at", "When it was deployed last; `null` before.", "2025-11-13T12:05:00.000Z"),
    ("deployment_id", "The deployment.", ""),
    ("deployments", "The deployments, the newest first.", ""),
    ("description", "A sentence about it.", ""),
    ("detail", "More about it.", ""),
    ("details", "The fields of the event.", ""),
    ("directory", "The tenant's directory.", "/home/bisenbek/projects/nominate/gallrein"),
    ("disabled", "Whether they may not log in.", ""),
    ("domain", "Where the frontend is served.", "kentucky.nominate.ai"),
    ("dry_run", "Tries it out; nothing is recorded.", ""),
    ("duration", "How long it took, in seconds.", ""),
    ("duration_seconds", "How long it took.", "285"),
    ("effects", "The events that answered it.", ""),
    ("email", "Mail address.", "admin@example.com"),
    ("enabled", "Whether nginx reads it.", ""),
    ("env", "Environment variables, over those of the configuration.", ""),
    ("errors", "What is wrong, as sentences.", ""),
    ("errors_total", "Failed requests since the control plane started.", "2"),
    ("estimated_duration", "How long it may take, in seconds.", "300"),
    ("event", "The event.", ""),
    ("events", "The events.", ""),
    ("expires_at", "When it ends; `null` when it does not.", "2026-12-31T00:00:00.000Z"),
    ("expires_in_days", "In how many days it ends; without it, never.", "30"),
    ("failed", "How many failed.", ""),
    ("field", "Which.", ""),
    ("files", "The tenant's directory.", ""),
    ("filter", "Which events are wanted.", ""),
    ("finished_at", "When it ended; `null` before.", ""),
    ("from", "What it was; `null` when it was not there.", ""),
    ("from_seq", "From this position on.", "1"),
    ("frontend", "Of the frontend.", ""),
    ("frontend_port", "Where the frontend listens.", "32300"),
    ("frontend_service", "The frontend's process.", ""),
    ("frontend_url", "Where people find it.", "https://kentucky.nominate.ai"),
    ("git_ref", "Branch, tag or commit; `null` is the repository's own choice.", ""),
    (
        "github_repo",
        "What is deployed: a git address, or `file://` and a directory.",
        "git@github.com:org/gallrein.git",
    ),
    ("grep", "A regular expression that the line matches.", ""),
    ("has_more", "Whether there are some after these.", ""),
    ("head_seq", "The position of the last event there is.", ""),
    ("health", "What the last checks said.", ""),
    ("health_checks", "Checks since the control plane started.", ""),
    ("health_details", "What the last checks of its parts said.", ""),
    ("health_status", "What the checks of its parts add up to.", "healthy"),
    ("highlights", "Places in the message that were asked for.", ""),
    ("hint", "What to do next.", ""),
    ("history", "One entry for each event, oldest first.", ""),
    ("id", "Its id.", ""),
    ("in_use_count", "How many pairs tenants hold.", ""),
    ("include", "Which parts; all without it.", ""),
    ("incomplete", "Only there, and true, when older lines were not looked at.", ""),
    ("instance", "The instance, `service:id`.", "api:user123"),
    ("instances", "The instances.", ""),
    ("interval_seconds", "Time between samples.", "10"),
    ("is_secret", "Whether its value is hidden.", ""),
    ("issuer", "Who issued it.", ""),
    ("job", "What was asked for.", ""),
    ("key", "Its name.", ""),
    ("kind", "What happened; as a filter, how it begins.", "tenant.created"),
    (
        "last_check",
        "When it was checked last; `null` in the past and before the first check.",
        "2025-11-13T13:00:00.000Z",
    ),
    (
        "last_health_check",
        "When it was checked last; `null` in the past and before the first check.",
        "2024-01-12T10:31:45.000Z",
    ),
    (
        "last_used",
        "When it was used last; `null` in the past and before the first use.",
        "2024-01-12T10:31:00.000Z",
    ),
    ("level", "How grave it is.", "info"),
    ("limit", "How many at most.", "50"),
    ("line", "Where.", ""),
    (
        "logo_cropped",
        "Where the cropped logo is found; `null` without one.",
        "/assets/logos/logo-cropped.png",
    ),
    ("logo_full", "Where the full logo is found; `null` without one.", "/assets/logos/logo-full.png"),
    ("logo_icon", "Where the icon is found; `null` without one.", "/assets/logos/logo-icon.png"),
    ("logo_name", "Where the name as a picture is found; `null` without one.", "/assets/logos/logo-name.png"),
    ("logs", "The lines.", ""),
    ("managed", "Whether it is one of ours.", ""),
    ("memory_mb", "Memory of the whole process tree, in MiB.", "120.5"),
    ("message", "What there is to say.", ""),
    ("model", "The model, when it was one.", ""),
    ("name", "Display name.", "Ed Gallrein for State Rep"),
    ("needs_restart", "What of it counts after the next start.", ""),
    ("next_seq", "The next `from_seq`; `null` when this was the last page.", ""),
    ("nginx", "Its nginx sites.", ""),
    ("not_after", "When it ends.", ""),
    ("not_restored", "What did not come back, and why.", ""),
    ("notes", "Remarks.", "Initial deployment for Kentucky race"),
    ("offset", "How many were left out before.", "0"),
    ("ollama_base_url", "Where Ollama answers.", "http://localhost:11434"),
    ("ollama_embed_model", "Ollama's model for embeddings.", "nomic-embed-text:latest"),
    ("ollama_llm_model", "Ollama's language model.", "gemma3:12b"),
    ("on_conflict", "What to do about what somebody else holds by now.", ""),
    ("output", "What nginx says.", ""),
    ("over_quota", "Whether it takes more disk space than it may.", ""),
    ("overall_status", "What the checks add up to.", "healthy"),
    ("pagination", "Which part of the list this is.", ""),
    ("palette_json", "Eleven steps of the primary colour, `50` to `950`.", ""),
    ("passed", "How many passed.", ""),
    ("password", "The password, 8 to 1024 bytes.", ""),
    ("path", "Where it lies.", ""),
    ("persons", "Persons.", "81232"),
    ("ports_released", "Ports that are free again.", ""),
    ("primary_color", "The first colour, `#rrggbb`.", "#0e173e"),
    ("problems", "What is wrong, each with its line.", ""),
    ("processes", "How many processes it has.", "1"),
    ("progress_percent", "How much is done; it only grows.", "60"),
    ("project_name", "What the project is called.", "gallrein-campaign"),
    ("queue", "Waits for a deployment that runs, instead of 409.", ""),
    ("reason", "Why.", ""),
    ("reasoning", "Why it fits.", ""),
    ("reasons", "Why not, as sentences.", ""),
    ("release", "The release's number.", "1"),
    ("releases", "The releases, the newest first.", ""),
    ("removed", "What went with it.", ""),
    ("requests_per_second", "Over the last minute.", "12.2"),
    ("requests_total", "Requests since the control plane started.", "1523"),
    ("respecified", "Instances whose process is described otherwise now.", ""),
    ("response_time_ms", "How long it took to answer; `null` without an answer.", "45"),
    ("restart_count", "How often it was started again after a crash.", "0"),
    ("restarted", "Instances that are restarted.", ""),
    ("restored_to_seq", "The position that it was brought back to.", ""),
    ("results", "The lines.", ""),
    ("role", "What they may do.", "admin"),
    ("rollback", "Whether it deploys an earlier release.", ""),
    ("samples", "One every ten seconds, oldest first.", ""),
    ("scope", "To what it is limited.", ""),
    ("screenshot", "Where the picture of the page is found; `null` without one.", ""),
    ("secondary_color", "The second colour, `#rrggbb`.", "#f1c613"),
    ("secret_env", "Names of variables whose values are hidden.", ""),
    ("segments", "Segments.", ""),
    ("sentence", "The chain of causes in words.", ""),
    ("seq", "Its position in the one order of everything.", "1042"),
    ("service", "The service.", "api"),
    ("services", "Its services.", ""),
    ("settings", "The settings.", ""),
    ("sidebar_color", "The sidebar's colour, `#rrggbb`.", "#f8fafc"),
    ("since", "From this time on: a time ago such as `1h`, or RFC 3339.", ""),
    ("size_mb", "Its size in MB.", "245"),
    ("skip_nginx", "Leaves nginx as it is.", ""),
    ("skip_services", "Leaves the processes as they are.", ""),
    ("skip_ssl", "Gets no certificate.", ""),
    ("slug", "Short name; names the directory and the instances.", "gallrein-campaign"),
    ("socket", "The path of its unix socket; `null` when it listens on TCP.", "/tmp/api-user123.sock"),
    ("sort", "In which order.", ""),
    ("source", "Where it comes from.", ""),
    (
        "source_website",
        "The website that its colours come from; `null` when somebody chose them.",
        "https://gallrein.com",
    ),
    ("started_at", "When it was requested.", "2025-11-14T10:00:00.000Z"),
    ("state", "What it is like, in words.", ""),
    ("status", "How it stands.", ""),
    ("status_code", "The status code; `null` without an answer.", "200"),
    ("steps", "The steps, in their order.", ""),
    ("storage_mb", "Disk space that it takes, in MiB.", ""),
    ("sub", "The subscription's name; without one it is the unnamed one.", ""),
    ("suggestion_id", "The suggestion.", ""),
    ("suggestion_number", "Its place, from 1.", "1"),
    ("suggestions", "The suggestions, best first.", ""),
    ("tags", "Tags.", ""),
    ("tenant", "The tenant.", ""),
    ("tenant_id", "The tenant.", ""),
    ("tenant_ids", "The tenants in reach; `null` is all.", ""),
    ("tenant_name", "The tenant's display name.", "Ed Gallrein for State Rep"),
    ("tenants", "The tenants.", ""),
    ("text_color", "Text, `#rrggbb`.", "#374151"),
    ("theme", "The theme as it is now.", ""),
    ("title", "The status in words.", ""),
    ("to", "What it is; `null` when it is not there.", ""),
    ("to_seq", "Up to and with this position.", ""),
    ("token", "The token.", ""),
    ("token_type", "How the credential is sent.", "bearer"),
    ("tokens", "The tokens.", ""),
    ("total", "How many there are in all.", "1"),
    ("undone_command_id", "The command that was taken back.", ""),
    ("undone_seq", "The event that was named.", ""),
    ("until", "Up to and with this time: a time ago such as `1h`, or RFC 3339.", ""),
    ("updated_at", "When somebody set it; `null` when it follows the file.", ""),
    ("uptime_ms", "How long the process runs; `null` in the past.", "125456"),
    ("uptime_seconds", "How long the process runs.", "125.456"),
    ("user", "The user.", ""),
    ("username", "Login name.", "admin"),
    ("users", "The users.", ""),
    ("valid", "Whether it is valid.", ""),
    ("value", "Its value.", ""),
    ("value_type", "What its value is.", ""),
    ("version", "The program's version.", "0.1.0"),
    ("warnings", "What is doubtful, as sentences.", ""),
    ("website_url", "The page.", "https://gallrein.com"),
    ("weight", "Its share of its service's traffic, 0 to 100.", "100"),
    ("without_effect", "What of it has no effect on this machine, as sentences.", ""),
    ("ws_base_url", "Where the application finds its WebSockets.", "wss://kentucky.nominate.ai"),
];

/// Parameters of queries, where they mean something else than the fields of that name.
const PARAMETERS: &[(&str, &str)] = &[
    ("actor", "By this user or token, by id."),
    ("analysis_id", "The analysis; the latest without it."),
    ("category", "Only lines of this category."),
    ("command_id", "Only of this command."),
    ("follow", "Goes on with what is printed from now on, as a stream."),
    ("grep", "Only lines that match this regular expression."),
    ("health", "Only those of this health."),
    ("instance", "Only of this instance: `service:id`, or the id alone where the route is about output."),
    ("kind", "Only kinds that begin so, such as `deployment.`."),
    ("level", "Only lines of this level."),
    ("limit", "How many at most, 1 to 1000."),
    ("lines", "How many of the last lines."),
    ("offset", "How many to leave out before."),
    ("order", "Oldest or newest first."),
    ("queue", "Waits for a deployment that runs, instead of 409."),
    ("remove_files", "Also deletes the tenant's directory."),
    ("remove_nginx", "Also removes its nginx sites."),
    ("remove_services", "Also removes its services."),
    ("search", "Only those whose name, slug or domain contains this."),
    ("service", "Only of this service."),
    (
        "source",
        "Whose log: the control plane's, or what processes printed. Each listener has its own default.",
    ),
    ("status", "Only those of this status."),
    ("stream", "Sends the log as server-sent events."),
    ("tenant_id", "Only of this tenant."),
];

/// The words for a parameter; what is known of its values is added to its schema.
pub(super) fn parameter(name: &str, schema: &mut Value) -> String {
    let mut comment = None;
    if let Some(members) = schema.as_object_mut() {
        comment = members.remove("description");
        match name {
            "limit" => {
                members.remove("format");
                members.extend([("minimum".to_owned(), json!(1)), ("maximum".to_owned(), json!(1000))]);
            }
            "offset" => drop(members.insert("minimum".to_owned(), json!(0))),
            _ => {}
        }
    }
    let own = PARAMETERS.iter().find(|(known, _)| *known == name).map(|(_, words)| *words);
    let comment = comment.as_ref().and_then(Value::as_str);
    own.or(comment).or_else(|| Some(field(name)?.0)).unwrap_or_default().to_owned()
}

fn field(name: &str) -> Option<(&'static str, &'static str)> {
    FIELDS.iter().find(|(known, _, _)| *known == name).map(|(_, words, example)| (*words, *example))
}

/// The schemas, with words for every field.
pub(super) fn told(mut schemas: Map<String, Value>) -> Map<String, Value> {
    for (name, schema) in &mut schemas {
        tell(name, schema);
    }
    schemas
}

fn tell(schema_name: &str, schema: &mut Value) {
    for variants in ["oneOf", "anyOf", "allOf"] {
        for variant in schema.get_mut(variants).and_then(Value::as_array_mut).into_iter().flatten() {
            tell(schema_name, variant);
        }
    }
    let Some(fields) = schema.get_mut("properties").and_then(Value::as_object_mut) else { return };
    for (name, field) in fields {
        if *field == Value::Bool(true) {
            *field = json!({});
        }
        let Some(members) = field.as_object_mut() else { continue };
        let full = format!("{schema_name}.{name}");
        let special = SPECIAL.iter().find(|(known, _)| *known == full).map(|(_, words)| *words);
        let usual = self::field(name);
        if let Some(words) = special.or(usual.map(|(words, _)| words)) {
            members.entry("description").or_insert(json!(words));
        }
        // An example stands only where the name means what it usually does.
        if let (None, Some((_, example))) = (special, usual)
            && let Some(example) = fitting(example, members)
        {
            members.insert("examples".to_owned(), json!([example]));
        }
    }
}

/// An example that is of the field's type.
fn fitting(example: &str, members: &Map<String, Value>) -> Option<Value> {
    if example.is_empty() || members.contains_key("examples") {
        return None;
    }
    let types = members.get("type")?;
    let is = |wanted: &str| {
        types == wanted || types.as_array().is_some_and(|all| all.iter().any(|one| one == wanted))
    };
    let number = || serde_json::from_str::<Value>(example).ok().filter(Value::is_number);
    if let Some(Value::Array(values)) = members.get("enum") {
        return values.iter().find(|value| *value == example).cloned();
    }
    match () {
        () if is("string") => Some(json!(example)),
        () if is("integer") => number().filter(|number| number.is_u64()),
        () if is("number") => number(),
        () => None,
    }
}
