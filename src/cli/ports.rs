//! Free ports on this machine, for `--any-port`. Between the look and the start another process may take one; the
//! start then fails with the port's number, as it would without the option.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, TcpListener};

/// `wanted`, or another port when it is in use.
pub(crate) fn one(wanted: u16) -> io::Result<u16> {
    match bind(wanted) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => Ok(bind(0)?.local_addr()?.port()),
        found => found.map(|_| wanted),
    }
}

/// `wanted`, or another port that is free together with the ports 2 below and 1 above it. `taken` is not used.
pub(crate) fn broker(wanted: u16, taken: u16) -> io::Result<u16> {
    const TRIES_MAX: u32 = 100;
    let mut candidate = wanted;
    for _ in 0..TRIES_MAX {
        let ports = [candidate.checked_sub(2), Some(candidate), candidate.checked_add(1)];
        let free = |port: Option<u16>| {
            port.is_some_and(|port| port > 0 && port != taken && bind(port).is_ok())
        };
        if ports.into_iter().all(free) {
            return Ok(candidate);
        }
        candidate = bind(0)?.local_addr()?.port();
    }
    Err(io::Error::new(ErrorKind::AddrInUse, "no three free ports were found"))
}

fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_replaced() {
        let held = bind(0).unwrap();
        let port = held.local_addr().unwrap().port();
        assert_ne!(one(port).unwrap(), port);
        assert_ne!(broker(port, 0).unwrap(), port);
        assert_ne!(broker(port - 1, 0).unwrap(), port - 1, "the port for slaves is in use");
        assert_ne!(broker(port.saturating_add(2), 0).unwrap(), port.saturating_add(2));
    }

    #[test]
    fn a_free_port_is_kept_unless_it_is_taken() {
        let port = broker(0, 0).unwrap();
        assert_eq!(one(port).unwrap(), port);
        assert_ne!(broker(port, port).unwrap(), port);
    }
}
