//! What contenders talk to, in one thread: a queue that answers every publish alike, the metadata server,
//! a provider that signs people in without asking, and the upstream.
//!
//! The queue stores nothing, so that it is never what a measurement measures; it counts, and it demands
//! the access token, so that nobody is fast by leaving something out.

use std::collections::{BTreeMap, BinaryHeap};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use memchr::memmem;
use rustix::buffer::spare_capacity;
use rustix::event::epoll;
use rustix::io::retry_on_intr;
use rustix::process::Pid;
use rustix::time::Timespec;
use serde_json::json;

use crate::Result;
use crate::http::{Message, Start, response};
use crate::process::{Place, place, schedstat};
use crate::tokens::{self, Signer};

/// What the metadata server gives out and the queue demands.
pub(crate) const ACCESS_TOKEN: &str = "bench-access-token";

/// Everything else than the services: the upstream's answer.
pub(crate) const UPSTREAM_BODY: &[u8] = b"{\"answer\":\"from the upstream\"}";

/// The running thread. It ends with the process.
#[derive(Debug)]
pub(crate) struct Backend {
    address: SocketAddr,
    thread: Pid,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    messages: AtomicU64,
    publishes: AtomicU64,
    delay_ms: AtomicU64,
    records: AtomicBool,
    recorded: Mutex<Vec<Recorded>>,
}

/// A request as it arrived, while somebody wants to know.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) target: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Recorded {
    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut fitting = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        fitting.next().map(|(_, value)| value.as_str())
    }
}

impl Backend {
    /// Starts it on a free loopback port.
    pub(crate) fn start(signer: Arc<Signer>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::<Shared>::default();
        let (started, starting) = mpsc::channel();
        let of_thread = Arc::clone(&shared);
        std::thread::Builder::new().name("backend".to_owned()).spawn(move || {
            let _ = started.send(rustix::thread::gettid());
            let services = Services { base: format!("http://{address}"), signer, shared: of_thread };
            let served = place(None, Place::Harness).and_then(|()| serve(listener, &services));
            if let Err(error) = served {
                eprintln!("bench: the queue and the upstream ended: {error}");
            }
        })?;
        Ok(Self { address, thread: starting.recv()?, shared })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// An issuer that publishes `keys` signing keys, the last of which signs.
    pub(crate) fn issuer(&self, keys: usize) -> String {
        format!("http://{}/issuer/{keys}", self.address)
    }

    /// Messages published so far.
    pub(crate) fn messages(&self) -> u64 {
        self.shared.messages.load(Ordering::Relaxed)
    }

    /// Publish calls so far; each has one message or more.
    pub(crate) fn publishes(&self) -> u64 {
        self.shared.publishes.load(Ordering::Relaxed)
    }

    /// How long the queue takes to answer from now on.
    pub(crate) fn set_delay(&self, delay: Duration) {
        let milliseconds = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX);
        self.shared.delay_ms.store(milliseconds, Ordering::Relaxed);
    }

    /// What arrives while `action` runs.
    pub(crate) fn record<T>(&self, action: impl FnOnce() -> Result<T>) -> Result<(T, Vec<Recorded>)> {
        self.recorded().clear();
        self.shared.records.store(true, Ordering::SeqCst);
        let done = action();
        self.shared.records.store(false, Ordering::SeqCst);
        let recorded = std::mem::take(&mut *self.recorded());
        Ok((done?, recorded))
    }

    fn recorded(&self) -> MutexGuard<'_, Vec<Recorded>> {
        self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// CPU time of its thread, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        let thread = self.thread.as_raw_nonzero();
        schedstat(&PathBuf::from(format!("/proc/self/task/{thread}/schedstat")))
    }

    /// Moves it to another processor, as where it is itself what is measured.
    pub(crate) fn place(&self, to: Place) -> Result<()> {
        place(Some(self.thread), to)
    }
}

struct Services {
    base: String,
    signer: Arc<Signer>,
    shared: Arc<Shared>,
}

impl Services {
    /// The answer to a request, and how long it is kept back.
    fn answer(&self, message: &Message<'_>) -> Result<(Duration, Vec<u8>)> {
        let Start::Request { method, target } = message.start else { return Err("not a request".into()) };
        if self.shared.records.load(Ordering::Relaxed) {
            self.record(target, message);
        }
        let path = target.split('?').next().unwrap_or_default();
        if path.ends_with(":publish") && method == "POST" {
            let delay = Duration::from_millis(self.shared.delay_ms.load(Ordering::Relaxed));
            return Ok((delay, self.publish(message)));
        }
        let json = |value: serde_json::Value| response(200, "application/json", value.to_string().as_bytes());
        let answer = match path {
            "/computeMetadata/v1/instance/service-accounts/default/token" => {
                json(json!({"access_token": ACCESS_TOKEN, "expires_in": 3599, "token_type": "Bearer"}))
            }
            // Push tokens are Google's own; the stand-in for Google has its keys at Google's path.
            "/oauth2/v3/certs" => json(self.signer.key_set(1)?),
            "/tokeninfo" => self.token_info(target),
            _ => match path.strip_prefix("/issuer/").and_then(|rest| rest.split_once('/')) {
                Some((keys, page)) => self.issuer(keys, page, message)?,
                None => response(200, "application/json", UPSTREAM_BODY),
            },
        };
        Ok((Duration::ZERO, answer))
    }

    fn record(&self, target: &str, message: &Message<'_>) {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let headers = message.headers.iter().map(|(name, value)| ((*name).to_owned(), text(value)));
        let recorded =
            Recorded { target: target.to_owned(), headers: headers.collect(), body: message.body.to_vec() };
        self.shared.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(recorded);
    }

    fn publish(&self, message: &Message<'_>) -> Vec<u8> {
        let expected = ["Bearer ", ACCESS_TOKEN].concat();
        if message.header("authorization") != Some(expected.as_bytes()) {
            return response(401, "application/json", b"{}");
        }
        // A quotation mark inside a value is escaped, so this stands only where a message begins.
        let messages = memmem::find_iter(&message.body, b"\"data\":\"").count();
        self.shared.messages.fetch_add(messages as u64, Ordering::Relaxed);
        self.shared.publishes.fetch_add(1, Ordering::Relaxed);
        let ids = vec!["\"1234567890123456\""; messages].join(",");
        response(200, "application/json", format!("{{\"messageIds\":[{ids}]}}").as_bytes())
    }

    /// Google's tokeninfo, for the seed's design: what a genuine token says, as texts.
    fn token_info(&self, target: &str) -> Vec<u8> {
        let token = target.split_once("id_token=").map(|(_, token)| token).unwrap_or_default();
        match self.signer.claims(token) {
            Some(claims) => {
                let fields = ["iss", "aud", "email", "email_verified"];
                let text = |name: &str| match &claims[name] {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                };
                let told: serde_json::Map<_, _> =
                    fields.iter().map(|name| ((*name).to_owned(), text(name).into())).collect();
                response(200, "application/json", serde_json::Value::Object(told).to_string().as_bytes())
            }
            None => response(400, "application/json", b"{\"error\":\"invalid_token\"}"),
        }
    }

    fn issuer(&self, keys: &str, page: &str, message: &Message<'_>) -> Result<Vec<u8>> {
        let issuer = format!("{}/issuer/{keys}", self.base);
        let answer = match page {
            ".well-known/openid-configuration" => json!({
                "issuer": issuer,
                "authorization_endpoint": format!("{issuer}/authorize"),
                "token_endpoint": format!("{issuer}/token"),
                "jwks_uri": format!("{issuer}/keys"),
                "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post"],
            }),
            "keys" => self.signer.key_set(keys.parse()?)?,
            // The harness, which is the browser too, names the nonce as the code.
            "token" => {
                let form = String::from_utf8_lossy(&message.body).into_owned();
                let code = form.split('&').find_map(|pair| pair.strip_prefix("code=")).unwrap_or_default();
                let person = tokens::person(&issuer);
                let mut identity = person.clone();
                identity["nonce"] = code.into();
                json!({
                    "access_token": self.signer.sign(&person)?,
                    "id_token": self.signer.sign(&identity)?,
                    "token_type": "Bearer",
                    "expires_in": 3600,
                })
            }
            _ => return Ok(response(404, "application/json", b"{}")),
        };
        Ok(response(200, "application/json", answer.to_string().as_bytes()))
    }
}

/// A client's connection.
struct Connection {
    stream: TcpStream,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
    waits_to_write: bool,
}

/// An answer that is kept back. Ordered by when it is due, the earliest first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Due(std::cmp::Reverse<Instant>, u64, Vec<u8>);

const LISTENER: u64 = 0;

fn serve(listener: TcpListener, services: &Services) -> Result<()> {
    listener.set_nonblocking(true)?;
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&poll, &listener, epoll::EventData::new_u64(LISTENER), epoll::EventFlags::IN)?;
    let mut connections = BTreeMap::new();
    let mut next = LISTENER + 1;
    let mut kept_back = BinaryHeap::<Due>::new();
    let mut events = Vec::with_capacity(256);
    let mut chunk = vec![0; 256 * 1024];
    loop {
        let wait = kept_back.peek().map(|Due(due, ..)| due.0.saturating_duration_since(Instant::now()));
        // Rounded up to a whole millisecond, which is what epoll counts in.
        let wait = wait.map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or_default(),
            tv_nsec: (i64::from(wait.subsec_millis()) + 1).min(999) * 1_000_000,
        });
        events.clear();
        retry_on_intr(|| epoll::wait(&poll, spare_capacity(&mut events), wait.as_ref()))?;
        for event in &events {
            let id = event.data.u64();
            if id == LISTENER {
                accept(&listener, &poll, &mut connections, &mut next)?;
                continue;
            }
            let Some(connection) = connections.get_mut(&id) else { continue };
            let open = connection.turn(services, &mut chunk, id, &mut kept_back);
            if !open.unwrap_or(false) || connection.watch(&poll, id).is_err() {
                connections.remove(&id);
            }
        }
        while kept_back.peek().is_some_and(|Due(due, ..)| due.0 <= Instant::now()) {
            let Some(Due(_, id, bytes)) = kept_back.pop() else { break };
            let Some(connection) = connections.get_mut(&id) else { continue };
            connection.output.extend_from_slice(&bytes);
            if connection.write().is_err() || connection.watch(&poll, id).is_err() {
                connections.remove(&id);
            }
        }
    }
}

fn accept(
    listener: &TcpListener,
    poll: &OwnedFd,
    connections: &mut BTreeMap<u64, Connection>,
    next: &mut u64,
) -> Result<()> {
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        epoll::add(poll, &stream, epoll::EventData::new_u64(*next), epoll::EventFlags::IN)?;
        let connection =
            Connection { stream, input: Vec::new(), output: Vec::new(), written: 0, waits_to_write: false };
        connections.insert(*next, connection);
        *next += 1;
    }
}

impl Connection {
    /// Reads what is there, answers what is whole, writes what can be written. `false` once the client
    /// has gone.
    fn turn(
        &mut self,
        services: &Services,
        chunk: &mut [u8],
        id: u64,
        kept_back: &mut BinaryHeap<Due>,
    ) -> Result<bool> {
        loop {
            match self.stream.read(chunk) {
                Ok(0) => return Ok(false),
                Ok(read) => {
                    self.input.extend_from_slice(chunk.get(..read).unwrap_or_default());
                    if read < chunk.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error.into()),
            }
        }
        let mut used = 0;
        while let Some(message) = Message::request(self.input.get(used..).unwrap_or_default())? {
            used += message.length;
            let (delay, bytes) = services.answer(&message)?;
            if delay.is_zero() {
                self.output.extend_from_slice(&bytes);
            } else {
                kept_back.push(Due(std::cmp::Reverse(Instant::now() + delay), id, bytes));
            }
        }
        self.input.drain(..used);
        self.write()?;
        Ok(true)
    }

    fn write(&mut self) -> Result<()> {
        while let Some(rest) = self.output.get(self.written..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.output.clear();
        self.written = 0;
        Ok(())
    }

    /// Asks to be told when more can be written, if more is to be written.
    fn watch(&mut self, poll: &OwnedFd, id: u64) -> Result<()> {
        let waits = !self.output.is_empty();
        if waits != self.waits_to_write {
            let out = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            epoll::modify(poll, &self.stream, epoll::EventData::new_u64(id), epoll::EventFlags::IN | out)?;
            self.waits_to_write = waits;
        }
        Ok(())
    }
}
