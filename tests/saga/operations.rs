//! First deployment, redeployment, rollback and deletion, each cut at commits, in tools and at
//! changes of files.

use std::process::Command;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::checks::{Account, count, cut_after, names, nothing_half_done, processes, world};
use crate::front::{Front, tenant};
use crate::lives::{Cut, Lives, Operation, Through, can_trace, places};
use crate::support::app::{Home, TestApp};

/// Who is left alone meanwhile, and what the others must be like in the end.
const WITNESS: &str = "jones";
/// Each is cut in its own way.
const CUT: [&str; 3] = ["adams", "baker", "clark"];

pub(crate) const STEPS: [&str; 6] = [
    "copy_files",
    "initialize_database",
    "create_services",
    "configure_nginx",
    "setup_ssl",
    "start_services",
];

/// How an operation is cut: at commits, again and again, and at calls, one after the other.
struct Way {
    commits: &'static [Cut],
    calls: &'static [&'static str],
}

/// A start records itself, then once more that the present step is begun. So the second commit is
/// the begin of a step that was not begun before, and the third is what came of it; or the fourth,
/// where a certificate is asked for.
const STEP: &[Cut] = &[
    Cut::Recorded(2),
    Cut::Unrecorded(3),
    Cut::Recorded(3),
    Cut::Recorded(2),
    Cut::Unrecorded(3),
    Cut::Recorded(3),
    Cut::Recorded(2),
    Cut::Unrecorded(4),
    Cut::Recorded(4),
];

impl Way {
    fn of(&self, slug: &str, life: usize) -> Cut {
        match slug {
            "adams" => self.commits[life % self.commits.len()],
            "baker" => Cut::InTool(life + 1),
            _ if self.calls.is_empty() => Cut::AtChange(life + 1),
            _ => self.calls.get(life).map_or(Cut::Never, |call| Cut::AtCall(call)),
        }
    }
}

/// A control plane with nginx before it and four tenants.
pub(crate) struct Stage {
    pub(crate) home: Arc<Home>,
    pub(crate) front: Front,
    pub(crate) token: String,
    tenants: Vec<(&'static str, String)>,
    /// The witness's processes.
    pub(crate) pids: Vec<u64>,
}

pub(crate) fn serve(front: &Front, home: &Home) -> Command {
    let step = format!("sh {}/step.sh", home.path().display());
    let mut serve = front.serve(home);
    serve
        .env("TENANTRY_DEPLOY_SSL", "self-signed")
        .env("TENANTRY_DEPLOY_TEMPLATE_INIT", format!("{step} init {{release}} python3 {{release}}/init.py"))
        .env("TENANTRY_DEPLOY_TEMPLATE_MIGRATE", format!("{step} migrate {{release}} true"));
    serve
}

impl Stage {
    /// All are created; `prepare` brings them to where the operation begins.
    pub(crate) async fn set() -> Option<(Stage, TestApp)> {
        if !can_trace() {
            return None;
        }
        let front = Front::start()?;
        let home = Home::new();
        // Each writes what it begins and ends beside itself.
        let script = "account=$(dirname \"$0\")/account; what=$1; release=$2; shift 2\n\
                      echo \"$what-begin $release $$\" >>\"$account\"\n\
                      \"$@\" || exit 1\necho \"$what-end $release $$\" >>\"$account\"\n";
        std::fs::write(home.path().join("step.sh"), script).unwrap();
        let app = TestApp::from_command(Arc::clone(&home), serve(&front, &home)).await;
        let mut tenants = Vec::new();
        for slug in CUT.into_iter().chain([WITNESS]) {
            tenants.push((slug, tenant(&app, slug, &format!("{slug}.example.com")).await));
        }
        let token = app.token.clone();
        Some((Stage { home, front, token, tenants, pids: Vec::new() }, app))
    }

    pub(crate) fn id(&self, slug: &str) -> &str {
        &self.tenants.iter().find(|(known, _)| *known == slug).unwrap().1
    }

    /// Has another tenant take the place of one.
    pub(crate) fn replace(&mut self, slug: &str, id: String) {
        self.tenants.iter_mut().find(|(known, _)| *known == slug).unwrap().1 = id;
    }

    /// Does something with these tenants, all at once, and waits for the end.
    pub(crate) async fn all(&self, app: &TestApp, slugs: &[&str], action: &str) {
        let mut asked = Vec::new();
        for slug in slugs {
            let answer = app.post(&format!("/api/tenants/{}/{action}", self.id(slug)), json!({})).await;
            asked.push(answer.expect(202)["deployment_id"].as_str().unwrap().to_owned());
        }
        for deployment in asked {
            let ended = app.deployed(&deployment).await;
            assert_eq!(ended["status"], "success", "{ended:#}");
        }
    }

    /// Ends the untroubled life and cuts the operation of each in its way.
    async fn cut(
        &mut self,
        app: TestApp,
        way: Way,
        operation: impl Fn(&str) -> Operation,
    ) -> (TestApp, Vec<(&'static str, Through)>) {
        self.pids = self.witness(&app).await;
        let home = app.kill();
        let mut through = Vec::new();
        for slug in CUT {
            let lives = Lives {
                home: &self.home,
                serve: &|home| serve(&self.front, home),
                token: &self.token,
                places: places(&self.home, &self.front, slug),
            };
            let ended = lives.through(&operation(self.id(slug)), |life| way.of(slug, life)).await;
            println!("{slug}: {} lives were cut off, at {:#?}", ended.cuts, ended.calls);
            through.push((slug, ended));
        }
        let app = TestApp::from_command(home, serve(&self.front, &self.home)).await;
        (app, through)
    }

    pub(crate) async fn witness(&self, app: &TestApp) -> Vec<u64> {
        let events = app.events(1).await;
        let own = events.iter().filter(|event| {
            event["kind"] == "instance.started" && event["instance"].as_str().unwrap().ends_with(WITNESS)
        });
        own.map(|event| event["data"]["pid"].as_u64().unwrap()).collect()
    }

    /// What is so after each operation that ends with all tenants served.
    pub(crate) async fn check(
        &self,
        app: &TestApp,
        through: &[(&str, Through)],
        release: u32,
        migrated: usize,
    ) {
        let wanted = world(app, self.id(WITNESS), WITNESS).await;
        assert_eq!(self.witness(app).await, self.pids, "the witness was touched");
        let events = app.events(1).await;
        for (slug, ended) in through {
            let id = ended.seen_at.rsplit('/').next().unwrap();
            let deployment = app.get(&ended.seen_at).await.expect(200);
            assert_eq!(deployment["status"], "success", "{slug}: {deployment:#}");
            for kind in ["deployment.requested", "deployment.finished", "deployment.release_activated"] {
                assert_eq!(count(&events, kind, "deployment_id", id), 1, "{slug}: {kind}");
            }
            for step in STEPS {
                let ends = events.iter().filter(|event| {
                    event["kind"] == "deployment.step_finished"
                        && event["data"]["deployment_id"] == id
                        && event["data"]["step"] == step
                });
                assert_eq!(ends.count(), 1, "{slug}: {step}");
            }
            let account = Account::of(&self.home, slug);
            account.one_at_a_time();
            // A command whose server is gone may come to its end before the next server finds it,
            // and then nobody knows how it ended: it runs again.
            let (ran, in_tools) = (account.ends("migrate", release), *slug == "baker");
            assert!(ran == migrated || (in_tools && ran > migrated), "{slug}: {ran} migrations");
            assert!(account.ends("init", release) >= migrated, "{slug}: the init command");
            let made = |slug: &str| {
                let mut made = names(&self.home.data_dir().join("tenants").join(slug));
                // What a first attempt made of the database is copied before the next one.
                made.retain(|name| name != "database-backups");
                made
            };
            assert_eq!(made(slug), made(WITNESS), "{slug}");
            assert_eq!(
                self.front.get(&format!("{slug}.example.com"), "/").await.0,
                self.front.get(&format!("{WITNESS}.example.com"), "/").await.0,
                "{slug}"
            );
            assert_eq!(world(app, self.id(slug), slug).await, wanted, "{slug}");
        }
        let ports = app.get("/api/ports").await.expect(200);
        assert_eq!(ports["in_use_count"], 4, "{ports:#}");
        let mut programs = ["backend.py", "frontend.py"].repeat(4);
        programs.extend(["keeper", "serve"]);
        programs.sort_unstable();
        processes(app, &programs).await;
        nothing_half_done(&self.home, &self.front);
    }
}

pub(crate) fn post(action: &'static str) -> impl Fn(&str) -> Operation {
    move |tenant| Operation {
        method: "POST",
        path: format!("/api/tenants/{tenant}/{action}"),
        body: json!({}),
        seen_at: None,
    }
}

/// Each step was cut off after it was begun or after it had ended; which of the two depends on what
/// else was recorded in between.
#[track_caller]
fn assert_each_step_was_cut(events: &[Value]) {
    let after = cut_after(events);
    // The last step ends in one commit with its deployment.
    assert!(after.contains(&"deployment.finished".to_owned()), "never cut after the end: {after:#?}");
    for step in STEPS {
        let kinds = ["deployment.step_started", "deployment.step_finished"];
        let is_cut = kinds.iter().any(|kind| after.contains(&format!("{kind} {step}")));
        assert!(is_cut, "never cut in {step}: {after:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_deployment_goes_on_wherever_it_is_cut_off() {
    let Some((mut stage, app)) = Stage::set().await else { return };
    stage.all(&app, &[WITNESS], "deploy").await;
    // The release's directory, its files on the disk, its name; the site's file, its name and link;
    // the link to the release that serves.
    let calls =
        &["mkdirat", "syncfs", "renameat", "unlink", "fsync", "rename", "symlink", "symlinkat", "renameat"];
    let (app, through) = stage.cut(app, Way { commits: STEP, calls }, post("deploy")).await;
    stage.check(&app, &through, 1, 1).await;
    assert_each_step_was_cut(&app.events(1).await);
    let copied = app.get(&through[0].1.seen_at).await.expect(200);
    assert_eq!(copied["steps"][0]["detail"], "release 1 is there already", "it was not cloned twice");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redeployment_goes_on_wherever_it_is_cut_off() {
    let Some((mut stage, app)) = Stage::set().await else { return };
    let everybody = ["adams", "baker", "clark", WITNESS];
    stage.all(&app, &everybody, "deploy").await;
    stage.all(&app, &[WITNESS], "deploy").await;
    let calls = &["mkdirat", "syncfs", "renameat", "symlinkat", "renameat"];
    let (app, through) = stage.cut(app, Way { commits: &STEP[..3], calls }, post("deploy")).await;
    stage.check(&app, &through, 2, 1).await;
    assert_each_step_was_cut(&app.events(1).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_goes_on_wherever_it_is_cut_off() {
    let Some((mut stage, app)) = Stage::set().await else { return };
    let everybody = ["adams", "baker", "clark", WITNESS];
    stage.all(&app, &everybody, "deploy").await;
    stage.all(&app, &everybody, "deploy").await;
    stage.all(&app, &[WITNESS], "rollback").await;
    let calls = &["symlinkat", "renameat"];
    let (app, through) = stage.cut(app, Way { commits: &STEP[..3], calls }, post("rollback")).await;
    // It migrates nothing: what was migrated was so before.
    stage.check(&app, &through, 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deletion_goes_on_wherever_it_is_cut_off() {
    let Some((mut stage, app)) = Stage::set().await else { return };
    stage.all(&app, &["adams", "baker", "clark", WITNESS], "deploy").await;
    let (app, through) = stage
        .cut(app, Way { commits: &[Cut::Unrecorded(2), Cut::Recorded(2)], calls: &[] }, |tenant| Operation {
            method: "DELETE",
            path: format!("/api/tenants/{tenant}?remove_files=true&remove_nginx=true&remove_services=true"),
            body: Value::Null,
            seen_at: Some(format!("/api/tenants/{tenant}")),
        })
        .await;
    assert_eq!(stage.witness(&app).await, stage.pids, "the witness was touched");
    let events = app.events(1).await;
    for (slug, _) in &through {
        for kind in ["tenant.deletion_requested", "tenant.deleted", "port.released"] {
            assert_eq!(count(&events, kind, "tenant_id", stage.id(slug)), 1, "{slug}: {kind}");
        }
        app.get(&format!("/api/tenants/{}", stage.id(slug))).await.expect(404);
    }
    let after = cut_after(&events);
    for kind in ["instance.removal_requested", "instance.stopping", "instance.exited", "instance.removed"] {
        assert!(after.iter().any(|cut| cut == kind), "never cut after {kind}: {after:#?}");
    }
    assert_eq!(names(&stage.home.data_dir().join("tenants")), [WITNESS]);
    assert_eq!(names(&stage.home.data_dir().join("certs")), [WITNESS]);
    let sites =
        [format!("api.{WITNESS}.example.com"), format!("{WITNESS}.example.com"), "tenantry-shared".into()];
    assert_eq!(stage.front.files("sites-enabled"), sites);
    assert_eq!(stage.front.files("sites-available"), sites);
    let ports = app.get("/api/ports").await.expect(200);
    assert_eq!(ports["in_use_count"], 1, "{ports:#}");
    processes(&app, &["backend.py", "frontend.py", "keeper", "serve"]).await;
    nothing_half_done(&stage.home, &stage.front);
}
