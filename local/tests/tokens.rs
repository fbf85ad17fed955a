//! The metadata server, the published key, and who may start a server where.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use axum::http::{Method, StatusCode};
use jwt_simple::prelude::*;
use lockgate_local::{Error, Options, Server, Signer, id_token_claims};
use serde_json::{Map, Value};
use support::{Google, any_port, state_dir};

const ACCOUNT: &str = "/computeMetadata/v1/instance/service-accounts/default";
const FLAVOR: (&str, &str) = ("metadata-flavor", "Google");

#[tokio::test]
async fn the_metadata_server_answers_only_its_own_clients() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let token = format!("{ACCOUNT}/token");
    for refused in [
        vec![],
        vec![("metadata-flavor", "Other")],
        vec![FLAVOR, ("x-forwarded-for", "127.0.0.1")],
        vec![FLAVOR, ("host", "rebound.example")],
    ] {
        let answer = api.send(Method::GET, &token, &refused, "").await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN, "{refused:?}");
        assert_eq!(answer.headers["metadata-flavor"], "Google");
    }
    for host in ["127.0.0.1", "[::1]:8080", "localhost:1", "metadata.google.internal"] {
        let answer = api.send(Method::GET, &token, &[FLAVOR, ("host", host)], "").await;
        assert_eq!(answer.status, StatusCode::OK, "{host}");
    }
    let answer = api.send(Method::GET, &token, &[FLAVOR], "").await;
    assert_eq!(answer.headers["metadata-flavor"], "Google");
    assert_eq!(answer.headers["content-type"], "application/json; charset=UTF-8");
    assert_eq!(answer.json()["token_type"], "Bearer");
    assert_eq!(answer.json()["expires_in"], 3600);

    for (path, text) in [
        (format!("{ACCOUNT}/email"), "lockgate@lockgate-local.iam.gserviceaccount.com"),
        ("/computeMetadata/v1/project/project-id".to_owned(), "lockgate-local"),
    ] {
        let answer = api.send(Method::GET, &path, &[FLAVOR], "").await;
        assert_eq!((answer.status, answer.text()), (StatusCode::OK, text));
    }
    let unknown = api.send(Method::GET, "/computeMetadata/v1/nonsense", &[FLAVOR], "").await;
    assert_eq!(unknown.status, StatusCode::NOT_FOUND);
    assert_eq!(unknown.headers["metadata-flavor"], "Google");
    google.stop().await;
}

#[tokio::test]
async fn an_identity_token_verifies_against_the_discovered_key() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let base = format!("http://{}", api.address);
    let discovery = api.send(Method::GET, "/.well-known/openid-configuration", &[], "").await.json();
    assert_eq!(discovery["issuer"], *base);
    assert_eq!(discovery["jwks_uri"], format!("{base}/oauth2/v3/certs"));
    let certs = api.send(Method::GET, "/oauth2/v3/certs", &[], "").await.json();
    let key = RS256PublicKey::from_jwk(&certs["keys"][0].to_string()).unwrap();

    let identity = async |query: &str| {
        api.send(Method::GET, &format!("{ACCOUNT}/identity?{query}"), &[FLAVOR], "").await
    };
    let audience = "audience=https%3A%2F%2Fupstream.example";
    let full = identity(&format!("{audience}&format=full")).await;
    let claims = key.verify_token::<Map<String, Value>>(full.text(), None).unwrap();
    assert_eq!(claims.issuer, Some(base));
    assert_eq!(claims.audiences.unwrap().into_string().unwrap(), "https://upstream.example");
    assert_eq!(claims.custom["email"], "lockgate@lockgate-local.iam.gserviceaccount.com");
    let standard = identity(audience).await;
    let claims = key.verify_token::<Map<String, Value>>(standard.text(), None).unwrap();
    assert_eq!(claims.custom.get("email"), None);
    for query in ["", "audience=", "audience=a&format=nonsense"] {
        assert_eq!(identity(query).await.status, StatusCode::BAD_REQUEST, "{query}");
    }
    google.stop().await;
}

#[tokio::test]
async fn tokens_and_keys_outlive_a_restart_and_belong_to_one_state_directory() {
    let (state, other) = (state_dir(), state_dir());
    let google = Google::start(state.path()).await;
    let (token, certs) =
        (google.api.token.clone(), google.api.send(Method::GET, "/oauth2/v3/certs", &[], "").await);
    google.stop().await;
    let topics = async |google: &Google| {
        let authorization = format!("Bearer {token}");
        google
            .api
            .send(Method::GET, "/v1/projects/p/topics", &[("authorization", &authorization)], "")
            .await
            .status
    };
    let google = Google::start(state.path()).await;
    assert_eq!(topics(&google).await, StatusCode::OK);
    assert_eq!(google.api.send(Method::GET, "/oauth2/v3/certs", &[], "").await.body, certs.body);
    let stranger = Google::start(other.path()).await;
    assert_eq!(topics(&stranger).await, StatusCode::UNAUTHORIZED);

    // An identity token is signed with a published key and opens nothing here.
    let signer = Signer::load(state.path()).unwrap();
    let claims = id_token_claims("iss", "aud", "a@test.example", 2_000_000_000);
    let authorization = format!("Bearer {}", signer.sign_id_token(&claims).unwrap());
    let answer =
        google.api.send(Method::GET, "/v1/projects/p/topics", &[("authorization", &authorization)], "").await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
    google.stop().await;
    stranger.stop().await;
}

#[tokio::test]
async fn a_server_refuses_public_addresses_and_a_directory_in_use() {
    let state = state_dir();
    let public = Options::new("0.0.0.0:0".parse().unwrap(), state.path());
    assert!(matches!(Server::bind(public).await, Err(Error::NotLoopback(_))));
    let first = Server::bind(Options::new(any_port(), state.path())).await.unwrap();
    let second = Server::bind(Options::new(any_port(), state.path())).await;
    assert!(matches!(second, Err(Error::InUse(_))));
    drop(first);
    assert!(Server::bind(Options::new(any_port(), state.path())).await.is_ok());
}

#[tokio::test]
async fn the_issuer_is_the_public_base() {
    let state = state_dir();
    let mut options = Options::new(any_port(), state.path());
    options.public_base = Some("https://issuer.example/".to_owned());
    let google = Google::start_with(options).await;
    let discovery = google.api.send(Method::GET, "/.well-known/openid-configuration", &[], "").await.json();
    assert_eq!(discovery["issuer"], "https://issuer.example");
    let token = google.api.send(Method::GET, &format!("{ACCOUNT}/identity?audience=a"), &[FLAVOR], "").await;
    let signer = Signer::load(state.path()).unwrap();
    let keys: Value = serde_json::from_str(signer.key_set()).unwrap();
    let key = RS256PublicKey::from_jwk(&keys["keys"][0].to_string()).unwrap();
    let claims = key.verify_token::<NoCustomClaims>(token.text(), None).unwrap();
    assert_eq!(claims.issuer.as_deref(), Some("https://issuer.example"));
    google.stop().await;
}

#[tokio::test]
async fn tokeninfo_says_whose_an_access_token_is() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let answer = api.send(Method::GET, &format!("{ACCOUNT}/token"), &[FLAVOR], "").await;
    let token = answer.json()["access_token"].as_str().unwrap().to_owned();
    assert!(token.starts_with("ya29."), "{token}");
    let form = ("content-type", "application/x-www-form-urlencoded");
    let asked = |token: String| async move {
        api.send(Method::POST, "/tokeninfo", &[form], format!("access_token={token}")).await
    };
    let said = asked(token.clone()).await.json();
    assert_eq!(said["email"], "lockgate@lockgate-local.iam.gserviceaccount.com");
    assert_eq!(said["email_verified"], "true");
    assert_eq!(said["aud"].as_str().unwrap().len(), 21);
    for wrong in [token.replace("ya29.", ""), format!("{token}x"), String::new()] {
        assert_eq!(asked(wrong.clone()).await.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    google.stop().await;
}
