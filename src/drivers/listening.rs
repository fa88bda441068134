//! TCP ports that something on this machine listens on, from `/proc/net/tcp` and `tcp6`.
//!
//! A port is asked for as a number only, whatever the address: a listener on any address
//! may get what is meant for a tenant. A file that cannot be read counts as empty.

use std::collections::BTreeSet;

/// The kernel's number for a socket that listens (`TCP_LISTEN`).
const LISTEN: &str = "0A";

/// TCP ports that something on this machine listens on. Reads two files of `/proc`; call it
/// where blocking is allowed.
#[must_use]
pub fn ports() -> BTreeSet<u16> {
    ["/proc/net/tcp", "/proc/net/tcp6"]
        .into_iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .flat_map(|table| listening(&table))
        .collect()
}

fn listening(table: &str) -> Vec<u16> {
    table.lines().skip(1).filter_map(listening_port).collect()
}

/// `  0: 0100007F:7E2C 00000000:0000 0A ...`: local address, remote address, state.
fn listening_port(line: &str) -> Option<u16> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = fields.next()?;
    let state = fields.nth(1)?;
    let (_, port) = local.rsplit_once(':')?;
    if state == LISTEN { u16::from_str_radix(port, 16).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_listener_on_each_protocol_until_it_is_closed() {
        let v4 = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = v4.local_addr().expect("has an address").port();
        assert!(ports().contains(&port));
        if let Ok(v6) = std::net::TcpListener::bind("[::1]:0") {
            assert!(ports().contains(&v6.local_addr().expect("has an address").port()));
        }
        drop(v4);
        assert!(!ports().contains(&port));
    }

    #[test]
    fn a_connection_is_no_listener() {
        let table =
            "head\n   1: 0100007F:7E2C 0100007F:A000 01 00000000\n   2: 0100007F:7E2D 00000000:0000 0A 0\n";
        assert_eq!(listening(table), [0x7E2D]);
    }
}
