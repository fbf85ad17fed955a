//! Where a login leads to: a path of this site, whatever somebody wrote into the address.

use lockgate_e2e::Request;
use lockgate_e2e::hostile_provider::Endpoint;
use lockgate_e2e::siege::navigation;
use lockgate_e2e::url::{Url, encode};
use lockgate_e2e::user_agent::UserAgent;

use crate::door;

/// Whether every browser takes this for a path of the site it is on: the URL Standard has `\` as `/`,
/// and drops tabs and newlines anywhere.
fn is_path_of_this_site(location: &str) -> bool {
    location.starts_with('/')
        && !location.starts_with("//")
        && location.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
}

/// What a browser is asked to open after the login.
const ELSEWHERE: [&str; 62] = [
    "https://evil.example/",
    "http://evil.example",
    "HTTPS://EVIL.EXAMPLE",
    "https:evil.example",
    "https:/evil.example",
    "https:///evil.example",
    "https:\\\\evil.example",
    "//evil.example",
    "//evil.example/%2f..",
    "///evil.example",
    "////evil.example",
    "//evil.example@127.0.0.1/",
    "//127.0.0.1@evil.example/",
    "/\\evil.example",
    "\\/evil.example",
    "\\\\evil.example",
    "\\evil.example",
    "/\\/evil.example",
    "/ /evil.example",
    " //evil.example",
    " /\\evil.example",
    "\u{a0}//evil.example",
    "/\t/evil.example",
    "\t//evil.example",
    "/\n/evil.example",
    "/\r\n/evil.example",
    "\n//evil.example",
    "/\u{0}/evil.example",
    "/\u{b}/evil.example",
    "/%09/evil.example",
    "/%0a/evil.example",
    "/%0d%0aset-cookie:%20a=b",
    "/x\r\nset-cookie: lockgate=evil",
    "/x\nlocation: https://evil.example",
    "/x%0d%0alocation:%20https://evil.example",
    "/\u{560d}\u{560a}set-cookie: lockgate=evil",
    "/%2f/evil.example",
    "/%2fevil.example",
    "%2f%2fevil.example",
    "/%5cevil.example",
    "/%5c/evil.example",
    "/%252fevil.example",
    "/%25252f%25252fevil.example",
    "/..//evil.example",
    "/.//evil.example",
    "/./\\evil.example",
    "/x/..//evil.example",
    "/%2e%2e//evil.example",
    "/;//evil.example",
    "/\u{ff0f}evil.example",
    "\u{ff0f}\u{ff0f}evil.example",
    "/\u{2215}evil.example",
    "/\u{202e}//evil.example",
    "javascript:alert(1)",
    "java\tscript:alert(1)",
    "JaVaScRiPt://%0aalert(1)",
    "data:text/html,<script>alert(1)</script>",
    "@evil.example",
    ":80@evil.example",
    ".evil.example",
    "evil.example",
    "?//evil.example",
];

#[tokio::test]
async fn a_login_leads_to_a_path_of_this_site_and_nowhere_else() {
    let door = door().await;
    for address in ELSEWHERE {
        // As a form has it, and as somebody who encodes twice has it.
        for written in [encode(address), encode(&encode(address))] {
            let mut agent = UserAgent::new();
            let callback =
                door.callback(&mut agent, &format!("/_lockgate/sign-in?return_to={written}")).await;
            let answer = agent.open(&callback.to_string()).await.response;
            assert_eq!(answer.status, 302, "{address:?}: {}", answer.text());
            let locations = answer.headers.all("location");
            let location = String::from_utf8_lossy(locations[0]).into_owned();
            assert!(
                locations.len() == 1 && is_path_of_this_site(&location),
                "{address:?} leads to {location:?}"
            );
            let names = agent.jar.names("");
            assert!(names.iter().all(|name| name.starts_with("lockgate")), "{address:?} sets {names:?}");
        }
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn an_address_that_is_asked_for_as_it_stands_leads_nowhere_else_either() {
    // Nothing is decoded here: the path that is opened is where the login leads back to.
    let door = door().await;
    let client = door.stack.client();
    for target in [
        "//evil.example",
        "///evil.example/",
        "/.//evil.example",
        "/..//evil.example",
        "/x/..//evil.example",
        "/x/../..//evil.example",
        "/%2e%2e//evil.example",
        "/%2f/evil.example",
        "/%2fevil.example",
        "/%5cevil.example",
        "/\\evil.example",
        "/\\/evil.example",
        "/%09/evil.example",
        "/\t/evil.example",
        "/%0d%0aset-cookie:%20a=b",
        "/;//evil.example",
        "/@evil.example",
        "/x?//evil.example",
        "/x?\\\\evil.example",
        "/x?a=%0d%0aset-cookie:%20a=b",
        "/x#//evil.example",
        "http://evil.example/x",
        "https://evil.example//evil.example",
        "*",
        "/\u{e4}",
    ] {
        let Ok(answer) = client.try_send(&navigation(target)).await else { continue };
        if answer.status >= 400 {
            assert!(
                !answer.headers.contains("location") && !answer.headers.contains("set-cookie"),
                "{target}"
            );
            continue;
        }
        assert!(matches!(answer.status, 301 | 302 | 307 | 308), "{target}: {}", answer.status);
        // Through the provider, where it goes there at once; else on this site first.
        let mut agent = UserAgent::new();
        let location = answer.headers.text("location").unwrap();
        agent.jar.take(&Url::parse(&door.url("/")), &answer);
        let first = Url::parse(&door.url("/")).join(&location);
        assert!(
            first.origin() == door.url("") || first.to_string().starts_with(door.provider.issuer()),
            "{location}"
        );
        let page = agent.follow_until(&first.to_string(), |url| url.host.contains("evil")).await;
        assert_eq!(page.response.status, 200, "{target} ends at {}: {}", page.url, page.response.text());
        assert_eq!(page.url.origin(), door.url(""), "{target}");
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_host_of_the_attackers_choice_is_in_no_redirect() {
    let door = door().await;
    let client = door.stack.client();
    let authority = Url::parse(&door.url("")).authority();
    let forwarded = |request: Request| {
        request
            .header("x-forwarded-host", "evil.example")
            .header("x-forwarded-proto", "https")
            .header("x-forwarded-port", "1")
            .header("forwarded", "host=evil.example;proto=https")
            .header("x-original-url", "https://evil.example/")
            .header("x-rewrite-url", "//evil.example")
            .header("x-original-host", "evil.example")
            .header("referer", "https://evil.example/")
    };
    for host in
        ["evil.example", "127.0.0.1:1", "127.0.0.1", "localhost", "evil.example:80@127.0.0.1", "", "."]
    {
        for target in ["/in?a=1&b=2", "/_lockgate/sign-in?return_to=/in"] {
            let Ok(answer) = client.try_send(&forwarded(navigation(target)).header("host", host)).await
            else {
                continue;
            };
            let location = answer.headers.text("location").unwrap_or_default();
            assert!(!answer.headers.contains("set-cookie"), "{host:?} on {target}: {answer:?}");
            assert!(!location.contains("evil"), "{host:?} on {target}: {location}");
            if answer.status < 400 {
                assert!(location.starts_with(&format!("http://{authority}/")), "{host:?}: {location}");
            }
        }
    }
    // From the right host, with all the rest forged: the redirect URI is the configured one.
    let answer = client.send(&forwarded(navigation("/in"))).await;
    let location = Url::parse(&answer.headers.text("location").unwrap());
    assert_eq!(location.query("redirect_uri"), Some(door.url("/_lockgate/callback")));
    assert!(!location.to_string().contains("evil"), "{location}");
    let twice = navigation("/in").header("host", &authority).header("host", "evil.example");
    // Neither of two is believed.
    let answer = client.send(&twice).await;
    assert!(!answer.headers.contains("set-cookie"), "{answer:?}");
    assert!(answer.status == 400 || answer.headers.text("location") == Some(door.url("/in")), "{answer:?}");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn the_doors_own_pages_are_not_returned_to() {
    let door = door().await;
    for own in [
        "/_lockgate/sign-out",
        "/_lockgate/sign-in?return_to=/_lockgate/sign-in",
        "/_lockgate/callback?code=x&state=y",
        "/%5flockgate/sign-out",
        "/_%6cockgate/sign-out",
        "//_lockgate/sign-out",
        "/./_lockgate/sign-out",
        "/x/../_lockgate/sign-out",
        "/_lockgate",
    ] {
        let mut agent = UserAgent::new();
        let path = format!("/_lockgate/sign-in?return_to={}", encode(own));
        let callback = door.callback(&mut agent, &path).await;
        let answer = agent.open(&callback.to_string()).await.response;
        assert_eq!(answer.headers.text("location").as_deref(), Some("/"), "{own}");
    }
    // The first of two counts, and is looked at like any other.
    let mut agent = UserAgent::new();
    let callback =
        door.callback(&mut agent, "/_lockgate/sign-in?return_to=/one&return_to=//evil.example").await;
    let answer = agent.open(&callback.to_string()).await.response;
    assert_eq!(answer.headers.text("location").as_deref(), Some("/one"));
    for length in [1_024, 1_025, 20_000] {
        let mut agent = UserAgent::new();
        let long = format!("/{}", "a".repeat(length - 1));
        let callback = door.callback(&mut agent, &format!("/_lockgate/sign-in?return_to={long}")).await;
        let answer = agent.open(&callback.to_string()).await.response;
        let expected = if length <= 1_024 { &*long } else { "/" };
        assert_eq!(answer.headers.text("location").as_deref(), Some(expected));
    }
    let asked = door.provider.count(Endpoint::Authorize);
    for provider in ["", "other", "company%00", "COMPANY", "../company", "company%20"] {
        let answer = door.opens(&format!("/_lockgate/sign-in?provider={provider}"), "").await;
        assert_eq!(answer.status, 404, "{provider}");
    }
    assert_eq!(door.provider.count(Endpoint::Authorize), asked);
    door.assert_unharmed().await;
}
