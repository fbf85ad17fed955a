//! A signed-in person, as the session cookie holds them once it is opened.

use lockgate_common::encoding;
use lockgate_common::json::{self, Json, Kind};

/// The version of what [`Session::encode`] writes. A session of another one is none: whoever held it
/// signs in again.
const VERSION: u64 = 1;

/// How far another instance's clock may be ahead, in seconds.
const CLOCK_SKEW_S: u64 = 300;

/// One sign-in and what has become of it. It holds tokens, so there is no `Debug`. All times are seconds
/// since 1970.
#[derive(Clone, PartialEq, Eq)]
pub struct Session {
    /// 22 characters: base64url of 16 random bytes. It stays the same when the session is refreshed.
    pub id: String,
    /// Grows by one with each refresh.
    pub generation: u64,
    /// Name of the configured provider that was signed in at.
    pub provider: String,
    /// `iss` of the ID token.
    pub issuer: String,
    /// `sub` of the ID token.
    pub subject: String,
    /// The claims that are kept: the text of a JSON object of at most [`json::MAX_DEPTH`] - 1 levels,
    /// without white space around it.
    pub claims: String,
    /// `sid` of the ID token: the session at the provider (OpenID Connect Back-Channel Logout 1.0, 2.1).
    pub provider_session: Option<String>,
    /// When the person signed in.
    pub signed_in_s: u64,
    /// When the last request came that moved it.
    pub seen_s: u64,
    /// When the tokens are refreshed.
    pub refresh_at_s: Option<u64>,
    /// When the tokens expire.
    pub token_expires_s: Option<u64>,
    /// The refresh token.
    pub refresh_token: Option<String>,
    /// The access token.
    pub access_token: Option<String>,
    /// The ID token.
    pub id_token: Option<String>,
}

impl Session {
    /// Compact JSON; a byte in a cookie is sent with every request, so the names are short.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = b"{\"v\":".to_vec();
        push_number(&mut out, VERSION);
        let texts = [("i", &self.id), ("p", &self.provider), ("u", &self.issuer), ("s", &self.subject)];
        for (name, text) in texts {
            push_name(&mut out, name);
            json::write_string(&mut out, text);
        }
        push_name(&mut out, "c");
        out.extend_from_slice(self.claims.as_bytes());
        let numbers = [
            ("g", Some(self.generation)),
            ("b", Some(self.signed_in_s)),
            ("n", Some(self.seen_s)),
            ("f", self.refresh_at_s),
            ("e", self.token_expires_s),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                push_name(&mut out, name);
                push_number(&mut out, number);
            }
        }
        let texts = [
            ("d", &self.provider_session),
            ("r", &self.refresh_token),
            ("a", &self.access_token),
            ("t", &self.id_token),
        ];
        for (name, text) in texts {
            if let Some(text) = text {
                push_name(&mut out, name);
                json::write_string(&mut out, text);
            }
        }
        out.push(b'}');
        out
    }

    /// Reads what [`Session::encode`] wrote. Members it does not know are passed over, because a newer
    /// instance may have written them; a member that is missing, stands twice or is of another kind is
    /// an error.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let json = Json::parse(bytes).ok()?;
        let mut version = None;
        let (mut id, mut provider, mut issuer, mut subject) = (None, None, None, None);
        let (mut claims, mut generation, mut signed_in, mut seen) = (None, None, None, None);
        let (mut refresh_at, mut token_expires, mut provider_session) = (None, None, None);
        let (mut refresh_token, mut access_token, mut id_token) = (None, None, None);
        for (name, value) in json.members() {
            let member = match &*name {
                "v" => &mut version,
                "i" => &mut id,
                "p" => &mut provider,
                "u" => &mut issuer,
                "s" => &mut subject,
                "c" => &mut claims,
                "g" => &mut generation,
                "b" => &mut signed_in,
                "n" => &mut seen,
                "f" => &mut refresh_at,
                "e" => &mut token_expires,
                "d" => &mut provider_session,
                "r" => &mut refresh_token,
                "a" => &mut access_token,
                "t" => &mut id_token,
                _ => continue,
            };
            if member.replace(value).is_some() {
                return None;
            }
        }
        if version?.u64()? != VERSION {
            return None;
        }
        Some(Self {
            id: text(id?).filter(|id| is_id(id))?,
            generation: generation?.u64()?,
            provider: text(provider?)?,
            issuer: text(issuer?)?,
            subject: text(subject?)?,
            claims: claims.filter(|claims| claims.kind() == Kind::Object)?.text_str().to_owned(),
            provider_session: optional(provider_session, text)?,
            signed_in_s: signed_in?.u64()?,
            seen_s: seen?.u64()?,
            refresh_at_s: optional(refresh_at, Json::u64)?,
            token_expires_s: optional(token_expires, Json::u64)?,
            refresh_token: optional(refresh_token, text)?,
            access_token: optional(access_token, text)?,
            id_token: optional(id_token, text)?,
        })
    }

    /// Whether the person must sign in again: `lifetime_s` after they did, `idle_s` after they were last
    /// seen, or when the sign-in lies in a future that no clock skew explains.
    pub fn is_over(&self, now_s: u64, idle_s: u64, lifetime_s: u64) -> bool {
        self.signed_in_s > now_s.saturating_add(CLOCK_SKEW_S)
            || now_s.saturating_sub(self.signed_in_s) >= lifetime_s
            || now_s.saturating_sub(self.seen_s) >= idle_s
    }

    /// Whether it is time to refresh the tokens.
    pub fn needs_refresh(&self, now_s: u64) -> bool {
        self.refresh_at_s.is_some_and(|at_s| now_s >= at_s)
    }

    /// Whether the tokens have expired; never where nobody said when they do.
    pub fn token_expired(&self, now_s: u64) -> bool {
        self.token_expires_s.is_some_and(|at_s| now_s >= at_s)
    }

    /// Whether `seen_s` is older than an eighth of the idle limit, so that the cookie should be written
    /// again: not at every request, and often enough that nobody who is active is signed out.
    pub fn should_touch(&self, now_s: u64, idle_s: u64) -> bool {
        now_s.saturating_sub(self.seen_s) > idle_s / 8
    }
}

fn is_id(id: &str) -> bool {
    encoding::from_base64url(id.as_bytes()).is_some_and(|bytes| bytes.len() == 16)
}

fn text(json: Json<'_>) -> Option<String> {
    json.str().map(|text| text.into_owned())
}

/// A member that may be absent, but not of another kind.
fn optional<'a, T>(json: Option<Json<'a>>, read: fn(Json<'a>) -> Option<T>) -> Option<Option<T>> {
    json.map_or(Some(None), |json| read(json).map(Some))
}

fn push_name(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn push_number(out: &mut Vec<u8>, number: u64) {
    let mut text = String::new();
    encoding::push_decimal(&mut text, number);
    out.extend_from_slice(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINIMAL: &str =
        r#"{"v":1,"i":"AAAAAAAAAAAAAAAAAAAAAA","p":"p","u":"i","s":"s","c":{},"g":0,"b":1000,"n":2000}"#;

    fn session() -> Session {
        Session::decode(MINIMAL.as_bytes()).unwrap()
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        let minimal = session();
        assert_eq!(minimal.encode(), MINIMAL.as_bytes());
        let full = Session {
            generation: u64::MAX,
            claims: r#"{"email":"a@b.example","groups":["x",["y"]],"n":1e400}"#.into(),
            provider_session: Some("\"\\\u{1}é".into()),
            refresh_at_s: Some(3000),
            token_expires_s: Some(0),
            refresh_token: Some("r".into()),
            access_token: Some("".into()),
            id_token: Some("t".into()),
            ..minimal
        };
        assert!(Session::decode(&full.encode()) == Some(full));
    }

    #[test]
    fn a_member_that_is_missing_or_of_another_kind_is_an_error() {
        for member in ["v", "i", "p", "u", "s", "c", "g", "b", "n"] {
            let (quoted, renamed) = (["\"", member, "\":"].concat(), ["\"x", member, "\":"].concat());
            assert!(Session::decode(MINIMAL.replace(&quoted, &renamed).as_bytes()).is_none(), "{member}");
        }
        for (from, to) in [
            ("\"v\":1", "\"v\":2"),
            ("\"v\":1", "\"v\":\"1\""),
            ("AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA"),
            ("AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAA="),
            ("AAAAAAAAAAAAAAAAAAAAAA", "AAAAAAAAAAAAAAAAAAAAAAA"),
            ("\"c\":{}", "\"c\":[]"),
            ("\"c\":{}", "\"c\":\"{}\""),
            ("\"g\":0", "\"g\":-1"),
            ("\"g\":0", "\"g\":0.5"),
            ("\"g\":0", "\"g\":0,\"f\":null"),
            ("\"g\":0", "\"g\":0,\"d\":1"),
            ("\"g\":0", "\"g\":0,\"g\":0"),
            ("\"g\":0", "\"g\":0,\"\\u0067\":0"),
        ] {
            let text = MINIMAL.replace(from, to);
            assert!(text != MINIMAL && Session::decode(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Session::decode(b"").is_none());
        assert!(Session::decode(b"[]").is_none());
    }

    #[test]
    fn members_of_a_newer_instance_are_passed_over() {
        let newer = MINIMAL.replace("\"g\":0", "\"g\":0,\"zz\":{\"v\":2},\"zz\":1");
        assert!(Session::decode(newer.as_bytes()) == Some(session()));
    }

    #[test]
    fn a_session_ends_with_its_lifetime_and_when_nobody_is_there() {
        let session = session();
        for (now, idle, lifetime, over) in [
            (2000, 100, 5000, false),
            (2099, 100, 5000, false),
            (2100, 100, 5000, true),
            (5999, 9000, 5000, false),
            (6000, 9000, 5000, true),
            (1000, 100, 5000, false),
            (700, 100, 5000, false),
            (699, 100, 5000, true),
            (u64::MAX, u64::MAX, u64::MAX, false),
            (u64::MAX, 100, 5000, true),
            (0, 100, 5000, true),
            (2000, 0, 5000, true),
        ] {
            assert_eq!(session.is_over(now, idle, lifetime), over, "{now} {idle} {lifetime}");
        }
    }

    #[test]
    fn tokens_are_refreshed_and_expire_where_somebody_said_when() {
        let session = Session { refresh_at_s: Some(10), token_expires_s: Some(20), ..session() };
        assert_eq!([9, 10, 19, 20].map(|now| session.needs_refresh(now)), [false, true, true, true]);
        assert_eq!([9, 10, 19, 20].map(|now| session.token_expired(now)), [false, false, false, true]);
        let session = Session { refresh_at_s: None, token_expires_s: None, ..session };
        assert!(!session.needs_refresh(u64::MAX) && !session.token_expired(u64::MAX));
    }

    #[test]
    fn the_cookie_is_written_again_after_an_eighth_of_the_idle_limit() {
        let session = session();
        assert_eq!(
            [0, 2000, 2100, 2101].map(|now| session.should_touch(now, 800)),
            [false, false, false, true]
        );
    }
}
