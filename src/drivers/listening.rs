//! TCP ports that something on this machine listens on.
//!
//! A port is asked for as a number only, whatever the address: a listener on any address
//! may get what is meant for a tenant. The kernel is asked for listeners alone (netlink,
//! `sock_diag`); its tables in `/proc/net` hold every connection too, and reading them costs
//! milliseconds on a busy machine. They are read where netlink is not to be had; a table
//! that cannot be read counts as empty.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use rustix::net::netlink::SOCK_DIAG;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

/// The kernel's number for a socket that listens (`TCP_LISTEN`).
const LISTEN: u32 = 10;
/// `SOCK_DIAG_BY_FAMILY`
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST | NLM_F_DUMP`
const DUMP: u16 = 0x301;
/// `NLMSG_ERROR`
const ERROR: u16 = 2;
/// `NLMSG_DONE`
const DONE: u16 = 3;
/// Bytes of `nlmsghdr`.
const HEAD_BYTES: usize = 16;
/// Bytes of `nlmsghdr` and `inet_diag_req_v2`.
const REQUEST_BYTES: usize = 72;
/// Where the inode stands in `inet_diag_msg`: behind the socket's id of 48 bytes and five numbers.
const INODE_AT: usize = 68;
/// The kernel fills at most this much at a time (`SKB_WITH_OVERHEAD(32768)`).
const ANSWER_BYTES: usize = 32 * 1024;

/// A socket that listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Its port.
    pub port: u16,
    /// By which it is found among a process's descriptors.
    pub inode: u32,
}

type Look = Shared<BoxFuture<'static, Arc<BTreeSet<u16>>>>;

/// The look that is to begin when the one before it has ended.
static NEXT: Mutex<Option<Look>> = Mutex::new(None);
/// There is one look at a time.
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// [`ports`], looked at after this was asked. Who ask while a look is under way share the
/// next one: hundreds who ask at once take one thread and two looks.
pub async fn looked_at() -> Arc<BTreeSet<u16>> {
    let look = {
        let mut next = NEXT.lock().unwrap_or_else(PoisonError::into_inner);
        next.get_or_insert_with(|| take_turn().boxed().shared()).clone()
    };
    look.await
}

async fn take_turn() -> Arc<BTreeSet<u16>> {
    let _turn = TURN.lock().await;
    // Who asks from here on must see what comes from here on.
    drop(NEXT.lock().unwrap_or_else(PoisonError::into_inner).take());
    let looked = tokio::task::spawn_blocking(ports).await;
    // It is not done only while the runtime ends.
    Arc::new(looked.unwrap_or_default())
}

/// TCP ports that something on this machine listens on. Asks the kernel; call it where
/// blocking is allowed.
#[must_use]
pub fn ports() -> BTreeSet<u16> {
    listeners(None).into_iter().map(|listener| listener.port).collect()
}

/// The inodes of the sockets that listen on a port. Asks the kernel; call it where blocking
/// is allowed.
#[must_use]
pub fn sockets(port: u16) -> Vec<u32> {
    let found = listeners(Some(port)).into_iter();
    found.filter(|listener| listener.port == port).map(|listener| listener.inode).collect()
}

/// Every socket that listens on TCP. Asks the kernel; call it where blocking is allowed.
#[must_use]
pub fn all() -> Vec<Listener> {
    listeners(None)
}

/// All listeners, or (at least) those on one port.
fn listeners(port: Option<u16>) -> Vec<Listener> {
    asked(port).unwrap_or_else(|error| {
        tracing::debug!(%error, "the kernel does not list its listeners; reading /proc/net/tcp");
        read()
    })
}

fn asked(port: Option<u16>) -> io::Result<Vec<Listener>> {
    let kind = (AddressFamily::NETLINK, SocketType::DGRAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(kind.0, kind.1, kind.2, Some(SOCK_DIAG))?;
    let mut found = Vec::new();
    let mut answer = vec![0; ANSWER_BYTES];
    for family in [AddressFamily::INET, AddressFamily::INET6] {
        rustix::net::send(&socket, &request(family, port), SendFlags::empty())?;
        loop {
            let (_, bytes) = rustix::net::recv(&socket, &mut *answer, RecvFlags::empty())?;
            if is_last(answer.get(..bytes).unwrap_or_default(), &mut found)? {
                break;
            }
        }
    }
    Ok(found)
}

/// A port that is 0 stands for all.
fn request(family: AddressFamily, port: Option<u16>) -> [u8; REQUEST_BYTES] {
    let fields: [&[u8]; 8] = [
        &(REQUEST_BYTES as u32).to_ne_bytes(),
        &BY_FAMILY.to_ne_bytes(),
        &DUMP.to_ne_bytes(),
        &[0; 8],
        &[u8::try_from(family.as_raw()).unwrap_or(0), 6],
        &[0; 2],
        &(1u32 << LISTEN).to_ne_bytes(),
        &port.unwrap_or(0).to_be_bytes(),
    ];
    let mut request = [0; REQUEST_BYTES];
    for (place, byte) in request.iter_mut().zip(fields.into_iter().flatten()) {
        *place = *byte;
    }
    request
}

/// Takes the listeners out of what the kernel answered; whether that was the last of it.
fn is_last(mut answer: &[u8], found: &mut Vec<Listener>) -> io::Result<bool> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not understood");
    while !answer.is_empty() {
        let (length, rest) = answer.split_first_chunk().ok_or_else(broken)?;
        let (kind, _) = rest.split_first_chunk().ok_or_else(broken)?;
        let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
        let message = answer.get(HEAD_BYTES..length).ok_or_else(broken)?;
        match u16::from_ne_bytes(*kind) {
            DONE => return Ok(true),
            ERROR => {
                let code = message.first_chunk().map_or(0, |code| i32::from_ne_bytes(*code));
                return Err(io::Error::from_raw_os_error(code.saturating_neg()));
            }
            _ => {
                // `inet_diag_msg`: family, state, timer, retransmissions, then the port.
                let port = message.get(4..).and_then(<[u8]>::first_chunk).ok_or_else(broken)?;
                let inode = message.get(INODE_AT..).and_then(<[u8]>::first_chunk).ok_or_else(broken)?;
                found.push(Listener { port: u16::from_be_bytes(*port), inode: u32::from_ne_bytes(*inode) });
            }
        }
        answer = answer.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Ok(false)
}

fn read() -> Vec<Listener> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table))
        .collect()
}

fn listening(table: &str) -> Vec<Listener> {
    table.lines().skip(1).filter_map(listener).collect()
}

/// `  0: 0100007F:7E2C 00000000:0000 0A ...`: local address, remote address, state, and after
/// five more the inode.
fn listener(line: &str) -> Option<Listener> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next()?;
    let state = fields.nth(1)?;
    let inode = fields.nth(5)?.parse().ok()?;
    let (_, port) = local.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    (u32::from_str_radix(state, 16) == Ok(LISTEN)).then_some(Listener { port, inode })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn finds_a_listener_on_each_protocol_until_it_is_closed() {
        let numbers = |found: Vec<Listener>| found.into_iter().map(|found| found.port).collect();
        let ways: [&dyn Fn() -> BTreeSet<u16>; 3] =
            [&ports, &|| numbers(read()), &|| numbers(asked(None).expect("answers"))];
        for ports in ways {
            let v4 = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
            let port = v4.local_addr().expect("has an address").port();
            assert!(ports().contains(&port));
            if let Ok(v6) = std::net::TcpListener::bind("[::1]:0") {
                assert!(ports().contains(&v6.local_addr().expect("has an address").port()));
            }
            drop(v4);
            // A process that another test is just starting may hold it until it has become
            // the program that it is to be.
            let end = std::time::Instant::now() + std::time::Duration::from_secs(10);
            while ports().contains(&port) {
                assert!(std::time::Instant::now() < end, "port {port} is still listed");
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn finds_more_listeners_than_the_kernel_tells_in_one_answer() {
        let bind = |_| std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let many: Vec<_> = (0..400).map(bind).collect();
        let found: BTreeSet<u16> =
            asked(None).expect("answers").into_iter().map(|found| found.port).collect();
        for listener in &many {
            assert!(found.contains(&listener.local_addr().expect("has an address").port()));
        }
    }

    #[test]
    fn tells_the_sockets_of_one_port_the_same_in_both_ways() {
        let (one, other) = (TcpListener::bind("127.0.0.1:0"), TcpListener::bind("127.0.0.1:0"));
        let port = one.as_ref().expect("binds").local_addr().expect("has an address").port();
        let asked = asked(Some(port)).expect("answers");
        assert!(asked.iter().all(|listener| listener.port == port), "{asked:?}");
        let read: Vec<Listener> = read().into_iter().filter(|listener| listener.port == port).collect();
        assert_eq!(asked, read);
        assert_eq!(sockets(port), [asked.first().expect("listens").inode]);
        drop(other);
    }

    #[tokio::test]
    async fn who_ask_together_all_see_what_listened_before_they_asked() {
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..100 {
            let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
            let port = listener.local_addr().expect("has an address").port();
            asking.spawn(async move {
                let found = looked_at().await.contains(&port);
                drop(listener);
                found
            });
        }
        while let Some(found) = asking.join_next().await {
            assert!(found.expect("does not panic"));
        }
    }

    #[test]
    fn a_connection_is_no_listener() {
        let table = "head\n   1: 0100007F:7E2C 0100007F:A000 01 0:0 0:0 0 0 0 7 1\n   \
                     2: 0100007F:7E2D 00000000:0000 0A 0:0 0:0 0 0 0 8 1\n";
        assert_eq!(listening(table), [Listener { port: 0x7E2D, inode: 8 }]);
    }
}
