//! Loopback ports that stay free while their owner is killed and started again.

use std::collections::HashSet;
use std::io;
use std::net::Ipv4Addr;
use std::sync::{Mutex, PoisonError};

use tokio::net::TcpSocket;

/// A port nobody listens on, never given twice by this process.
///
/// Ports are drawn from below Linux's range for outgoing connections (32768 and up): the kernel
/// may hand a port of that range to any client while the process that owns it is being restarted.
///
/// # Panics
/// When none is found.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    for _ in 0..1_000 {
        let port = fastrand::u16(11_000..32_000);
        if is_free(port).is_ok() && given.insert(port) {
            return port;
        }
    }
    panic!("no free loopback port between 11000 and 32000");
}

/// Binds and does not listen: a program that is being started meanwhile inherits the socket for a
/// moment, and only a listening one would keep the port from others.
fn is_free(port: u16) -> io::Result<()> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind((Ipv4Addr::LOCALHOST, port).into())
}
