//! Whom an assertion names, by what an envelope says of who was verified.

use pubsub_playback::principal::Principal;

fn named(text: &str) -> Option<(String, String, Option<String>, Vec<String>)> {
    let principal = Principal::parse(text)?;
    let identity = principal.identity();
    let owned = str::to_owned;
    Some((
        owned(identity.issuer),
        owned(identity.subject),
        identity.email.map(owned),
        identity.groups.to_vec(),
    ))
}

#[test]
fn a_person_is_named_as_their_issuer_does() {
    let text =
        r#"{"filter":"oidc","issuer":"https://idp","subject":"u\"1","email":"a@b","groups":["x","y",1]}"#;
    let expected = ("https://idp".into(), "u\"1".into(), Some("a@b".into()), vec!["x".into(), "y".into()]);
    assert_eq!(named(text), Some(expected));
    let program = r#"{"filter":"oidc","issuer":"https://idp","subject":"client"}"#;
    assert_eq!(named(program), Some(("https://idp".into(), "client".into(), None, vec![])));
}

#[test]
fn slack_is_named_with_its_workspace_and_never_as_a_person() {
    let slack = |subject: &str| Some(("slack".into(), subject.into(), None, vec![]));
    let text = r#"{"filter":"slack-signature","issuer":"https://slack.com","subject":"T1","email":"a@b"}"#;
    assert_eq!(named(text), slack("slack:T1"));
    assert_eq!(named(r#"{"filter":"slack-signature","issuer":"https://slack.com"}"#), slack("slack"));
}

#[test]
fn who_cannot_be_told_for_certain_is_nobody() {
    let texts = [
        "",
        "null",
        "[]",
        "{}",
        r#"{"issuer":"i","subject":"s"}"#,
        r#"{"filter":"oidc","subject":"s"}"#,
        r#"{"filter":"oidc","issuer":"i"}"#,
        r#"{"filter":"oidc","issuer":"i","subject":7}"#,
        r#"{"filter":"oidc","issuer":"i","subject":"a","subject":"b"}"#,
        r#"{"filter":"oidc","filter":"slack-signature","issuer":"i","subject":"a"}"#,
    ];
    for text in texts {
        assert_eq!(named(text), None, "{text}");
    }
}
