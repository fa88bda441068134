//! Ports of 127.0.0.1 for programs that a test starts.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU16, Ordering};

// Below the range that the kernel gives to outgoing connections: a free port of that range may be anybody's a moment later.
const BLOCKS: std::ops::Range<u16> = 10_000..30_000;
const BLOCK: u16 = 200;
const SINGLE: std::ops::Range<u16> = 30_000..32_700;

/// The first of 200 ports that nothing listens on. Each call in this process gets others; processes begin apart.
pub(crate) fn free_block() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    next(&TAKEN, BLOCKS, BLOCK, |first| (first..first + BLOCK).step_by(10).all(is_free))
}

/// A port that nothing listens on. Each call in this process gets another; processes begin apart.
pub(crate) fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    next(&TAKEN, SINGLE, 1, is_free)
}

/// A port that refuses every connection for as long as what is returned with it lives.
pub(crate) fn refusing_port() -> (tokio::net::TcpSocket, u16) {
    let bound = tokio::net::TcpSocket::new_v4().unwrap();
    bound.bind(([127, 0, 0, 1], 0).into()).unwrap();
    let port = bound.local_addr().unwrap().port();
    (bound, port)
}

fn next(taken: &AtomicU16, among: std::ops::Range<u16>, step: u16, fits: impl Fn(u16) -> bool) -> u16 {
    let places = (among.end - among.start) / step;
    let begin = u16::try_from(std::process::id().wrapping_mul(61) % u32::from(places)).unwrap();
    (0..places)
        .map(|_| (begin + taken.fetch_add(1, Ordering::Relaxed)) % places)
        .map(|place| among.start + place * step)
        .find(|port| fits(*port))
        .expect("a port is free")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}
