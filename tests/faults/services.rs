//! Services that misbehave, through the API.

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::support::app::{Home, PATIENCE, TestApp, alive, fixture};
use crate::tools::{
    answers, events, instance, instance_until, keeper_pid, more_events, peak_mib, pid_of, spawn, until,
    variable, with_command_line,
};

/// More than the program and its keeper ever need, and less than what is printed at once.
const MEMORY_MIB: u64 = 150;

fn home() -> Arc<Home> {
    let [api, family, flood] =
        ["api.py", "family.py", "flood.py"].map(|name| fixture(name).display().to_string());
    Home::with(&format!(
        r#"
[service.missing]
command = "/no/such/program"
health = "/health"

[service.unknown]
command = "no-such-program-on-the-path"
health = "/health"

[service.forbidden]
command = "/etc/passwd"
health = "/health"

[service.exits]
command = "python3"
args = ["{api}"]
env = {{ MODE = "exit", CODE = "5" }}
health = "/health"

[service.once]
command = "python3"
args = ["{api}"]
env = {{ MODE = "exit", CODE = "6" }}
health = "/health"
restart = "never"

[service.sick]
command = "python3"
args = ["{api}"]
env = {{ MODE = "sick" }}
health = "/health"
startup_timeout = 2

[service.mute]
command = "python3"
args = ["{api}", "{{data_dir}}/mute"]
env = {{ MODE = "mute" }}
health = "/health"
startup_timeout = 1
stop_timeout = 1

[service.slow]
command = "python3"
args = ["{api}", "{{data_dir}}/slow"]
env = {{ MODE = "mute" }}
health = "/health"
startup_timeout = 120
stop_timeout = 1

[service.deaf]
command = "python3"
args = ["{api}"]
env = {{ MODE = "deaf" }}
health = "/health"
stop_timeout = 1

[service.family]
command = "python3"
args = ["{family}", "{{data_dir}}/family"]
health = "/health"
stop_timeout = 1

[service.flood]
command = "python3"
args = ["{flood}"]
health = "/health"
stop_timeout = 1
"#
    ))
}

/// A start that fails: 422, and a message that contains `why`. Gives the instance as listed.
async fn fails(app: &TestApp, service: &str, why: &str) -> Value {
    let refused = spawn(app, service, "a").await;
    assert_eq!(refused.status, 422, "{service}: {refused:?}");
    let error = refused.json();
    assert_eq!((&error["error"], &error["status"]), (&"unprocessable_entity".into(), &422.into()), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains(why) && message.contains(&format!("{service}:a")), "{message}");
    let list = app.send(app.instances_request("GET", "/api/instances?limit=100")).await.expect(200);
    let listed = list["instances"].as_array().unwrap().iter();
    let listed = listed.clone().find(|shown| shown["instance"] == format!("{service}:a"));
    listed.unwrap_or_else(|| panic!("{service} is not listed: {list}")).clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_cannot_start_is_told_in_words_listed_and_removable() {
    let app = TestApp::in_home(home()).await;
    let tried_again = ["restarting", "starting", "failed"];
    for (service, why) in [
        ("missing", "/no/such/program"),
        ("unknown", "no-such-program-on-the-path"),
        ("forbidden", "Permission denied"),
        ("exits", "exited with code 5"),
        ("sick", "not healthy within 2 s"),
        ("mute", "not healthy within 1 s"),
    ] {
        let listed = fails(&app, service, why).await;
        let status = listed["status"].as_str().unwrap();
        assert!(tried_again.contains(&status), "{service}: {listed}");
        assert_ne!(listed["health"], "healthy", "{listed}");
    }
    let listed = fails(&app, "once", "exited with code 6").await;
    assert_eq!(listed["status"], "failed", "{listed}");
    assert_eq!(listed["restart_count"], 0, "{listed}");
    let printed = app.send(app.instances_request("GET", "/api/logs/once/a")).await.expect(200);
    assert!(printed.to_string().contains("about to exit"), "its last words are lost: {printed}");

    // Tried again by policy, and counted; then removed, and nothing of it is left.
    instance_until(&app, "exits/a", |shown| shown["restart_count"].as_u64() >= Some(2)).await;
    for service in ["missing", "unknown", "forbidden", "exits", "sick", "mute", "once"] {
        let path = format!("/api/instances/{service}/a");
        app.send(app.instances_request("DELETE", &path)).await.expect(200);
        assert_eq!(instance(&app, &format!("{service}/a")).await.status, 404, "{service}");
    }
    assert!(with_command_line(&format!("{}/mute", app.data_dir().display())).is_empty());
    // A failed start leaves nothing behind that would stop the next.
    fails(&app, "missing", "/no/such/program").await;
    spawn(&app, "api", "fine").await.expect(201);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_ignores_term_is_gone_after_its_stop_timeout() {
    let app = TestApp::in_home(home()).await;
    spawn(&app, "deaf", "a").await.expect(201);
    let pid = pid_of(&app, "deaf:a").await;
    let begun = Instant::now();
    app.send(app.instances_request("DELETE", "/api/instances/deaf/a")).await.expect(200);
    until("the deaf process is gone", || !alive(pid)).await;
    let took = begun.elapsed();
    assert!(took >= Duration::from_secs(1), "it got no time: {took:?}");
    assert_eq!(instance(&app, "deaf/a").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_family_of_a_deleted_instance_is_gone() {
    let app = TestApp::in_home(home()).await;
    spawn(&app, "family", "a").await.expect(201);
    let pid = pid_of(&app, "family:a").await;
    let mark = format!("{}/family", app.data_dir().display());
    // The leader answers before the last of the others has begun.
    until("the leader and four others are there", || with_command_line(&mark).len() == 5).await;
    let bystander = spawn(&app, "api", "bystander").await.expect(201);
    assert_eq!(bystander["status"], "running");
    app.send(app.instances_request("DELETE", "/api/instances/family/a")).await.expect(200);
    until("the whole family is gone", || with_command_line(&mark).is_empty()).await;
    assert!(!alive(pid));
    let bystander = pid_of(&app, "api:bystander").await;
    assert_eq!(answers(&app, bystander).await, format!("ok {bystander}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crashed_leader_leaves_no_family_beside_its_successor() {
    let app = TestApp::in_home(home()).await;
    spawn(&app, "family", "a").await.expect(201);
    let pid = pid_of(&app, "family:a").await;
    let mark = format!("{}/family", app.data_dir().display());
    let first = with_command_line(&mark);
    let workdir = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
    std::fs::remove_file(workdir.join("family")).unwrap();
    crate::tools::kill(pid).await;
    instance_until(&app, "family/a", |shown| shown["restart_count"] == 1 && shown["status"] == "running")
        .await;
    let second = with_command_line(&mark);
    assert_eq!(second.len(), 5, "{second:?}");
    assert!(first.iter().all(|pid| !alive(*pid)), "{first:?} beside {second:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_without_a_newline_take_no_memory_and_block_nobody() {
    let app = TestApp::in_home(home()).await;
    spawn(&app, "flood", "a").await.expect(201);
    spawn(&app, "api", "neighbour").await.expect(201);
    let pid = pid_of(&app, "flood:a").await;
    let neighbour = pid_of(&app, "api:neighbour").await;
    let url = format!("http://127.0.0.1:{}/", variable(pid, "PORT"));
    app.client.post(&url).send().await.unwrap();
    let begun = Instant::now();
    let mut printed = 0;
    while printed < 100 << 20 {
        printed = app.client.get(&url).send().await.unwrap().text().await.unwrap().parse().unwrap();
        assert_eq!(answers(&app, neighbour).await, format!("ok {neighbour}"));
        assert!(begun.elapsed() < PATIENCE, "it hangs after {printed} bytes");
    }
    // What comes after the flood is a line again.
    let end = Instant::now() + PATIENCE;
    loop {
        let page = app.send(app.instances_request("GET", "/api/logs/flood/a?limit=5")).await.expect(200);
        if page["logs"].as_array().unwrap().iter().any(|line| line["message"] == "after the flood") {
            break;
        }
        assert!(Instant::now() < end, "its next line never came");
    }
    let (server, keeper) = (peak_mib(app.pid.into()), peak_mib(keeper_pid(&app).await));
    println!("printed 100 MiB in {:?}; peaks: server {server} MiB, keeper {keeper} MiB", begun.elapsed());
    assert!(server < MEMORY_MIB && keeper < MEMORY_MIB, "server {server} MiB, keeper {keeper} MiB");
    assert_eq!(instance(&app, "flood/a").await.expect(200)["restart_count"], 0);
    assert!(events(&app, "instance.exited").await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_slow_services_hold_up_neither_the_start_nor_the_api() {
    const SLOW: usize = 20;
    let app = TestApp::in_home(home()).await;
    // Each answer waits for an instance that never comes up; nobody waits for the answers.
    let names: Vec<String> = (0..SLOW).map(|n| format!("s{n}")).collect();
    let asking = futures_util::future::join_all(names.iter().map(|name| spawn(&app, "slow", name)));
    tokio::select! {
        _ = asking => {}
        _ = more_events(&app, "instance.started", SLOW - 1) => {}
    }
    let app = TestApp::in_home(app.kill()).await;
    let listed = app.send(app.instances_request("GET", "/api/instances?service=slow")).await.expect(200);
    assert_eq!(listed["pagination"]["total"], SLOW, "{listed}");
    // It became ready, and starts another, while all of them still start.
    spawn(&app, "api", "a").await.expect(201);
    for name in &names {
        let shown = instance(&app, &format!("slow/{name}")).await.expect(200);
        assert_eq!(shown["status"], "starting", "{shown}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_gives_up_during_a_restart_leaves_the_instance_there() {
    let app = TestApp::in_home(home()).await;
    spawn(&app, "api", "a").await.expect(201);
    let address = app.instances.strip_prefix("http://").unwrap();
    let request = format!(
        "POST /api/instances/api/a/restart HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {}\r\n\
         Content-Length: 0\r\n\r\n",
        app.token
    );
    let port = variable(pid_of(&app, "api:a").await, "PORT");
    for _ in 0..5 {
        let mut gone = std::net::TcpStream::connect(address).unwrap();
        gone.write_all(request.as_bytes()).unwrap();
    }
    more_events(&app, "instance.restart_requested", 0).await;
    // A restart of what is not there makes nothing.
    let stranger = app.instances_request("POST", "/api/instances/api/nobody/restart");
    app.send(stranger).await.expect(404);
    assert_eq!(instance(&app, "api/nobody").await.status, 404);
    let running = instance_until(&app, "api/a", |shown| shown["status"] == "running").await;
    assert_eq!(running["restart_count"], 0, "a person asked for each: {running}");
    let end = Instant::now() + PATIENCE;
    loop {
        let pid = pid_of(&app, "api:a").await;
        let said = match app.client.get(format!("http://127.0.0.1:{port}/")).send().await {
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(_) => String::new(),
        };
        if said == format!("ok {pid}") {
            break;
        }
        assert!(Instant::now() < end, "process {pid} does not answer: {said:?}");
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
}
