//! The system's clock is an hour earlier than it was.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::app::{Home, TestApp};
use crate::tools::{
    Acknowledged, answers, has, instance, instance_until, keeper_pid, kill, notes, pid_of, spawn, tenant,
};

/// `tenantry serve` for whom it is an hour earlier.
fn an_hour_earlier(home: &Home) -> Command {
    let serve = home.serve();
    let mut command = Command::new("faketime");
    command.args(["-f", "-1h"]).arg(serve.get_program()).args(serve.get_args());
    command.env_clear().current_dir(home.path());
    command.envs(serve.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn when_the_clock_jumps_back_an_hour_events_do_not_and_everything_works() {
    if !has("faketime") {
        return;
    }
    let home = Home::with(&format!(
        "[service.exits]\ncommand = \"python3\"\nargs = [\"{}\"]\nenv = {{ MODE = \"exit\", CODE = \"5\" }}\n\
         health = \"/health\"\nrestart = \"never\"\n",
        crate::support::app::fixture("api.py").display()
    ));
    let app = TestApp::in_home(Arc::clone(&home)).await;
    let tenant = tenant(&app, "smith").await;
    let mut done = Acknowledged::default();
    assert!(done.note(&tenant, "before", &app.send(notes(&app, &tenant, "before")).await));
    spawn(&app, "api", "old").await.expect(201);
    let old = pid_of(&app, "api:old").await;
    let keeper = keeper_pid(&app).await;
    assert_eq!(app.terminate().0, Some(0));
    // The next keeper has the early clock too.
    kill(keeper).await;

    let app = TestApp::from_command(Arc::clone(&home), an_hour_earlier(&home)).await;
    let head = app.get("/health").await.headers["date"].to_str().unwrap().to_owned();
    println!("its date: {head}");
    app.get("/ready").await;
    done.check(&app).await;
    assert!(done.note(&tenant, "after", &app.send(notes(&app, &tenant, "after")).await));
    assert_eq!(answers(&app, old).await, format!("ok {old}"));
    spawn(&app, "api", "new").await.expect(201);
    let refused = spawn(&app, "exits", "a").await.expect(422);
    assert!(refused["message"].as_str().unwrap().contains("exited with code 5"), "{refused}");

    // One that crashes is started again at once, not in an hour.
    let new = pid_of(&app, "api:new").await;
    let begun = Instant::now();
    kill(new).await;
    let shown =
        instance_until(&app, "api/new", |shown| shown["restart_count"] == 1 && shown["status"] == "running");
    let shown = shown.await;
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert!(shown["uptime_ms"].as_u64().unwrap() < 30_000, "{shown}");
    assert_eq!(instance(&app, "api/old").await.expect(200)["restart_count"], 0);

    let campaign = app.tenant("campaign").await;
    let deployment = app.deploy(&campaign).await;
    assert_eq!(app.deployed(&deployment).await["status"], "success");

    done.check(&app).await;
    let events = app.events(1).await;
    let times: Vec<&str> = events.iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "time goes back: {times:?}");
    assert_eq!(app.terminate().0, Some(0));
    // And forward again.
    let app = TestApp::in_home(home).await;
    done.check(&app).await;
    let events = app.events(1).await;
    let times: Vec<&str> = events.iter().map(|event| event["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "time goes back: {times:?}");
}
