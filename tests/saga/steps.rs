//! A deployment, a redeployment and a rollback, cut off before and after each line of each step.

use std::sync::Arc;

use crate::front::tenant;
use crate::lives::{Cut, Lives, Through};
use crate::operations::{STEPS, Stage, post, serve};
use crate::points::{Point, assert_cut_at};
use crate::support::app::TestApp;

/// Who is cut off; the others are the witnesses.
const CUT: &str = "adams";
const REST: [&str; 2] = ["baker", "clark"];

/// Ends the untroubled life, and has the operation cut off at each of the points in turn.
async fn cut(stage: &mut Stage, app: TestApp, action: &'static str, points: &[Point]) -> (TestApp, Through) {
    stage.pids = stage.witness(&app).await;
    let home = app.kill();
    let lives = Lives {
        home: &stage.home,
        serve: &|home| serve(&stage.front, home),
        token: &stage.token,
        places: Vec::new(),
    };
    let cut = |life: usize| points.get(life).map_or(Cut::Never, |point| Cut::At(*point));
    let through = lives.through(&post(action)(stage.id(CUT)), cut).await;
    assert_eq!(through.cuts, points.len(), "{:#?}", through.calls);
    let app = TestApp::from_command(Arc::clone(&home), serve(&stage.front, &stage.home)).await;
    let deployment = through.seen_at.rsplit('/').next().unwrap();
    assert_cut_at(&app.events(1).await, deployment, points);
    (app, through)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_deployment_is_cut_off_before_and_after_each_line_of_each_step() {
    let Some((mut stage, app)) = Stage::set().await else { return };
    stage.all(&app, &[REST[0], REST[1], "jones"], "deploy").await;
    let (app, through) = cut(&mut stage, app, "deploy", &Point::of(&STEPS)).await;
    stage.check(&app, &[(CUT, through)], 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redeployment_is_cut_off_before_and_after_each_line_of_each_step() {
    let Some((mut stage, app)) = Stage::set().await else { return };
    stage.all(&app, &[CUT, REST[0], REST[1], "jones"], "deploy").await;
    stage.all(&app, &["jones"], "deploy").await;
    let (app, through) = cut(&mut stage, app, "deploy", &Point::of(&STEPS)).await;
    stage.check(&app, &[(CUT, through)], 2, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_is_cut_off_before_and_after_each_line_of_each_step() {
    let Some((mut stage, app)) = Stage::set().await else { return };
    stage.all(&app, &[CUT, REST[0], REST[1], "jones"], "deploy").await;
    stage.all(&app, &[CUT, "jones"], "deploy").await;
    stage.all(&app, &["jones"], "rollback").await;
    // The database and the sites are left as they are, and those steps are skipped.
    let steps = ["copy_files", "create_services", "start_services"];
    let (app, through) = cut(&mut stage, app, "rollback", &Point::of(&steps)).await;
    stage.check(&app, &[(CUT, through)], 1, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_deleted_tenant_left_is_moved_aside_wherever_that_is_cut_off() {
    let Some((mut stage, app)) = Stage::set().await else { return };
    stage.all(&app, &[CUT, REST[0], REST[1], "jones"], "deploy").await;
    let before = stage.id(CUT).to_owned();
    app.delete(&format!("/api/tenants/{before}")).await.expect(200);
    stage.replace(CUT, tenant(&app, CUT, &format!("{CUT}.example.com")).await);
    stage.pids = stage.witness(&app).await;
    let home = app.kill();
    let tenants = stage.home.data_dir().join("tenants");
    let lives = Lives {
        home: &stage.home,
        serve: &|home| serve(&stage.front, home),
        token: &stage.token,
        places: vec![tenants.clone()],
    };
    // What was left is renamed, the new directory made beside its place, and renamed to it.
    let calls = ["renameat", "mkdirat", "renameat"];
    let cut = |life: usize| calls.get(life).map_or(Cut::Never, |call| Cut::AtCall(call));
    let through = lives.through(&post("deploy")(stage.id(CUT)), cut).await;
    assert_eq!(through.cuts, calls.len(), "{:#?}", through.calls);
    let left = format!("{CUT}.deleted-{before}");
    let (aside, named) = (&through.calls[0], &through.calls[2]);
    assert!(aside.contains(&left) && named.contains(".tenantry-new-"), "{:#?}", through.calls);
    let app = TestApp::from_command(home, serve(&stage.front, &stage.home)).await;
    let copied = app.get(&through.seen_at).await.expect(200)["steps"][0]["detail"].clone();
    assert!(copied.as_str().unwrap().starts_with("release 1: "), "not what was left: {copied}");
    assert!(tenants.join(&left).join("releases/1").exists());
    // Two tenants of this name have migrated their first release.
    stage.check(&app, &[(CUT, through)], 1, 2).await;
}
