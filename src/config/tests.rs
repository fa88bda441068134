//! What a configuration file may say, and what is told when it is wrong.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tenantry_journal::event::instance::{Isolation, Limits, RestartPolicy};
use tenantry_journal::name::ServiceName;

use super::*;

fn overrides() -> Overrides {
    Overrides { working_dir: "/srv".into(), ..Overrides::default() }
}

fn with_variables(pairs: &[(&str, &str)]) -> Overrides {
    let variables = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Overrides { variables, ..overrides() }
}

fn parse(text: &str) -> Config {
    Config::parse(text, &overrides()).unwrap_or_else(|errors| panic!("{errors}"))
}

fn problems(text: &str) -> Vec<(Option<usize>, String)> {
    let errors = Config::parse(text, &overrides()).expect_err("was accepted");
    errors.problems.into_iter().map(|problem| (problem.line, problem.message)).collect()
}

fn service<'a>(config: &'a Config, name: &str) -> &'a Service {
    &config.services[&name.parse::<ServiceName>().unwrap()]
}

#[test]
fn retention_of_output_is_set_for_all_and_for_a_service() {
    let text = "[settings]\nlog_max_mb = 8\n[service.api]\ncommand = 'x'\nlog_retention_days = 0.5\n\
                [service.worker]\ncommand = 'x'\n[deploy.template]\nlog_retention_days = 0\n";
    let retention = parse(text).policy().retention;
    let of = |name: &str| retention.of(Some(&name.parse().unwrap()));
    let month = 30 * 86_400_000;
    assert_eq!((of("worker:a").bytes, of("worker:a").ms), (8 << 20, Some(month)));
    assert_eq!((of("api:a").bytes, of("api:a").ms), (8 << 20, Some(43_200_000)));
    assert_eq!((of("backend:a").bytes, of("backend:a").ms), (8 << 20, None));
    assert_eq!(retention.of(None), of("worker:a"));
    let wrong =
        problems("[settings]\nlog_retention_days = -1\n[service.api]\ncommand = 'x'\nlog_max_mb = 0\n");
    assert_eq!(wrong.iter().map(|(line, _)| line.unwrap()).collect::<Vec<_>>(), [2, 5]);
}

#[test]
fn without_a_file_the_documented_defaults_hold() {
    let config = parse("");
    assert_eq!(config.data_dir, PathBuf::from("/srv/data"));
    assert_eq!(config.deploy.root, PathBuf::from("/srv/data/tenants"));
    assert_eq!(config.manager.to_string(), "127.0.0.1:32201");
    assert_eq!(config.instances.to_string(), "127.0.0.1:8000");
    assert_eq!(config.ports, PortRange { first: 32_300, last: 32_399, step: 10 });
    assert_eq!(config.policy().template.database, "data/app.db");
    assert_eq!(config.policy().backoff.delay_ms(1), 500);
}

#[test]
fn reads_a_tenement_file_as_it_is() {
    let config = parse(
        r#"
        [settings]
        data_dir = "/var/lib/tenement"
        health_check_interval = 5
        max_restarts = 3
        restart_window = 300
        backoff_base_ms = 1000
        backoff_max_ms = 30000

        [service.api]
        command = "./my-api"
        args = ["--verbose"]
        socket = "/tmp/api-{id}.sock"
        health = "/health"
        restart = "always"
        workdir = "/opt/myapp"
        isolation = "namespace"
        startup_timeout = 10
        idle_timeout = 300
        memory_limit_mb = 256
        cpu_shares = 100
        max_open_files = 4096
        user = "app"
        group = "www-data"
        storage_quota_mb = 512
        storage_persist = true

        [service.api.env]
        DATABASE_PATH = "{data_dir}/{id}/app.db"
        WORKERS = 4

        [services.worker]
        command = "uv run 'my worker.py'"

        [routing]
        default = "api"
        "#,
    );
    let api = service(&config, "api");
    assert_eq!(
        (api.template.command.as_str(), api.template.args.as_slice()),
        ("./my-api", &["--verbose".into()][..])
    );
    assert_eq!(api.template.socket.as_deref(), Some("/tmp/api-{id}.sock"));
    assert_eq!(api.template.restart, RestartPolicy::Always);
    assert_eq!((api.template.startup_timeout_ms, api.template.idle_timeout_ms), (10_000, Some(300_000)));
    assert_eq!(api.template.health_interval_ms, 5_000);
    let limits = Limits {
        memory_limit_mb: Some(256),
        cpu_shares: Some(100),
        max_open_files: Some(4096),
        user: Some("app".into()),
        group: Some("www-data".into()),
        isolation: Isolation::Namespace,
        storage_quota_mb: Some(512),
    };
    assert_eq!(api.template.limits, limits);
    let env = BTreeMap::from([
        ("DATABASE_PATH".to_owned(), "{data_dir}/{id}/app.db".to_owned()),
        ("WORKERS".to_owned(), "4".to_owned()),
    ]);
    assert_eq!(api.template.env, env);
    let worker = service(&config, "worker");
    assert_eq!(worker.template.args, ["run", "my worker.py"]);
    assert_eq!(worker.template.restart, RestartPolicy::OnFailure);
    assert_eq!(config.backoff.initial_ms, 1_000);
    assert_eq!(config.warnings.len(), 3, "{:?}", config.warnings);
}

#[test]
fn a_flag_wins_over_the_environment_and_that_over_the_file() {
    let text = "[settings]\ndata_dir = 'file'\ndomain = 'file.example'\nhealth_check_interval = 7\n[ports]\nfirst = 40000\nlast = 40099\n";
    let mut overrides = with_variables(&[
        ("TENANTRY_DATA_DIR", "variable"),
        ("TENANTRY_DOMAIN", "variable.example"),
        ("TENANTRY_PORTS_FIRST", "40010"),
        ("TENANTRY_ALLOWED_HOSTS", "a.example, b.example"),
    ]);
    overrides.data_dir = Some("flag".into());
    overrides.manager = Some("localhost:0".into());
    let config = Config::parse(text, &overrides).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("/srv/flag"));
    assert_eq!(config.domain.unwrap().as_str(), "variable.example");
    assert_eq!(config.ports.first, 40_010);
    assert_eq!(config.health_interval_ms, 7_000);
    assert_eq!(config.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.manager.to_string(), "127.0.0.1:0");
}

#[test]
fn an_unknown_variable_is_told() {
    let config = Config::parse("", &with_variables(&[("TENANTRY_DATADIR", "x")])).unwrap();
    assert_eq!(config.warnings, ["the environment variable TENANTRY_DATADIR is not an option of tenantry"]);
}

#[test]
fn tells_everything_that_is_wrong_at_once_with_its_line() {
    let text = "[settings]\ndata_dri = 'x'\nhealth_check_interval = 'often'\n[service.api]\nhelth = '/'\n[service.'../x']\ncommand = 'a'\n[ports]\nstep = 1\n[nonsense]\n";
    let errors = Config::parse(text, &overrides()).expect_err("was accepted");
    let lines: Vec<Option<usize>> = errors.problems.iter().map(|problem| problem.line).collect();
    assert_eq!(lines, [Some(3), Some(4), Some(6), Some(8)], "{errors}");
    assert_eq!(errors.problems[1].message, "Service 'api' missing required field: command");
    let told = [
        "line 2: [settings]: unknown key 'data_dri'; did you mean 'data_dir'?",
        "line 5: [service.api]: unknown key 'helth'; did you mean 'health'?",
        "line 10: the file: unknown key 'nonsense'; ",
    ];
    assert_eq!(errors.warnings.len(), told.len(), "{errors}");
    for (warning, told) in errors.warnings.iter().zip(told) {
        assert!(warning.starts_with(told), "{warning}");
    }
}

#[test]
fn what_is_doubtful_is_accepted_and_told() {
    let long = "x".repeat(100);
    let text = format!(
        "[settings]\nhelath = 1\n[service.a]\ncommand = 'a'\nhealth = 'up'\nsocket = '/{long}/{long}/{{id}}'\n\
         [service.b]\ncommand = 'b'\nsocket = '/{long}/{{id}}'\n[service.c]\ncommand = 'c'\nsocket = '/tmp/s'\n\
         [service.d]\ncommand = 'd'\nsocket = '/tmp/s'\n[service.e]\ncommand = 'e'\nsocket = '/tmp/{{name}}-{{id}}'\n"
    );
    let config = parse(&text);
    assert_eq!(service(&config, "a").template.health.as_deref(), Some("/up"));
    let told = [
        "line 2: [settings]: unknown key 'helath'",
        "line 5: 'health' is 'up', which is taken as '/up'",
        "line 6: service 'a': the socket path is too long for a unix socket, which takes 107 bytes",
        "line 9: service 'b': the socket path is too long for a unix socket once an {id} has more than 5",
        "line 13: services 'c' and 'd' have the same socket",
    ];
    let mut warnings = config.warnings.clone();
    warnings.sort_unstable();
    for told in told {
        assert!(warnings.iter().any(|warning| warning.starts_with(told)), "{told}: {warnings:#?}");
    }
    assert_eq!(warnings.len(), told.len(), "{warnings:#?}");
}

#[test]
fn toml_and_json_are_told_apart_by_what_they_look_like() {
    let judged = |text: &str| validate(text.as_bytes(), &overrides(), &[]);
    let listeners = "manager = '127.0.0.1:0'\ninstances = '127.0.0.1:0'\n";
    let toml = format!("[settings]\n{listeners}[service.api]\nargs = ['x']\n");
    let told =
        |verdict: &Verdict| verdict.problems.iter().map(Problem::sentence).collect::<Vec<_>>().join("; ");
    assert_eq!(told(&judged(&toml)), "Service 'api' missing required field: command");
    assert_eq!(judged(&toml).problems[0].line, Some(4));
    let joined = judged(&toml.replace('\n', ""));
    assert_eq!((told(&joined), joined.problems[0].line), (told(&judged(&toml)), None));
    let json = r#" {"service": {"api": {"args": ["x"], "env": null}}}"#;
    assert_eq!(told(&judged(json)), told(&judged(&toml)));
    assert_eq!(judged("{\n\"a\": }").problems[0].line, Some(2));
    assert!(judged("a = 1 # one").is_valid(), "one line with a comment is TOML by itself");
    assert!(told(&judged("a = 1b = 2 # c")).contains("--data-binary"));
    assert!(told(&judged(" \n")).contains("empty"));
    assert!(!validate(&[0xff], &overrides(), &[]).is_valid());
    assert!(!judged("[settings]\ndomain = \"a\u{0}b\"\n").is_valid());
    let fine = judged(&format!("[settings]\n{listeners}"));
    assert_eq!(fine, Verdict::default());
}

#[test]
fn an_address_that_is_taken_is_told_unless_it_is_the_askers_own() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let text = format!("[settings]\nmanager = '{address}'\ninstances = '127.0.0.1:0'\n");
    let verdict = validate(text.as_bytes(), &overrides(), &[]);
    assert!(verdict.is_valid() && verdict.warnings[0].contains("the port is taken"), "{verdict:?}");
    assert_eq!(validate(text.as_bytes(), &overrides(), &[address]).warnings, [""; 0]);
}

#[test]
fn what_is_shown_could_be_sent_back_and_says_no_secret() {
    let text = r#"
        [settings]
        manager = "127.0.0.1:0"
        instances = "127.0.0.1:0"
        health_check_interval = 1.5
        [deploy.template]
        frontend = "python3 {release}/frontend.py --token hunter22"
        backend = { command = ["python3", "b.py"], env = { DB_PASSWORD = "hunter22", MODE = "x" } }
        [service.api]
        command = "./api"
        socket = "/tmp/api-{id}.sock"
        health = "/health"
        [service.api.env]
        DATABASE_URL = "postgres://app:hunter22@db/x"
        [service.worker]
        command = "uv run 'my worker.py'"
    "#;
    let shown = parse(text).shown();
    assert!(!shown.to_string().contains("hunter22"), "{shown}");
    assert_eq!(shown["services"]["api"]["command"], "./api");
    assert_eq!(shown["services"]["api"]["socket"], "/tmp/api-{id}.sock");
    assert_eq!(shown["settings"]["health_check_interval"], 1.5);
    assert_eq!(shown["deploy"]["template"]["backend"]["env"]["MODE"], "x");
    let again = validate(shown.to_string().as_bytes(), &overrides(), &[]);
    assert_eq!(again, Verdict::default());
    assert_eq!(parse("").shown()["services"], serde_json::json!({}));
}

#[test]
fn differences_are_told_by_name() {
    let before = parse("[service.a]\ncommand = 'a'\nenv = { A = '1', B = '2' }\n");
    let after =
        parse("[settings]\ndomain = 'x.example'\n[service.a]\ncommand = 'a'\nenv = { A = '2', B = '2' }\n");
    assert_eq!(before.differences(&after), ["services.a.env.A", "settings.domain"]);
    assert_eq!(after.differences(&before), before.differences(&after));
    assert_eq!(before.differences(&before), [""; 0]);
}

#[test]
fn a_syntax_error_has_its_line() {
    let found = problems("[settings]\ndata_dir = 'x\n");
    assert_eq!(found[0].0, Some(2), "{found:?}");
}

#[test]
fn a_template_entry_is_a_line_an_array_or_a_table() {
    let config = parse(
        r#"
        [deploy]
        root = "{data_dir}/sites"
        [deploy.template]
        frontend = "python3 {release}/frontend.py"
        init = ["sh", "-c", "exit 0"]
        [deploy.template.backend]
        command = ["python3", "{release}/backend.py"]
        health = "/health"
        env = { MODE = "production" }
        "#,
    );
    assert_eq!(config.deploy.root, PathBuf::from("/srv/data/sites"));
    let template = config.policy().template;
    let frontend = template.frontend.unwrap();
    assert_eq!(frontend.args, ["{release}/frontend.py"]);
    assert_eq!((frontend.health, frontend.restart), (None, RestartPolicy::Always));
    let backend = template.backend.unwrap();
    assert_eq!(backend.health.as_deref(), Some("/health"));
    assert_eq!(backend.env["MODE"], "production");
    assert_eq!(template.init.unwrap(), ["sh", "-c", "exit 0"]);
}

#[test]
fn relative_paths_are_relative_to_where_the_program_was_started() {
    let config = parse(
        "[service.a]\ncommand = './bin/a --x'\nsocket = 'run/{id}.sock'\n[service.b]\ncommand = 'python3'\nargs = ['b.py']\nworkdir = '.'\n[service.c]\ncommand='c'\nworkdir='{data_dir}/c'\n",
    );
    let a = &service(&config, "a").template;
    assert_eq!((a.command.as_str(), a.socket.as_deref()), ("/srv/bin/a", Some("/srv/run/{id}.sock")));
    assert_eq!(service(&config, "b").template.workdir.as_deref(), Some("/srv"));
    assert_eq!(service(&config, "c").template.workdir.as_deref(), Some("{data_dir}/c"));
}

#[test]
fn a_command_text_beside_args_is_one_word() {
    let config = parse("[service.a]\ncommand = '/opt/my app/run'\nargs = ['two words']\n");
    let a = &service(&config, "a").template;
    assert_eq!((a.command.as_str(), a.args.as_slice()), ("/opt/my app/run", &["two words".into()][..]));
}

#[test]
fn refuses_what_cannot_work() {
    for text in [
        "[ports]\nfirst = 40000\nlast = 40000\n",
        "[ports]\nfirst = 30000\n",
        "[ports]\nfirst = 70000\n",
        "[deploy.template]\ndatabase = '../x'\n",
        "[deploy.template]\ndatabase = '/etc/passwd'\n",
        "[deploy]\nservices = 'openrc'\n",
        "[service.a]\ncommand = ''\n",
        "[service.a]\ncommand = \"sh -c 'x\"\n",
        "[service.a]\ncommand = 'a'\nhealth = 'http://x'\n",
        "[service.a]\ncommand = 'a'\nrestart = 'sometimes'\n",
        "[service.a]\ncommand = 'a'\nstartup_timeout = -1\n",
        "[service.a]\ncommand = 'a'\nenv = { 'A=B' = 'c' }\n",
        "[service.frontend]\ncommand = 'a'\n",
        "[service.a]\ncommand = 'a'\n[services.a]\ncommand = 'b'\n",
        "[settings]\nmanager = '127.0.0.1:8000'\n",
        "[settings]\nmanager = 'example'\n",
        "settings = 1\n",
    ] {
        assert!(!problems(text).is_empty(), "{text}");
    }
}

#[test]
fn durations_may_have_a_fraction() {
    let config = parse("[service.a]\ncommand = 'a'\nstop_timeout = 0.25\n");
    assert_eq!(service(&config, "a").template.stop_timeout_ms, 250);
}

#[test]
fn the_password_of_the_first_administrator_comes_from_the_environment_and_is_never_shown() {
    let config = Config::parse("", &with_variables(&[("TENANTRY_ADMIN_PASSWORD", "hunter22")])).unwrap();
    assert_eq!(config.admin_password.as_ref().unwrap().reveal(), "hunter22");
    assert!(!format!("{config:?}").contains("hunter22"));
}
