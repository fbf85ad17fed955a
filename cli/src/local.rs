//! The stand-in for Google's services as a process: what it says, and when it ends.

use std::net::SocketAddr;
use std::path::PathBuf;

use lockgate_local::{Error, Options, Server};
use log::{LevelFilter, Log, Metadata, Record};
use tokio::signal::unix::{SignalKind, signal};

/// Serves until SIGTERM or SIGINT, and says `ready http://ADDR` once clients may connect.
///
/// # Errors
/// If the address or the state directory cannot be used.
pub async fn serve(listen: SocketAddr, state_dir: PathBuf) -> Result<(), Error> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // It fails only if there is a logger already, which is then as good.
    if log::set_logger(&StandardError).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
    let server = Server::bind(Options::new(listen, state_dir)).await?;
    println!("ready http://{}", server.local_addr());
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    server.run(stop).await
}

/// One line a record.
struct StandardError;

impl Log for StandardError {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        eprintln!("local {}: {}", record.level().as_str().to_lowercase(), record.args());
    }

    fn flush(&self) {}
}
