//! What is answered of an erased tenant: a clear word each time.

use serde_json::json;
use tenantry_journal::event::access::{Role, Scope};

use crate::api::{Api, request};

#[tokio::test]
async fn only_who_reaches_the_tenant_may_erase_it_and_an_unknown_one_is_not_found() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let other = api.tenant("jones").await;
    let path = format!("/api/tenants/{tenant}?erase=true");
    for credential in [
        api.token(Role::Viewer, Scope::All).await,
        api.token(Role::Operator, Scope::Tenant(other.parse().unwrap())).await,
    ] {
        let status = api.send(request("DELETE", &path).bearer(&credential)).await.status;
        assert!(matches!(status, 403 | 404), "{status}");
    }
    let nobody = "/api/tenants/01a08b3c-0000-7000-8000-000000000000?erase=true";
    api.delete(nobody).await.expect(404);
    let stale = request("DELETE", &path).bearer(&api.admin).header("if-match", "\"1\"");
    api.send(stale).await.expect(412);
    assert!(api.handle.world().erasures.get(tenant.parse().unwrap()).is_none());
    api.delete(&path).await.expect(200);
}

#[tokio::test]
async fn a_tenant_that_is_being_deleted_can_still_be_erased_and_not_brought_back_meanwhile() {
    let api = Api::start().await;
    let tenant = api.tenant("smith").await;
    let then = api.handle.world().seq.0;
    api.puppet.idle.store(true, std::sync::atomic::Ordering::Relaxed);
    for path in [format!("/api/tenants/{tenant}"), format!("/api/tenants/{tenant}?erase=true")] {
        let asked = tokio::time::timeout(std::time::Duration::from_millis(300), api.delete(&path)).await;
        assert!(asked.is_err(), "it waits until it is done: {asked:?}");
    }
    let refused =
        api.post(&format!("/api/tenants/{tenant}/restore"), json!({"as_of": then})).await.expect(409);
    assert!(refused["message"].as_str().unwrap().contains("was erased"), "{refused}");
    let dry = json!({"as_of": then, "dry_run": true});
    api.post(&format!("/api/tenants/{tenant}/restore"), dry).await.expect(409);
}
