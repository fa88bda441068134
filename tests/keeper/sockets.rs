//! Listening sockets in the keeper's hands, and keepers of another version.

use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;

use tenantry::keeper::client::{Keeper, KeeperError};
use tenantry::keeper::lease::{Lease, LeaseError};
use tenantry::keeper::protocol::{Answer, Ask, Call, Message, Refusal, SocketName, Spawned, encode, read};
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;

use super::{Bench, until};

fn name(listener: &str) -> SocketName {
    SocketName { listener: listener.into(), address: "127.0.0.1:0".into() }
}

#[tokio::test]
async fn sockets_are_held_between_two_control_planes_and_closed_when_released() {
    let bench = Bench::new();
    let _connected = bench.connect().await;
    let (mut lease, held) = Lease::open(&bench.data()).await.unwrap();
    assert!(held.is_empty());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let sockets = [(name("manager"), OwnedFd::from(listener))];
    lease.hold(&sockets).await.unwrap();
    // The control plane is killed: who connects now waits.
    drop((lease, sockets));
    let waiting = TcpStream::connect(address).unwrap();

    let (mut lease, mut held) = Lease::open(&bench.data()).await.unwrap();
    let (taken, socket) = held.pop().unwrap();
    assert_eq!((taken, held.len()), (name("manager"), 0));
    let listener = TcpListener::from(socket);
    let (_, from) = listener.accept().unwrap();
    assert_eq!(from, waiting.local_addr().unwrap());

    // Whatever it does not hold any more is closed, and so is everything at the end.
    lease.hold(&[]).await.unwrap();
    drop(listener);
    assert!(TcpStream::connect(address).is_err());
    lease.release().await.unwrap();
    let (_lease, held) = Lease::open(&bench.data()).await.unwrap();
    assert!(held.is_empty());
}

/// Answers as a keeper of version 1 did.
async fn old_keeper(listener: UnixListener) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            let (mut from, mut to) = stream.into_split();
            while let Ok(Some(Call { id, ask })) = read(&mut from).await {
                let answer = match ask {
                    Ask::Hello { version: 1 } => Ok(Answer::Hello {
                        limits: false,
                        forwards: false,
                        version: 1,
                        keeper: Spawned { pid: 1, start_ticks: 1 },
                    }),
                    Ask::Hello { version } => Err(Refusal::Version { keeper: 1, client: version }),
                    Ask::List => Ok(Answer::Runs(vec![])),
                    // It could not even read it.
                    _ => return,
                };
                to.write_all(&encode(&Message::Reply { id, answer }).unwrap()).await.unwrap();
            }
        });
    }
}

#[tokio::test]
async fn a_keeper_of_the_earlier_version_is_used_for_what_it_can() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("keeper.sock")).unwrap();
    let old = tokio::spawn(old_keeper(listener));
    let connected = Keeper::connect(dir.path()).await.unwrap();
    assert!(connected.keeper.list().await.unwrap().is_empty());
    let refused = Lease::open(dir.path()).await.err().unwrap();
    assert!(matches!(refused, LeaseError::Refused(Refusal::Version { keeper: 1, .. })), "{refused}");
    old.abort();
    until("it is gone", || old.is_finished()).await;
    let gone = Keeper::connect(dir.path()).await;
    assert!(matches!(gone, Err(KeeperError::Absent { .. } | KeeperError::Lost)), "{gone:?}");
}
