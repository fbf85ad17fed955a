//! What holds for any input: the decision is that of a naive model written a second time over
//! `serde_json`, policies have no order, no claim leaves a header value, no text leads to another site.

#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "a test may panic")]

use lockgate_common::config::Fields;
use lockgate_common::http::Headers;
use lockgate_common::json::Json;
use oidc::access::{Asked, Decision, Policies, RuleAccess, SETTINGS, Who, policies, rule};
use oidc::identity::{ClaimRules, Identity, is_email, reduce};
use oidc::navigation::{is_navigation, is_same_origin, return_path, wants_html};
use oidc::upstream_headers::IdentityHeaders;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};

const ISSUERS: &[&str] = &["https://a.example", "https://b.example"];
const EMAILS: &[&str] = &[
    "a@example.com",
    "A@Example.COM",
    "b@example.com",
    "a@sub.example.com",
    "a@exampleXcom",
    "a@example.com.evil.org",
    "a@example.com@evil.org",
    "a b@example.com",
    "a@ex-ample.org",
];

/// Some of a few short values, at least one.
fn some(values: &'static [&'static str]) -> impl Strategy<Value = Value> {
    subsequence(values.to_vec(), 1..=values.len().min(2)).prop_map(Value::from)
}

/// Objects of some of these members.
fn object(members: Vec<(&'static str, BoxedStrategy<Value>)>, least: usize) -> BoxedStrategy<Value> {
    let count = members.len();
    let values: Vec<_> = members
        .into_iter()
        .map(|(name, value)| value.prop_map(move |value| (name.to_owned(), value)))
        .collect();
    (values, subsequence((0..count).collect::<Vec<_>>(), least..=count.min(least + 2)))
        .prop_map(|(members, chosen)| {
            Value::Object(chosen.into_iter().map(|index| members[index].clone()).collect())
        })
        .boxed()
}

fn whos() -> BoxedStrategy<Value> {
    let value = prop_oneof![select(vec!["x", "7", "true"]).prop_map(Value::from), some(&["x", "y", "7"]),];
    let claims = object(
        vec![
            ("hd", value.clone().boxed()),
            ("/r/roles", value.clone().boxed()),
            ("n", value.clone().boxed()),
            ("/email", some(&["a@example.com"]).boxed()),
        ],
        1,
    );
    let conditions = object(
        vec![
            ("emails", some(&["a@example.com", "b@EXAMPLE.com", "a@sub.example.com"]).boxed()),
            ("domains", some(&["example.com", "ex-ample.org", "evil.org"]).boxed()),
            ("groups", some(&["g", "h", "G"]).boxed()),
            ("scopes", some(&["read", "write"]).boxed()),
            ("subjects", some(&["1", "2"]).boxed()),
            ("issuers", some(ISSUERS).boxed()),
            ("claims", claims),
        ],
        1,
    );
    prop_oneof![1 => Just(json!({"anyone": true})), 4 => conditions].boxed()
}

fn policy_objects() -> impl Strategy<Value = Value> {
    let matches = prop_oneof![
        select(vec!["/a", "/a/b", "/"]).prop_map(|path| json!({"path_prefix": path})),
        select(vec!["/a", "/a/b"]).prop_map(|path| json!({"path": path, "methods": ["GET", "PUT"]})),
        Just(json!({"path_prefix": "/", "hosts": ["one.example"]})),
    ];
    let narrow = (prop::option::of(matches), prop::option::of(some(&["read", "write"])));
    (select(vec!["allow", "deny"]), whos(), narrow).prop_map(|(effect, mut who, (matches, actions))| {
        who["effect"] = effect.into();
        if let Some(matches) = matches {
            who["match"] = matches;
        }
        if let Some(actions) = actions {
            who["actions"] = actions;
        }
        who
    })
}

fn rules() -> impl Strategy<Value = Value> {
    let list = || prop::option::of(prop::collection::vec(whos(), 1..3));
    let restricted = (list(), list()).prop_map(|(allow, deny)| {
        let mut rule = json!({});
        if let Some(allow) = allow {
            rule["allow"] = allow.into();
        }
        if let Some(deny) = deny {
            rule["deny"] = deny.into();
        }
        rule
    });
    prop_oneof![1 => Just(json!({"public": true})), 12 => restricted]
}

fn claims() -> BoxedStrategy<Value> {
    let odd = || {
        prop_oneof![
            Just(json!("x")),
            Just(json!(7)),
            Just(json!(true)),
            Just(json!(["y", 7])),
            Just(json!({})),
            Just(Value::Null)
        ]
    };
    let flag = select(vec![json!(true), json!("true"), json!(false), json!("false"), json!(1)]);
    let rest = object(
        vec![
            ("email_verified", flag.boxed()),
            ("groups", prop_oneof![some(&["g", "h"]), Just(json!("g")), odd()].boxed()),
            ("scope", select(vec![json!("read"), json!("write read"), json!("")]).boxed()),
            ("scp", prop_oneof![some(&["read", "write"]), Just(json!("read"))].boxed()),
            ("hd", odd().boxed()),
            ("n", odd().boxed()),
            ("r", odd().prop_map(|value| json!({"roles": value})).boxed()),
        ],
        3,
    );
    (select(vec!["1", "2", "3"]), select(EMAILS.to_vec()), rest)
        .prop_map(|(subject, email, mut claims)| {
            claims["sub"] = subject.into();
            claims["email"] = email.into();
            claims
        })
        .boxed()
}

fn requests() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    (
        select(vec!["GET", "HEAD", "OPTIONS", "PUT", "POST"]),
        select(vec!["one.example:443", "two.example"]),
        select(vec!["/a", "/a/b?/", "/ab", "/", "/c?/a"]),
    )
}

fn read(document: &Value) -> Option<(Policies, RuleAccess)> {
    let text = document.to_string();
    let fields = Fields::new(Json::parse(text.as_bytes()).unwrap(), "", &["policies", "rule"]).unwrap();
    let policies = policies(&fields).unwrap_or_else(|error| panic!("{document}: {}", error.line()));
    let rule = rule(&fields.object("rule", SETTINGS).unwrap(), &policies);
    Some((policies, rule.ok()?))
}

fn identity(claims: &Value, issuer: &str, trust_email: bool) -> Identity {
    let text = claims.to_string();
    let rules = ClaimRules { trust_email, groups_claim: "groups".to_owned() };
    Identity::from_claims(Json::parse(text.as_bytes()).unwrap(), issuer, &rules, true).unwrap()
}

/// The rules for decisions, a second time and as plainly as possible.
mod model {
    use super::*;

    pub(super) struct Person<'a> {
        pub(super) claims: &'a Value,
        pub(super) issuer: &'a str,
        pub(super) trust_email: bool,
    }

    fn list(value: &Value) -> Vec<String> {
        match value {
            Value::Array(values) => values.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect(),
            Value::String(text) => vec![text.clone()],
            _ => Vec::new(),
        }
    }

    impl Person<'_> {
        fn email(&self) -> Option<String> {
            let verified = self.claims["email_verified"] == true || self.claims["email_verified"] == "true";
            let email = self.claims["email"].as_str().unwrap();
            let whole = email.matches('@').count() == 1 && !email.contains(' ');
            ((verified || self.trust_email) && whole).then(|| email.to_owned())
        }

        fn scopes(&self) -> Vec<String> {
            match &self.claims["scope"] {
                Value::Null => match &self.claims["scp"] {
                    Value::String(text) => text.split_whitespace().map(str::to_owned).collect(),
                    other => list(other),
                },
                scope => scope.as_str().unwrap().split_whitespace().map(str::to_owned).collect(),
            }
        }

        fn claim_is(&self, name: &str, wanted: &[String]) -> bool {
            let value = match name {
                "/email" => self.email().map(Value::from).unwrap_or_default(),
                pointer if pointer.starts_with('/') => {
                    self.claims.pointer(pointer).cloned().unwrap_or_default()
                }
                member => self.claims[member].clone(),
            };
            let is = |value: &Value| match value {
                Value::String(text) => wanted.contains(text),
                Value::Bool(_) | Value::Number(_) => wanted.contains(&value.to_string()),
                _ => false,
            };
            is(&value) || value.as_array().is_some_and(|values| values.iter().any(is))
        }

        /// Whether all holds but the scopes, and whether those do.
        fn is(&self, who: &Value) -> (bool, bool) {
            let (mut others, mut scopes) = (true, true);
            for (field, wanted) in who.as_object().unwrap() {
                let texts = list(wanted);
                let any = |given: &[String]| given.iter().any(|text| texts.contains(text));
                let email = self.email().map(|email| email.to_lowercase());
                let holds = match field.as_str() {
                    "emails" => email.is_some_and(|email| texts.iter().any(|t| t.to_lowercase() == email)),
                    "domains" => email.is_some_and(|email| {
                        texts.iter().any(|domain| email.split('@').nth(1) == Some(domain.as_str()))
                    }),
                    "groups" => any(&list(&self.claims["groups"])),
                    "subjects" => any(&list(&self.claims["sub"])),
                    "issuers" => any(&[self.issuer.to_owned()]),
                    "claims" => {
                        wanted.as_object().unwrap().iter().all(|(name, v)| self.claim_is(name, &list(v)))
                    }
                    "scopes" => {
                        scopes = texts.iter().all(|scope| self.scopes().contains(scope));
                        true
                    }
                    _ => true,
                };
                others &= holds;
            }
            (others, scopes)
        }
    }

    fn applies(policy: &Value, effect: &str, (method, host, path): (&str, &str, &str)) -> bool {
        let path = path.split('?').next().unwrap();
        let action = if ["GET", "HEAD", "OPTIONS"].contains(&method) { "read" } else { "write" };
        let within = |name: &str, value: &str| {
            policy["match"][name].as_array().is_none_or(|list| list.contains(&value.into()))
        };
        let prefix = policy["match"]["path_prefix"].as_str();
        policy["effect"] == effect
            && policy["actions"].as_array().is_none_or(|actions| actions.contains(&action.into()))
            && within("methods", method)
            && within("hosts", host.split(':').next().unwrap())
            && policy["match"]["path"].as_str().is_none_or(|exact| exact == path)
            && prefix.is_none_or(|p| p == "/" || path == p || path.starts_with(&[p, "/"].concat()))
    }

    pub(super) fn decide(document: &Value, request: (&str, &str, &str), person: &Person<'_>) -> Decision {
        let (rule, nobody) = (&document["rule"], Vec::new());
        if rule["public"] == true {
            return Decision::Allowed;
        }
        let policies = |effect| {
            let all = document["policies"].as_array().unwrap().iter();
            all.filter(move |policy| applies(policy, effect, request)).cloned().collect::<Vec<_>>()
        };
        let denials = [rule["deny"].as_array().unwrap_or(&nobody).clone(), policies("deny")].concat();
        if denials.iter().any(|who| person.is(who) == (true, true)) {
            return Decision::Denied;
        }
        let allowances = rule["allow"].as_array().cloned().unwrap_or_else(|| policies("allow"));
        if allowances.iter().any(|who| person.is(who) == (true, true)) {
            Decision::Allowed
        } else if allowances.iter().any(|who| person.is(who).0) {
            Decision::MissingScope
        } else {
            Decision::NotAllowed
        }
    }
}

fn percent_decoded(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}

fn odd_texts() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<String>(),
        "[a, %\r\n\u{0}\u{7f}\u{85}é@]{0,12}",
        "[ -~]{0,12}".prop_map(|text| text.repeat(100))
    ]
}

fn odd_headers() -> impl Strategy<Value = Headers> {
    let name = select(vec![
        "accept",
        "sec-fetch-mode",
        "sec-fetch-dest",
        "sec-fetch-site",
        "origin",
        "purpose",
        "authorization",
        "x-requested-with",
        "x-user",
        "X_Lockgate-x",
    ]);
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..12),
        select(vec!["text/html", "navigate", "document", "same-origin", "https://a.example", "prefetch"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec((name, value), 0..5).prop_map(|pairs| {
        pairs.into_iter().collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn the_decision_is_the_model_s_and_policies_have_no_order(
        list in prop::collection::vec(policy_objects(), 0..5),
        rule in rules(),
        claims in claims(),
        issuer in select(ISSUERS.to_vec()),
        trust_email in any::<bool>(),
        request in requests(),
        order in any::<prop::sample::Index>(),
    ) {
        let document = json!({"policies": list, "rule": rule});
        let open = rule["public"] == true
            || rule["allow"].is_array()
            || list.iter().any(|policy| policy["effect"] == "allow");
        let read_document = read(&document);
        prop_assert_eq!(read_document.is_some(), open);
        let Some((policies, rule)) = read_document else { return Ok(()) };

        let mut identity = identity(&claims, issuer, trust_email);
        let (method, host, path) = request;
        let asked = Asked { method, host, path };
        let decision = policies.decide(&rule, &asked, &identity);
        let person = model::Person { claims: &claims, issuer, trust_email };
        prop_assert_eq!(decision, model::decide(&document, request, &person), "{} {}", document, claims);

        // What a session keeps is enough to decide the same again.
        let text = std::mem::take(&mut identity.claims);
        identity.claims = reduce(Json::parse(text.as_bytes()).unwrap(), &policies.wanted_claims([&rule]));
        prop_assert_eq!(policies.decide(&rule, &asked, &identity), decision);

        let mut turned = list.clone();
        turned.reverse();
        turned.rotate_left(order.index(list.len().max(1)).min(list.len()));
        let (turned, rule) = read(&json!({"policies": turned, "rule": document["rule"]})).unwrap();
        prop_assert_eq!(turned.decide(&rule, &asked, &identity), decision);
    }

    #[test]
    fn a_denial_more_never_lets_anybody_in(
        list in prop::collection::vec(policy_objects(), 0..4),
        allow in prop::collection::vec(whos(), 1..3),
        who in whos(),
        claims in claims(),
        request in requests(),
    ) {
        let mut document = json!({"policies": list, "rule": {"allow": allow}});
        let (method, host, path) = request;
        let (asked, identity) = (Asked { method, host, path }, identity(&claims, ISSUERS[0], true));
        let mut decide = |deny: Option<&Value>| {
            if let Some(who) = deny {
                document["rule"]["deny"] = json!([who]);
            }
            let (policies, rule) = read(&document).unwrap();
            policies.decide(&rule, &asked, &identity)
        };
        let (before, after) = (decide(None), decide(Some(&who)));
        prop_assert!(after == before || after == Decision::Denied);
    }

    #[test]
    fn any_claims_are_read_without_a_panic_and_only_a_plain_email_is_kept(
        subject in odd_texts(),
        email in odd_texts(),
        groups in odd_texts(),
    ) {
        let claims = json!({"sub": subject, "email": email, "email_verified": true, "groups": [groups, null]});
        let text = claims.to_string();
        let rules = ClaimRules { trust_email: false, groups_claim: "/groups".to_owned() };
        let read = Identity::from_claims(Json::parse(text.as_bytes()).unwrap(), "i", &rules, true);
        let plain = (1..=255).contains(&subject.len()) && !subject.chars().any(char::is_control);
        prop_assert_eq!(read.is_some(), plain);
        if let Some(identity) = read {
            prop_assert_eq!(&identity.subject, &subject);
            prop_assert_eq!(identity.groups, [groups]);
            prop_assert!(identity.email.is_none_or(|kept| kept == email && is_email(&kept)));
        }
    }

    #[test]
    fn any_claim_is_a_header_value_that_can_be_undone(
        text in odd_texts(),
        list in prop::collection::vec(odd_texts(), 0..4),
    ) {
        let config = json!({"identity": {"x-text": "t", "x-list": "l"}}).to_string();
        let fields = Fields::new(Json::parse(config.as_bytes()).unwrap(), "", &["identity"]).unwrap();
        let headers = IdentityHeaders::from_config(&fields).unwrap();
        let identity = identity(&json!({"sub": "1", "t": text, "l": list}), "i", false);
        let values: Vec<Option<String>> =
            headers.values(&identity).into_iter().map(|(_, value)| value).collect();
        for value in values.iter().flatten() {
            prop_assert!((1..=1_024).contains(&value.len()));
            prop_assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)));
            prop_assert_eq!(value.trim(), value);
        }
        match &values[0] {
            Some(value) => prop_assert_eq!(percent_decoded(value), text),
            None => prop_assert!(text.is_empty() || text.len() > 1_024 / 3),
        }
        match &values[1] {
            Some(value) => {
                prop_assert_eq!(value.split(',').map(percent_decoded).collect::<Vec<_>>(), list);
            }
            None => prop_assert!(
                list.concat().is_empty() && list.len() < 2 || list.join(",").len() > 1_024 / 3
            ),
        }
    }

    #[test]
    fn reduced_claims_are_the_wanted_members(
        names in prop::collection::vec("[ab/~\"\u{e4}]{0,3}", 0..6),
        wanted in prop::collection::vec("[ab/~\"\u{e4}]{1,3}", 0..4),
    ) {
        let members: Map<String, Value> =
            names.iter().enumerate().map(|(index, name)| (name.clone(), index.into())).collect();
        let text = Value::Object(members.clone()).to_string();
        let reduced = reduce(Json::parse(text.as_bytes()).unwrap(), &wanted);
        let is_wanted = |name: &String| {
            wanted.iter().any(|wanted| match wanted.strip_prefix('/') {
                Some(pointer) => {
                    pointer.split('/').next().unwrap().replace("~1", "/").replace("~0", "~") == *name
                }
                None => wanted == name,
            })
        };
        let expected: Map<String, Value> =
            members.into_iter().filter(|(name, _)| is_wanted(name)).collect();
        prop_assert_eq!(reduced, Value::Object(expected).to_string());
    }

    #[test]
    fn any_return_address_stays_on_this_site(
        text in prop_oneof![any::<String>(), "[/\\\\.;%25cfeEF0#?: a\t\u{e4}@_]{0,10}", "/_lockgate.{0,4}"],
    ) {
        let path = return_path(&text);
        prop_assert!(path == text || path == "/");
        prop_assert!(path.starts_with('/') && !path.starts_with("//") && path.len() <= 1_024);
        prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic() && !b"\\#".contains(&byte)));
        prop_assert!(!path.starts_with("/_lockgate/"));
        prop_assert_eq!(return_path(&path), path);
    }

    #[test]
    fn any_headers_are_judged_without_a_panic(headers in odd_headers(), method in "(GET|POST|HEAD)") {
        let count = |name: &str| headers.iter().filter(|(other, _)| *other == name).count();
        if is_navigation(&headers, &method) {
            prop_assert!(method != "POST" && count("authorization") == 0 && count("sec-fetch-mode") < 2);
        }
        if is_same_origin(&headers, "https://a.example") {
            prop_assert!(count("origin") < 2 && count("sec-fetch-site") < 2);
            prop_assert!(count("origin") + count("sec-fetch-site") > 0);
        }
        prop_assert!(!wants_html(&headers) || count("accept") > 0);
        let fields = Fields::new(Json::parse(b"{}").unwrap(), "", &[]).unwrap();
        let spoofed = IdentityHeaders::from_config(&fields).unwrap().spoofed(&headers).len();
        prop_assert_eq!(spoofed, usize::from(count("X_Lockgate-x") > 0));
    }

    #[test]
    fn any_who_is_read_or_refused_without_a_panic(text in "[{}\\[\\]:,\"a@.]{0,20}", name in "(emails|domains|claims|anyone)") {
        if let Ok(value) = serde_json::from_str::<Value>(&text) {
            let text = json!({name: value}).to_string();
            let _ = Who::from_config(Json::parse(text.as_bytes()).unwrap(), "who");
        }
    }
}
