//! One connection: a request on its way out, its answer on its way in.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Instant;

use rustix::event::epoll;

use super::{Expected, Requests};
use crate::Result;
use crate::http::Message;

#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    stream: TcpStream,
    input: Vec<u8>,
    /// The number of the request under way, how much of it is written, and when it arrived.
    sending: Option<(usize, usize, Instant)>,
    waits_to_write: bool,
}

/// A request's end.
pub(super) struct Answered {
    pub(super) arrival: Instant,
    pub(super) status: u16,
    pub(super) wrong: Option<String>,
}

impl Connection {
    pub(super) fn open(address: SocketAddr, poll: &OwnedFd, id: usize) -> Result<Self> {
        let stream = connected(address, poll, id)?;
        Ok(Self { address, stream, input: Vec::new(), sending: None, waits_to_write: false })
    }

    pub(super) fn send(
        &mut self,
        poll: &OwnedFd,
        id: usize,
        requests: &mut Requests,
        arrival: Instant,
    ) -> Result<()> {
        self.sending = Some((requests.take()?, 0, arrival));
        self.write(poll, id, requests)
    }

    /// Goes on where the last event left off; the answer once it is whole.
    pub(super) fn turn(
        &mut self,
        poll: &OwnedFd,
        id: usize,
        requests: &Requests,
        expected: &Expected,
    ) -> Result<Option<Answered>> {
        if self.waits_to_write {
            self.write(poll, id, requests)?;
        }
        let mut chunk = [0; 16 * 1024];
        let open = loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => break false,
                Ok(read) => {
                    self.input.extend_from_slice(chunk.get(..read).unwrap_or_default());
                    if read < chunk.len() {
                        break true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                Err(error) => return Err(format!("a connection broke: {error}").into()),
            }
        };
        let Some((_, _, arrival)) = self.sending else {
            return if open { Ok(None) } else { self.reopen(poll, id).map(|()| None) };
        };
        let Some(message) = Message::response(&self.input)? else {
            return if open { Ok(None) } else { Err("a connection was closed before its answer".into()) };
        };
        let status = message.status();
        let fits = status == expected.status && expected.body.is_none_or(|body| body == &*message.body);
        let wrong = (!fits).then(|| format!("{status} {}", String::from_utf8_lossy(&message.body)));
        let closes = message.is(b"close", "connection");
        let length = message.length;
        self.input.drain(..length);
        self.sending = None;
        if closes || !open {
            self.reopen(poll, id)?;
        }
        Ok(Some(Answered { arrival, status, wrong }))
    }

    fn write(&mut self, poll: &OwnedFd, id: usize, requests: &Requests) -> Result<()> {
        let Some((number, written, _)) = &mut self.sending else { return Ok(()) };
        let whole = requests.bytes(*number);
        let waits = loop {
            match whole.get(*written..) {
                None | Some([]) => break false,
                Some(rest) => match self.stream.write(rest) {
                    Ok(more) => *written += more,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break true,
                    Err(error) => return Err(format!("a connection broke: {error}").into()),
                },
            }
        };
        if waits != self.waits_to_write {
            let out = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            epoll::modify(poll, &self.stream, data(id), epoll::EventFlags::IN | out)?;
            self.waits_to_write = waits;
        }
        Ok(())
    }

    fn reopen(&mut self, poll: &OwnedFd, id: usize) -> Result<()> {
        self.stream = connected(self.address, poll, id)?;
        self.input.clear();
        self.waits_to_write = false;
        Ok(())
    }
}

fn connected(address: SocketAddr, poll: &OwnedFd, id: usize) -> Result<TcpStream> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_nonblocking(true)?;
    epoll::add(poll, &stream, data(id), epoll::EventFlags::IN)?;
    Ok(stream)
}

fn data(id: usize) -> epoll::EventData {
    epoll::EventData::new_u64(id as u64)
}
