//! The keeper is killed with instances running.

use std::sync::Arc;

use serde_json::json;

use crate::support::app::{Home, TestApp, alive, fixture, signal};
use crate::tools::{
    answers, events, instance, instance_until, keeper_pid, kill, more_events, pid_of, spawn, until,
    with_command_line,
};

/// A service whose command line names this very home and the instance.
fn home() -> Arc<Home> {
    let app = fixture("api.py");
    Home::with(&format!(
        "[service.named]\ncommand = \"python3\"\nargs = [\"{}\", \"{{data_dir}}/{{id}}\"]\n\
         health = \"/health\"\nstop_timeout = 2\n",
        app.display()
    ))
}

fn copies(app: &TestApp, id: &str) -> Vec<u64> {
    with_command_line(&format!("api.py {}/{id}", app.data_dir().display()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_keeper_is_noticed_and_its_instances_go_on_untouched() {
    let app = TestApp::in_home(home()).await;
    const IDS: [&str; 3] = ["a", "b", "c"];
    let mut pids = Vec::new();
    for id in IDS {
        spawn(&app, "named", id).await.expect(201);
        pids.push(pid_of(&app, &format!("named:{id}")).await);
        assert_eq!(copies(&app, id), [pids[pids.len() - 1]]);
    }
    // More than once: what was adopted must be adopted again.
    for round in 0..2 {
        let connected = events(&app, "system.keeper_connected").await.len();
        kill(keeper_pid(&app).await).await;
        assert_eq!(more_events(&app, "system.keeper_lost", round).await.len(), round + 1);
        more_events(&app, "system.keeper_connected", connected).await;
        let adopted = more_events(&app, "instance.adopted", round * 3 + 2).await;
        for (id, pid) in IDS.iter().zip(&pids) {
            let of_it = adopted.iter().filter(|event| event["instance"] == format!("named:{id}"));
            let of_it: Vec<u64> = of_it.map(|event| event["data"]["pid"].as_u64().unwrap()).collect();
            assert_eq!(of_it, vec![*pid; round + 1]);
            assert_eq!(copies(&app, id), [*pid], "not exactly one copy of {id}");
            assert_eq!(answers(&app, *pid).await, format!("ok {pid}"));
            let shown = instance(&app, &format!("named/{id}")).await.expect(200);
            assert_eq!(shown["restart_count"], 0);
            assert_eq!(shown["status"], "running");
        }
    }
    assert!(events(&app, "instance.exited").await.is_empty(), "an end was made up");
    app.get("/ready").await.expect(200);
    // They are ours to end: DELETE reaches a process that a dead keeper started.
    app.send(app.instances_request("DELETE", "/api/instances/named/a")).await.expect(200);
    until("a deleted instance is gone", || !alive(pids[0])).await;
    assert!(copies(&app, "a").is_empty() && alive(pids[1]) && alive(pids[2]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_dies_while_there_is_no_keeper_is_started_again_by_policy() {
    let app = TestApp::in_home(home()).await;
    spawn(&app, "named", "dies").await.expect(201);
    spawn(&app, "named", "lives").await.expect(201);
    let (dies, lives) = (pid_of(&app, "named:dies").await, pid_of(&app, "named:lives").await);
    let keeper = keeper_pid(&app).await;
    // The server is held still, so that nobody starts a new keeper meanwhile.
    signal(app.pid, "STOP");
    kill(keeper).await;
    kill(dies).await;
    signal(app.pid, "CONT");
    more_events(&app, "system.keeper_lost", 0).await;
    let shown = instance_until(&app, "named/dies", |shown| {
        shown["restart_count"] == 1 && shown["status"] == "running"
    })
    .await;
    assert_eq!(shown["health"], "healthy");
    let again = pid_of(&app, "named:dies").await;
    assert_ne!(again, dies);
    assert_eq!(copies(&app, "dies"), [again]);
    assert_eq!(answers(&app, again).await, format!("ok {again}"));
    let exited = events(&app, "instance.exited").await;
    assert_eq!(exited.len(), 1, "{exited:?}");
    assert_eq!(exited[0]["instance"], "named:dies");
    assert_eq!(copies(&app, "lives"), [lives]);
    assert_eq!(instance(&app, "named/lives").await.expect(200)["restart_count"], 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_is_just_starting_when_the_keeper_dies_is_never_there_twice() {
    let app = Arc::new(TestApp::in_home(home()).await);
    let mut waiting = Vec::new();
    for n in 0..4 {
        let keeper = keeper_pid(&app).await;
        let connected = events(&app, "system.keeper_connected").await.len();
        let starting = events(&app, "instance.starting").await.len();
        let id = format!("n{n}");
        let request = app.instances_request("POST", "/api/instances");
        let request = request.json(&json!({"service": "named", "id": id}));
        let asked = Arc::clone(&app);
        let spawned = tokio::spawn(async move { asked.send(request).await });
        more_events(&app, "instance.starting", starting).await;
        kill(keeper).await;
        more_events(&app, "system.keeper_connected", connected).await;
        waiting.push((id, spawned));
    }
    for (id, spawned) in waiting {
        let answer = spawned.await.unwrap();
        assert_eq!(answer.status, 201, "{answer:?}");
        instance_until(&app, &format!("named/{id}"), |shown| shown["status"] == "running").await;
        let pid = pid_of(&app, &format!("named:{id}")).await;
        assert_eq!(copies(&app, &id), [pid], "not exactly one copy of {id}");
    }
}
