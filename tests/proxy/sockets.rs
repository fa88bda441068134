//! The listening sockets outlive a control plane that is killed, and not one that is ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{address, get, spawn, start, start_in};

/// What clients saw.
#[derive(Default)]
struct Seen {
    answered: AtomicU64,
    broken: AtomicU64,
    refused: AtomicU64,
}

/// Asks again and again, each time on a connection of its own.
async fn load(address: String, seen: Arc<Seen>, is_over: Arc<AtomicBool>) {
    while !is_over.load(Ordering::Relaxed) {
        let Ok(mut stream) = TcpStream::connect(&address).await else {
            seen.refused.fetch_add(1, Ordering::Relaxed);
            continue;
        };
        let request = b"GET / HTTP/1.1\r\nHost: a.web.apps.test\r\nConnection: close\r\n\r\n";
        let mut answer = Vec::new();
        let is_answered = stream.write_all(request).await.is_ok()
            && stream.read_to_end(&mut answer).await.is_ok()
            && answer.starts_with(b"HTTP/1.1 200");
        let count = if is_answered { &seen.answered } else { &seen.broken };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_connection_is_refused_while_a_killed_control_plane_is_away() {
    const CLIENTS: u64 = 8;
    let app = start().await;
    spawn(&app, "web", "a").await;
    app.log_says("the keeper holds the listening sockets").await;
    let at = address(&app.instances).to_owned();
    let (seen, is_over) = (Arc::new(Seen::default()), Arc::new(AtomicBool::new(false)));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(load(at.clone(), Arc::clone(&seen), Arc::clone(&is_over)));
    }
    let enough = |more: u64| {
        let (seen, from) = (Arc::clone(&seen), seen.answered.load(Ordering::Relaxed));
        async move {
            while seen.answered.load(Ordering::Relaxed) < from + more {
                tokio::task::yield_now().await;
            }
        }
    };
    enough(50).await;
    let home = app.kill();
    let app = start_in(home).await;
    // The kernel's port 0 was asked for, and it is the same socket all the same.
    assert_eq!(address(&app.instances), at);
    enough(50).await;
    is_over.store(true, Ordering::Relaxed);
    clients.join_all().await;
    assert_eq!(seen.refused.load(Ordering::Relaxed), 0);
    let broken = seen.broken.load(Ordering::Relaxed);
    assert!(broken <= CLIENTS, "{broken} requests broke, at most {CLIENTS} were in flight");
    get(&app, "a.web.apps.test", "/").await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_ends_on_purpose_leaves_no_socket_behind() {
    let app = start().await;
    // The keeper lives on with an instance.
    spawn(&app, "web", "a").await;
    app.log_says("the keeper holds the listening sockets").await;
    let at = [address(&app.manager).to_owned(), address(&app.instances).to_owned()];
    assert_eq!(app.terminate().0, Some(0));
    for at in at {
        assert!(TcpStream::connect(&at).await.is_err(), "{at} still listens");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_keeper_that_is_replaced_is_given_the_sockets_again() {
    let app = start().await;
    spawn(&app, "web", "a").await;
    app.log_says("the keeper holds the listening sockets").await;
    let keeper: u32 =
        std::fs::read_to_string(app.data_dir().join("keeper.lock")).unwrap().trim().parse().unwrap();
    super::support::app::signal(keeper, "KILL");
    let end = tokio::time::Instant::now() + super::support::app::PATIENCE;
    while app.log().matches("the keeper holds the listening sockets").count() < 2 {
        assert!(tokio::time::Instant::now() < end, "{}", app.log());
        tokio::task::yield_now().await;
    }
    let at = address(&app.instances).to_owned();
    let app = start_in(app.kill()).await;
    assert_eq!(address(&app.instances), at);
    get(&app, "a.web.apps.test", "/").await.ok();
}
