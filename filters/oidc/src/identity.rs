//! Who was verified: the claims of a token, or of an answer about one, as the rules read them.

use std::borrow::Cow;

use lockgate_common::json::{Json, Kind, write_string};

/// Longest subject, in bytes (OpenID Connect Core 1.0, section 2).
const MAX_SUBJECT_BYTES: usize = 255;

/// Somebody whose token or session was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Who vouches for them.
    pub issuer: String,
    /// Who they are to that issuer: 1 to 255 bytes without control characters.
    pub subject: String,
    /// Their e-mail address, where the issuer has verified it, or is trusted to have.
    pub email: Option<String>,
    /// The groups the issuer has them in.
    pub groups: Vec<String>,
    /// What their token is for (RFC 6749, section 3.3).
    pub scopes: Vec<String>,
    /// A JSON object of the claims that the configuration uses.
    pub claims: String,
    /// A person who signed in; else a program that came with a token.
    pub person: bool,
}

/// How an issuer's claims are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimRules {
    /// Takes `email` without `email_verified`.
    pub trust_email: bool,
    /// The claim with the groups, see [`is_claim_name`].
    pub groups_claim: String,
}

/// A claim's value, as far as it is text. Numbers, `true` and `false` are their JSON text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim<'a> {
    /// One value.
    Text(Cow<'a, str>),
    /// An array's values, but for those that are objects, arrays or null.
    List(Vec<Cow<'a, str>>),
}

impl Identity {
    /// Reads verified claims, all of which it keeps: the caller [`reduce`]s them to what it needs later.
    ///
    /// None without a usable subject (`sub`; for a program without one, `client_id`), and where a name
    /// stands twice in one object, since two readers of it may believe different values. Any other
    /// claim that is missing, null or of an unexpected kind is as good as absent.
    pub fn from_claims(claims: Json<'_>, issuer: &str, rules: &ClaimRules, person: bool) -> Option<Self> {
        if claims.kind() != Kind::Object || repeats_a_name(claims) {
            return None;
        }
        let client = || if person { None } else { claim(claims, "client_id") };
        let subject = claim(claims, "sub").or_else(client)?.str()?;
        if subject.is_empty() || subject.len() > MAX_SUBJECT_BYTES || subject.chars().any(char::is_control) {
            return None;
        }
        // Google's tokeninfo endpoint writes the flag as a text.
        let verified = claim(claims, "email_verified")
            .is_some_and(|flag| flag.bool() == Some(true) || flag.str().as_deref() == Some("true"));
        let email = claim(claims, "email").filter(|_| verified || rules.trust_email).and_then(Json::str);
        let scopes = claim(claims, "scope").or_else(|| claim(claims, "scp"));
        Some(Self {
            issuer: issuer.to_owned(),
            subject: subject.into_owned(),
            email: email.filter(|email| is_email(email)).map(Cow::into_owned),
            groups: claim(claims, &rules.groups_claim).map(texts).unwrap_or_default(),
            scopes: scopes.map(scope_tokens).unwrap_or_default(),
            claims: claims.text_str().to_owned(),
            person,
        })
    }

    /// The claim of that name, see [`is_claim_name`]. `sub`, `email` and `iss` are what was verified,
    /// in whichever way they are named, and never what else the claims may say.
    pub fn claim(&self, name: &str) -> Option<Claim<'_>> {
        match own_claim(name) {
            Some(Own::Subject) => Some(Claim::Text(Cow::Borrowed(&self.subject))),
            Some(Own::Issuer) => Some(Claim::Text(Cow::Borrowed(&self.issuer))),
            Some(Own::Email) => self.email.as_deref().map(|email| Claim::Text(Cow::Borrowed(email))),
            None => {
                let value = claim(Json::parse(self.claims.as_bytes()).ok()?, name)?;
                match value.kind() {
                    Kind::Array => Some(Claim::List(value.elements().filter_map(scalar).collect())),
                    _ => scalar(value).map(Claim::Text),
                }
            }
        }
    }
}

/// A claim that is part of an [`Identity`] itself.
enum Own {
    Subject,
    Issuer,
    Email,
}

/// The pointers `/sub`, `/iss` and `/email` are those claims too: a second way to a claim must not be
/// a way around its verification.
fn own_claim(name: &str) -> Option<Own> {
    match name.strip_prefix('/').unwrap_or(name) {
        "sub" => Some(Own::Subject),
        "iss" => Some(Own::Issuer),
        "email" => Some(Own::Email),
        _ => None,
    }
}

/// Whether a claim is looked up in [`Identity::claims`], so must be kept there.
pub fn is_kept_in_claims(name: &str) -> bool {
    own_claim(name).is_none()
}

/// Whether this can name a claim: a member's name, or a JSON Pointer (RFC 6901) where it begins with
/// `/`, as Keycloak's `/realm_access/roles`.
pub fn is_claim_name(name: &str) -> bool {
    let escaped = |rest: &str| rest.starts_with(['0', '1']);
    !name.is_empty() && (!name.starts_with('/') || name.split('~').skip(1).all(escaped))
}

/// An object of only the `wanted` top-level members, in the order they came, values as the bytes that
/// came. A wanted JSON Pointer keeps the whole of its first member.
pub fn reduce(claims: Json<'_>, wanted: &[String]) -> String {
    let mut out = vec![b'{'];
    for (name, value) in claims.members() {
        if wanted.iter().any(|wanted| *member_name(wanted) == *name) {
            if out.len() > 1 {
                out.push(b',');
            }
            write_string(&mut out, &name);
            out.push(b':');
            out.extend_from_slice(value.text());
        }
    }
    out.push(b'}');
    String::from_utf8(out).unwrap_or_default()
}

/// Whether this is an e-mail address as far as a decision may rest on it: one `@` with something on
/// either side, no white space and no control characters. A quoted local part may hold an `@` by RFC
/// 5322, but programs differ on where such an address's domain begins.
pub fn is_email(text: &str) -> bool {
    let parts = text.split_once('@');
    parts.is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty() && !domain.contains('@'))
        && !text.chars().any(|char| char.is_control() || char.is_whitespace())
}

/// What stands behind the last `@`.
pub fn domain(email: &str) -> &str {
    email.rsplit_once('@').map_or("", |(_, domain)| domain)
}

/// The top-level member that a claim's name begins at (RFC 6901, section 4, for the order of the two).
fn member_name(name: &str) -> Cow<'_, str> {
    let Some(pointer) = name.strip_prefix('/') else {
        return Cow::Borrowed(name);
    };
    let first = pointer.split('/').next().unwrap_or_default();
    Cow::Owned(first.replace("~1", "/").replace("~0", "~"))
}

fn claim<'a>(claims: Json<'a>, name: &str) -> Option<Json<'a>> {
    let value = if name.starts_with('/') { claims.pointer(name) } else { claims.field(name) };
    value.filter(|value| !value.is_null())
}

fn scalar(value: Json<'_>) -> Option<Cow<'_, str>> {
    match value.kind() {
        Kind::String => value.str(),
        Kind::Number | Kind::Bool => Some(Cow::Borrowed(value.text_str())),
        Kind::Object | Kind::Array | Kind::Null => None,
    }
}

/// One text, or the texts of an array.
fn texts(value: Json<'_>) -> Vec<String> {
    let one = value.str().into_iter();
    one.chain(value.elements().filter_map(Json::str)).map(Cow::into_owned).collect()
}

/// A text is tokens separated by spaces (RFC 6749, section 3.3); an array has one in each element.
fn scope_tokens(value: Json<'_>) -> Vec<String> {
    match value.str() {
        Some(text) => text.split(' ').filter(|token| !token.is_empty()).map(str::to_owned).collect(),
        None => texts(value),
    }
}

/// As deep as the parser's limit at most.
fn repeats_a_name(value: Json<'_>) -> bool {
    let mut names = Vec::new();
    for (name, member) in value.members() {
        if names.contains(&name) || repeats_a_name(member) {
            return true;
        }
        names.push(name);
    }
    value.elements().any(repeats_a_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn json(text: &str) -> Json<'_> {
        Json::parse(text.as_bytes()).unwrap()
    }

    fn read(text: &str, trust_email: bool, groups_claim: &str, person: bool) -> Option<Identity> {
        let rules = ClaimRules { trust_email, groups_claim: groups_claim.to_owned() };
        Identity::from_claims(json(text), "https://login.example.com", &rules, person)
    }

    fn person(text: &str) -> Option<Identity> {
        read(text, false, "groups", true)
    }

    fn email(address: &str) -> Option<String> {
        let mut text = br#"{"sub":"1","email_verified":true,"email":"#.to_vec();
        write_string(&mut text, address);
        text.push(b'}');
        person(std::str::from_utf8(&text).unwrap()).unwrap().email
    }

    #[test]
    fn a_subject_is_text_of_a_bounded_length_without_control_characters() {
        assert_eq!(person(r#"{"sub":"1"}"#).unwrap().subject, "1");
        let longest = ["{\"sub\":\"", &"a".repeat(255), "\"}"].concat();
        assert!(person(&longest).is_some());
        let too_long = ["{\"sub\":\"", &"\u{e4}".repeat(128), "\"}"].concat();
        for text in [
            "{}",
            "[]",
            "\"sub\"",
            r#"{"sub":""}"#,
            r#"{"sub":1}"#,
            r#"{"sub":null}"#,
            r#"{"sub":["1"]}"#,
            r#"{"sub":"a\u0000"}"#,
            r#"{"sub":"a\r\nx: y"}"#,
            r#"{"sub":"a\u007f"}"#,
            r#"{"sub":"a\u0085"}"#,
            &too_long,
        ] {
            assert_eq!(person(text), None, "{text}");
        }
    }

    #[test]
    fn a_program_without_a_subject_is_its_client() {
        let program = |text| read(text, false, "groups", false);
        assert_eq!(program(r#"{"client_id":"c"}"#).unwrap().subject, "c");
        assert_eq!(program(r#"{"client_id":"c","sub":null}"#).unwrap().subject, "c");
        assert_eq!(program(r#"{"client_id":"c","sub":"s"}"#).unwrap().subject, "s");
        assert_eq!(program(r#"{"client_id":"c","sub":""}"#), None);
        assert_eq!(person(r#"{"client_id":"c"}"#), None);
    }

    #[test]
    fn a_name_that_stands_twice_is_refused_however_it_is_written() {
        for text in [
            r#"{"sub":"1","sub":"2"}"#,
            r#"{"sub":"1","s\u0075b":"1"}"#,
            r#"{"sub":"1","email":"a@b.c","email":"d@e.f"}"#,
            r#"{"sub":"1","hd":"a","hd":"b"}"#,
            r#"{"sub":"1","realm_access":{"roles":[],"roles":["admin"]}}"#,
            r#"{"sub":"1","list":[{"a":1,"a":2}]}"#,
        ] {
            assert_eq!(person(text), None, "{text}");
        }
        assert!(person(r#"{"sub":"1","a":{"sub":"2"},"b":[{"c":1},{"c":1}]}"#).is_some());
    }

    #[test]
    fn an_email_counts_only_if_verified_or_trusted() {
        let with = |flag: &str, trust| {
            let text = [r#"{"sub":"1","email":"a@example.com""#, flag, "}"].concat();
            read(&text, trust, "groups", true).unwrap().email.is_some()
        };
        assert!(with(r#","email_verified":true"#, false) && with(r#","email_verified":"true""#, false));
        for flag in ["", "null", "false", "1", "\"false\"", "\"True\"", "[true]", "{}"] {
            let flag = if flag.is_empty() { String::new() } else { [r#","email_verified":"#, flag].concat() };
            assert!(!with(&flag, false), "{flag}");
            assert!(with(&flag, true), "{flag}");
        }
        assert_eq!(person(r#"{"sub":"1","email_verified":true}"#).unwrap().email, None);
        assert_eq!(person(r#"{"sub":"1","email_verified":true,"email":["a@b.c"]}"#).unwrap().email, None);
    }

    #[test]
    fn an_address_that_two_programs_may_read_differently_is_no_address() {
        for address in [
            "",
            "@",
            "a@",
            "@example.com",
            "example.com",
            "a\u{ff20}example.com",
            "user@example.com@evil.org",
            "\"a@example.com\"@evil.org",
            "a@example.com\r\nx-lockgate-subject: root",
            "a@example.com\n",
            "a@example.com\u{0}.evil.org",
            " a@example.com",
            "a@example.com ",
            "a@ example.com",
            "a\u{a0}b@example.com",
            "a@example.com\u{2028}",
            "a\tb@example.com",
        ] {
            assert_eq!(email(address), None, "{address:?}");
        }
        for address in ["A@Example.COM", "a+b@sub.example.com", "a@m\u{fc}nchen.example", "'a'@ex-ample.com"]
        {
            assert_eq!(email(address).as_deref(), Some(address));
        }
        assert_eq!(domain("a@sub.example.com"), "sub.example.com");
    }

    #[test]
    fn groups_are_a_text_or_an_array_of_texts_wherever_the_issuer_puts_them() {
        let groups = |text, name| read(text, false, name, true).unwrap().groups;
        assert_eq!(groups(r#"{"sub":"1","groups":["a","b c"]}"#, "groups"), ["a", "b c"]);
        assert_eq!(groups(r#"{"sub":"1","groups":"a b,c"}"#, "groups"), ["a b,c"]);
        assert_eq!(groups(r#"{"sub":"1","groups":["a",1,null,["b"],{"c":1}]}"#, "groups"), ["a"]);
        let keycloak = r#"{"sub":"1","realm_access":{"roles":["admin"]}}"#;
        assert_eq!(groups(keycloak, "/realm_access/roles"), ["admin"]);
        assert_eq!(groups(r#"{"sub":"1","https://x.example/r":["a"]}"#, "https://x.example/r"), ["a"]);
        for text in [r#"{"sub":"1"}"#, r#"{"sub":"1","groups":7}"#, r#"{"sub":"1","groups":{"a":"b"}}"#] {
            assert!(groups(text, "groups").is_empty(), "{text}");
            assert!(groups(text, "/groups/0/x").is_empty(), "{text}");
        }
    }

    #[test]
    fn scopes_are_scope_or_scp() {
        let scopes = |text| person(text).unwrap().scopes;
        assert_eq!(scopes(r#"{"sub":"1","scope":" read  write "}"#), ["read", "write"]);
        assert_eq!(scopes(r#"{"sub":"1","scp":["read","write"]}"#), ["read", "write"]);
        assert_eq!(scopes(r#"{"sub":"1","scp":"read write"}"#), ["read", "write"]);
        assert_eq!(scopes(r#"{"sub":"1","scope":null,"scp":["read"]}"#), ["read"]);
        assert_eq!(scopes(r#"{"sub":"1","scope":"read","scp":["admin"]}"#), ["read"]);
        assert!(scopes(r#"{"sub":"1","scope":""}"#).is_empty() && scopes(r#"{"sub":"1"}"#).is_empty());
    }

    #[test]
    fn what_was_verified_is_never_looked_up_among_the_other_claims() {
        let mut identity = person(
            r#"{"sub":"1","iss":"https://evil.org","email":"a@b.c","n":1e3,"l":["x",2,true,null,{}],"o":{"p":false}}"#,
        )
        .unwrap();
        let text = |text: &'static str| Some(Claim::Text(Cow::Borrowed(text)));
        assert_eq!((identity.claim("email"), identity.claim("/email")), (None, None));
        assert_eq!((identity.claim("sub"), identity.claim("/sub")), (text("1"), text("1")));
        assert_eq!(identity.claim("/iss"), text("https://login.example.com"));
        assert_eq!((identity.claim("n"), identity.claim("/o/p")), (text("1e3"), text("false")));
        assert_eq!(identity.claim("l"), Some(Claim::List(vec!["x".into(), "2".into(), "true".into()])));
        assert_eq!((identity.claim("o"), identity.claim("x"), identity.claim("/l/9")), (None, None, None));
        assert!(!is_kept_in_claims("/email") && is_kept_in_claims("email_verified"));
        identity.claims.clear();
        assert_eq!(identity.claim("n"), None);
    }

    #[test]
    fn reduced_claims_keep_their_order_and_their_bytes() {
        let claims = r#" {"a" : 12345678901234567890 ,"q\"":"\u00e4","b":{"c":[ ]},"d":1,"e/~":null} "#;
        let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            reduce(json(claims), &wanted(&["/b/c/0", "q\"", "a", "x"])),
            r#"{"a":12345678901234567890,"q\"":"\u00e4","b":{"c":[ ]}}"#
        );
        assert_eq!(reduce(json(claims), &wanted(&["/e~1~0/x"])), r#"{"e/~":null}"#);
        assert_eq!(reduce(json(r#"{"~1":1,"/":2}"#), &wanted(&["/~01"])), r#"{"~1":1}"#);
        assert_eq!(reduce(json(claims), &[]), "{}");
        assert_eq!(reduce(json("[1]"), &wanted(&["a"])), "{}");
    }

    #[test]
    fn a_claim_is_named_or_pointed_at() {
        for name in ["sub", "https://x.example/r", "a~", "/a", "/a~0b/~1", "/"] {
            assert!(is_claim_name(name), "{name}");
        }
        for name in ["", "/a~", "/a~2", "/~/0"] {
            assert!(!is_claim_name(name), "{name}");
        }
    }
}
