//! Who may do what: the conditions on a person or a program, the policies that hold everywhere, and
//! what one route says of itself.
//!
//! Nothing lets everybody or nobody in by what is left out: an empty list, an empty entry and a
//! condition whose variable is not set are refused or leave the whole entry out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::matching::{Match, RawMatch};
use super::problem::Problem;
use super::resolve::Context;
use super::scalars::{Flag, Texts};

/// Conditions on who somebody is; all of them must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who(Vec<Condition>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Condition {
    Anyone,
    Emails(Vec<String>),
    Domains(Vec<String>),
    Groups(Vec<String>),
    Claims(Vec<(String, Vec<String>)>),
    Scopes(Vec<String>),
    Subjects(Vec<String>),
    Issuers(Vec<String>),
}

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

/// Whose word is taken.
#[derive(Clone, Debug, Default)]
pub(super) struct Issuers {
    /// Those that people sign in with.
    pub(super) sign_in: Vec<String>,
    /// Those and the issuers of programs' tokens.
    pub(super) all: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {domains: [example.com]}")]
pub(super) struct RawWho {
    anyone: Option<Flag>,
    emails: Option<Texts>,
    domains: Option<Texts>,
    groups: Option<Texts>,
    claims: Option<BTreeMap<String, Option<Texts>>>,
    scopes: Option<Texts>,
    subjects: Option<Texts>,
    issuers: Option<Texts>,
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
        let matching = matching.map(|matching| matching.resolve(&at(field, "match"))).transpose()?;
        let actions = actions.map_or_else(Vec::new, |actions| actions.0);
        if let Some(odd) = actions.iter().find(|action| !matches!(action.as_str(), "read" | "write")) {
            let expected =
                "read (GET, HEAD, OPTIONS), write (every other method) or both, for example [read]";
            return Err(Problem::given(&at(field, "actions"), odd, expected));
        }
        if effect == Effect::Deny && who.is_anyone() && matching.is_none() && actions.is_empty() {
            let message = "would refuse everybody everywhere; expected match or actions beside it, \
                for example {effect: deny, anyone: true, actions: [write], match: {path_prefix: /reports}}";
            return Err(Problem::new(field, message));
        }
        Ok(Some(Policy { effect, matching, actions, who }))
    }
}

impl RawWho {
    /// `None` where the variables of all its conditions are not set.
    pub(super) fn resolve(
        self,
        field: &str,
        issuers: &Issuers,
        context: &Context<'_>,
    ) -> Result<Option<Who>, Problem> {
        let everyone_signed_in =
            self.domains.as_ref().is_some_and(|domains| domains.0.iter().any(|d| d == "*"));
        let lists = [
            ("emails", self.emails),
            ("domains", self.domains),
            ("groups", self.groups),
            ("scopes", self.scopes),
            ("subjects", self.subjects),
            ("issuers", self.issuers),
        ];
        let mut conditions = Vec::new();
        let mut unset = None;
        for (name, list) in lists {
            match values(&at(field, name), list, context)? {
                Values::Given(values) => conditions.push(condition(&at(field, name), name, values, issuers)?),
                Values::Unset(variable) => unset = Some(variable),
                Values::Absent => {}
            }
        }
        if let Some(claims) = self.claims {
            match self::claims(&at(field, "claims"), claims, context)? {
                Values::Given(claims) => conditions.push(Condition::Claims(claims)),
                Values::Unset(variable) => unset = Some(variable),
                Values::Absent => {}
            }
        }
        match self.anyone {
            Some(Flag(true)) => conditions.push(Condition::Anyone),
            Some(Flag(false)) => {
                return Err(Problem::given(&at(field, "anyone"), "false", "true, or another condition"));
            }
            None => {}
        }
        if (everyone_signed_in || conditions.contains(&Condition::Anyone)) && conditions.len() > 1 {
            let name = if everyone_signed_in { "domains: *" } else { "anyone" };
            return Err(Problem::new(
                field,
                format!("expected {name} alone: beside it the others would not count"),
            ));
        }
        match (conditions.is_empty(), unset) {
            (false, None) => Ok(Some(Who(conditions))),
            (true, Some(_)) => Ok(None),
            (false, Some(variable)) => Err(Problem::new(
                field,
                format!(
                    "{variable} is not set, and a condition cannot be left out beside others that must hold too"
                ),
            )),
            (true, None) => Err(Problem::new(
                field,
                "names nobody; expected at least one condition, for example {domains: [example.com]}, or {anyone: true}",
            )),
        }
    }
}

impl Who {
    /// As the filter's configuration has it.
    pub fn to_json(&self) -> Value {
        let member = |condition: &Condition| match condition {
            Condition::Anyone => ("anyone", true.into()),
            Condition::Emails(values) => ("emails", values.clone().into()),
            Condition::Domains(values) => ("domains", values.clone().into()),
            Condition::Groups(values) => ("groups", values.clone().into()),
            Condition::Claims(claims) => {
                let claims = claims.iter().map(|(name, values)| (name.clone(), values.clone().into()));
                ("claims", Value::Object(claims.collect()))
            }
            Condition::Scopes(values) => ("scopes", values.clone().into()),
            Condition::Subjects(values) => ("subjects", values.clone().into()),
            Condition::Issuers(values) => ("issuers", values.clone().into()),
        };
        let members = self.0.iter().map(member).map(|(name, value)| (name.to_owned(), value));
        Value::Object(members.collect::<Map<_, _>>())
    }

    fn is_anyone(&self) -> bool {
        self.0.contains(&Condition::Anyone)
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

/// What stands in a field that may be filled by variables.
pub(super) enum Values<T> {
    /// At least one value.
    Given(T),
    /// None, because of this variable.
    Unset(String),
    /// The field is not there.
    Absent,
}

/// A list as it is used; an empty one is a mistake unless a variable is missing.
pub(super) fn values(
    field: &str,
    list: Option<Texts>,
    context: &Context<'_>,
) -> Result<Values<Vec<String>>, Problem> {
    let list = list.map(|list| list.0);
    match (list, context.variables.unset_in(field)) {
        (Some(list), _) if !list.is_empty() => match list.iter().find(|text| !is_plain(text)) {
            Some(odd) => Err(Problem::given(field, odd, "texts without line breaks, none of them empty")),
            None => Ok(Values::Given(list)),
        },
        (_, Some(variable)) => Ok(Values::Unset(variable.to_owned())),
        (Some(_), None) => {
            Err(Problem::new(field, "is empty; expected at least one value, or no such field"))
        }
        (None, None) => Ok(Values::Absent),
    }
}

/// Claims by name, each with the values that will do.
pub(super) type Claims = Vec<(String, Vec<String>)>;

/// Claims and the values they may have. One whose variable is missing makes all of them so: a token
/// must not pass because a condition on it was forgotten.
pub(super) fn claims(
    field: &str,
    raw: BTreeMap<String, Option<Texts>>,
    context: &Context<'_>,
) -> Result<Values<Claims>, Problem> {
    let mut claims = Claims::new();
    for (name, list) in raw {
        let field = at(field, &name);
        if !is_plain(&name) {
            return Err(Problem::given(&field, name, "a claim's name, for example token_use"));
        }
        match values(&field, list, context)? {
            Values::Given(values) => claims.push((name, values)),
            Values::Unset(variable) => return Ok(Values::Unset(variable)),
            Values::Absent => return Err(Problem::new(&field, "is empty; expected at least one value")),
        }
    }
    if claims.is_empty() {
        return Err(Problem::new(field, "is empty; expected claims, for example {token_use: [access]}"));
    }
    Ok(Values::Given(claims))
}

fn condition(field: &str, name: &str, values: Vec<String>, issuers: &Issuers) -> Result<Condition, Problem> {
    let each = |fits: &dyn Fn(&str) -> bool, expected: &str| match values.iter().find(|value| !fits(value)) {
        Some(odd) => Err(Problem::given(field, odd, expected)),
        None => Ok(()),
    };
    match name {
        "emails" => {
            each(&is_email, "e-mail addresses in lower case, for example [alice@example.com]")?;
            Ok(Condition::Emails(values))
        }
        "domains" if values.iter().any(|value| value == "*") => {
            if values.len() > 1 {
                return Err(Problem::new(
                    field,
                    "expected * alone, which is everyone who is signed in, or domains",
                ));
            }
            if issuers.sign_in.is_empty() {
                let message = "* is everyone who signs in, and there is no provider to sign in with; \
                    expected domains, for example [example.com], or {anyone: true}";
                return Err(Problem::new(field, message));
            }
            Ok(Condition::Issuers(issuers.sign_in.clone()))
        }
        "domains" => {
            let expected = "domains in lower case as they stand behind the @, for example [example.com], \
                or * for everyone who is signed in";
            each(&is_domain, expected)?;
            Ok(Condition::Domains(values))
        }
        "issuers" => {
            let expected = format!("issuers that are configured: {}", issuers.all.join(", "));
            each(&|value| issuers.all.iter().any(|issuer| issuer == value), &expected)?;
            Ok(Condition::Issuers(values))
        }
        "groups" => Ok(Condition::Groups(values)),
        "scopes" => {
            let token = |value: &str| value.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"');
            each(&token, "scopes without spaces, for example [orders.read]")?;
            Ok(Condition::Scopes(values))
        }
        _ => Ok(Condition::Subjects(values)),
    }
}

fn is_plain(text: &str) -> bool {
    !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control)
}

fn is_email(text: &str) -> bool {
    let lower = !text.chars().any(|c| c.is_uppercase() || c.is_whitespace());
    lower && text.rsplit_once('@').is_some_and(|(local, domain)| !local.is_empty() && is_domain(domain))
}

fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !label.is_empty() && label.bytes().all(plain)
    };
    text.contains('.') && text.split('.').all(label)
}

fn at(field: &str, name: &str) -> String {
    format!("{field}.{name}")
}
