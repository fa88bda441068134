//! `GET /api/fleet/space`: the disk that everything lies on, and the instances whose directories
//! come near their quota.

use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tenantry_journal::id::TenantId;
use tenantry_journal::name::InstanceKey;
use tenantry_projections::world::instances::Instance;

use crate::drivers::disk;
use crate::http::error::ApiError;
use crate::http::extract::{NoQuery, Scope};
use crate::http::instances::view::mebibytes;
use crate::http::observed::Storage;
use crate::http::state::AppState;
use crate::http::write::{Answer, answer};

/// From this share of its quota on an instance is told, in percent.
const NEAR_PERCENT: u64 = 80;
/// Instances that are told, those that are fullest.
const SHOWN: usize = 50;

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetSpace")]
pub(super) struct Space<'a> {
    /// Where the data directory lies; `null` for whoever is limited to a tenant or a service.
    disk: Option<Disk>,
    /// Instances whose directories have a quota.
    quotas: Quotas<'a>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetDisk")]
struct Disk {
    /// Its size in MiB.
    total_mb: f64,
    /// What is free of it, in MiB.
    free_mb: f64,
    /// Whether that is enough.
    #[schemars(extend("enum" = ["enough", "little", "none"]))]
    state: &'static str,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetQuotas")]
struct Quotas<'a> {
    /// Instances that take 80 % of their quota or more.
    near: usize,
    /// How many of them take more than it.
    over: usize,
    /// The fullest of them.
    first: Vec<Quota<'a>>,
}

#[derive(Serialize, schemars::JsonSchema)]
#[schemars(rename = "FleetQuota")]
struct Quota<'a> {
    instance: &'a InstanceKey,
    tenant_id: Option<TenantId>,
    /// What its directory takes, in MiB; looked at once a minute.
    used_mb: f64,
    /// What it may take, in MiB.
    quota_mb: f64,
}

pub(super) async fn look(State(app): State<AppState>, scope: Scope, _: NoQuery) -> Answer {
    let disk = match scope.principal.is_unlimited() {
        true => Some(disk(&app).await?),
        false => None,
    };
    let world = &scope.world;
    let reached = |one: &&Instance| scope.principal.reaches_instance(world, one.id);
    let limited = world
        .instances
        .iter()
        .map(|one| &**one)
        .filter(|one| one.spec.open().is_some_and(|spec| spec.limits.storage_quota_mb.is_some()));
    let near = limited.filter(reached).filter_map(|one| {
        let storage = app.measures.now(one.id).storage.filter(is_near)?;
        Some((one, one.name.open()?, storage))
    });
    Ok(answer(StatusCode::OK, &Space { disk, quotas: Quotas::of(near.collect()) }))
}

async fn disk(app: &AppState) -> Result<Disk, ApiError> {
    let place = app.config.current().data_dir.clone();
    let looked = tokio::task::spawn_blocking(move || disk::space(&place));
    let space = looked.await.map_err(|_| ApiError::internal())?.map_err(|error| {
        tracing::error!(%error, "the free disk space cannot be read");
        ApiError::internal()
    })?;
    let state = match space.enough() {
        disk::Enough::Yes => "enough",
        disk::Enough::Little => "little",
        disk::Enough::No => "none",
    };
    Ok(Disk { total_mb: mebibytes(space.total_bytes), free_mb: mebibytes(space.free_bytes), state })
}

fn is_near(storage: &Storage) -> bool {
    storage.used_bytes.saturating_mul(100) >= storage.quota_bytes.saturating_mul(NEAR_PERCENT)
}

impl<'a> Quotas<'a> {
    fn of(mut all: Vec<(&'a Instance, &'a InstanceKey, Storage)>) -> Quotas<'a> {
        let share = |storage: &Storage| storage.used_bytes.saturating_mul(1000) / storage.quota_bytes.max(1);
        all.sort_by_key(|(_, key, storage)| (std::cmp::Reverse(share(storage)), *key));
        let (near, over) = (all.len(), all.iter().filter(|(_, _, storage)| storage.is_over()).count());
        let first = all.into_iter().take(SHOWN).map(|(instance, key, storage)| Quota {
            instance: key,
            tenant_id: instance.tenant.map(|(tenant, _)| tenant),
            used_mb: mebibytes(storage.used_bytes),
            quota_mb: mebibytes(storage.quota_bytes),
        });
        Quotas { near, over, first: first.collect() }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::http::testing::TestApi;

    #[test]
    fn what_takes_four_fifths_of_its_quota_is_near_it() {
        let of = |used_bytes| Storage { used_bytes, quota_bytes: 1000 };
        assert!(!is_near(&of(799)) && is_near(&of(800)) && is_near(&of(1001)));
    }

    #[tokio::test]
    async fn the_fullest_are_told_first_and_only_some() {
        let api = TestApi::start().await;
        for n in 0..=SHOWN {
            api.post("/api/instances", json!({"service": "worker", "id": format!("w{n}")})).await.expect(201);
        }
        let world = api.app.engine.world();
        let mib = 1 << 20;
        let all = world.instances.iter().map(|instance| {
            let key = instance.name.open().unwrap();
            let used_bytes = match key.to_string().as_str() {
                "worker:w7" => 3 * mib,
                "worker:w8" => 2 * mib,
                _ => mib,
            };
            (&**instance, key, Storage { used_bytes, quota_bytes: 2 * mib })
        });
        let told = serde_json::to_value(Quotas::of(all.collect())).unwrap();
        assert_eq!((&told["near"], &told["over"]), (&json!(SHOWN + 1), &json!(1)));
        let first = told["first"].as_array().unwrap();
        assert_eq!(first.len(), SHOWN);
        let fullest = json!({"instance": "worker:w7", "tenant_id": null, "used_mb": 3.0, "quota_mb": 2.0});
        assert_eq!((&first[0], &first[1]["instance"]), (&fullest, &json!("worker:w8")));
    }
}
