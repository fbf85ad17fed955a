//! Who may pass: rules and policies as written → as used, and the decision over them.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::json::{Json, Kind};
use lockgate_common::rules::Match;

use crate::identity::{Claim, Identity, domain, is_claim_name, is_email, is_kept_in_claims};

/// The fields of a rule. `match` is the caller's to read.
pub const SETTINGS: &[&str] = &["match", "public", "allow", "deny", "forward_token"];

const WHO: &[&str] = &["anyone", "emails", "domains", "groups", "claims", "scopes", "subjects", "issuers"];

/// People and programs, described. All conditions must hold, so none is everyone who was verified.
#[derive(Debug)]
pub struct Who {
    conditions: Vec<Condition>,
}

/// Lists are met by any of their values, but for scopes, all of which must be there.
#[derive(Debug)]
enum Condition {
    Emails(Vec<String>),
    Domains(Vec<String>),
    Groups(Vec<String>),
    Scopes(Vec<String>),
    Subjects(Vec<String>),
    Issuers(Vec<String>),
    Claim(String, Vec<String>),
}

/// How well a description fits; the better, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fit {
    No,
    ButForScopes,
    Whole,
}

impl Who {
    /// Reads one description. An error where it says nothing, since nothing would be everyone.
    pub fn from_config(json: Json<'_>, path: &str) -> Result<Self, ConfigError> {
        Self::from_fields(&Fields::new(json, path, WHO)?, json, path)
    }

    fn from_fields(fields: &Fields<'_>, json: Json<'_>, path: &str) -> Result<Self, ConfigError> {
        type List = (&'static str, fn(Vec<String>) -> Condition, fn(&str) -> bool, &'static str);
        let lists: [List; 6] = [
            ("emails", Condition::Emails, is_email, "a list of e-mail addresses"),
            ("domains", Condition::Domains, is_domain, "a list of whole domains in lower case: example.com"),
            ("groups", Condition::Groups, is_given, "a list of texts, none of them empty"),
            ("scopes", Condition::Scopes, is_scope, "a list of scopes, each without white space"),
            ("subjects", Condition::Subjects, is_given, "a list of texts, none of them empty"),
            ("issuers", Condition::Issuers, is_given, "a list of texts, none of them empty"),
        ];
        let mut conditions = Vec::new();
        for (name, condition, is_value, expected) in lists {
            if let Some(list) = fields.optional(name) {
                let values = values(list).filter(|values| values.iter().all(|value| is_value(value)));
                conditions.push(condition(values.ok_or_else(|| fields.error(name, expected))?));
            }
        }
        if let Some(claims) = fields.optional("claims") {
            conditions.extend(claim_conditions(fields, claims)?);
        }
        match fields.optional("anyone").map(Json::bool) {
            None if conditions.is_empty() => {
                let expected = ["at least one of: ", &WHO.join(", ")].concat();
                Err(ConfigError {
                    field: path.to_owned(),
                    given: json.text_str().chars().take(60).collect(),
                    expected,
                })
            }
            None => Ok(Self { conditions }),
            Some(Some(true)) if conditions.is_empty() => Ok(Self { conditions }),
            Some(Some(true)) => Err(fields.error("anyone", "no other field beside it")),
            Some(_) => Err(fields.error("anyone", "true")),
        }
    }

    fn fit(&self, identity: &Identity) -> Fit {
        let scopes = |condition: &&Condition| matches!(condition, Condition::Scopes(_));
        let mut others = self.conditions.iter().filter(|condition| !scopes(condition));
        if !others.all(|condition| condition.holds(identity)) {
            return Fit::No;
        }
        let mut scopes = self.conditions.iter().filter(scopes);
        if scopes.all(|condition| condition.holds(identity)) { Fit::Whole } else { Fit::ButForScopes }
    }
}

impl Condition {
    fn holds(&self, identity: &Identity) -> bool {
        let same = |left: &str, right: &str| left.eq_ignore_ascii_case(right);
        match self {
            Self::Emails(emails) => {
                identity.email.as_deref().is_some_and(|email| emails.iter().any(|other| same(other, email)))
            }
            Self::Domains(domains) => identity
                .email
                .as_deref()
                .is_some_and(|email| domains.iter().any(|other| same(other, domain(email)))),
            Self::Groups(groups) => groups.iter().any(|group| identity.groups.contains(group)),
            Self::Scopes(scopes) => scopes.iter().all(|scope| identity.scopes.contains(scope)),
            Self::Subjects(subjects) => subjects.contains(&identity.subject),
            Self::Issuers(issuers) => issuers.contains(&identity.issuer),
            Self::Claim(name, values) => {
                let wanted = |value: &str| values.iter().any(|other| other == value);
                match identity.claim(name) {
                    Some(Claim::Text(text)) => wanted(&text),
                    Some(Claim::List(list)) => list.iter().any(|text| wanted(text)),
                    None => false,
                }
            }
        }
    }
}

/// What a rule asks of the requests that meet it.
#[derive(Debug)]
pub enum RuleAccess {
    /// Nothing.
    Public,
    /// That somebody was verified and may pass.
    Restricted {
        /// Who passes; without it, the policies say.
        allow: Option<Vec<Who>>,
        /// Who does not pass, whatever allows them.
        deny: Vec<Who>,
        /// Whether the upstream sees the token that the caller came with.
        forward_token: bool,
    },
}

impl RuleAccess {
    /// Whether the upstream sees the token that the caller came with.
    pub fn forwards_token(&self) -> bool {
        matches!(self, Self::Restricted { forward_token: true, .. })
    }
}

/// Reads one element of `rules`, all but its `match`. A rule that lets nobody in is an error: it was
/// not meant, and only a rule that lets everybody in by mistake would be worse.
#[inline(never)]
pub fn rule(fields: &Fields<'_>, policies: &Policies) -> Result<RuleAccess, ConfigError> {
    let allow = whos(fields, "allow")?;
    let deny = whos(fields, "deny")?;
    let forward_token = fields.flag("forward_token", false)?;
    if fields.flag("public", false)? {
        if allow.is_some() || deny.is_some() || forward_token {
            return Err(fields.error("public", "no allow, deny or forward_token beside it"));
        }
        return Ok(RuleAccess::Public);
    }
    if allow.is_none() && !policies.0.iter().any(|policy| policy.effect == Effect::Allow) {
        let expected =
            "an allow here or a policy with effect allow; {\"anyone\": true} for everyone who is signed in";
        return Err(fields.error("allow", expected));
    }
    Ok(RuleAccess::Restricted { allow, deny: deny.unwrap_or_default(), forward_token })
}

/// What holds for many rules. Their order means nothing.
#[derive(Debug, Default)]
pub struct Policies(Vec<Policy>);

/// Allows or denies those it describes, on what it matches.
#[derive(Debug)]
struct Policy {
    effect: Effect,
    /// Every request where it is absent.
    matches: Option<Match>,
    /// Every method where it is absent.
    actions: Option<Vec<Action>>,
    who: Who,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Allow,
    Deny,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Read,
    Write,
}

/// The request that is decided about.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Method.
    pub method: &'a str,
    /// Host, with or without a port.
    pub host: &'a str,
    /// Normalised path; a query is ignored.
    pub path: &'a str,
}

/// What was decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// They may pass.
    Allowed,
    /// A denial fits them.
    Denied,
    /// No allowance fits them.
    NotAllowed,
    /// An allowance would fit them, had their token the scopes for it: `insufficient_scope` (RFC 6750,
    /// section 3.1).
    MissingScope,
}

/// Reads `policies`, none where the field is absent.
#[inline(never)]
pub fn policies(fields: &Fields<'_>) -> Result<Policies, ConfigError> {
    let known = [&["effect", "match", "actions"], WHO].concat();
    let mut policies = Vec::new();
    for (path, json) in fields.list("policies")? {
        let fields = Fields::new(json, &path, &known)?;
        let effect = match fields.optional("effect").and_then(Json::str).as_deref() {
            Some("allow") => Effect::Allow,
            Some("deny") => Effect::Deny,
            _ => return Err(fields.error("effect", "\"allow\" or \"deny\"")),
        };
        let matches = fields.optional("match").map(|json| Match::from_config(json, &fields.join("match")));
        let actions = fields.optional("actions").map(|json| {
            let actions = values(json)?;
            actions.iter().map(|action| Action::from_name(action)).collect::<Option<Vec<_>>>()
        });
        let actions = match actions {
            Some(None) => return Err(fields.error("actions", "a list of \"read\", \"write\" or both")),
            actions => actions.flatten(),
        };
        let who = Who::from_fields(&fields, json, &path)?;
        policies.push(Policy { effect, matches: matches.transpose()?, actions, who });
    }
    Ok(Policies(policies))
}

impl Policies {
    /// Whether somebody may do what is asked, under the rule that the request meets. A denial of the
    /// rule or of a policy beats any allowance; what nothing allows is refused.
    pub fn decide(&self, rule: &RuleAccess, request: &Asked<'_>, identity: &Identity) -> Decision {
        let RuleAccess::Restricted { allow, deny, .. } = rule else {
            return Decision::Allowed;
        };
        let mut denials = deny.iter().chain(self.fitting(Effect::Deny, request));
        if denials.any(|who| who.fit(identity) == Fit::Whole) {
            return Decision::Denied;
        }
        let best = match allow {
            Some(allow) => allow.iter().map(|who| who.fit(identity)).max(),
            None => self.fitting(Effect::Allow, request).map(|who| who.fit(identity)).max(),
        };
        match best {
            Some(Fit::Whole) => Decision::Allowed,
            Some(Fit::ButForScopes) => Decision::MissingScope,
            Some(Fit::No) | None => Decision::NotAllowed,
        }
    }

    /// The claims that these policies and `rules` look at in [`Identity::claims`], each once: what a
    /// session must keep beside subject, e-mail, groups and scopes.
    pub fn wanted_claims<'a>(&'a self, rules: impl IntoIterator<Item = &'a RuleAccess>) -> Vec<String> {
        let mut wanted: Vec<String> = Vec::new();
        for condition in self.conditions(rules) {
            if let Condition::Claim(name, _) = condition
                && is_kept_in_claims(name)
                && !wanted.contains(name)
            {
                wanted.push(name.clone());
            }
        }
        wanted
    }

    /// Whether these policies or `rules` look at groups.
    pub fn ask_for_groups<'a>(&'a self, rules: impl IntoIterator<Item = &'a RuleAccess>) -> bool {
        self.conditions(rules).iter().any(|condition| matches!(condition, Condition::Groups(_)))
    }

    fn conditions<'a>(&'a self, rules: impl IntoIterator<Item = &'a RuleAccess>) -> Vec<&'a Condition> {
        let mut conditions: Vec<&Condition> =
            self.0.iter().flat_map(|policy| &policy.who.conditions).collect();
        for rule in rules {
            if let RuleAccess::Restricted { allow, deny, .. } = rule {
                conditions.extend(allow.iter().flatten().chain(deny).flat_map(|who| &who.conditions));
            }
        }
        conditions
    }

    fn fitting(&self, effect: Effect, request: &Asked<'_>) -> impl Iterator<Item = &Who> {
        let action = Action::of(request.method);
        let fits = move |policy: &&Policy| {
            policy.effect == effect
                && policy.actions.as_ref().is_none_or(|actions| actions.contains(&action))
                && policy
                    .matches
                    .as_ref()
                    .is_none_or(|rule| rule.fits(request.method, request.host, request.path))
        };
        self.0.iter().filter(fits).map(|policy| &policy.who)
    }
}

impl Action {
    fn of(method: &str) -> Self {
        if matches!(method, "GET" | "HEAD" | "OPTIONS") { Self::Read } else { Self::Write }
    }

    fn from_name(name: &str) -> Option<Self> {
        match name {
            "read" => Some(Self::Read),
            "write" => Some(Self::Write),
            _ => None,
        }
    }
}

fn whos(fields: &Fields<'_>, name: &str) -> Result<Option<Vec<Who>>, ConfigError> {
    if fields.optional(name).is_none() {
        return Ok(None);
    }
    let list = fields.list(name)?;
    if list.is_empty() {
        return Err(fields.error(name, "a list of at least one who"));
    }
    list.iter().map(|(path, json)| Who::from_config(*json, path)).collect::<Result<_, _>>().map(Some)
}

fn claim_conditions(fields: &Fields<'_>, claims: Json<'_>) -> Result<Vec<Condition>, ConfigError> {
    let expected = "an object of claims, each once, with a text or a list of texts, none of them empty";
    let error = || fields.error("claims", expected);
    let mut conditions = Vec::new();
    for (name, value) in claims.members() {
        let texts = match value.str() {
            Some(text) => Some(vec![text.into_owned()]),
            None => values(value),
        };
        let texts = texts.filter(|texts| texts.iter().all(|text| is_given(text))).ok_or_else(error)?;
        if !is_claim_name(&name) || !matches!(claims.unique_field(&name), Ok(Some(_))) {
            return Err(error());
        }
        conditions.push(Condition::Claim(name.into_owned(), texts));
    }
    if conditions.is_empty() { Err(error()) } else { Ok(conditions) }
}

/// The texts of a list, if it has any and nothing else.
fn values(list: Json<'_>) -> Option<Vec<String>> {
    let values: Option<Vec<String>> =
        list.elements().map(|value| value.str().map(|text| text.into_owned())).collect();
    values.filter(|values| list.kind() == Kind::Array && !values.is_empty())
}

fn is_given(text: &str) -> bool {
    !text.is_empty()
}

fn is_scope(text: &str) -> bool {
    is_given(text) && !text.contains(char::is_whitespace)
}

/// No wildcards: a domain that looks like one would silently fit nobody.
fn is_domain(text: &str) -> bool {
    let odd = |char: char| {
        char.is_ascii_uppercase() || char.is_whitespace() || char.is_control() || "@*:/,".contains(char)
    };
    text.contains('.') && text.split('.').all(is_given) && !text.contains(odd)
}

#[cfg(test)]
mod tests;
