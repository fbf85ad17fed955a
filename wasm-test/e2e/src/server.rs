//! An HTTP/1.1 server on a fixed port that can misbehave, and can be gone for a while.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::background;
use crate::http1::Request;
use crate::wire::read_request;

/// What a server does with the connection a request came on.
pub(crate) enum Reply {
    /// Writes these bytes and reads the next request.
    Bytes(Vec<u8>),
    /// Writes these bytes and closes.
    BytesThenClose(Vec<u8>),
    /// Resets the connection: an RST segment instead of an answer.
    Reset,
    /// Says nothing until the client leaves.
    Hang,
}

/// Decides about requests.
pub(crate) trait Service: Send + Sync + 'static {
    /// The reply to a request that was read whole.
    fn reply(&self, request: Request) -> impl Future<Output = Reply> + Send;

    /// A request whose connection broke before its end.
    fn broken(&self, _request: Request) {}
}

/// A listening server; dropping it closes the port and every connection.
#[derive(Debug)]
pub(crate) struct Server<S> {
    address: SocketAddr,
    service: Arc<S>,
    accepting: Mutex<Option<Accepting>>,
}

#[derive(Debug)]
struct Accepting {
    /// Dropping it closes everything.
    open: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl<S: Service> Server<S> {
    /// Listens on a loopback port.
    pub(crate) fn start(port: u16, service: Arc<S>) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, port).into(), service)
    }

    /// Listens on an address.
    pub(crate) fn at(address: SocketAddr, service: Arc<S>) -> Self {
        let server = Self { address, service, accepting: Mutex::new(None) };
        server.open();
        server
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Listens again after [`Server::close`].
    pub(crate) fn open(&self) {
        let mut accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner);
        if accepting.is_none() {
            let _runtime = background().enter();
            let listener = listen(self.address)
                .unwrap_or_else(|error| panic!("cannot listen on {}: {error}", self.address));
            let (open, closed) = oneshot::channel();
            let task = background().spawn(accept(listener, Arc::clone(&self.service), closed));
            *accepting = Some(Accepting { open, task });
        }
    }

    /// Closes the port and every connection, as if the program had died, and returns when they
    /// are closed. A server that is dropped closes them, too, a little later.
    pub(crate) async fn close(&self) {
        let accepting = self.accepting.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Accepting { open, task }) = accepting {
            drop(open);
            let _ = task.await;
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    // The port must be free again at once, connections of before still in TIME_WAIT.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1024)
}

/// A program that is just being started has a copy of every socket of this process until it has become
/// itself; closing alone would leave the port taken for as long. This holds for the copies too.
fn stop_listening(listener: &TcpListener) {
    let _ = rustix::net::shutdown(listener, rustix::net::Shutdown::Both);
}

async fn accept<S: Service>(listener: TcpListener, service: Arc<S>, mut closed: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    connections.spawn(serve(stream, Arc::clone(&service)));
                }
                // Out of file descriptors, most likely: some come back as connections end.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            _ = connections.join_next(), if !connections.is_empty() => {}
            _ = &mut closed => break,
        }
    }
    stop_listening(&listener);
    drop(listener);
    connections.shutdown().await;
}

async fn serve<S: Service>(stream: TcpStream, service: Arc<S>) {
    let mut stream = BufReader::new(stream);
    loop {
        let mut partial = None;
        let request = match read_request(&mut stream, &mut partial).await {
            Ok(Some(request)) => request,
            Ok(None) => return,
            Err(_) => {
                if let Some(request) = partial {
                    service.broken(request);
                }
                return;
            }
        };
        match service.reply(request).await {
            Reply::Bytes(bytes) => {
                if stream.get_mut().write_all(&bytes).await.is_err() {
                    return;
                }
            }
            Reply::BytesThenClose(bytes) => {
                let _ = stream.get_mut().write_all(&bytes).await;
                let _ = stream.get_mut().shutdown().await;
                return;
            }
            Reply::Reset => {
                let _ = stream.get_ref().set_zero_linger();
                return;
            }
            Reply::Hang => {
                let _ = stream.fill_buf().await;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;
    use crate::ports::free_port;
    use crate::{Journal, Process};

    struct Silent;

    impl Service for Silent {
        async fn reply(&self, _request: Request) -> Reply {
            Reply::Hang
        }
    }

    #[tokio::test]
    async fn a_port_is_free_at_once_however_many_programs_are_being_started() {
        let done = Arc::new(AtomicBool::new(false));
        let starting = std::thread::spawn({
            let done = Arc::clone(&done);
            move || {
                while !done.load(Ordering::Relaxed) {
                    let log = Arc::new(Journal::default());
                    drop(Process::start("true", &mut Command::new("true"), log));
                }
            }
        });
        for _ in 0..500 {
            let server = Server::start(free_port(), Arc::new(Silent));
            server.close().await;
            server.open();
        }
        done.store(true, Ordering::Relaxed);
        starting.join().unwrap();
    }
}
