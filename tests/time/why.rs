//! Why something is as it is: from its state back to what a person asked for.

use serde_json::{Value, json};
use tenantry::domain::command::{Command, Submission};
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::event::instance::ExitStatus;

use crate::api::{Api, request};
use crate::support::app::{Home, TestApp};

fn kinds(why: &Value) -> Vec<&str> {
    why["chain"].as_array().unwrap().iter().map(|link| link["kind"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_chain_leads_from_the_state_to_the_persons_request() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    api.deployed(&tenant).await;
    let then = api.handle.world().seq;
    let why = api.get("/api/events/why?instance=backend:smith").await.expect(200);
    assert_eq!((&why["state"], &why["instance"]), (&json!("running"), &json!("backend:smith")));
    let last = why["chain"].as_array().unwrap().last().unwrap();
    assert_eq!((&last["kind"], &last["actor"]["name"]), (&json!("deployment.requested"), &json!("admin")));
    let sentence = why["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("running since 20") && !sentence.contains("limit"), "{sentence}");
    assert!(sentence.contains("because release 1 was deployed by the user admin at 20"), "{sentence}");
    let seqs: Vec<u64> =
        why["chain"].as_array().unwrap().iter().map(|l| l["seq"].as_u64().unwrap()).collect();
    assert!(seqs.windows(2).all(|pair| pair[0] > pair[1]), "{seqs:?}");
    let of_tenant = api.get(&format!("/api/events/why?tenant_id={tenant}")).await.expect(200);
    assert_eq!(of_tenant["state"], "running");

    // It ends, and is to be started again.
    let world = api.handle.world();
    let instance = world.instances.by_key(&"backend:smith".parse().unwrap()).unwrap();
    let (instance_id, run_id) = (instance.id, instance.run.as_ref().unwrap().id);
    let (status, at) = (ExitStatus::Code(137), world.at);
    let exited = Command::RunExited { instance_id, run_id, status, at };
    api.handle.submit(Submission::system(exited, None)).await.unwrap();
    let why = api.get("/api/events/why?instance=backend:smith").await.expect(200);
    let sentence = why["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("waiting to be started again since "), "{sentence}");
    assert!(sentence.contains(" because restarted by policy because exit code 137 because "), "{sentence}");
    assert!(sentence.contains("deployed by the user admin"), "{sentence}");
    assert_eq!(kinds(&why)[..2], ["instance.restart_scheduled", "instance.exited"]);
    let of_tenant = api.get(&format!("/api/tenants/{tenant}")).await.expect(200);
    assert_eq!(of_tenant["status"], "error");

    let past = api.get(&format!("/api/events/why?instance=backend:smith&as_of={then}")).await.expect(200);
    assert_eq!(past["state"], "running");

    let stopped = api.post(&format!("/api/tenants/{tenant}/stop"), json!({})).await;
    stopped.expect(200);
    let why = api.get("/api/events/why?instance=frontend:smith").await.expect(200);
    let sentence = why["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("stopped since ") && sentence.contains("stopped by the user admin"),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_deleted_tenant_is_gone_because_of_somebody_and_strangers_learn_nothing() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let other = api.tenant("jones").await;
    api.deployed(&tenant).await;
    let stranger = api.token(Role::Admin, Scope::Tenant(other.parse().unwrap())).await;
    for what in [format!("tenant_id={tenant}"), "instance=backend:smith".to_owned()] {
        let path = format!("/api/events/why?{what}");
        api.send(request("GET", &path).bearer(&stranger)).await.expect(404);
        api.get(&path).await.expect(200);
    }
    api.delete(&format!("/api/tenants/{tenant}")).await.expect(200);
    let why = api.get(&format!("/api/events/why?tenant_id={tenant}")).await.expect(200);
    assert_eq!(why["state"], "deleted");
    let sentence = why["sentence"].as_str().unwrap();
    assert!(sentence.contains("because deleted by the user admin at "), "{sentence}");
    for wrong in ["", "?instance=x", "?colour=red", &format!("?tenant_id={tenant}&instance=a:b")] {
        api.get(&format!("/api/events/why{wrong}")).await.expect(400);
    }
    api.get("/api/events/why?instance=no:body").await.expect(404);
}

/// Takes too much memory the first time that it runs, and little after that.
const HUNGRY: &str = r#"
[service.hungry]
command = "python3"
args = ["-c", '''
import os, time
first = not os.path.exists("ran")
open("ran", "w").close()
if first:
    time.sleep(1.5)
    block = bytearray(400 << 20)
time.sleep(1000)
''']
memory_limit_mb = 64
restart = "always"
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_set_the_limit_that_ended_a_process_is_named() {
    let app = TestApp::in_home(Home::with(HUNGRY)).await;
    let body = json!({"service": "hungry", "id": "one"});
    app.send(app.instances_request("POST", "/api/instances").json(&body)).await.expect(201);
    let limited = app.get("/api/instances/hungry/one").await.expect(200);
    if limited["limits"]["without_effect"].as_array().is_some_and(|list| !list.is_empty()) {
        return eprintln!("SKIPPED: this machine limits no memory: {limited}");
    }
    app.eventually("/api/instances/hungry/one", |shown| {
        shown["restart_count"] == 1 && shown["status"] == "running"
    })
    .await;
    let why = app.get("/api/events/why?instance=hungry:one").await.expect(200);
    let sentence = why["sentence"].as_str().unwrap();
    assert!(sentence.starts_with("running since "), "{sentence}");
    let end = " because restarted by policy because memory limit: the kernel killed it (signal 9) \
        because the memory limit of 64 MiB, set by the user admin at ";
    assert!(sentence.contains(end), "{sentence}");
}
