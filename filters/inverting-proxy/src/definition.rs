//! A backend as written, in the configuration or in an administrator's call → as used.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::http::{is_plain_target, path_without_query};

use crate::health::Check;

/// The end user that stands for all of them, as the original writes it.
const ALL_USERS: &str = "allUsers";

/// Longest id, in bytes.
const MAX_ID: usize = 100;

/// Longest e-mail address, in bytes (RFC 5321, 4.5.3.1.3, without the angle brackets).
const MAX_EMAIL: usize = 254;

/// Prefixes of a backend, and the bytes of one.
const MAX_PREFIXES: usize = 32;
const MAX_PREFIX: usize = 256;

/// A backend as used.
pub struct Definition {
    /// As agents give it.
    pub id: String,
    /// Whose requests it gets, where that is not for routes alone to say.
    pub terms: Option<Terms>,
    /// How it is looked at, where it is.
    pub check: Option<Check>,
}

/// Whose requests a backend gets, and who brings them there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// The e-mail address of its one user; none for a shared one.
    pub end_user: Option<String>,
    /// The e-mail address of its agent's account.
    pub backend_user: String,
    /// Paths by whole segments; `/` is all of them.
    pub path_prefixes: Vec<String>,
}

/// The names of the three fields of [`Terms`], in its order.
pub type Names = [&'static str; 3];

/// As the configuration writes them.
pub const CONFIGURED: Names = ["end_user", "backend_user", "path_prefixes"];

/// As the original's interface has them.
pub const CALLED: Names = ["endUser", "backendUser", "pathPrefixes"];

impl Terms {
    /// Reads the three fields, all of which must be there.
    pub fn read(fields: &Fields<'_>, names: &Names) -> Result<Self, ConfigError> {
        let [end_user, backend_user, path_prefixes] = names;
        let address = |name: &str, fits: fn(&str) -> bool, expected: &str| {
            let text = fields.text(name, expected)?;
            if fits(&text) { Ok(text) } else { Err(fields.error(name, expected)) }
        };
        let user = address(end_user, is_user, "an e-mail address, or allUsers")?;
        let agent = address(backend_user, is_email, "the e-mail address of its agent's account")?;
        let prefixes = fields.texts(path_prefixes)?;
        if !(1..=MAX_PREFIXES).contains(&prefixes.len()) || !prefixes.iter().all(|prefix| is_prefix(prefix)) {
            let expected =
                "1 to 32 paths of whole segments: \"/\" in front, none behind, but for \"/\" itself";
            return Err(fields.error(path_prefixes, expected));
        }
        let end_user = Some(user).filter(|user| user != ALL_USERS);
        Ok(Self { end_user, backend_user: agent, path_prefixes: prefixes })
    }

    /// The end user as written.
    pub fn end_user(&self) -> &str {
        self.end_user.as_deref().unwrap_or(ALL_USERS)
    }

    /// Whether a request of `user` for `path` is for it: whether as the user's own, and by a prefix how long.
    pub fn fit(&self, user: &str, path: &str) -> Option<(bool, usize)> {
        let own = match &self.end_user {
            Some(end_user) if is_same(end_user, user) => true,
            Some(_) => return None,
            None => false,
        };
        let begins = |prefix: &str| {
            prefix == "/"
                || path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let fitting = self.path_prefixes.iter().filter(|prefix| begins(prefix));
        Some((own, fitting.map(String::len).max()?))
    }

    /// Whether an account may be its agent.
    pub fn is_agent(&self, account: &str) -> bool {
        is_same(&self.backend_user, account)
    }
}

/// Reads an id.
pub fn id(fields: &Fields<'_>) -> Result<String, ConfigError> {
    let expected = "letters, digits and -_. alone, at most 100";
    let id = fields.text("id", expected)?;
    if is_id(&id) { Ok(id) } else { Err(fields.error("id", expected)) }
}

/// Whether this can be an id, as it stands in a header, a path and a log line.
pub fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(plain) && !matches!(text, "." | "..")
}

/// As the door compares addresses.
fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
}

/// Whether this can be an end user.
pub fn is_user(text: &str) -> bool {
    text == ALL_USERS || is_email(text)
}

/// Whether this can be an account: an address as the door takes them for addresses, and short.
pub fn is_email(text: &str) -> bool {
    let parts = text.split_once('@');
    text.len() <= MAX_EMAIL
        && parts
            .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
        && !text.chars().any(|char| char.is_control() || char.is_whitespace())
}

/// Whether this can be a prefix: whole segments, as rules match them.
pub fn is_prefix(text: &str) -> bool {
    text.len() <= MAX_PREFIX
        && is_plain_target(text)
        && path_without_query(text) == text
        && (text == "/" || !text.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use lockgate_common::json::Json;

    use super::*;

    fn terms(end_user: &str, prefixes: &str) -> Result<Terms, String> {
        let text = [r#"{"endUser":""#, end_user, r#"","backendUser":"a@b.c","pathPrefixes":"#, prefixes, "}"]
            .concat();
        let json = Json::parse(text.as_bytes()).unwrap();
        let fields = Fields::new(json, "", &["endUser", "backendUser", "pathPrefixes"]).unwrap();
        Terms::read(&fields, &CALLED).map_err(|error| error.line())
    }

    #[test]
    fn a_prefix_means_whole_segments_and_the_longest_counts() {
        let terms = terms("eva@example.com", r#"["/a","/a/b"]"#).unwrap();
        let fit = |path| terms.fit("eva@example.com", path).map(|(_, length)| length);
        assert_eq!(
            (fit("/a"), fit("/a/c"), fit("/a/b"), fit("/a/b/c")),
            (Some(2), Some(2), Some(4), Some(4))
        );
        assert_eq!((fit("/ab"), fit("/"), fit("/A"), fit("/x/a")), (None, None, None, None));
    }

    #[test]
    fn a_personal_one_is_for_one_address_without_ascii_case_and_a_shared_one_for_all() {
        let own = terms("Eva@Example.com", r#"["/"]"#).unwrap();
        assert_eq!(own.fit("eva@example.com", "/x"), Some((true, 1)));
        for other in ["eve@example.com", "", "allUsers", "eva@example.com.evil.org"] {
            assert_eq!(own.fit(other, "/x"), None, "{other}");
        }
        let shared = terms("allUsers", r#"["/"]"#).unwrap();
        assert_eq!(shared.fit("eve@example.com", "/x"), Some((false, 1)));
    }

    #[test]
    fn what_cannot_be_meant_is_named() {
        for user in ["", "eva", "@example.com", "a@b@c", "a b@c.d", "allusers"] {
            let said = terms(user, r#"["/"]"#).unwrap_err();
            assert!(said.starts_with("endUser: given "), "{user}: {said}");
        }
        for prefixes in [
            "[]",
            r#""/""#,
            r#"["a"]"#,
            r#"["/a/"]"#,
            r#"["//a"]"#,
            r#"["/a/../b"]"#,
            r#"["/a?b"]"#,
            r#"["/%2e%2e"]"#,
        ] {
            let said = terms("allUsers", prefixes).unwrap_err();
            assert!(said.starts_with("pathPrefixes: given "), "{prefixes}: {said}");
        }
        let long = ["\"/", &"x".repeat(MAX_PREFIX), "\""].concat();
        assert!(terms("allUsers", &["[", &long, "]"].concat()).is_err());
        let many = vec!["\"/a\""; MAX_PREFIXES + 1].join(",");
        assert!(terms("allUsers", &["[", &many, "]"].concat()).is_err());
    }

    #[test]
    fn ids_can_stand_in_a_path_and_a_header() {
        assert!(is_id("a") && is_id("A-b_c.9") && is_id(&"x".repeat(MAX_ID)));
        for text in ["", ".", "..", "a/b", "a b", "a\n", "\u{e9}", "a%2e", &"x".repeat(MAX_ID + 1)] {
            assert!(!is_id(text), "{text}");
        }
    }
}
