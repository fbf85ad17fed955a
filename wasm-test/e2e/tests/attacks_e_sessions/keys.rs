//! Cookies sealed with other keys, for other names, or for other people's doors.

use lockgate_e2e::door::{COOKIE_SECRET, OTHER_COOKIE_SECRET, door_config, door_stack};
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::siege::{Siege, navigation};
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Client, Request};
use serde_json::json;

use crate::{door, header, person, session_in, session_of};

#[tokio::test]
async fn a_key_opens_while_it_is_named_and_no_longer() {
    let siege = Siege::start(2, |_| {}).await;
    let old = header(&session_of(&siege, person("alice", 0)).await);
    let mut under_way = UserAgent::new();
    let begun = siege.callback(&mut under_way, "/begun-before").await;
    let rotated = format!("{OTHER_COOKIE_SECRET},{COOKIE_SECRET}");
    let secret = "COOKIE_SECRET";

    siege.stack.kill_gateway();
    siege.stack.start_gateway_with(&[(secret, &rotated)]).await;
    assert_eq!(siege.whose(&old).await.as_deref(), Some("alice"), "both open");
    assert_eq!(
        under_way.follow(&begun.to_string()).await.url.path(),
        "/begun-before",
        "a login under way goes on"
    );
    let new = header(&session_of(&siege, person("bob", 0)).await);
    let mut later = UserAgent::new();
    let begun_later = siege.callback(&mut later, "/begun-later").await;
    let mut latest = UserAgent::new();
    let last = siege.callback(&mut latest, "/begun-last").await;

    // As somebody has it who still runs the last configuration: the newest key seals.
    siege.stack.kill_gateway();
    siege.stack.start_gateway().await;
    assert_eq!(siege.whose(&new).await, None, "sealed with the new key");
    let answer = siege.opens(&last.target, siege.cookies(&latest)).await;
    assert_eq!((answer.status, siege.stack.reason(&answer).await.as_str()), (400, "state_invalid"));

    siege.stack.kill_gateway();
    siege.stack.start_gateway_with(&[(secret, OTHER_COOKIE_SECRET)]).await;
    let since = siege.stack.gateway_log().len();
    for _ in 0..3 {
        assert_eq!(siege.whose(&old).await, None, "its key is gone");
        assert_eq!(siege.asks(&old).await.status, 401);
    }
    assert_eq!(siege.opens("/x", &old).await.status, 302, "a browser signs in anew");
    assert_eq!(siege.whose(&new).await.as_deref(), Some("bob"));
    assert_eq!(siege.whose(&siege.cookies(&under_way)).await.as_deref(), Some("alice"), "sealed in between");
    assert_eq!(later.follow(&begun_later.to_string()).await.url.path(), "/begun-later");
    siege.assert_unharmed(since).await;
}

#[tokio::test]
async fn a_session_of_another_key_or_name_or_issuer_is_none() {
    let door = door().await;
    let config = |issuer: &str, https: bool| {
        door_config(issuer, |config| {
            if https {
                config["public_url"] = json!("https://app.example.com");
            }
        })
    };
    // Another key.
    let stack =
        door_stack(&config(door.provider.issuer(), false)).variable("COOKIE_SECRET", OTHER_COOKIE_SECRET);
    let elsewhere = stack.start().await;
    let mut agent = UserAgent::new();
    agent.follow(&format!("{}/in", lockgate_e2e::door::public_url(&elsewhere))).await;
    let cookies = header(&session_in(&agent));
    assert!(cookies.starts_with("lockgate=1."), "{cookies}");
    assert_eq!(door.whose(&cookies).await, None);

    // The same key, for another name.
    let elsewhere = door_stack(&config(door.provider.issuer(), true)).start().await;
    let host = |request: Request| request.header("host", "app.example.com");
    let begun = elsewhere.client().send(&host(navigation("/in"))).await;
    let login = begun.headers.text("set-cookie").unwrap();
    let authorize = Url::parse(&begun.headers.text("location").unwrap());
    let redirect = Client::new(authorize.address()).send(&Request::get(&authorize.target)).await;
    let callback = Url::parse(&redirect.headers.text("location").unwrap());
    let request = host(navigation(&callback.target)).header("cookie", login.split(';').next().unwrap());
    let answer = elsewhere.client().send(&request).await;
    let session = answer.headers.text("set-cookie").unwrap();
    let value = session.split(';').next().unwrap().strip_prefix("__Host-lockgate=").unwrap().to_owned();
    let there = host(Request::get("/in")).header("cookie", format!("__Host-lockgate={value}"));
    assert_eq!(elsewhere.client().send(&there).await.status, 200);
    assert_eq!(door.whose(&format!("lockgate={value}")).await, None, "its name is bound in");
    assert_eq!(door.whose(&format!("__Host-lockgate={value}")).await, None);
    let here = session_of(&door, person("alice", 0)).await.swap_remove(0).1;
    let there = host(Request::get("/in")).header("cookie", format!("__Host-lockgate={here}"));
    assert_eq!(elsewhere.client().send(&there).await.status, 401);

    // The same key and name, and a provider of the same name that is somebody else.
    let other = HostileProvider::named("localhost", "");
    let other = Siege::new(door_stack(&config(other.issuer(), false)).start().await, other);
    let cookies = header(&session_of(&other, person("alice", 0)).await);
    assert_eq!(other.whose(&cookies).await.as_deref(), Some("alice"));
    assert_eq!(door.whose(&cookies).await, None, "an issuer that is not configured here");
    assert_eq!(other.whose(&format!("lockgate={here}")).await, None);
    door.assert_unharmed().await;
}
