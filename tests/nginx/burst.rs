//! The sites of a thousand tenants at once are one test and one reload.

use std::time::Instant;

use tenantry::drivers::nginx::{Counts, Kind, Nginx, Ports, Settings, Shared, Site};
use tenantry_journal::id::TenantId;
use tenantry_journal::sealed::Secret;

use crate::front::Front;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sites_of_a_thousand_tenants_are_put_in_place_together() {
    const TENANTS: u64 = 1000;
    let Some(front) = Front::start() else { return };
    let counts = Counts::default();
    let listen = |port: u16| format!("127.0.0.1:{port}").parse().unwrap();
    let nginx = Nginx::new(
        Settings {
            command: front.command().split(' ').map(str::to_owned).collect(),
            available: front.path("sites-available"),
            enabled: front.path("sites-enabled"),
            pid: None,
            ports: Ports { http: listen(front.http), https: listen(front.https), has_ipv6: false },
        },
        counts.clone(),
    );
    nginx.share(Shared {
        proxy: "127.0.0.1:9".parse().unwrap(),
        edge: Secret::new("key".to_owned()),
        thumbprint: None,
        long_names: false,
    });
    let sites_below = |n: u64, top: &str| {
        let tenant = TenantId(uuid::Uuid::from_u64_pair(7, n));
        let site = |kind, domain: String| Site { tenant, kind, domain: domain.parse().unwrap(), tls: None };
        let both = vec![
            site(Kind::Frontend, format!("t{n}.example.{top}")),
            site(Kind::Api, format!("t{n}api.example.{top}")),
        ];
        (tenant, both)
    };
    let sites = |n: u64| sites_below(n, "com");
    let begun = Instant::now();
    let all = (0..TENANTS).map(|n| {
        let (tenant, sites) = sites(n);
        let nginx = std::sync::Arc::clone(&nginx);
        tokio::spawn(async move { nginx.ensure(tenant, sites).await })
    });
    for outcome in futures_util::future::join_all(all).await {
        assert_eq!(outcome.unwrap().unwrap().changed, 2);
    }
    eprintln!("{TENANTS} tenants: {} reloads, {:?}", counts.done.get(), begun.elapsed());
    assert!(counts.done.get() <= 3, "{} reloads", counts.done.get());
    assert_eq!(front.files("sites-enabled").len(), 2 * TENANTS as usize + 1);

    // All get other names, as one wish.
    let begun = Instant::now();
    let before = counts.done.get();
    let outcomes = nginx.ensure_all((0..TENANTS).map(|n| sites_below(n, "org")).collect()).await;
    for outcome in outcomes {
        // Two come and two go.
        assert_eq!(outcome.unwrap().changed, 4);
    }
    eprintln!("{TENANTS} other names: {:?}", begun.elapsed());
    assert_eq!(counts.done.get() - before, 1, "one reload for all of them");
    assert_eq!(front.files("sites-enabled").len(), 2 * TENANTS as usize + 1);

    // One more beside them, and one that is there already.
    let begun = Instant::now();
    let (tenant, one) = sites(TENANTS);
    assert_eq!(nginx.ensure(tenant, one.clone()).await.unwrap().changed, 2);
    eprintln!("one more beside them: {:?}", begun.elapsed());
    let before = counts.done.get();
    let begun = Instant::now();
    assert_eq!(nginx.ensure(tenant, one).await.unwrap().changed, 0);
    eprintln!("one that is there: {:?}", begun.elapsed());
    assert_eq!(counts.done.get(), before);
}
