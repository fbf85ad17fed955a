//! Whether an address is free. Envoy shares its ports with another Envoy without a word, so it has to
//! be asked before the start.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

/// A process that was just killed may hold its port a moment longer.
const ATTEMPTS: u32 = 40;
const PAUSE: Duration = Duration::from_millis(50);

/// Waits until the address is free.
///
/// # Errors
/// If it still is not after two seconds, with what the system said.
pub async fn free(address: SocketAddr) -> io::Result<()> {
    let mut attempt = 1;
    loop {
        match TcpListener::bind(address) {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && attempt < ATTEMPTS => {
                attempt += 1;
                tokio::time::sleep(PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}
