//! `${NAME}` and `${NAME:-default}` in the scalars of the file. A scalar that needs a variable which
//! is not set becomes null, and the variable is remembered, so that the field that misses it can
//! name it. `$${` stands for `${`.

use std::collections::{BTreeMap, BTreeSet};

use serde_norway::Value;

use super::Environment;
use super::problem::Problem;

/// Which fields stand in terms of the environment.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// Field → the variable it would have taken its value from.
    pub(super) unset: BTreeMap<String, String>,
    /// Fields that a variable has filled.
    pub(super) set: BTreeSet<String>,
}

impl Variables {
    /// The first variable that is missing in a field or below it.
    pub(super) fn unset_in(&self, field: &str) -> Option<&str> {
        self.unset.iter().find(|(name, _)| is_in(name, field)).map(|(_, variable)| variable.as_str())
    }

    /// Whether a variable has filled a field or one below it.
    pub(super) fn set_in(&self, field: &str) -> bool {
        self.set.iter().any(|name| is_in(name, field))
    }
}

fn is_in(name: &str, field: &str) -> bool {
    name.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Variables whose values are secrets whatever the file says about them.
const SECRETS: [&str; 5] =
    ["ASSERTION_KEY", "COOKIE_SECRET", "LOG_KEY", "OIDC_CLIENT_SECRET", "SLACK_SIGNING_SECRET"];

pub(super) fn interpolate(tree: &mut Value, environment: &Environment) -> Result<Variables, Problem> {
    let mut secrets: BTreeSet<String> = SECRETS.iter().map(|&name| name.to_owned()).collect();
    collect_secret_names(tree, &mut secrets);
    let mut walk = Walk { environment, secrets, variables: Variables::default() };
    walk.value(tree, "")?;
    Ok(walk.variables)
}

/// A variable that the file names as a secret must not be copied into the file by another field.
fn collect_secret_names(tree: &Value, names: &mut BTreeSet<String>) {
    match tree {
        Value::Mapping(mapping) => {
            for (key, value) in mapping {
                if let (Some("env"), Some(name)) = (key.as_str(), value.as_str()) {
                    names.insert(name.to_owned());
                }
                collect_secret_names(value, names);
            }
        }
        Value::Sequence(items) => items.iter().for_each(|item| collect_secret_names(item, names)),
        _ => {}
    }
}

struct Walk<'a> {
    environment: &'a Environment,
    secrets: BTreeSet<String>,
    variables: Variables,
}

impl Walk<'_> {
    fn value(&mut self, value: &mut Value, field: &str) -> Result<(), Problem> {
        match value {
            Value::String(text) if text.contains("${") => {
                *value = self.text(text, field)?.map_or(Value::Null, Value::String);
            }
            Value::Sequence(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, &format!("{field}[{index}]"))?;
                }
            }
            Value::Mapping(mapping) => {
                for (key, item) in mapping.iter_mut() {
                    let name = key.as_str().unwrap_or("?");
                    let path = if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") };
                    self.value(item, &path)?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn text(&mut self, text: &str, field: &str) -> Result<Option<String>, Problem> {
        let mut out = String::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            if let Some(literal) = before.strip_suffix('$') {
                out.push_str(literal);
                out.push_str("${");
                rest = after;
                continue;
            }
            out.push_str(before);
            let malformed =
                || Problem::given(field, text, "${NAME} or ${NAME:-default}, for example ${PORT:-8080}");
            let (inside, after) = after.split_once('}').ok_or_else(malformed)?;
            let (name, default) =
                inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
            if !is_variable_name(name) {
                return Err(malformed());
            }
            if self.secrets.contains(name) {
                return Err(Problem::new(
                    field,
                    format!(
                        "${{{name}}} would copy a secret into the configuration; name it instead: {{env: {name}}}"
                    ),
                ));
            }
            match (self.environment.get(name).filter(|value| !value.is_empty()), default) {
                (Some(value), _) => {
                    self.variables.set.insert(field.to_owned());
                    out.push_str(value);
                }
                (None, Some(default)) => out.push_str(default),
                (None, None) => {
                    self.variables.unset.insert(field.to_owned(), name.to_owned());
                    return Ok(None);
                }
            }
            rest = after;
        }
        out.push_str(rest);
        Ok(Some(out))
    }
}

/// POSIX names, upper case as is the custom: a secret's value pasted in the place of a name should
/// not pass for one.
pub(super) fn is_variable_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_uppercase() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &str, variables: &[(&str, &str)]) -> Result<(String, Variables), Problem> {
        let environment = variables.iter().map(|&(n, v)| (n.to_owned(), v.to_owned())).collect();
        let mut tree: Value = serde_norway::from_str(text).unwrap();
        let variables = interpolate(&mut tree, &environment)?;
        Ok((serde_norway::to_string(&tree).unwrap().trim().to_owned(), variables))
    }

    #[test]
    fn variables_defaults_and_the_escape() {
        assert_eq!(run("a: x-${N}-y", &[("N", "1")]).unwrap().0, "a: x-1-y");
        assert_eq!(run("a: ${N:-d}", &[]).unwrap().0, "a: d");
        assert_eq!(run("a: ${N:-d}", &[("N", "")]).unwrap().0, "a: d");
        assert_eq!(run("a: $${N}", &[]).unwrap().0, "a: ${N}");
    }

    #[test]
    fn an_unset_variable_leaves_null_and_is_remembered_with_its_field() {
        let (tree, variables) = run("a: [{b: \"${N}\"}]", &[]).unwrap();
        assert_eq!(tree, "a:\n- b: null");
        for field in ["a", "a[0]", "a[0].b"] {
            assert_eq!(variables.unset_in(field), Some("N"), "{field}");
        }
        assert!(variables.unset_in("a[0].bc").is_none() && !variables.set_in("a"));
    }

    #[test]
    fn a_field_that_a_variable_has_filled_is_remembered_and_a_default_is_none() {
        let (_, variables) = run("a: {b: \"${N}\"}\nc: ${M:-d}\ne: f", &[("N", "1")]).unwrap();
        assert!(variables.set_in("a") && variables.set_in("a.b"));
        assert!(!variables.set_in("c") && !variables.set_in("e"));
    }

    #[test]
    fn a_secret_is_never_copied_and_its_value_never_shown() {
        for text in ["a: ${LOG_KEY}", "a: {env: MINE}\nb: ${MINE}"] {
            let error = run(text, &[("LOG_KEY", "hush"), ("MINE", "hush")]).unwrap_err().to_string();
            assert!(error.contains("name it instead") && !error.contains("hush"), "{error}");
        }
    }

    #[test]
    fn a_malformed_reference_is_refused() {
        for text in ["a: \"${N\"", "a: ${n}", "a: ${}", "a: ${1N}"] {
            assert!(run(text, &[]).is_err(), "{text}");
        }
    }
}
