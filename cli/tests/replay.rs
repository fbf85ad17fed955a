//! Dead letters against the stand-in for Pub/Sub.

use std::net::SocketAddr;
use std::sync::OnceLock;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockgate::config::Environment;
use lockgate::google::PubSub;
use lockgate::replay::{Options, replay};
use lockgate_local::Server;
use serde_json::{Value, json};
use tempfile::TempDir;

/// The stand-in on a thread of its own, because the commands block. One for all tests, since making
/// its key takes seconds; each test has a project of its own.
fn services() -> SocketAddr {
    static SERVICES: OnceLock<(SocketAddr, TempDir)> = OnceLock::new();
    let start = || {
        let directory = tempfile::tempdir().unwrap();
        let options = lockgate_local::Options::new("127.0.0.1:0".parse().unwrap(), directory.path());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let server = Server::bind(options).await.unwrap();
                sender.send(server.local_addr()).unwrap();
                server.run(std::future::pending()).await.unwrap();
            });
        });
        (receiver.recv().unwrap(), directory)
    };
    SERVICES.get_or_init(start).0
}

struct Queue {
    pubsub: PubSub,
    environment: Environment,
    dead: String,
    log: String,
    again: String,
}

impl Queue {
    fn with_letters(project: &str, ids: &[&str]) -> Self {
        let base = format!("http://{}", services());
        let pubsub = PubSub::of_this_machine(&base, &base).unwrap();
        let name = |kind: &str, id: &str| format!("projects/{project}/{kind}/{id}");
        let (dead_topic, log) = (name("topics", "dead"), name("topics", "log"));
        let (dead, again) = (name("subscriptions", "dead"), name("subscriptions", "again"));
        for topic in [&dead_topic, &log] {
            pubsub.create(topic, &json!({})).unwrap();
        }
        pubsub.create(&dead, &json!({"topic": dead_topic, "ackDeadlineSeconds": 60})).unwrap();
        pubsub.create(&again, &json!({"topic": log})).unwrap();
        for id in ids {
            let head = json!({
                "v": 1, "id": id, "method": "POST", "path": "/x?t=hush", "received_at": "2026-01-01T00:00:00.000Z",
            });
            let data = STANDARD.encode(format!("{head}\nhush"));
            let attributes =
                json!({"lockgate_id": id, "lockgate_reason": "upstream_status", "lockgate_status": "404"});
            let message = json!({"messages": [{"data": data, "attributes": attributes}]});
            pubsub.post(&format!("{dead_topic}:publish"), &message).unwrap();
        }
        let environment = [("GOOGLE_API_BASE", &base), ("METADATA_BASE", &base)];
        let environment =
            environment.into_iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
        Self { pubsub, environment, dead, log, again }
    }

    fn replay(&self, to: Option<&str>, ids: &[&str]) -> Result<Vec<String>, String> {
        let options = Options {
            subscription: self.dead.clone(),
            to: to.map(str::to_owned),
            ids: ids.iter().map(|&id| id.to_owned()).collect(),
            limit: 1000,
        };
        let mut out = Vec::new();
        replay(&options, &self.environment, &mut out).map_err(|error| error.to_string())?;
        let text = String::from_utf8(out).unwrap();
        assert!(!text.contains("hush"), "{text}");
        Ok(text.lines().filter(|line| !line.starts_with("id\t")).map(str::to_owned).collect())
    }

    fn pull(&self, subscription: &str) -> Vec<Value> {
        // Waits for what was given back a moment ago.
        let request = json!({"maxMessages": 100});
        let answer = self.pubsub.post(&format!("{subscription}:pull"), &request).unwrap();
        answer["receivedMessages"].as_array().cloned().unwrap_or_default()
    }
}

#[test]
fn a_list_leaves_the_letters_where_they_are() {
    let queue = Queue::with_letters("listed", &["a", "b"]);
    let listed = queue.replay(None, &[]).unwrap();
    assert_eq!(listed[0], "a\tupstream_status\t404\tPOST\t/x\t2026-01-01T00:00:00.000Z");
    assert_eq!(queue.replay(None, &[]).unwrap(), listed);
    assert_eq!(queue.pull(&queue.dead).len(), 2);
}

#[test]
fn a_replayed_letter_is_published_unchanged_and_then_gone() {
    let queue = Queue::with_letters("replayed", &["a", "b"]);
    assert_eq!(queue.replay(Some(&queue.log), &["b"]).unwrap().len(), 1);
    let again = queue.pull(&queue.again);
    assert_eq!(again.len(), 1);
    assert_eq!(again[0]["message"]["attributes"], json!({"lockgate_id": "b"}));
    let data = STANDARD.decode(again[0]["message"]["data"].as_str().unwrap()).unwrap();
    assert!(data.starts_with(b"{\"v\":1,\"id\":\"b\"") && data.ends_with(b"\nhush"));
    assert_eq!(queue.replay(None, &[]).unwrap().len(), 1);
}

#[test]
fn a_letter_whose_publish_fails_stays() {
    let queue = Queue::with_letters("failing", &["a"]);
    let error = queue.replay(Some("projects/p/topics/missing"), &[]).unwrap_err();
    assert!(error.contains("404"), "{error}");
    assert_eq!(queue.replay(None, &[]).unwrap().len(), 1);
}

#[test]
fn an_unknown_id_is_an_error() {
    let queue = Queue::with_letters("unknown", &["a"]);
    assert!(queue.replay(Some(&queue.log), &["z"]).unwrap_err().contains("no dead letter has the id z"));
    assert_eq!(queue.replay(None, &[]).unwrap().len(), 1);
}

#[test]
fn a_token_is_never_sent_in_clear_to_another_machine() {
    let environment = Environment::from([("GOOGLE_API_BASE".to_owned(), "http://example.com".to_owned())]);
    let options = Options {
        subscription: "projects/p/subscriptions/s".to_owned(),
        to: None,
        ids: Vec::new(),
        limit: 1,
    };
    let error = replay(&options, &environment, &mut Vec::new()).unwrap_err().to_string();
    assert!(error.contains("GOOGLE_API_BASE: given \"http://example.com\""), "{error}");
}
