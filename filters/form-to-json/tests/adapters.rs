//! The adapters that are shipped, held to the shapes of the proxy they succeed; and one more, to
//! show that a new shape needs no Rust.

mod support;

use form_to_json::error::ConvertError;
use support::{FORM, JSON, converted, with_template};

const SLACK_COMMAND: &str = include_str!("../adapters/slack-command.json");
const SLACK_EVENT: &str = include_str!("../adapters/slack-event.json");
const ZAPIER_SIGNAL: &str = include_str!("../adapters/zapier-signal.json");

#[test]
fn a_slack_command_becomes_a_signal_with_each_field_as_a_variable() {
    let body = "token=gIkuvaNzQIHg97ATvDxqgjtO&team_id=T0001&team_domain=example&channel_id=C2147483705\
        &channel_name=test&user_id=U2147483697&user_name=Steve&command=%2Fweather&text=caf%C3%A9+94070\
        &response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2F1234%2F5678&trigger_id=13345224609.738474920.8088930838d88f008e0\
        &api_app_id=A123456&is_enterprise_install=false&enterprise_id=";
    let expected = concat!(
        r#"{"name":"slackCommand","variables":{"#,
        r#""token":{"type":"String","value":"gIkuvaNzQIHg97ATvDxqgjtO"},"#,
        r#""team_id":{"type":"String","value":"T0001"},"#,
        r#""team_domain":{"type":"String","value":"example"},"#,
        r#""channel_id":{"type":"String","value":"C2147483705"},"#,
        r#""channel_name":{"type":"String","value":"test"},"#,
        r#""user_id":{"type":"String","value":"U2147483697"},"#,
        r#""user_name":{"type":"String","value":"Steve"},"#,
        r#""command":{"type":"String","value":"/weather"},"#,
        r#""text":{"type":"String","value":"café 94070"},"#,
        r#""response_url":{"type":"String","value":"https://hooks.slack.com/commands/1234/5678"},"#,
        r#""trigger_id":{"type":"String","value":"13345224609.738474920.8088930838d88f008e0"},"#,
        r#""api_app_id":{"type":"String","value":"A123456"},"#,
        r#""is_enterprise_install":{"type":"String","value":"false"},"#,
        r#""enterprise_id":{"type":"String","value":""}}}"#,
    );
    assert_eq!(converted(&with_template(SLACK_COMMAND), FORM, body).unwrap(), expected);
}

#[test]
fn a_repeated_field_of_a_slack_command_is_an_array() {
    assert_eq!(
        converted(&with_template(SLACK_COMMAND), FORM, "a=1&a=2&__proto__=x").unwrap(),
        r#"{"name":"slackCommand","variables":{"a":{"type":"String","value":["1","2"]},"__proto__":{"type":"String","value":"x"}}}"#
    );
    assert_eq!(
        converted(&with_template(SLACK_COMMAND), FORM, "").unwrap(),
        r#"{"name":"slackCommand","variables":{}}"#
    );
}

#[test]
fn a_slack_event_becomes_a_signal_with_the_event_as_json_text_and_the_ids_flat() {
    let body = concat!(
        r#"{"token":"ZZZZZZWSxiZZZ2yIvs3peJ","team_id":"T123ABC456","api_app_id":"A123ABC456","#,
        r#""event":{"type":"app_mention","user":"U1","text":"<@U0> \"caf\u00e9\"","blocks":[],"big":1234567890123456789,"ts":"1515449522.000016"},"#,
        r#""type":"event_callback","event_id":"Ev123ABC456","event_time":1515449522000016}"#,
    );
    let expected = concat!(
        r#"{"name":"event","variables":{"#,
        r#""event":{"type":"String","value":"{\"type\":\"app_mention\",\"user\":\"U1\",\"text\":\"<@U0> \\\"caf\\u00e9\\\"\",\"blocks\":[],\"big\":1234567890123456789,\"ts\":\"1515449522.000016\"}"},"#,
        r#""token":{"type":"String","value":"ZZZZZZWSxiZZZ2yIvs3peJ"},"#,
        r#""team_id":{"type":"String","value":"T123ABC456"},"#,
        r#""api_app_id":{"type":"String","value":"A123ABC456"},"#,
        r#""type":{"type":"String","value":"event_callback"},"#,
        r#""event_id":{"type":"String","value":"Ev123ABC456"}}}"#,
    );
    assert_eq!(converted(&with_template(SLACK_EVENT), JSON, body).unwrap(), expected);
}

#[test]
fn a_slack_event_without_a_field_has_its_variable_without_a_value() {
    let expected = concat!(
        r#"{"name":"event","variables":{"event":{"type":"String"},"token":{"type":"String"},"#,
        r#""team_id":{"type":"String","value":"T1"},"api_app_id":{"type":"String"},"#,
        r#""type":{"type":"String","value":"app_rate_limited"},"event_id":{"type":"String"}}}"#,
    );
    let body = r#"{"type":"app_rate_limited","team_id":"T1"}"#;
    assert_eq!(converted(&with_template(SLACK_EVENT), JSON, body).unwrap(), expected);
}

#[test]
fn a_zapier_signal_has_its_variables_wrapped_and_all_else_untouched() {
    let body = concat!(
        r#"{"name":"mail","variables":{"from":"a@b.example","n":12345678901234567890,"list":[],"no":null},"#,
        r#""executionId":null,"nested":{"variables":{"x":"y"}},"processVariables":{},"correlationKeys":{"id":"7"},"tenant":1.0}"#,
    );
    let expected = concat!(
        r#"{"name":"mail","variables":{"from":{"type":"String","value":"a@b.example"},"n":{"type":"String","value":12345678901234567890},"#,
        r#""list":{"type":"String","value":[]},"no":{"type":"String","value":null}},"#,
        r#""executionId":null,"nested":{"variables":{"x":"y"}},"processVariables":{},"correlationKeys":{"id":{"type":"String","value":"7"}},"tenant":1.0}"#,
    );
    assert_eq!(converted(&with_template(ZAPIER_SIGNAL), JSON, body).unwrap(), expected);
}

#[test]
fn a_zapier_signal_without_variables_stays_as_it_is() {
    assert_eq!(converted(&with_template(ZAPIER_SIGNAL), JSON, r#"{"name":"x"}"#).unwrap(), r#"{"name":"x"}"#);
    assert_eq!(converted(&with_template(ZAPIER_SIGNAL), JSON, "{}").unwrap(), "{}");
}

#[test]
fn a_zapier_signal_with_another_value_than_an_object_is_refused() {
    for key in ["variables", "processVariables", "correlationKeys"] {
        for value in ["[]", "\"x\"", "5", "null", "true"] {
            let body = format!(r#"{{"name":"x","{key}":{value}}}"#);
            assert_eq!(
                converted(&with_template(ZAPIER_SIGNAL), JSON, &body),
                Err(ConvertError::NotAnObject),
                "{body}"
            );
        }
    }
    for body in ["[]", "5", "\"x\""] {
        assert_eq!(
            converted(&with_template(ZAPIER_SIGNAL), JSON, body),
            Err(ConvertError::NotAnObject),
            "{body}"
        );
    }
    for body in ["", "name=x", "{"] {
        assert_eq!(
            converted(&with_template(ZAPIER_SIGNAL), JSON, body),
            Err(ConvertError::NotJson),
            "{body}"
        );
    }
}

/// docs.github.com/en/webhooks/webhook-events-and-payloads#push, sent as a form or as JSON.
#[test]
fn a_github_push_needs_a_template_and_no_rust() {
    let template = r#"{
        "name": "push",
        "correlationKeys": {"repository": {"type": "Long", "value": {"$ptr": "/repository/id"}}},
        "processVariables": {
            "ref": {"type": "String", "value": {"$ptr": "/ref"}},
            "forced": {"type": "Boolean", "value": {"$ptr": "/forced", "default": false}},
            "pusher": {"type": "String", "value": {"$ptr": "/pusher/email", "omit": true}},
            "first": {"$ptr": "/commits/0/id", "default": null},
            "commits": {"type": "Json", "value": {"$json": "/commits"}}
        }
    }"#;
    let push = r#"{"ref":"refs/heads/main","repository":{"id":186853002,"full_name":"o/r"},"pusher":{"name":"o"},"commits":[{"id":"6113728f","message":"a\nb"}]}"#;
    let expected = concat!(
        r#"{"name":"push","correlationKeys":{"repository":{"type":"Long","value":186853002}},"#,
        r#""processVariables":{"ref":{"type":"String","value":"refs/heads/main"},"forced":{"type":"Boolean","value":false},"#,
        r#""pusher":{"type":"String"},"first":"6113728f","#,
        r#""commits":{"type":"Json","value":"[{\"id\":\"6113728f\",\"message\":\"a\\nb\"}]"}}}"#,
    );
    assert_eq!(converted(&with_template(template), JSON, push).unwrap(), expected);

    // As a form, GitHub puts the JSON into the field `payload`.
    let from_form = template.replace("\": \"/", "\": \"/payload/");
    let form = form_urlencoded::Serializer::new(String::new()).append_pair("payload", push).finish();
    assert_eq!(converted(&with_template(&from_form), FORM, &form).unwrap(), expected);
}
