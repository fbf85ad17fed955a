//! The cookie that a client holds in the place of its backends' own.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::{from_hex, push_decimal, push_hex};
use lockgate_common::http::Headers;
use lockgate_common::public_url::PublicUrl;

use crate::set_cookie::pair;

/// Longest name as written, in bytes.
const MAX_NAME: usize = 64;

/// A session's id, which nobody can guess.
pub type Id = [u8; 16];

/// What is the same for all who hold one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionCookie {
    /// Its name, as the client sees it.
    pub name: String,
    /// Whether it is sent over https alone.
    pub secure: bool,
}

impl SessionCookie {
    /// Reads a rule's `session_cookie`. `public_url` says whether it is for https. A name with a prefix that means
    /// something to browsers would not be taken from http.
    pub fn read(document: &Fields<'_>, rule: &Fields<'_>) -> Result<Option<Self>, ConfigError> {
        let Some(name) = rule.optional_text("session_cookie")? else { return Ok(None) };
        let url = PublicUrl::from_config(document, true)?;
        let expected =
            "a cookie name of at most 64 letters, digits, hyphens and underscores, not __ at its start";
        match url.cookie_name(&name).filter(|_| name.len() <= MAX_NAME && !name.starts_with("__")) {
            Some(name) => Ok(Some(Self { name, secure: url.secure })),
            None => Err(rule.error("session_cookie", expected)),
        }
    }

    /// The id that a client brings, which may be nobody's. Of two, none: "the first valid one wins" is how checks are
    /// bypassed.
    pub fn id(&self, headers: &Headers) -> Option<Id> {
        let mut ids = pieces(headers).filter_map(pair).filter(|(name, _)| *name == self.name.as_bytes());
        match (ids.next(), ids.next()) {
            (Some((_, value)), None) => from_hex(value),
            _ => None,
        }
    }

    /// The `Set-Cookie` line of a session that begins.
    pub fn line(&self, id: Id, lifetime_ms: u64) -> String {
        let mut line = [self.name.as_str(), "="].concat();
        push_hex(&mut line, &id);
        line.push_str("; Path=/; HttpOnly; SameSite=Lax; Max-Age=");
        push_decimal(&mut line, lifetime_ms / 1_000);
        if self.secure {
            line.push_str("; Secure");
        }
        line
    }
}

/// What stands between the semicolons of the `cookie` headers, without white space around it.
pub fn pieces(headers: &Headers) -> impl Iterator<Item = &[u8]> {
    let values = headers.iter().filter(|(name, _)| *name == "cookie").map(|(_, value)| value);
    values.flat_map(|value| value.split(|byte| *byte == b';')).map(<[u8]>::trim_ascii)
}

#[cfg(test)]
mod tests {
    use lockgate_common::config::document;
    use lockgate_common::json::Json;

    use super::*;

    fn read(url: &str, name: &str) -> Result<Option<SessionCookie>, String> {
        let text = [r#"{"version":1,"rules":[{"session_cookie":""#, name, r#""}]"#, url, "}"].concat();
        let document = document(Json::parse(text.as_bytes()).unwrap(), &["public_url"]).unwrap();
        let (path, rule) = document.list("rules").unwrap().remove(0);
        let rule = Fields::new(rule, &path, &["session_cookie"]).unwrap();
        SessionCookie::read(&document, &rule).map_err(|error| error.line())
    }

    #[test]
    fn a_name_is_plain_and_the_address_says_the_rest() {
        for (url, name) in [("https://app.example.com", "__Host-s"), ("http://127.0.0.1:8080", "s")] {
            let url = [r#","public_url":""#, url, "\""].concat();
            let cookie = SessionCookie { name: name.to_owned(), secure: name != "s" };
            assert_eq!(read(&url, "s"), Ok(Some(cookie)));
            for name in ["", "a.b", "a b", "a;b", "__Host-a", &"x".repeat(65)] {
                let said = read(&url, name).unwrap_err();
                assert!(said.starts_with("rules[0].session_cookie: "), "{said}");
            }
        }
        for url in ["", r#","public_url":"http://app.example.com""#] {
            assert!(read(url, "s").unwrap_err().starts_with("public_url: "));
        }
    }
}
