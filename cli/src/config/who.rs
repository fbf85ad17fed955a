//! Conditions on who somebody is.
//!
//! Nothing lets everybody or nobody in by what is left out: an empty list, an empty entry and a
//! condition whose variable is not set are refused, or leave the whole entry out.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::issuer::{is_claim, is_line};
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
    pub(super) anyone: Option<Flag>,
    pub(super) emails: Option<Texts>,
    pub(super) domains: Option<Texts>,
    pub(super) groups: Option<Texts>,
    pub(super) claims: Option<BTreeMap<String, Option<Texts>>>,
    pub(super) scopes: Option<Texts>,
    pub(super) subjects: Option<Texts>,
    pub(super) issuers: Option<Texts>,
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

    pub(super) fn is_anyone(&self) -> bool {
        self.0.contains(&Condition::Anyone)
    }
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
        (Some(list), _) if !list.is_empty() => match list.iter().find(|text| !is_line(text)) {
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
        if !is_claim(&name) {
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
            each(&is_email, "e-mail addresses, for example [alice@example.com]")?;
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

/// In any case, as they are compared.
fn is_email(text: &str) -> bool {
    let parts = text.split_once('@').filter(|_| !text.contains(char::is_whitespace));
    parts.is_some_and(|(local, domain)| !local.is_empty() && is_domain(&domain.to_ascii_lowercase()))
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
