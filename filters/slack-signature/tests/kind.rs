//! What Slack sent, and what becomes of it.

use slack_signature::kind::{Action, Actions, Request, is_ssl_check, sort};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=utf-8";

fn kind(content_type: &str, body: &str) -> &'static str {
    match sort(content_type, body.as_bytes()) {
        Request::Other { kind, .. } => kind,
        Request::Challenge(_) => "challenge",
        Request::SslCheck => "ssl_check",
    }
}

#[test]
fn requests_are_sorted_by_what_they_say() {
    let cases = [
        (FORM, "command=%2Fdeploy&text=now", "command"),
        (FORM, "payload=%7B%22type%22%3A%22view_submission%22%7D", "view_submission"),
        (FORM, "payload={\"type\":\"block_actions\"}", "block_actions"),
        (FORM, "payload={\"type\":\"command\"}", "unknown"),
        (FORM, "payload={broken", "unknown"),
        (FORM, "ssl_check=1&token=x", "ssl_check"),
        (FORM, "ssl_check=0", "unknown"),
        (FORM, "", "unknown"),
        (JSON, r#"{"type":"event_callback"}"#, "event_callback"),
        (JSON, r#"{"type":"url_verification","challenge":"c"}"#, "challenge"),
        (JSON, r#"{"type":"url_verification"}"#, "unknown"),
        (JSON, r#"{"type":"brand_new"}"#, "unknown"),
        (JSON, "not json", "unknown"),
        ("application/jsonp", r#"{"type":"event_callback"}"#, "unknown"),
    ];
    for (content_type, body, expected) in cases {
        assert_eq!(kind(content_type, body), expected, "{body}");
    }
}

#[test]
fn an_event_keeps_its_id_and_its_team() {
    let body = br#"{"type":"event_callback","event_id":"Ev1","team_id":"T1"}"#;
    let expected =
        Request::Other { kind: "event_callback", team: Some("T1".into()), event_id: Some("Ev1".into()) };
    assert_eq!(sort(JSON, body), expected);
}

#[test]
fn what_a_user_waits_for_is_passed_through_unless_configured() {
    let mut actions = Actions::default();
    assert_eq!(actions.of("command"), Action::Enqueue);
    for kind in ["view_submission", "block_suggestion", "dialog_submission", "dialog_suggestion"] {
        assert_eq!(actions.of(kind), Action::Pass, "{kind}");
    }
    assert!(actions.set("view_submission", Action::Answer) && !actions.set("nonsense", Action::Pass));
    assert_eq!(actions.of("view_submission"), Action::Answer);
    assert!(actions.set("default", Action::Enqueue));
    assert_eq!(actions.of("block_suggestion"), Action::Enqueue);
}

#[test]
fn only_one_is_an_ssl_check() {
    assert!(is_ssl_check(b"token=x&ssl_check=1"));
    for form in ["ssl_check=2", "ssl_check", "xssl_check=1", "", "%zz&ssl_check=1"] {
        assert!(!is_ssl_check(form.as_bytes()), "{form}");
    }
}
