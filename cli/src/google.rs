//! Google's REST APIs, as far as a command needs them: Pub/Sub's, with a token of the metadata
//! server. The calls block; a command that does something else meanwhile makes them elsewhere.

use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Request;

/// Longest wait for one answer; a pull waits for messages on the server's side.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why a call did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No answer.
    #[error("{url}: {error}")]
    Unreachable {
        /// What was called.
        url: String,
        /// What the client said.
        error: Box<ureq::Error>,
    },
    /// An answer that says no.
    #[error("{url}: status {status}: {message}")]
    Status {
        /// What was called.
        url: String,
        /// The answer's status.
        status: u16,
        /// The API's own words.
        message: String,
    },
    /// An answer that says something else.
    #[error("{url}: the answer has no {expected}")]
    Answer {
        /// What was called.
        url: String,
        /// What it should have had.
        expected: &'static str,
    },
}

/// Pub/Sub, for one account.
#[derive(Debug)]
pub struct PubSub {
    agent: Agent,
    base: String,
    token: String,
}

impl PubSub {
    /// With a token that is at hand.
    pub fn with_token(base: &str, token: &str) -> Self {
        Self { agent: agent(), base: base.to_owned(), token: token.to_owned() }
    }

    /// With the token of the machine's own account.
    ///
    /// # Errors
    /// If the metadata server gives none.
    pub fn of_this_machine(base: &str, metadata_base: &str) -> Result<Self, Error> {
        let agent = agent();
        let url = format!("{metadata_base}/computeMetadata/v1/instance/service-accounts/default/token");
        let request = Request::get(&url).header("metadata-flavor", "Google").body(String::new());
        let answer = call(&agent, &url, request)?;
        let token = answer.get("access_token").and_then(Value::as_str);
        let token = token.ok_or(Error::Answer { url, expected: "access_token" })?;
        Ok(Self::with_token(base, token))
    }

    /// Creates a topic or a subscription; `false` if one of this name is there already.
    ///
    /// # Errors
    /// Any other answer than success and 409.
    pub fn create(&self, name: &str, resource: &Value) -> Result<bool, Error> {
        match self.send("PUT", name, resource) {
            Ok(_) => Ok(true),
            Err(Error::Status { status: 409, .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Calls a method of a resource, such as `projects/p/topics/t:publish`.
    ///
    /// # Errors
    /// Any answer but success.
    pub fn post(&self, method: &str, body: &Value) -> Result<Value, Error> {
        self.send("POST", method, body)
    }

    fn send(&self, method: &str, name: &str, body: &Value) -> Result<Value, Error> {
        let url = format!("{}/v1/{name}", self.base);
        let request = Request::builder()
            .method(method)
            .uri(&url)
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json")
            .body(body.to_string());
        call(&self.agent, &url, request)
    }
}

fn agent() -> Agent {
    Agent::config_builder()
        .timeout_global(Some(TIMEOUT))
        .http_status_as_error(false)
        // A proxy would see the token, and this machine's services are not behind one.
        .proxy(None)
        .max_redirects(0)
        .build()
        .into()
}

fn call(
    agent: &Agent,
    url: &str,
    request: Result<Request<String>, ureq::http::Error>,
) -> Result<Value, Error> {
    let unreachable = |error: ureq::Error| Error::Unreachable { url: url.to_owned(), error: Box::new(error) };
    let request = request.map_err(|error| unreachable(error.into()))?;
    let mut answer = agent.run(request).map_err(unreachable)?;
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().map_err(unreachable)?;
    let value: Value = serde_json::from_str(&text).unwrap_or_else(|_| json!({}));
    if (200..300).contains(&status) {
        return Ok(value);
    }
    let message = value.pointer("/error/message").and_then(Value::as_str).unwrap_or("no reason given");
    Err(Error::Status { url: url.to_owned(), status, message: message.escape_debug().to_string() })
}
