//! What the upstream is told about who was verified, and which headers of a client would say it too.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::http::Headers;
use lockgate_common::json::{Json, Kind};

use crate::identity::{Claim, Identity, is_claim_name, is_kept_in_claims};

/// Longest value, in bytes. Half an identity is none, so a longer one is left out.
const MAX_VALUE_BYTES: usize = 1_024;

/// What every header of Lockgate's own begins with.
const OWN_PREFIX: &str = "x-lockgate-";

/// Headers that must not hold a claim: of one connection (RFC 9110, 7.6.1), a credential, where the
/// request comes from or goes to, or what another part of Lockgate writes.
const TAKEN: &[&str] = &[
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-lockgate-assertion",
    "x-serverless-authorization",
];

/// Which header holds which claim.
#[derive(Debug)]
pub struct IdentityHeaders(Vec<(String, String)>);

impl IdentityHeaders {
    /// Reads the object `identity`; without it, subject and e-mail are told.
    #[inline(never)]
    pub fn from_config(fields: &Fields<'_>) -> Result<Self, ConfigError> {
        let Some(identity) = fields.optional("identity") else {
            let defaults = [("x-lockgate-subject", "sub"), ("x-lockgate-email", "email")];
            return Ok(Self(defaults.map(|(name, claim)| (name.to_owned(), claim.to_owned())).to_vec()));
        };
        let expected = "an object: lower-case header names of letters, digits and hyphens, none that the \
             proxy or a credential needs, each once, with the claim it holds";
        let error = || fields.error("identity", expected);
        if identity.kind() != Kind::Object {
            return Err(error());
        }
        let mut headers = Vec::new();
        for (name, claim) in identity.members() {
            let claim = claim.str().filter(|claim| is_claim_name(claim)).ok_or_else(error)?;
            if !is_free(&name) || !is_once(identity, &name) {
                return Err(error());
            }
            headers.push((name.into_owned(), claim.into_owned()));
        }
        Ok(Self(headers))
    }

    /// The configured names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The claims that are looked at in [`Identity::claims`]: what a session must keep for these headers.
    pub fn wanted_claims(&self) -> Vec<String> {
        let claims = self.0.iter().map(|(_, claim)| claim);
        claims.filter(|claim| is_kept_in_claims(claim)).cloned().collect()
    }

    /// What to write, to be done after what is [`spoofed`](Self::spoofed) was removed: every
    /// configured name, with None where there is no such claim, so that a client's copy goes away.
    ///
    /// A value is at most 1,024 bytes of printable ASCII. Everything else in a claim, and `%` itself,
    /// is percent-encoded (RFC 3986, 2.1), also a space at either end, which a reader would drop (RFC
    /// 9110, 5.5). A list is joined by commas, those inside its values encoded.
    pub fn values(&self, identity: &Identity) -> Vec<(&str, Option<String>)> {
        let value = |claim: &str| {
            let mut value = String::new();
            match identity.claim(claim)? {
                Claim::Text(text) => push_encoded(&mut value, &text, false),
                Claim::List(list) => {
                    for (index, text) in list.iter().enumerate() {
                        if index > 0 {
                            value.push(',');
                        }
                        push_encoded(&mut value, text, true);
                    }
                }
            }
            Some(value).filter(|value| (1..=MAX_VALUE_BYTES).contains(&value.len()))
        };
        self.0.iter().map(|(name, claim)| (name.as_str(), value(claim))).collect()
    }

    /// The names, each once, of a request's headers that the upstream could take for one of these or
    /// for another of Lockgate's. It may read any case, and CGI makes `_` of `-` (RFC 3875, 4.1.18),
    /// some servers of every other sign too.
    pub fn spoofed<'a>(&self, headers: &'a Headers) -> Vec<&'a str> {
        let mut spoofed = Vec::new();
        for (name, _) in headers.iter() {
            let reads_as = |own: &str| name.len() == own.len() && begins_like(name, own);
            let own = begins_like(name, OWN_PREFIX) || self.names().any(reads_as);
            if own && !spoofed.contains(&name) {
                spoofed.push(name);
            }
        }
        spoofed
    }
}

fn begins_like(name: &str, own: &str) -> bool {
    let plain = |byte: u8| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'-' };
    name.len() >= own.len() && name.bytes().map(plain).zip(own.bytes()).all(|(left, right)| left == right)
}

fn is_free(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(plain)
        && !TAKEN.contains(&name)
        // The proxy obeys these: timeouts, retries, where to.
        && !name.starts_with("x-envoy-")
}

fn is_once(object: Json<'_>, name: &str) -> bool {
    matches!(object.unique_field(name), Ok(Some(_)))
}

fn push_encoded(out: &mut String, text: &str, in_list: bool) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let plain = match byte {
            b' ' => at != 0 && at != last,
            b',' => !in_list,
            b'%' => false,
            _ => byte.is_ascii_graphic(),
        };
        if plain {
            out.push(char::from(byte));
        } else {
            out.push('%');
            for nibble in [byte >> 4, byte & 15] {
                out.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::ClaimRules;

    fn json(text: &str) -> Json<'_> {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn headers(identity: &str) -> Result<IdentityHeaders, String> {
        let text = ["{\"identity\":", identity, "}"].concat();
        let fields = Fields::new(json(&text), "", &["identity"]).unwrap();
        IdentityHeaders::from_config(&fields).map_err(|error| error.line())
    }

    fn default() -> IdentityHeaders {
        IdentityHeaders::from_config(&Fields::new(json("{}"), "", &["identity"]).unwrap()).unwrap()
    }

    fn identity(claims: &str) -> Identity {
        let rules = ClaimRules { trust_email: false, groups_claim: "groups".to_owned() };
        Identity::from_claims(json(claims), "https://login.example.com", &rules, true).unwrap()
    }

    fn value(claim: &str, claims: &str) -> Option<String> {
        let config = [r#"{"x-a":""#, claim, "\"}"].concat();
        headers(&config).unwrap().values(&identity(claims)).into_iter().next().unwrap().1
    }

    #[test]
    fn subject_and_verified_email_are_told_by_default() {
        let email = Some("a@example.com".to_owned());
        assert_eq!(
            default().values(&identity(r#"{"sub":"1","email":"a@example.com","email_verified":true}"#)),
            [("x-lockgate-subject", Some("1".to_owned())), ("x-lockgate-email", email)]
        );
    }

    #[test]
    fn every_configured_name_appears_and_an_unverified_email_never() {
        assert_eq!(
            default().values(&identity(r#"{"sub":"1","email":"a@example.com"}"#)),
            [("x-lockgate-subject", Some("1".to_owned())), ("x-lockgate-email", None)]
        );
        assert_eq!(value("/email", r#"{"sub":"1","email":"a@example.com"}"#), None);
        assert_eq!(value("missing", r#"{"sub":"1"}"#), None);
    }

    #[test]
    fn claims_become_values() {
        let claims = r#"{"sub":"1","iss":"https://evil.org","t":"a b,c","n":12345678901234567890,"f":true,
            "l":["a","b,c","d"],"e":[],"x":"","z":null,"o":{"p":"q"},"r":{"roles":["admin","dev"]}}"#;
        for (claim, expected) in [
            ("t", Some("a b,c")),
            ("n", Some("12345678901234567890")),
            ("f", Some("true")),
            ("l", Some("a,b%2Cc,d")),
            ("/r/roles", Some("admin,dev")),
            ("/o/p", Some("q")),
            ("iss", Some("https://login.example.com")),
            ("e", None),
            ("x", None),
            ("z", None),
            ("o", None),
        ] {
            assert_eq!(value(claim, claims).as_deref(), expected, "{claim}");
        }
    }

    #[test]
    fn no_claim_can_inject_a_header() {
        for (text, expected) in [
            (r"a\r\nx-lockgate-subject: root", "a%0D%0Ax-lockgate-subject: root"),
            (r"a\u0000b\u007f", "a%00b%7F"),
            (r"a\tb", "a%09b"),
            (r"\u00e4\ud83d\ude00\u0085\u2028", "%C3%A4%F0%9F%98%80%C2%85%E2%80%A8"),
            ("100%41", "100%2541"),
            (" admin ", "%20admin%20"),
            ("  ", "%20%20"),
            (" ", "%20"),
        ] {
            let claims = [r#"{"sub":"1","t":""#, text, r#"","l":[""#, text, r#"","b"]}"#].concat();
            assert_eq!(value("t", &claims).as_deref(), Some(expected));
            assert_eq!(value("l", &claims), Some([expected, ",b"].concat()));
        }
    }

    #[test]
    fn a_value_that_is_too_long_is_left_out() {
        let claims = |length| [r#"{"sub":"1","t":""#, &"a".repeat(length), "\"}"].concat();
        assert_eq!(value("t", &claims(1_024)).map(|value| value.len()), Some(1_024));
        assert_eq!(value("t", &claims(1_025)), None);
        let encoded = [r#"{"sub":"1","t":""#, &"%".repeat(342), "\"}"].concat();
        assert_eq!(value("t", &encoded), None);
    }

    #[test]
    fn a_name_that_is_no_header_for_a_claim_stops_the_start() {
        for name in [
            "",
            "-",
            "1a",
            "X-User",
            "x_user",
            "x user",
            ":path",
            ":authority",
            "x:y",
            "h\u{e4}",
            "host",
            "authorization",
            "cookie",
            "content-length",
            "connection",
            "te",
            "upgrade",
            "transfer-encoding",
            "proxy-authorization",
            "x-forwarded-for",
            "x-envoy-upstream-rq-timeout-ms",
            "x-lockgate-assertion",
            "x\\r\\ny",
        ] {
            let line = headers(&["{\"", name, "\":\"sub\"}"].concat()).unwrap_err();
            assert!(line.starts_with("identity: given {"), "{name}: {line}");
        }
        for text in
            ["[]", "null", r#"{"x-a":1}"#, r#"{"x-a":""}"#, r#"{"x-a":"/~"}"#, r#"{"x-a":"a","x-a":"b"}"#]
        {
            assert!(headers(text).is_err(), "{text}");
        }
        let given =
            headers(r#"{"x-forwarded-email":"email","x-user-2":"/a/b","remote-user":"sub"}"#).unwrap();
        assert_eq!(given.names().collect::<Vec<_>>(), ["x-forwarded-email", "x-user-2", "remote-user"]);
        assert_eq!(given.wanted_claims(), ["/a/b"]);
        assert_eq!(headers("{}").unwrap().names().count(), 0);
    }

    #[test]
    fn a_client_s_copy_is_known_in_any_spelling() {
        let configured = headers(r#"{"x-user":"sub"}"#).unwrap();
        let mut request = Headers::default();
        let spoofed = [
            "x-user",
            "X-User",
            "x_user",
            "X_USER",
            "x.user",
            "x-lockgate-email",
            "X_Lockgate_Email",
            "x-lockgate_assertion",
            "x_lockgate-",
            "X-LOCKGATE-ANYTHING",
        ];
        for name in spoofed {
            request.push(name, b"root");
            request.push(name, b"");
        }
        let harmless = [
            "x-users",
            "x-use",
            "xx-user",
            "xuser",
            "x-lockgate",
            "x-lockgates-email",
            "y-lockgate-email",
            "",
        ];
        for name in harmless {
            request.push(name, b"1");
        }
        assert_eq!(configured.spoofed(&request), spoofed);
    }
}
