//! Envelopes as the queue holds them, written independently of the filters that write and read them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value, json};
use sha2::Sha256;

/// An envelope of version 1.
#[derive(Clone, Debug)]
pub struct Envelope {
    fields: Map<String, Value>,
    body: Vec<u8>,
}

impl Envelope {
    /// A request without headers or a body. The id is also what a test finds it by.
    pub fn new(id: &str, method: &str, path: &str) -> Self {
        let fields = json!({
            "v": 1,
            "id": id,
            "received_at": "2026-11-22T04:00:00.000Z",
            "route": "wal",
            "method": method,
            "path": path,
            "headers": [],
        });
        Self { fields: fields.as_object().cloned().unwrap_or_default(), body: Vec::new() }
    }

    /// Appends a header.
    pub fn header(mut self, name: &str, value: impl Into<Value>) -> Self {
        if let Some(Value::Array(headers)) = self.fields.get_mut("headers") {
            headers.push(json!([name, value.into()]));
        }
        self
    }

    /// Sets a field of the line.
    pub fn field(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(name.to_owned(), value.into());
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The data of a message, without a seal.
    pub fn unsealed(&self) -> Vec<u8> {
        let line = Value::Object(self.fields.clone()).to_string();
        [line.as_bytes(), b"\n", &self.body].concat()
    }

    /// The data of a message, sealed with a log key in base64.
    pub fn sealed(&self, log_key: &str) -> Vec<u8> {
        let key = STANDARD.decode(log_key).expect("a key in base64");
        let line = Value::Object(self.fields.clone()).to_string();
        let open = line.strip_suffix('}').unwrap_or(&line);
        let mac = STANDARD.encode(hmac(&key, &[open.as_bytes(), b"\n", &self.body]));
        let id = hmac(&key, &[b"lockgate log key id"]);
        let id: String = id.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        let line = format!(r#"{open},"mac":{{"key":"{id}","hs256":"{mac}"}}}}"#);
        [line.as_bytes(), b"\n", &self.body].concat()
    }
}

fn hmac(key: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("a key of any length");
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().to_vec()
}
