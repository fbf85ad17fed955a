//! Forms become JSON, before the log and behind it; JSON can be reshaped by a template.

use lockgate_e2e::{Request, Shared, Stack, slack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

const FORM: &str = "application/x-www-form-urlencoded";

/// What the upstream gets of a form sent to an open route that adapts.
async fn adapted(marker: &str, content_type: Option<&str>, body: &str) -> Value {
    let stack = stack().await;
    let mut request = Request::new("POST", &format!("/form/{marker}")).body(body);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let answer = stack.client().send(&request).await;
    assert_eq!((answer.status, &*answer.text()), (200, "upstream"), "{marker}");
    let delivered = stack.delivered(marker).await;
    let header = |name| delivered.headers.text(name).unwrap_or_default();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("content-length"), delivered.body.len().to_string());
    delivered.json()
}

#[tokio::test]
async fn a_form_is_read_as_browsers_write_it() {
    for (marker, body, expected) in [
        ("plus", "a=1+2&b=3%2B4", json!({"a": "1 2", "b": "3+4"})),
        ("utf8", "name=Ren%C3%A9+Fran%C3%A7ois", json!({"name": "René François"})),
        ("empty", "a=&b&c=1", json!({"a": "", "b": "", "c": "1"})),
        ("repeated", "a=1&b=2&a=3", json!({"a": ["1", "3"], "b": "2"})),
        ("quotes", "a=%22%5C%0A%00", json!({"a": "\"\\\n\0"})),
        ("nothing-but-separators", "&&", json!({})),
    ] {
        assert_eq!(adapted(marker, Some(FORM), body).await, expected, "{marker}");
    }
}

#[tokio::test]
async fn the_content_type_may_be_absent_or_name_utf8() {
    for (marker, content_type) in [
        ("no-type", None),
        ("charset", Some("application/x-www-form-urlencoded; charset=UTF-8")),
        ("upper-case", Some("Application/X-WWW-Form-Urlencoded")),
    ] {
        assert_eq!(adapted(marker, content_type, "a=b").await, json!({"a": "b"}), "{marker}");
    }
}

#[tokio::test]
async fn large_forms_are_adapted_whole() {
    for (marker, size) in [("20-kB", 20_000), ("200-kB", 200_000)] {
        let value = "x+".repeat(size / 2);
        let json = adapted(marker, Some(FORM), &format!("a={value}&end=1")).await;
        assert_eq!(json, json!({"a": "x ".repeat(size / 2), "end": "1"}), "{marker}");
    }
}

#[tokio::test]
async fn json_passes_as_it_is() {
    let stack = stack().await;
    let body = r#"{ "big": 9007199254740993, "none": [], "b": 1, "a": 1.0 }"#;
    let request = Request::post("/form/json-as-is", "application/json", body);
    assert_eq!(stack.client().send(&request).await.status, 200);
    assert_eq!(stack.delivered("json-as-is").await.text(), body);
}

#[tokio::test]
async fn the_query_stays_and_is_not_mixed_into_the_body() {
    let stack = stack().await;
    let request = slack::form("/form/with-query?a=query&b=2", &[("a", "body")]);
    assert_eq!(stack.client().send(&request).await.status, 200);
    let delivered = stack.delivered("with-query").await;
    assert_eq!(delivered.target, "/form/with-query?a=query&b=2");
    assert_eq!(delivered.json(), json!({"a": "body"}));
}

#[tokio::test]
async fn a_template_wraps_variables_before_the_log() {
    let stack = stack().await;
    let sent = json!({"messageName": "zap-1", "variables": {"who": "Ann", "n": 9007199254740993_i64}});
    let request = Request::post("/zapier/message?tenant=1", "application/json", sent.to_string());
    let answer = stack.client().send(&request).await;
    assert_eq!(answer.status, 202);
    let id = answer.json()["id"].clone();
    let delivered = stack.delivered("zap-1").await;
    assert_eq!(delivered.target, "/zapier/message?tenant=1");
    let wrapped = |value: Value| json!({"type": "String", "value": value});
    assert_eq!(
        delivered.json(),
        json!({
            "messageName": "zap-1",
            "variables": {"who": wrapped(json!("Ann")), "n": wrapped(json!(9007199254740993_i64))},
        })
    );
    assert_eq!(json!(delivered.headers.text("x-lockgate-message-id")), id);
    assert_eq!(stack.stored("zap-1")[0].envelope()["id"], id);
}

#[tokio::test]
async fn a_caller_hears_at_once_that_its_body_does_not_fit_the_template() {
    let stack = stack().await;
    for body in
        [r#"["zap-bad"]"#, r#""zap-bad""#, r#"{"zap-bad""#, r#"{"variables":"zap-bad"}"#, "zap-bad", "null"]
    {
        let request = Request::post("/zapier/message", "application/json", body);
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        assert!(!answer.text().contains("zap-bad"), "the body is not reflected");
    }
    stack.assert_no_trace("zap-bad");
}
