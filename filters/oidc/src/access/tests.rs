//! Rules and policies by example; the properties are in `tests/access.rs`.

use super::*;
use crate::identity::ClaimRules;

const REQUEST: Asked<'_> = Asked { method: "GET", host: "app.example.com:443", path: "/a/b?c" };

fn json(text: &str) -> Json<'_> {
    Json::parse(text.as_bytes()).unwrap()
}

fn somebody(claims: &str) -> Identity {
    let rules = ClaimRules { trust_email: false, groups_claim: "groups".to_owned() };
    Identity::from_claims(json(claims), "https://login.example.com", &rules, true).unwrap()
}

fn mailed(address: &str) -> Identity {
    Identity { email: Some(address.to_owned()), ..somebody(r#"{"sub":"1"}"#) }
}

fn who(text: &str) -> Result<Who, String> {
    Who::from_config(json(text), "allow[0]").map_err(|error| error.line())
}

fn fits(text: &str, identity: &Identity) -> bool {
    who(text).unwrap().fit(identity) == Fit::Whole
}

fn read(text: &str) -> Result<(Policies, RuleAccess), String> {
    let document = Fields::new(json(text), "", &["policies", "rule"]).unwrap();
    let policies = policies(&document).map_err(|error| error.line())?;
    let fields = document.object("rule", SETTINGS).map_err(|error| error.line())?;
    rule(&fields, &policies).map(|rule| (policies, rule)).map_err(|error| error.line())
}

fn decide(text: &str, request: Asked<'_>, claims: &str) -> Decision {
    let (policies, rule) = read(text).unwrap();
    policies.decide(&rule, &request, &somebody(claims))
}

#[test]
fn a_domain_is_itself_and_nothing_like_it() {
    let domains = r#"{"domains":["example.com","ex-ample.co.uk"]}"#;
    for address in ["a@example.com", "a@EXAMPLE.Com", "\u{fc}@example.com", "a@ex-ample.co.uk"] {
        assert!(fits(domains, &mailed(address)), "{address}");
    }
    for address in [
        "a@sub.example.com",
        "a@exampleXcom",
        "a@notexample.com",
        "a@example.com.evil.org",
        "a@example.com.",
        "a@example.co",
        "a@example.comx",
        "a@ex\u{430}mple.com",
        "a@example\u{3002}com",
        "a@example.com\u{200b}",
        "a@xn--exmple-4uf.com",
        "user@example.com@evil.org",
        "\"a@example.com\"@evil.org",
        "example.com",
        "example.com@evil.org",
        "a@example.com\r\n",
        "",
    ] {
        assert!(!fits(domains, &mailed(address)), "{address:?}");
    }
    assert!(!fits(r#"{"domains":["kelvin.com"]}"#, &mailed("a@\u{212a}elvin.com")));
    assert!(!fits(domains, &somebody(r#"{"sub":"1","email":"a@example.com"}"#)), "not verified");
}

#[test]
fn emails_are_compared_without_ascii_case_and_all_else_exactly() {
    let claims = r#"{"sub":"Sub","email":"A@Example.com","email_verified":true,"groups":["Staff"]}"#;
    let identity = somebody(claims);
    assert!(fits(r#"{"emails":["b@example.com","a@eXample.com"]}"#, &identity));
    assert!(!fits(r#"{"emails":["a@example.co"]}"#, &identity));
    assert!(!fits(r#"{"emails":["\u00fc@example.com"]}"#, &mailed("\u{dc}@example.com")));
    for (exact, other) in [
        (r#"{"subjects":["Sub"]}"#, r#"{"subjects":["sub","Su","Sub "]}"#),
        (r#"{"groups":["x","Staff"]}"#, r#"{"groups":["staff","Staf"]}"#),
        (
            r#"{"issuers":["https://login.example.com"]}"#,
            r#"{"issuers":["https://login.example.com/","https://LOGIN.example.com"]}"#,
        ),
    ] {
        assert!(fits(exact, &identity) && !fits(other, &identity), "{exact}");
    }
}

#[test]
fn all_fields_must_hold_and_all_scopes() {
    let identity = somebody(r#"{"sub":"1","groups":["a"],"scope":"read write"}"#);
    assert!(fits(r#"{"groups":["a"],"scopes":["write","read"],"subjects":["1"]}"#, &identity));
    assert!(!fits(r#"{"groups":["a"],"subjects":["2"]}"#, &identity));
    assert!(!fits(r#"{"scopes":["read","admin"]}"#, &identity));
    assert!(!fits(r#"{"scopes":["READ"]}"#, &identity));
    assert!(fits(r#"{"anyone":true}"#, &identity));
}

#[test]
fn a_claim_is_a_text_a_number_a_flag_or_a_list_with_the_value() {
    let identity = somebody(
        r#"{"sub":"1","email":"a@b.c","hd":"example.com","n":7,"ok":true,"off":null,"o":{"x":"y"},"l":["x",7],"r":{"roles":["admin"]}}"#,
    );
    for text in [
        r#"{"claims":{"hd":"example.com"}}"#,
        r#"{"claims":{"hd":["x","example.com"],"n":"7","ok":"true"}}"#,
        r#"{"claims":{"l":"x"}}"#,
        r#"{"claims":{"l":"7"}}"#,
        r#"{"claims":{"/r/roles":"admin","/l/0":"x","sub":"1"}}"#,
    ] {
        assert!(fits(text, &identity), "{text}");
    }
    for text in [
        r#"{"claims":{"hd":"Example.com"}}"#,
        r#"{"claims":{"hd":"example.com","n":"8"}}"#,
        r#"{"claims":{"off":"null"}}"#,
        r#"{"claims":{"n":"7.0"}}"#,
        r#"{"claims":{"l":"y"}}"#,
        r#"{"claims":{"l":"[\"x\",7]"}}"#,
        r#"{"claims":{"o":"{\"x\":\"y\"}"}}"#,
        r#"{"claims":{"missing":"x"}}"#,
        r#"{"claims":{"r/roles":"admin"}}"#,
        r#"{"claims":{"email":"a@b.c"}}"#,
        r#"{"claims":{"/email":"a@b.c"}}"#,
    ] {
        assert!(!fits(text, &identity), "{text}");
    }
}

#[test]
fn a_who_that_says_nothing_or_too_much_stops_the_start() {
    for (text, expected) in [
        ("{}", "allow[0]: given {}, expected at least one of: anyone, emails, "),
        ("[]", "allow[0]: given [], expected an object"),
        (r#"{"anyone":false}"#, "allow[0].anyone: given false, expected true"),
        (r#"{"anyone":"true"}"#, "allow[0].anyone: given \"true\", expected true"),
        (r#"{"anyone":true,"groups":["a"]}"#, "allow[0].anyone: given true, expected no other field"),
        (r#"{"email":["a@b.c"]}"#, "allow[0].email: given [\"a@b.c\"], expected no such field; one of: "),
        (r#"{"emails":[]}"#, "allow[0].emails: given [], expected a list of e-mail addresses"),
        (r#"{"emails":["example.com"]}"#, "allow[0].emails: "),
        (r#"{"emails":["a@b@c.d"]}"#, "allow[0].emails: "),
        (r#"{"domains":[]}"#, "allow[0].domains: given [], expected a list of whole domains"),
        (r#"{"domains":"example.com"}"#, "allow[0].domains: "),
        (r#"{"domains":["@example.com"]}"#, "allow[0].domains: "),
        (r#"{"domains":["example.com","Example.org"]}"#, "allow[0].domains: "),
        (r#"{"domains":["example.com "]}"#, "allow[0].domains: "),
        (r#"{"domains":["localhost"]}"#, "allow[0].domains: "),
        (r#"{"domains":["*.example.com"]}"#, "allow[0].domains: "),
        (r#"{"domains":[".example.com"]}"#, "allow[0].domains: "),
        (r#"{"domains":["example.com."]}"#, "allow[0].domains: "),
        (r#"{"domains":["a.com,b.com"]}"#, "allow[0].domains: "),
        (r#"{"groups":[]}"#, "allow[0].groups: "),
        (r#"{"groups":[""]}"#, "allow[0].groups: "),
        (r#"{"groups":["a",1]}"#, "allow[0].groups: "),
        (r#"{"scopes":["a b"]}"#, "allow[0].scopes: "),
        (r#"{"subjects":[]}"#, "allow[0].subjects: "),
        (r#"{"issuers":null}"#, "allow[0].issuers: "),
        (r#"{"claims":{}}"#, "allow[0].claims: given {}, expected an object of claims"),
        (r#"{"claims":["a"]}"#, "allow[0].claims: "),
        (r#"{"claims":{"a":[]}}"#, "allow[0].claims: "),
        (r#"{"claims":{"a":true}}"#, "allow[0].claims: "),
        (r#"{"claims":{"a":""}}"#, "allow[0].claims: "),
        (r#"{"claims":{"":"b"}}"#, "allow[0].claims: "),
        (r#"{"claims":{"/a~":"b"}}"#, "allow[0].claims: "),
        (r#"{"claims":{"a":"b","a":"c"}}"#, "allow[0].claims: "),
    ] {
        let line = who(text).unwrap_err();
        assert!(line.starts_with(expected), "{text}: {line}");
    }
}

#[test]
fn a_rule_that_lets_nobody_in_stops_the_start() {
    let nobody = "rule.allow: given nothing, expected an allow here or a policy with effect allow; \
         {\"anyone\": true} for everyone who is signed in";
    for text in [
        r#"{"rule":{}}"#,
        r#"{"rule":{"public":false}}"#,
        r#"{"rule":{"deny":[{"anyone":true}]}}"#,
        r#"{"rule":{},"policies":[]}"#,
        r#"{"rule":{},"policies":[{"effect":"deny","anyone":true}]}"#,
    ] {
        assert_eq!(read(text).unwrap_err(), nobody, "{text}");
    }
    assert!(read(r#"{"rule":{},"policies":[{"effect":"allow","anyone":true}]}"#).is_ok());
}

#[test]
fn a_public_rule_stands_alone() {
    for text in [
        r#"{"rule":{"public":true,"allow":[{"anyone":true}]}}"#,
        r#"{"rule":{"public":true,"deny":[{"anyone":true}]}}"#,
        r#"{"rule":{"public":true,"forward_token":true}}"#,
    ] {
        assert!(read(text).unwrap_err().starts_with("rule.public: given true, expected no "), "{text}");
    }
    for text in [r#"{"rule":{"allow":[]}}"#, r#"{"rule":{"allow":[{"anyone":true}],"deny":[]}}"#] {
        assert!(read(text).unwrap_err().ends_with(": given [], expected a list of at least one who"));
    }
    let text = r#"{"rule":{"public":true},"policies":[{"effect":"deny","anyone":true}]}"#;
    assert_eq!(decide(text, REQUEST, r#"{"sub":"1"}"#), Decision::Allowed);
}

#[test]
fn a_token_is_forwarded_only_where_the_rule_says_so() {
    for (text, forwards) in [
        (r#"{"rule":{"public":true}}"#, false),
        (r#"{"rule":{"allow":[{"anyone":true}]}}"#, false),
        (r#"{"rule":{"allow":[{"anyone":true}],"forward_token":true}}"#, true),
    ] {
        assert_eq!(read(text).unwrap().1.forwards_token(), forwards, "{text}");
    }
    let text = r#"{"rule":{"allow":[{"anyone":true}],"forward_token":1}}"#;
    assert_eq!(read(text).unwrap_err(), "rule.forward_token: given 1, expected true or false");
}

#[test]
fn a_policy_says_its_effect_and_whom() {
    for (policy, expected) in [
        (r#"{"anyone":true}"#, "policies[0].effect: given nothing"),
        (r#"{"effect":"Allow","anyone":true}"#, "policies[0].effect: given \"Allow\""),
        (r#"{"effect":"deny"}"#, "policies[0]: given {\"effect\":\"deny\"}, expected at least one of"),
        (r#"{"effect":"deny","anyone":true,"groups":["a"]}"#, "policies[0].anyone: "),
        (r#"{"effect":"deny","anyone":true,"actions":[]}"#, "policies[0].actions: "),
        (r#"{"effect":"deny","anyone":true,"actions":["delete"]}"#, "policies[0].actions: "),
        (r#"{"effect":"deny","anyone":true,"actions":"read"}"#, "policies[0].actions: "),
        (r#"{"effect":"deny","anyone":true,"match":{}}"#, "policies[0].match.path: "),
        (r#"{"effect":"deny","anyone":true,"allow":[]}"#, "policies[0].allow: "),
    ] {
        let line = read(&["{\"rule\":{},\"policies\":[", policy, "]}"].concat()).unwrap_err();
        assert!(line.starts_with(expected), "{policy}: {line}");
    }
}

#[test]
fn a_denial_beats_any_allowance() {
    let rule = r#"{"rule":{"allow":[{"anyone":true}],"deny":[{"subjects":["1"],"groups":["out"]}]}}"#;
    assert_eq!(decide(rule, REQUEST, r#"{"sub":"1","groups":"out"}"#), Decision::Denied);
    assert_eq!(decide(rule, REQUEST, r#"{"sub":"1"}"#), Decision::Allowed);
    let policy = r#"{"rule":{"allow":[{"subjects":["1"]}]},"policies":[{"effect":"allow","anyone":true},
        {"effect":"deny","groups":["out"],"match":{"path_prefix":"/a"},"actions":["write"]}]}"#;
    let write = Asked { method: "DELETE", ..REQUEST };
    assert_eq!(decide(policy, write, r#"{"sub":"1","groups":"out"}"#), Decision::Denied);
    assert_eq!(decide(policy, REQUEST, r#"{"sub":"1","groups":"out"}"#), Decision::Allowed);
    let elsewhere = Asked { path: "/ab", ..write };
    assert_eq!(decide(policy, elsewhere, r#"{"sub":"1","groups":"out"}"#), Decision::Allowed);
}

#[test]
fn the_rule_s_own_allowance_stands_instead_of_the_policies() {
    let text = r#"{"rule":{"allow":[{"subjects":["2"]}]},"policies":[{"effect":"allow","anyone":true}]}"#;
    assert_eq!(decide(text, REQUEST, r#"{"sub":"1"}"#), Decision::NotAllowed);
    assert_eq!(decide(text, REQUEST, r#"{"sub":"2"}"#), Decision::Allowed);
}

#[test]
fn reading_is_get_head_and_options() {
    let text = r#"{"rule":{},"policies":[{"effect":"allow","anyone":true,"actions":["read"]}]}"#;
    for method in ["GET", "HEAD", "OPTIONS"] {
        assert_eq!(decide(text, Asked { method, ..REQUEST }, r#"{"sub":"1"}"#), Decision::Allowed);
    }
    for method in ["POST", "PUT", "DELETE", "get", "PROPFIND", "CONNECT", "TRACE", ""] {
        assert_eq!(decide(text, Asked { method, ..REQUEST }, r#"{"sub":"1"}"#), Decision::NotAllowed);
    }
}

#[test]
fn only_scopes_that_are_missing_are_missing_scopes() {
    let text = r#"{"rule":{"allow":[{"subjects":["1"],"scopes":["write"]},{"subjects":["3"]}]}}"#;
    assert_eq!(decide(text, REQUEST, r#"{"sub":"1","scope":"read"}"#), Decision::MissingScope);
    assert_eq!(decide(text, REQUEST, r#"{"sub":"1","scope":"read write"}"#), Decision::Allowed);
    assert_eq!(decide(text, REQUEST, r#"{"sub":"2","scope":"read"}"#), Decision::NotAllowed);
    assert_eq!(decide(text, REQUEST, r#"{"sub":"3"}"#), Decision::Allowed);
    let deny = r#"{"rule":{"allow":[{"anyone":true}],"deny":[{"scopes":["old"]}]}}"#;
    assert_eq!(decide(deny, REQUEST, r#"{"sub":"1"}"#), Decision::Allowed, "a denial fits whole or not");
}

#[test]
fn the_claims_that_are_looked_at_are_named_once() {
    let (policies, rule) = read(
        r#"{"rule":{"allow":[{"claims":{"hd":"x","/r/roles":"y","email":"z"}}],"deny":[{"claims":{"amr":"x","hd":"y"}}]},
            "policies":[{"effect":"deny","claims":{"acr":"0","sub":"x"}}]}"#,
    )
    .unwrap();
    assert_eq!(policies.wanted_claims([&rule, &RuleAccess::Public, &rule]), ["acr", "hd", "/r/roles", "amr"]);
}
