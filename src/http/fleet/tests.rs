//! The fleet through the router: numbers, lines page by page, and who sees what.

use serde_json::{Value, json};
use tenantry_journal::event::access::{Role, Scope};
use tenantry_journal::event::health::TenantHealth;
use tenantry_journal::event::site::Signer;
use tenantry_journal::id::TenantId;
use tenantry_journal::time::Timestamp;

use crate::domain::certificate::Obtained;
use crate::domain::command::Command;
use crate::http::testing::TestApi;

const DAY_MS: u64 = 86_400_000;

async fn tenant(api: &TestApi, slug: &str) -> TenantId {
    let new = json!({"name": slug.to_uppercase(), "slug": slug, "domain": format!("{slug}.example.com")});
    let made = api.post("/api/tenants", new).await.expect(201);
    made["id"].as_str().unwrap().parse().unwrap()
}

async fn health(api: &TestApi, tenant_id: TenantId, overall: TenantHealth) {
    let (frontend, backend, database) = ("up".into(), "down".into(), "healthy".into());
    api.tell(Command::TenantHealthObserved { tenant_id, overall, frontend, backend, database }).await;
}

async fn certificate(api: &TestApi, tenant_id: TenantId, domain: &str, days: u64) {
    let certificate = Box::new(Obtained {
        signer: Signer::SelfSigned,
        names: vec![domain.parse().unwrap()],
        issuer: "test".into(),
        not_before: Timestamp(0),
        not_after: Timestamp(days * DAY_MS),
        version: "1".into(),
    });
    api.tell(Command::CertificateObtained { tenant_id, certificate }).await;
}

fn names(list: &Value, field: &str) -> Vec<String> {
    list.as_array().unwrap().iter().map(|one| one[field].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn the_fleet_is_counted_and_what_is_not_well_is_named() {
    let api = TestApi::start().await;
    let (smith, jones) = (tenant(&api, "smith").await, tenant(&api, "jones").await);
    let before = api.get("/api/events?order=desc&limit=1").await.expect(200)["head_seq"].clone();
    health(&api, smith, TenantHealth::Degraded).await;
    certificate(&api, smith, "smith.example.com", 90).await;
    certificate(&api, jones, "jones.example.com", 60).await;
    api.post("/api/instances", json!({"service": "api", "id": "one"})).await.expect(201);
    let fleet = api.get("/api/fleet").await.expect(200);
    assert_eq!(fleet["tenants"], json!({"total": 2, "by_status": {"pending": 2}, "running_by_health": {}}));
    assert_eq!(fleet["instances"], json!({"total": 1, "by_status": {"running": 1}}));
    let sick = json!({"tenant_id": smith, "name": "SMITH", "instance": null, "state": "degraded"});
    assert_eq!(fleet["unwell"], json!({"total": 1, "first": [sick]}));
    assert_eq!(fleet["deployments"], json!({"running": 0, "first": []}));
    assert_eq!(fleet["certificates"]["total"], 2);
    assert_eq!(names(&fleet["certificates"]["first"], "domain"), ["jones.example.com", "smith.example.com"]);
    assert_eq!(fleet["certificates"]["first"][0]["not_after"], "1970-03-02T00:00:00.000Z");
    api.tell(Command::CertificateRefused { tenant_id: smith, detail: "no".into(), barred_ms: None }).await;
    let failed = api.get("/api/fleet").await.expect(200)["certificates"]["first"].clone();
    assert_eq!(
        names(&failed, "domain"),
        ["smith.example.com", "jones.example.com"],
        "what fails comes first"
    );
    assert_eq!((&failed[0]["failures"], &failed[1]["failures"]), (&json!(1), &json!(0)));
    // Nothing of it stands still: the answer is kept for one position alone.
    health(&api, smith, TenantHealth::Healthy).await;
    assert_eq!(api.get("/api/fleet").await.expect(200)["unwell"]["total"], 0);
    let then = api.get(&format!("/api/fleet?as_of={before}")).await.expect(200);
    assert_eq!((&then["certificates"]["total"], &then["instances"]["total"]), (&json!(0), &json!(0)));
}

#[tokio::test]
async fn pages_go_by_id_and_some_can_be_named() {
    let api = TestApi::start().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(tenant(&api, &format!("t{n}")).await);
    }
    let (mut seen, mut next) = (Vec::new(), String::new());
    loop {
        let page = api.get(&format!("/api/fleet/tenants?limit=2{next}")).await.expect(200);
        assert_eq!((&page["total"], page["seq"].as_u64()), (&json!(5), Some(api.app.engine.world().seq.0)));
        seen.extend(names(&page["tenants"], "slug"));
        let Some(after) = page["next"].as_str() else { break };
        next = format!("&after={after}");
    }
    assert_eq!(seen, ["t0", "t1", "t2", "t3", "t4"]);
    let nobody = TenantId(uuid::Uuid::now_v7());
    let two = api.get(&format!("/api/fleet/tenants?named={},{nobody},t1,gone", ids[3])).await.expect(200);
    assert_eq!(
        (names(&two["tenants"], "slug"), &two["next"], &two["seq"]),
        (vec!["t3".into(), "t1".into()], &Value::Null, &Value::Null)
    );
    let many = vec![ids[0].to_string(); 101].join(",");
    let (many, both) = (format!("named={many}"), format!("named={}&limit=1", ids[0]));
    for wrong in ["limit=0", "limit=2001", "named=!", "offset=1", &many, &both] {
        api.get(&format!("/api/fleet/tenants?{wrong}")).await.expect(400);
    }
}

#[tokio::test]
async fn whoever_is_limited_sees_what_is_theirs_and_no_disk() {
    let mut api = TestApi::start().await;
    let (smith, jones) = (tenant(&api, "smith").await, tenant(&api, "jones").await);
    api.post("/api/instances", json!({"service": "api", "id": "one"})).await.expect(201);
    certificate(&api, jones, "jones.example.com", 60).await;
    health(&api, jones, TenantHealth::Unhealthy).await;
    let space = api.get("/api/fleet/space").await.expect(200);
    assert!(space["disk"]["free_mb"].as_f64() <= space["disk"]["total_mb"].as_f64(), "{space}");
    assert_eq!(space["quotas"], json!({"near": 0, "over": 0, "first": []}));
    let usage = api.get("/api/fleet/usage").await.expect(200);
    assert_eq!(
        (names(&usage["usage"], "instance"), &usage["pagination"]["total"]),
        (vec!["api:one".into()], &json!(1))
    );
    assert_eq!((&usage["usage"][0]["memory_mb"], &usage["interval_seconds"]), (&Value::Null, &json!(10)));
    api.get("/api/fleet/usage?limit=0").await.expect(400);

    let limited = api.token_for(Role::Viewer, Scope::Tenant(smith)).await;
    // What is kept of an answer to somebody who sees everything is for nobody else.
    for path in ["/api/fleet", "/api/fleet/tenants", "/api/tenants"] {
        let whole = api.get(path).await.expect(200);
        assert!(whole["total"] == 2 || whole["tenants"]["total"] == 2, "{whole}");
    }
    api.token = limited;
    assert_eq!(api.get("/api/tenants").await.expect(200)["total"], 1);
    let fleet = api.get("/api/fleet").await.expect(200);
    assert_eq!((&fleet["tenants"]["total"], &fleet["unwell"]["total"]), (&json!(1), &json!(0)));
    assert_eq!((&fleet["certificates"]["total"], &fleet["instances"]["total"]), (&json!(0), &json!(0)));
    let lines = api.get(&format!("/api/fleet/tenants?named={smith},{jones}")).await.expect(200);
    assert_eq!((names(&lines["tenants"], "slug"), &lines["total"]), (vec!["smith".into()], &json!(1)));
    assert_eq!(api.get("/api/fleet/tenants").await.expect(200)["total"], 1);
    assert_eq!(api.get("/api/fleet/space").await.expect(200)["disk"], Value::Null);
    assert_eq!(api.get("/api/fleet/usage").await.expect(200)["usage"], json!([]));
}
