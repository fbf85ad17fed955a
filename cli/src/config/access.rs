//! Who may do what: policies, which hold everywhere, and what one route says of itself.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::matching::{Match, RawMatch};
use super::problem::Problem;
use super::resolve::Context;
use super::scalars::{Flag, Texts};
use super::who::{Issuers, RawWho, Who};

/// A rule that holds wherever its match does.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Allows or denies.
    pub effect: Effect,
    /// Everywhere when absent.
    pub matching: Option<Match>,
    /// `read` and `write`; both when empty.
    pub actions: Vec<String>,
    /// To whom.
    pub who: Who,
}

/// What a policy does. A denial that fits outweighs every allowance.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Lets in.
    Allow,
    /// Keeps out.
    Deny,
}

/// What a route says of who may come in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// In the place of the policies that allow; these hold when absent.
    pub allow: Option<Vec<Who>>,
    /// Beside the policies that deny.
    pub deny: Vec<Who>,
    /// Whether the upstream gets the caller's access token.
    pub forward_token: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {effect: allow, domains: [example.com]}")]
pub(super) struct RawPolicy {
    effect: Effect,
    #[serde(rename = "match")]
    matching: Option<RawMatch>,
    actions: Option<Texts>,
    anyone: Option<Flag>,
    emails: Option<Texts>,
    domains: Option<Texts>,
    groups: Option<Texts>,
    claims: Option<BTreeMap<String, Option<Texts>>>,
    scopes: Option<Texts>,
    subjects: Option<Texts>,
    issuers: Option<Texts>,
}

impl RawPolicy {
    pub(super) fn effect(&self) -> Effect {
        self.effect
    }

    /// `None` where the variables of its conditions are not set.
    pub(super) fn resolve(
        self,
        field: &str,
        issuers: &Issuers,
        context: &Context<'_>,
    ) -> Result<Option<Policy>, Problem> {
        let Self { effect, matching, actions, .. } = self;
        let Self { anyone, emails, domains, groups, claims, scopes, subjects, issuers: named, .. } = self;
        let who = RawWho { anyone, emails, domains, groups, claims, scopes, subjects, issuers: named };
        let Some(who) = who.resolve(field, issuers, context)? else { return Ok(None) };
        let matching = matching.map(|matching| matching.resolve(&format!("{field}.match"))).transpose()?;
        let actions = actions.map_or_else(Vec::new, |actions| actions.0);
        if let Some(odd) = actions.iter().find(|action| !matches!(action.as_str(), "read" | "write")) {
            let expected =
                "read (GET, HEAD, OPTIONS), write (every other method) or both, for example [read]";
            return Err(Problem::given(&format!("{field}.actions"), odd, expected));
        }
        if effect == Effect::Deny && who.is_anyone() && matching.is_none() && actions.is_empty() {
            let message = "would refuse everybody everywhere; expected match or actions beside it, \
                for example {effect: deny, anyone: true, actions: [write], match: {path_prefix: /reports}}";
            return Err(Problem::new(field, message));
        }
        Ok(Some(Policy { effect, matching, actions, who }))
    }
}

/// A route's own `allow` or `deny`.
pub(super) fn list(
    field: &str,
    effect: Effect,
    raw: Vec<RawWho>,
    issuers: &Issuers,
    context: &Context<'_>,
) -> Result<Vec<Who>, Problem> {
    let entries = raw.into_iter().enumerate();
    let resolved = entries.map(|(index, who)| who.resolve(&format!("{field}[{index}]"), issuers, context));
    let kept: Vec<Who> = resolved.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    let message = match (effect, context.variables.unset_in(field)) {
        (Effect::Deny, _) if kept.iter().any(Who::is_anyone) => {
            "would refuse everybody; expected some, for example [{groups: [guests]}]".to_owned()
        }
        _ if !kept.is_empty() => return Ok(kept),
        (Effect::Deny, Some(_)) => return Ok(kept),
        (Effect::Allow, Some(variable)) => format!("lets nobody in: {variable} is not set"),
        (_, None) => {
            "names nobody; expected at least one entry, for example [{domains: [example.com]}]".to_owned()
        }
    };
    Err(Problem::new(field, message))
}
