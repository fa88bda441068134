//! What people ask of deployments.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::bench::{Repository, assert_status, deploy, nothing, page, pids, roll_back};
use crate::support::app::{Home, PATIENCE, TestApp, alive};

/// An init that hangs until a file is there, and says who it is.
const HANGS: &str = "import os, time\nopen('hanging', 'w').write(str(os.getpid()))\n\
                     while not os.path.exists('go'): time.sleep(0.02)\n";

fn directory(app: &TestApp) -> std::path::PathBuf {
    app.data_dir().join("tenants/smith")
}

/// The init command that hangs.
async fn hanging(app: &TestApp) -> u64 {
    let (path, end) = (directory(app).join("hanging"), std::time::Instant::now() + PATIENCE);
    loop {
        if let Ok(Ok(pid)) = std::fs::read_to_string(&path).map(|text| text.parse()) {
            return pid;
        }
        assert!(std::time::Instant::now() < end, "init never came");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

async fn gone(pid: u64) {
    let end = std::time::Instant::now() + PATIENCE;
    while alive(pid) {
        assert!(std::time::Instant::now() < end, "process {pid} goes on");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

fn numbers(list: &Value) -> Vec<u64> {
    list["releases"].as_array().unwrap().iter().map(|release| release["release"].as_u64().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn releases_are_listed_gone_back_to_and_given_up_but_never_the_one_that_serves() {
    let home = Home::new();
    let mut command = home.serve();
    command.env("TENANTRY_DEPLOY_KEEP_RELEASES", "2");
    let app = TestApp::from_command(Arc::clone(&home), command).await;
    let tenant = app.tenant("smith").await;
    let path = format!("/api/tenants/{tenant}");
    let repository = Repository::of(&app);
    assert_eq!(app.post(&format!("{path}/rollback"), nothing()).await.expect(409)["code"], "NOT_DEPLOYED");
    let first = deploy(&app, &tenant).await;
    let none = app.post(&format!("{path}/rollback"), nothing()).await.expect(409);
    assert_eq!(none["code"], "NO_EARLIER_RELEASE");
    repository.git(&["tag", "v1"]);
    for name in ["two", "three"] {
        repository.name(name);
        assert_status(&deploy(&app, &tenant).await, "success");
    }
    let releases = app.get(&format!("{path}/releases")).await.expect(200);
    // The one before it is kept, since it was in use until a moment ago; the first one is not.
    assert_eq!(numbers(&releases), [3, 2], "{releases}");
    assert_eq!(releases["releases"][0]["commit"], repository.git(&["rev-parse", "HEAD"]).as_str());
    assert_eq!(releases["releases"][0]["current"], true);
    let kept = |number: u32| directory(&app).join(format!("releases/{number}")).exists();
    let end = std::time::Instant::now() + PATIENCE;
    while kept(1) {
        assert!(std::time::Instant::now() < end, "release 1 stays on the disk");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert!(kept(2) && kept(3));

    let back = roll_back(&app, &tenant, json!({"release": 2})).await;
    assert_status(&back, "success");
    assert_eq!((&back["rollback"], &back["release"]), (&json!(true), &json!(2)));
    assert_eq!(page(&app, "/static/release.css").await, "two");
    for (body, status, code) in [
        (json!({"release": 2}), 409, "RELEASE_SERVES"),
        (json!({"release": 1}), 404, "RELEASE_NOT_FOUND"),
        (json!({"release": -1}), 400, ""),
        (json!({"release": 2, "surprise": 1}), 400, ""),
    ] {
        let refused = app.post(&format!("{path}/rollback"), body.clone()).await.expect(status);
        assert!(code.is_empty() || refused["code"] == code, "{body}: {refused}");
    }

    // A tag brings the first one's files again, as a new release.
    let asked = app.post(&format!("{path}/deploy"), json!({"git_ref": "v1"})).await.expect(202);
    let tagged = app.deployed(asked["deployment_id"].as_str().unwrap()).await;
    assert_status(&tagged, "success");
    assert_eq!((&tagged["release"], &tagged["git_ref"]), (&json!(4), &json!("v1")));
    let releases = app.get(&format!("{path}/releases")).await.expect(200);
    assert_eq!(releases["releases"][0]["commit"], repository.git(&["rev-parse", "v1"]).as_str());
    for bad in ["--upload-pack=id", "a b", "x..y", ""] {
        let refused = app.post(&format!("{path}/deploy"), json!({"git_ref": bad})).await.expect(400);
        assert_eq!(refused["code"], "INVALID_GIT_REF", "{bad}");
    }
    // Steps tell how long they took, and the next one is estimated from them.
    let copy = first["steps"][0]["duration"].as_f64().unwrap();
    assert!(copy > 0.0 && copy < 60.0, "{copy}");
    let dry = app.post(&format!("{path}/deploy?dry_run=true"), nothing()).await.expect(200);
    assert_eq!(dry["events"][0]["kind"], "deployment.requested");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_is_called_off_with_what_it_runs_and_taken_up_again() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let repository = Repository::of(&app);
    assert_status(&deploy(&app, &tenant).await, "success");
    let before = pids(&app).await;
    repository.write("init.py", HANGS);
    repository.name("two");
    let deployment = app.deploy(&tenant).await;
    let init = hanging(&app).await;
    let refused = app.post(&format!("/api/deployments/{deployment}/retry"), nothing()).await.expect(409);
    assert_eq!(refused["code"], "DEPLOYMENT_RUNNING");
    let cancelled = app.post(&format!("/api/deployments/{deployment}/cancel"), nothing()).await.expect(200);
    assert_status(&cancelled, "cancelled");
    gone(init).await;
    assert_eq!(pids(&app).await, before);
    let again = app.post(&format!("/api/deployments/{deployment}/cancel"), nothing()).await.expect(409);
    assert_eq!(again["code"], "DEPLOYMENT_OVER");
    let nobody = "/api/deployments/00000000-0000-7000-8000-000000000000";
    app.post(&format!("{nobody}/cancel"), nothing()).await.expect(404);
    app.post(&format!("{nobody}/retry"), nothing()).await.expect(404);

    std::fs::write(directory(&app).join("go"), "").unwrap();
    let retried = app.post(&format!("/api/deployments/{deployment}/retry"), nothing()).await;
    assert_eq!(retried.headers["location"], format!("/api/deployments/{deployment}").as_str());
    assert_eq!(retried.expect(202)["status"], "running");
    let ended = app.deployed(&deployment).await;
    assert_status(&ended, "success");
    assert_eq!(page(&app, "/static/release.css").await, "two");
    let copies = app.get(&format!("/api/deployments/{deployment}/logs")).await.expect(200);
    assert_eq!(copies["logs"].as_str().unwrap().matches("==> Copy files").count(), 1, "{copies}");
    let succeeded = app.post(&format!("/api/deployments/{deployment}/retry"), nothing()).await.expect(409);
    assert_eq!(succeeded["code"], "DEPLOYMENT_SUCCEEDED");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_those_who_deploy_at_once_one_does_and_who_queues_waits_also_across_a_kill() {
    let app = TestApp::start().await;
    let tenant = app.tenant("smith").await;
    let repository = Repository::of(&app);
    assert_status(&deploy(&app, &tenant).await, "success");
    repository.write("init.py", HANGS);
    let path = format!("/api/tenants/{tenant}/deploy");
    let mut asked = Vec::new();
    for _ in 0..8 {
        asked.push(app.post(&path, nothing()));
    }
    let answers = futures_util::future::join_all(asked).await;
    let mut began = answers.iter().filter(|answer| answer.status == 202);
    let first = began.next().unwrap().json()["deployment_id"].as_str().unwrap().to_owned();
    assert_eq!(began.count(), 0, "two at once");
    assert!(answers.iter().all(|answer| matches!(answer.status, 202 | 409)));

    let queue = format!("{path}?queue=true");
    let mut queued = Vec::new();
    for _ in 0..5 {
        let answer = app.post(&queue, nothing()).await.expect(202);
        assert_eq!(answer["status"], "pending");
        queued.push(answer["deployment_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(app.post(&queue, nothing()).await.expect(409)["code"], "QUEUE_FULL");
    app.post(&format!("{path}?queue=maybe"), nothing()).await.expect(400);
    for other in &queued[1..] {
        let cancelled = app.post(&format!("/api/deployments/{other}/cancel"), nothing()).await.expect(200);
        assert_status(&cancelled, "cancelled");
    }
    hanging(&app).await;
    let home = app.kill();
    let app = TestApp::in_home(home).await;
    let waits = app.get(&format!("/api/deployments/{}", queued[0])).await.expect(200);
    assert_status(&waits, "pending");
    std::fs::write(directory(&app).join("go"), "").unwrap();
    assert_status(&app.deployed(&first).await, "success");
    let last = app.deployed(&queued[0]).await;
    assert_status(&last, "success");
    assert_eq!(last["release"], 3);
    let list = app.get(&format!("/api/tenants/{tenant}/deployments?limit=2&offset=4")).await.expect(200);
    assert_eq!((&list["total"], &list["limit"], &list["offset"]), (&json!(7), &json!(2), &json!(4)));
    assert_eq!(list["deployments"][1]["id"], first.as_str());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn migrations_run_once_for_each_release_after_a_copy_of_the_database() {
    let home = Home::new();
    let mut command = home.serve();
    command.env("TENANTRY_DEPLOY_TEMPLATE_MIGRATE", "python3 {release}/migrate.py {release}");
    let app = TestApp::from_command(Arc::clone(&home), command).await;
    let tenant = app.tenant("smith").await;
    let repository = Repository::of(&app);
    let migrate = "import sys\nopen('migrated', 'a').write(sys.argv[1].rsplit('/')[-1] + '\\n')\n";
    repository.write("migrate.py", migrate);
    assert_status(&deploy(&app, &tenant).await, "success");
    // The second one's frontend does not come up: its migrations were run, and are not run again.
    let good = std::fs::read_to_string(repository.path().join("frontend.py")).unwrap();
    repository.write("frontend.py", "import os\nif not os.path.exists('go'): raise SystemExit(3)\n");
    std::fs::write(directory(&app).join("good.py"), &good).unwrap();
    let failed = deploy(&app, &tenant).await;
    assert_status(&failed, "failed");
    let release = directory(&app).join("releases/2/frontend.py");
    std::fs::write(&release, &good).unwrap();
    let id = failed["id"].as_str().unwrap();
    app.post(&format!("/api/deployments/{id}/retry"), nothing()).await.expect(202);
    assert_status(&app.deployed(id).await, "success");
    assert_eq!(std::fs::read_to_string(directory(&app).join("migrated")).unwrap(), "1\n2\n");
    let backups: Vec<_> = std::fs::read_dir(directory(&app).join("database-backups"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(backups, ["before-release-2.db"]);
}
