//! What a stranger's browser can send the door: a callback's query, a return address, a bearer token, a
//! discovery document and claims.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_common::config::document;
use lockgate_common::http::Headers;
use lockgate_common::json::Json;
use lockgate_common::services::Services;
use oidc::callback::Response;
use oidc::discovery::Discovery;
use oidc::identity::{ClaimRules, Identity};
use oidc::navigation;

fuzz_target!(|data: &[u8]| {
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = Response::parse(text);
        let path = navigation::return_path(text);
        assert!(path.starts_with('/') && !path.starts_with("//") && !path.starts_with("/\\"), "{path}");
        assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    }
    let headers = Headers::from_iter([("authorization", data), ("accept", data)]);
    let _ = lockgate_common::bearer::token(&headers);
    navigation::is_navigation(&headers, "GET");
    let empty = Json::parse(br#"{"version":1,"rules":[{}]}"#).unwrap();
    let services = Services::from_document(&document(empty, &[]).unwrap()).unwrap();
    let _ = Discovery::parse(data, "https://login.example.com", data.len() % 2 == 0, &services);
    let Ok(json) = Json::parse(data) else { return };
    let rules = ClaimRules { trust_email: true, groups_claim: "/realm_access/roles".to_owned() };
    if let Some(identity) = Identity::from_claims(json, "https://login.example.com", &rules, true) {
        assert!(!identity.subject.is_empty() && !identity.subject.chars().any(char::is_control));
    }
});
