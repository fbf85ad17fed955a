//! Checks a template, so that its mistakes are found before the start and named by their place.
//! The language is form-to-json's: literals, `$ptr`, `$json` and `$each`.

use serde_json::{Map, Value};

use super::problem::Problem;

/// Whether form-to-json will take this template.
pub(super) fn check(template: &Value, field: &str) -> Result<(), Problem> {
    Checker { may_omit: false }.value(template, field)
}

#[derive(Clone, Copy)]
struct Checker {
    /// Only a member of an object can be left out.
    may_omit: bool,
}

impl Checker {
    fn value(self, value: &Value, field: &str) -> Result<(), Problem> {
        match value {
            Value::Object(members) => self.object(members, field),
            Value::Array(items) => items.iter().enumerate().try_for_each(|(index, item)| {
                Self { may_omit: false }.value(item, &format!("{field}[{index}]"))
            }),
            _ => Ok(()),
        }
    }

    fn object(self, members: &Map<String, Value>, field: &str) -> Result<(), Problem> {
        match members.keys().find(|key| key.starts_with('$')).map(String::as_str) {
            None => members.iter().try_for_each(|(key, value)| Self::member(key, value, field)),
            Some(operator @ ("$ptr" | "$json")) => {
                let stranger =
                    members.keys().find(|key| ![operator, "default", "omit"].contains(&key.as_str()));
                if let Some(stranger) = stranger {
                    return Err(Problem::new(
                        &join(field, stranger),
                        format!("expected only default or omit beside {operator}"),
                    ));
                }
                self.pointer(members, operator, field)
            }
            Some("$each") => {
                self.pointer(members, "$each", field)?;
                for part in ["key", "value"] {
                    let template = members.get(part).ok_or_else(|| {
                        Problem::new(
                            &join(field, part),
                            "is missing; $each needs key and value, for example {\"$ptr\": \"/key\"}",
                        )
                    })?;
                    Self { may_omit: false }.value(template, &join(field, part))?;
                }
                members
                    .iter()
                    .filter(|(key, _)| !["$each", "key", "value", "default", "omit"].contains(&key.as_str()))
                    .try_for_each(|(key, value)| match key.starts_with('$') {
                        true => Err(Problem::new(&join(field, key), "expected one of $ptr, $json and $each")),
                        false => Self::member(key, value, field),
                    })
            }
            Some(unknown) => {
                Err(Problem::new(&join(field, unknown), "expected one of $ptr, $json and $each"))
            }
        }
    }

    fn member(key: &str, value: &Value, field: &str) -> Result<(), Problem> {
        Self { may_omit: true }.value(value, &join(field, key))
    }

    fn pointer(self, members: &Map<String, Value>, operator: &str, field: &str) -> Result<(), Problem> {
        let pointer = members.get(operator).and_then(Value::as_str).filter(|pointer| is_pointer(pointer));
        if pointer.is_none() {
            let given = members.get(operator).cloned().unwrap_or_default();
            return Err(Problem::given(
                &join(field, operator),
                given,
                "a JSON pointer (RFC 6901), for example /event/user",
            ));
        }
        match (members.get("default"), members.get("omit")) {
            (Some(_), Some(_)) => Err(Problem::new(&join(field, "omit"), "expected either default or omit")),
            (None, Some(Value::Bool(true))) if self.may_omit => Ok(()),
            (None, Some(Value::Bool(true))) => Err(Problem::new(
                &join(field, "omit"),
                "expected only where the value is a member of an object, which is then left out",
            )),
            (None, Some(other)) => Err(Problem::given(&join(field, "omit"), other, "true")),
            _ => Ok(()),
        }
    }
}

fn join(field: &str, key: &str) -> String {
    format!("{field}.{key}")
}

pub(super) fn is_pointer(pointer: &str) -> bool {
    let escapes_fine = pointer.split('~').skip(1).all(|rest| rest.starts_with(['0', '1']));
    (pointer.is_empty() || pointer.starts_with('/')) && escapes_fine
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(template: &str) -> String {
        check(&serde_json::from_str(template).unwrap(), "adapter")
            .err()
            .map(|p| p.to_string())
            .unwrap_or_default()
    }

    #[test]
    fn good_templates_pass() {
        for good in [
            r#"{"name":"event","variables":{"a":{"$ptr":"/a","omit":true},"b":{"$json":"/b","default":null}}}"#,
            r#"{"$each":"","key":{"$ptr":"/key"},"value":{"type":"String","value":{"$ptr":"/value"}},"x":1}"#,
            r#"{"$ptr":""}"#,
        ] {
            assert_eq!(said(good), "", "{good}");
        }
    }

    #[test]
    fn mistakes_are_named_by_place() {
        for (template, expected) in [
            (r#"{"a":{"$pointer":"/a"}}"#, "adapter.a.$pointer: expected one of $ptr, $json and $each"),
            (r#"{"a":{"$ptr":"a"}}"#, "adapter.a.$ptr: given"),
            (r#"{"a":{"$ptr":"/a~2"}}"#, "adapter.a.$ptr: given"),
            (r#"{"a":{"$ptr":"/a","omit":true,"default":1}}"#, "either default or omit"),
            (r#"{"$ptr":"/a","omit":true}"#, "only where the value is a member"),
            (r#"{"a":[{"$ptr":"/a","omit":true}]}"#, "adapter.a[0].omit"),
            (r#"{"a":{"$ptr":"/a","x":1}}"#, "adapter.a.x: expected only default or omit"),
            (r#"{"a":{"$each":"/a","key":{"$ptr":"/key"}}}"#, "adapter.a.value: is missing"),
            (r#"{"a":{"$each":"/a","$ptr":"","key":"k","value":1}}"#, "adapter.a.$ptr"),
        ] {
            assert!(said(template).contains(expected), "{template}: {}", said(template));
        }
    }
}
