//! Envoy, with the probe in it and servers around it, on free ports.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use wasm_test::{Release, Request, Response};

use crate::probe;
use crate::proxy::{self, Options, Proxy, Stream};
use crate::wire::{Client, PATIENCE, Server};

pub(crate) struct Envoy {
    child: Child,
    folder: PathBuf,
    port: u16,
    upstream: Server,
    _backend: Server,
}

impl Envoy {
    pub(crate) fn start(binary: &str, options: &Options) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let (upstream, backend) = (Server::start(proxy::upstream), Server::start(proxy::backend));
        let configuration = configuration(options, upstream.port, backend.port);
        std::fs::write(folder.join("envoy.json"), configuration).unwrap();
        let mut child = Command::new(binary)
            .arg("--config-path")
            .arg(folder.join("envoy.json"))
            .arg("--admin-address-path")
            .arg(folder.join("admin"))
            .args(["--concurrency", "1", "--use-dynamic-base-id", "--log-level", "info"])
            .env("PROBE", "given")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        wait_until_it_serves(&mut child);
        let admin = std::fs::read_to_string(folder.join("admin")).unwrap();
        let port = listener_port(admin.trim());
        Self { child, folder, port, upstream, _backend: backend }
    }
}

/// The release to simulate for a binary.
pub(crate) fn release(binary: &str) -> Release {
    let output = Command::new(binary).arg("--version").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_once("version: ").and_then(|(_, version)| version.split('/').nth(1));
    let minor = version.and_then(|version| version.split('.').nth(1));
    match minor.and_then(|minor| minor.parse::<u32>().ok()) {
        Some(minor) if minor < 37 => Release::V1_36,
        _ => Release::V1_40,
    }
}

impl Drop for Envoy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Proxy for Envoy {
    fn open(&self, request: Request) -> Box<dyn Stream> {
        Box::new(Client::send(self.port, &request, true))
    }

    fn open_body(&self, request: Request) -> Box<dyn Stream> {
        Box::new(Client::send(self.port, &request, false))
    }

    fn upstream(&self) -> Vec<Request> {
        std::mem::take(&mut self.upstream.requests.lock().unwrap())
    }

    fn pass(&self) {
        std::thread::sleep(Duration::from_millis(10));
    }
}

impl Stream for Client {
    fn push(&mut self, chunk: &[u8]) {
        Client::push(self, chunk);
        // So that the proxy reads each chunk by itself.
        std::thread::sleep(Duration::from_millis(50));
    }

    fn finish(&mut self) {
        Client::finish(self);
    }

    fn reset(&mut self) {
        Client::reset(self);
    }

    fn response(&mut self) -> Response {
        Client::response(self)
    }

    fn is_silent(&mut self) -> bool {
        Client::is_silent(self)
    }
}

/// Reads the log to its end in the background, and returns once workers run.
fn wait_until_it_serves(child: &mut Child) {
    let log = BufReader::new(child.stderr.take().unwrap());
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        let mut all = String::new();
        for line in log.lines().map_while(Result::ok) {
            all += &format!("{line}\n");
            if line.contains("starting workers") {
                let _ = sender.send(Ok(()));
            }
        }
        let _ = sender.send(Err(all));
    });
    match receiver.recv_timeout(PATIENCE) {
        Ok(Ok(())) => {}
        other => {
            let _ = child.kill();
            panic!("Envoy does not serve: {other:?}");
        }
    }
}

fn listener_port(admin: &str) -> u16 {
    let mut stream = TcpStream::connect(admin).unwrap();
    stream.write_all(b"GET /listeners HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let line = answer.lines().find(|line| line.starts_with("probe::")).unwrap();
    line.rsplit(':').next().unwrap().trim().parse().unwrap()
}

fn configuration(options: &Options, upstream: u16, backend: u16) -> String {
    // A port that was free a moment ago, and on which nobody listens.
    let refused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let filters: String = (0..options.filters).map(|index| filter(options, index)).collect();
    let clusters = [
        cluster("upstream", Some(upstream)),
        cluster("backend", Some(backend)),
        cluster("refused", Some(refused)),
        cluster("empty", None),
    ];
    format!(
        r#"{{
  "admin": {{ "address": {any_port} }},
  "static_resources": {{
    "listeners": [{{
      "name": "probe",
      "address": {any_port},
      "per_connection_buffer_limit_bytes": {limit},
      "filter_chains": [{{ "filters": [{{ "name": "http", "typed_config": {{
        "@type": "{PREFIX}.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "probe",
        "http_protocol_options": {{ "enable_trailers": true }},
        "route_config": {{ "virtual_hosts": [{{ "name": "all", "domains": ["*"], "routes": [
          {{ "match": {{ "prefix": "/limited" }}, "route": {{ "cluster": "upstream", "timeout": "0s",
             "max_stream_duration": {{ "max_stream_duration": "{duration}s" }} }} }},
          {{ "match": {{ "prefix": "/idle" }}, "route": {{ "cluster": "upstream", "timeout": "0s",
             "idle_timeout": "{idle}s" }} }},
          {{ "match": {{ "prefix": "/" }}, "route": {{ "cluster": "upstream", "timeout": "0s" }} }}
        ] }}] }},
        "http_filters": [{filters}
          {{ "name": "router",
             "typed_config": {{ "@type": "{PREFIX}.filters.http.router.v3.Router" }} }}
        ]
      }} }}] }}]
    }}],
    "clusters": [{clusters}]
  }}
}}"#,
        any_port = address(0),
        limit = proxy::BODY_LIMIT,
        duration = proxy::MAX_DURATION.as_secs_f64(),
        idle = proxy::IDLE_TIMEOUT.as_secs_f64(),
        clusters = clusters.join(","),
    )
}

const RELOAD: &str = r#""failure_policy": "FAIL_RELOAD",
    "reload_config": { "backoff": { "base_interval": "0.01s" } }"#;

const PREFIX: &str = "type.googleapis.com/envoy.extensions";

fn filter(options: &Options, index: usize) -> String {
    format!(
        r#"{{ "name": "probe-{index}", "typed_config": {{
  "@type": "{PREFIX}.filters.http.wasm.v3.Wasm",
  "config": {{
    "name": "probe-{index}",
    "root_id": "probe-{index}",
    "allow_on_headers_stop_iteration": {stops},
    {failure},
    "vm_config": {{
      "vm_id": "probe",
      "runtime": "envoy.wasm.runtime.v8",
      "environment_variables": {{ "host_env_keys": ["PROBE"] }},
      "code": {{ "local": {{ "filename": "{module}" }} }}
    }}
  }} }} }},"#,
        stops = options.stops_on_headers,
        failure = match options.fails_closed {
            true => r#""failure_policy": "FAIL_CLOSED""#,
            false => RELOAD,
        },
        module = probe::path().display(),
    )
}

fn cluster(name: &str, port: Option<u16>) -> String {
    let endpoints = port.map_or_else(String::new, |port| {
        let endpoint = format!(r#"{{ "endpoint": {{ "address": {} }} }}"#, address(port));
        format!(r#"{{ "lb_endpoints": [{endpoint}] }}"#)
    });
    format!(
        r#"{{ "name": "{name}", "type": "STATIC", "connect_timeout": "1s",
  "typed_extension_protocol_options": {{ "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {{
    "@type": "{PREFIX}.upstreams.http.v3.HttpProtocolOptions",
    "explicit_http_config": {{ "http_protocol_options": {{ "enable_trailers": true }} }} }} }},
  "load_assignment": {{ "cluster_name": "{name}", "endpoints": [{endpoints}] }} }}"#
    )
}

fn address(port: u16) -> String {
    format!(r#"{{ "socket_address": {{ "address": "127.0.0.1", "port_value": {port} }} }}"#)
}
