//! The least that can be an instance: a server that answers every request and does nothing
//! else. It is the benchmark's own program in another role, so the main function of each
//! benchmark that uses it begins with [`is_instance`].

#![allow(dead_code, reason = "each benchmark uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a benchmark that fails may stop")]

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::process::Child;

use super::machine;

/// The argument by which the program is an instance.
pub(crate) const ROLE: &str = "instance";

/// The command line of an instance.
pub(crate) fn command() -> String {
    format!("{} {ROLE}", std::env::current_exe().unwrap().display())
}

/// Whether this process is an instance. Then it answers on `PORT` until it is told to end.
#[allow(clippy::disallowed_methods, reason = "a process of its own, with nothing but its environment")]
pub(crate) fn is_instance() -> bool {
    if machine::argument(0).as_deref() != Some(ROLE) {
        return false;
    }
    let port: u16 = std::env::var("PORT").unwrap().parse().unwrap();
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    let mut request = [0; 4096];
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { continue };
        if stream.read(&mut request).is_ok_and(|bytes| bytes > 0) {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
        }
    }
    true
}

/// Ports in a row that are free now and not handed out by the kernel.
pub(crate) fn free_ports(count: u16) -> u16 {
    let is_free = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let all_free = |first: &u16| (*first..*first + count).all(is_free);
    (12_000..32_000 - count).step_by(500).find(all_free).expect("so many free ports in a row")
}

/// Processes that end with this.
#[derive(Default)]
pub(crate) struct Children(pub(crate) Vec<Child>);

impl Drop for Children {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
