//! The file as written. Every field is optional here; what is missing is said in `resolve`, with the
//! name of the variable that would have filled it.

use serde::Deserialize;

use super::adapter::RawAdapter;
use super::backends::RawInvertingProxy;
use super::budgets::{RawBudgets, RawLimits};
use super::cors::RawCors;
use super::invert::RawInvert;
use super::matching::RawMatch;
use super::mesh::RawMesh;
use super::resolved::AccessLog;
use super::scalars::{Count, Flag, Span, StatusSet};
use super::secret::SecretName;
use super::sign_in::RawSignIn;
use super::upstream_identity::RawUpstreamIdentity;
use super::who::RawWho;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object that begins with version: 1")]
pub(super) struct Raw {
    pub(super) version: Option<Count>,
    pub(super) listen: Option<String>,
    pub(super) admin: Option<String>,
    pub(super) public_url: Option<String>,
    pub(super) trusted_hops: Option<Count>,
    pub(super) ca_file: Option<String>,
    pub(super) upstream: Option<RawUpstream>,
    #[serde(default)]
    pub(super) services: RawServices,
    pub(super) slack: Option<RawSlack>,
    pub(super) log: Option<RawLog>,
    pub(super) sign_in: Option<RawSignIn>,
    pub(super) mesh: Option<RawMesh>,
    #[serde(default)]
    pub(super) inverting_proxy: RawInvertingProxy,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) budgets: RawBudgets,
    #[serde(default)]
    pub(super) routes: Vec<RawRoute>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {url: https://my-service.example.com}")]
pub(super) struct RawUpstream {
    pub(super) url: Option<String>,
    pub(super) timeout: Option<Span>,
    pub(super) identity: Option<RawUpstreamIdentity>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with google_api_base and metadata_base")]
pub(super) struct RawServices {
    pub(super) google_api_base: Option<String>,
    pub(super) metadata_base: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {signing_secret: {env: SLACK_SIGNING_SECRET}}")]
pub(super) struct RawSlack {
    pub(super) signing_secret: Option<SecretName>,
    pub(super) overlap: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with topic, dead_letter_topic and push")]
pub(super) struct RawLog {
    pub(super) topic: Option<String>,
    pub(super) dead_letter_topic: Option<String>,
    pub(super) key: Option<SecretName>,
    #[serde(default)]
    pub(super) push: RawPush,
    #[serde(default)]
    pub(super) restored: Vec<RawRestored>,
    pub(super) retry_statuses: Option<Vec<StatusSet>>,
    pub(super) permanent_statuses: Option<Vec<StatusSet>>,
    pub(super) keep_headers: Option<Vec<String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with audience and service_account")]
pub(super) struct RawPush {
    pub(super) audience: Option<String>,
    pub(super) service_account: Option<String>,
    pub(super) issuer: Option<String>,
    pub(super) jwks_uri: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {match: {path: /slack/command}, adapter: plain}")]
pub(super) struct RawRestored {
    #[serde(rename = "match")]
    pub(super) matching: RawMatch,
    pub(super) adapter: Option<RawAdapter>,
    pub(super) sign: Option<RawSign>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {slack: {env: SLACK_SIGNING_SECRET}}")]
pub(super) struct RawSign {
    pub(super) slack: Option<SecretName>,
    pub(super) standard_webhooks: Option<SecretName>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with name, match and guard")]
pub(super) struct RawRoute {
    pub(super) name: Option<String>,
    #[serde(rename = "match")]
    pub(super) matching: RawMatch,
    pub(super) guard: RawGuard,
    #[serde(default)]
    pub(super) slack_kinds: std::collections::BTreeMap<String, String>,
    pub(super) adapter: Option<RawAdapter>,
    pub(super) enqueue: Option<RawEnqueue>,
    pub(super) allow: Option<Vec<RawWho>>,
    pub(super) deny: Option<Vec<RawWho>>,
    pub(super) forward_token: Option<Flag>,
    pub(super) cors: Option<RawCors>,
    pub(super) invert: Option<RawInvert>,
    #[serde(default)]
    pub(super) access_log: AccessLog,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub(super) enum RawGuard {
    Slack,
    Push,
    Public,
    Oidc,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {strip_prefix: /wal, reply: accepted}")]
pub(super) struct RawEnqueue {
    pub(super) path: Option<String>,
    pub(super) strip_prefix: Option<String>,
    pub(super) headers: Option<RawHeaders>,
    pub(super) reply: Option<RawReply>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {keep: [x-my-header]} or {only: [content-type]}")]
pub(super) struct RawHeaders {
    pub(super) only: Option<Vec<String>>,
    pub(super) keep: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged, expecting = "slack_in_channel, empty, accepted or {status: 202, content_type: …, body: …}")]
pub(super) enum RawReply {
    Named(NamedReply),
    Written(WrittenReply),
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum NamedReply {
    SlackInChannel,
    Empty,
    Accepted,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WrittenReply {
    pub(super) status: Count,
    pub(super) content_type: Option<String>,
    pub(super) body: Option<String>,
}
