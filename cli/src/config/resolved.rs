//! The configuration as used: everything checked, every default filled in.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;

use super::access::Access;
use super::adapter::Adapter;
use super::backends::Backend;
use super::budgets::{Budgets, Limits};
use super::cors::Cors;
use super::invert::{Client, Invert};
use super::log_format::LogFormat;
use super::matching::Match;
use super::mesh::Mesh;
use super::secret::SecretName;
use super::sign_in::SignIn;
use super::upstream_identity::UpstreamIdentity;
use super::url::{Scheme, Url};

/// One service's front door.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where requests come in.
    pub listen: SocketAddr,
    /// Envoy's admin interface, on loopback.
    pub admin: SocketAddr,
    /// How the world reaches this, without a path.
    pub public_url: Option<Url>,
    /// How many proxies in front append to `X-Forwarded-For`; with 0 nothing the client says about
    /// forwarding is kept.
    pub trusted_hops: u32,
    /// The certificate authorities that an upstream or a called service must be signed by.
    pub ca_file: String,
    /// The service behind.
    pub upstream: Upstream,
    /// Google's services, or their stand-in.
    pub services: Services,
    /// Absent unless its group is set.
    pub slack: Option<Slack>,
    /// Absent unless its group is set.
    pub log: Option<Log>,
    /// Absent unless its group is set.
    pub sign_in: Option<SignIn>,
    /// Where in a mesh it stands, if in one.
    pub mesh: Option<Mesh>,
    /// What the lines of the logs look like.
    pub log_format: LogFormat,
    /// Sizes.
    pub limits: Limits,
    /// Times.
    pub budgets: Budgets,
    /// In order; those of an absent group are left out.
    pub routes: Vec<Route>,
    /// What is known of backends beside their names in routes.
    pub backends: Vec<Backend>,
}

/// The service behind.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// A path in it is put before every other; absent where an agent fetches every request.
    pub url: Option<Url>,
    /// Absent unless its group is set.
    pub identity: Option<UpstreamIdentity>,
}

/// Where Google's services are reached.
#[derive(Clone, Debug)]
pub struct Services {
    /// Publishing.
    pub pubsub: Url,
    /// Secrets.
    pub secret_manager: Url,
    /// Access tokens.
    pub metadata: Url,
    /// The clusters that lead to single hosts, as a mesh has them; empty where one cluster leads to all.
    pub clusters: BTreeMap<String, String>,
}

/// The Slack group.
#[derive(Clone, Debug)]
pub struct Slack {
    /// One or more secrets, comma separated, newest first.
    pub signing_secret: SecretName,
    /// How long one from Secret Manager stays good after the one that replaced it was seen.
    pub overlap: Duration,
}

/// The log group.
#[derive(Clone, Debug)]
pub struct Log {
    /// `projects/P/topics/T`.
    pub topic: String,
    /// `projects/P/topics/D`.
    pub dead_letter_topic: String,
    /// Signs envelopes.
    pub key: Option<SecretName>,
    /// Whose pushes are believed.
    pub push: Push,
    /// What is done to a request when it comes back, by its path; in order.
    pub restored: Vec<Restored>,
    /// Upstream answers that Pub/Sub shall try again; the filter's own set when absent.
    pub retry_statuses: Option<Vec<String>>,
    /// Upstream answers that are dead letters although the other set has them.
    pub permanent_statuses: Option<Vec<String>>,
    /// Headers of a stored request that are restored although they are dropped by default.
    pub keep_headers: Option<Vec<String>>,
}

impl Log {
    /// Whether any restored request is rewritten.
    pub fn adapts(&self) -> bool {
        self.restored.iter().any(|restored| restored.adapter.is_some())
    }
}

/// The push token that is believed.
#[derive(Clone, Debug)]
pub struct Push {
    /// `aud`.
    pub audience: String,
    /// `email`.
    pub service_account: String,
    /// `iss`.
    pub issuer: Url,
    /// Where the issuer's keys are.
    pub jwks_uri: Url,
}

/// What is done to a restored request.
#[derive(Clone, Debug)]
pub struct Restored {
    /// On the restored path.
    pub matching: Match,
    /// Rewrites the body.
    pub adapter: Option<Adapter>,
    /// Signs the request for an upstream that checks signatures itself.
    pub sign: Option<Signature>,
}

/// A signature that is added to a restored request.
#[derive(Clone, Debug)]
pub enum Signature {
    /// As Slack signs.
    Slack(SecretName),
    /// As <https://www.standardwebhooks.com> says.
    StandardWebhooks(SecretName),
}

/// One line of the route table.
#[derive(Clone, Debug)]
pub struct Route {
    /// Lower case; also the envelope's `route`.
    pub name: String,
    /// Which requests.
    pub matching: Match,
    /// Who may come in.
    pub guard: Guard,
    /// Rewrites the body before it is stored or sent on.
    pub adapter: Option<Adapter>,
    /// Stores the request; the upstream answers when absent.
    pub enqueue: Option<Enqueue>,
    /// Which other origins' pages may call it.
    pub cors: Option<Cors>,
    /// An agent fetches its requests, or it is the agent's.
    pub invert: Option<Invert>,
    /// Which of its requests have a line in the access log.
    pub access_log: AccessLog,
}

/// Which requests have a line in the access log.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AccessLog {
    /// Every one.
    #[default]
    All,
    /// Those that are answered 400 or worse, or not at all.
    Failures,
}

/// Who may come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// Slack, by its signature; what happens to some kinds of request (kind, action).
    Slack(Vec<(String, String)>),
    /// Pub/Sub, by its push token.
    Push,
    /// Everybody.
    Public,
    /// Whoever is signed in or brings a token, and may.
    Oidc(Access),
}

impl Guard {
    /// Whether the upstream gets the token that somebody came with.
    pub fn forwards_token(&self) -> bool {
        matches!(self, Self::Oidc(access) if access.forward_token)
    }
}

/// How a request is stored and answered.
#[derive(Clone, Debug)]
pub struct Enqueue {
    /// The path it will have at the upstream; as it is when absent.
    pub rewrite: Option<Rewrite>,
    /// Which headers are stored; the default policy when absent.
    pub headers: Option<HeaderPolicy>,
    /// The answer once it is stored.
    pub reply: Reply,
}

/// The path at the upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rewrite {
    /// Always this.
    Path(String),
    /// Without this prefix.
    StripPrefix(String),
}

/// Which headers are stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderPolicy {
    /// These and no others.
    Only(Vec<String>),
    /// These too.
    Keep(Vec<String>),
}

/// A fixed answer; `{id}` in the body stands for the envelope's id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// 2xx.
    pub status: u16,
    /// Absent without a body.
    pub content_type: Option<String>,
    /// Absent when empty.
    pub body: Option<String>,
}

impl Config {
    /// What works, and should not be used in earnest.
    pub fn warning(&self) -> Option<String> {
        let url = self.public_url.as_ref().filter(|url| url.scheme == Scheme::Http)?;
        self.sign_in.as_ref()?.login.as_ref()?;
        Some(format!("public_url is {url}: session cookies are not Secure, which is for this machine alone"))
    }

    /// Whether requests wait for agents, who must meet them in one worker.
    pub fn inverts(&self) -> bool {
        self.routes.iter().any(|route| route.invert.is_some())
    }

    /// The routes whose requests wait for agents.
    pub fn inverted(&self) -> impl Iterator<Item = &Client> {
        self.routes.iter().filter_map(|route| match &route.invert {
            Some(Invert::Client(client)) => Some(client),
            Some(Invert::Agent(_) | Invert::Admin) | None => None,
        })
    }

    /// What Envoy must be able to hold of one request while a filter reads it, in bytes.
    pub fn connection_buffer(&self) -> u64 {
        let response = if self.inverts() { self.limits.response + 4_096 } else { 0 };
        self.limits.connection_buffer().max(response.next_multiple_of(4_096))
    }

    /// The environment variables that the filters read, sorted. Every plugin gets the same list,
    /// because it is part of what makes two plugins share a VM.
    pub fn variables(&self) -> BTreeSet<&str> {
        let slack = self.slack.iter().map(|slack| &slack.signing_secret);
        let log = self.log.iter().flat_map(|log| {
            let signatures = log.restored.iter().filter_map(|restored| match &restored.sign {
                Some(Signature::Slack(secret) | Signature::StandardWebhooks(secret)) => Some(secret),
                None => None,
            });
            log.key.iter().chain(signatures)
        });
        let sign_in = self.sign_in.iter().flat_map(SignIn::secrets);
        let identity = self.upstream.identity.iter().filter_map(|identity| identity.key.as_ref());
        slack.chain(log).chain(sign_in).chain(identity).filter_map(SecretName::variable).collect()
    }
}
