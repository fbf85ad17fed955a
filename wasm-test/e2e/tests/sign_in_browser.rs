//! The door as a person meets it: in Chromium, with pages, links and buttons, and a provider that is
//! another site.

use std::time::Duration;

use lockgate_e2e::browser::{Browser, Landing, Tab};
use lockgate_e2e::door::{door_config, door_stack, public_url};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::oidc_mock::OidcMock;
use lockgate_e2e::oidc_provider::{CLIENT_ID, OidcProvider};
use lockgate_e2e::relying_party::RelyingParty;
use lockgate_e2e::url::Url;
use lockgate_e2e::visitor::{SESSION, until};
use lockgate_e2e::{Answer, Recorded, Response, Shared, Stack, Upstream};
use serde_json::json;
use tokio::sync::OnceCell;

static BROWSER: OnceCell<Browser> = OnceCell::const_new();
static PROVIDER: OnceCell<OidcProvider> = OnceCell::const_new();
static DOOR: OnceCell<Stack> = OnceCell::const_new();
static REGISTERED: OnceCell<()> = OnceCell::const_new();

async fn browser() -> &'static Browser {
    BROWSER.get_or_init(Browser::start).await
}

/// The door that these tests share: people of `example.com` may come in, and see their tokens.
struct Door {
    provider: &'static OidcProvider,
    stack: Shared,
    site: String,
}

async fn door() -> Door {
    let mallory = json!({"email": "mallory@evil.test", "email_verified": true});
    let start = || OidcProvider::builder().host("localhost").account("mallory", mallory).start();
    let provider = PROVIDER.get_or_init(start).await;
    let config = door_config(provider.issuer(), |config| {
        config["sign_in"]["token_page"] = json!(true);
        config["sign_in"]["policies"] = json!([{"effect": "allow", "domains": ["example.com"]}]);
    });
    let stack = Shared::of(&DOOR, door_stack(&config)).await;
    let site = public_url(&stack);
    REGISTERED.get_or_init(|| provider.register_gateway(&site, &[])).await;
    stack.upstream().program(|request| (request.path() == "/form").then(|| html(FORM)));
    Door { provider, stack, site }
}

const FORM: &str = "<form method=post action=/save><input name=text><button>Save</button></form>";

fn html(page: &str) -> Answer {
    Answer::with_body(200, "text/html", page)
}

fn redirect(to: &str) -> Answer {
    let mut response = Response::new(303);
    response.headers.push("location", to);
    Answer::Respond(response, Duration::ZERO)
}

impl Door {
    fn url(&self, target: &str) -> String {
        format!("{}{target}", self.site)
    }

    /// Opens a page as somebody who is not known yet.
    async fn sign_in(&self, tab: &Tab<'_>, target: &str, account: &str) -> Landing {
        let landing = tab.goto(&self.url(target)).await;
        assert!(landing.url.starts_with(self.provider.issuer()), "{landing:?}");
        tab.sign_in_at_oidc_provider(account).await
    }

    /// What has reached the upstream at this path, by whatever method.
    fn reached(&self, path: &str) -> Vec<Recorded> {
        self.stack.upstream().requests().matching(|request| request.path() == path)
    }
}

fn at(url: &str, status: u16) -> Landing {
    Landing { url: url.to_owned(), status }
}

/// One of the door's own pages: nothing that the console calls an error since there were `before`, but
/// for the page's own status; its style is there, and so is the request's id.
async fn assert_clean(tab: &Tab<'_>, before: usize, what: &str) {
    let errors = tab.errors().await.split_off(before);
    let status = tab.landing().await.status;
    let own = format!("Failed to load resource: the server responded with a status of {status} ");
    let expected = usize::from(status >= 400);
    assert!(errors.len() == expected && errors.iter().all(|e| e.starts_with(&own)), "{what}: {errors:?}");
    let footer = tab.text("footer").await;
    let id = footer.strip_prefix("Request id: ").unwrap_or_default();
    assert_eq!(id.len(), 36, "{what}: {footer:?}");
    let style = "getComputedStyle(document.querySelector('footer')).marginTop";
    assert_ne!(tab.evaluate(style).await, "0px", "{what} has no style");
}

#[tokio::test]
async fn a_link_into_the_site_leads_there_with_both_parameters_once_signed_in() {
    let door = door().await;
    let context = browser().await.context().await;
    let tab = context.tab().await;
    let target = "/deep/link?a=1&b=two%20%26%20more";
    let landing = door.sign_in(&tab, target, "alice").await;
    assert_eq!((landing, &*tab.text("body").await), (at(&door.url(target), 200), "upstream"));
    assert_eq!(door.reached("/deep/link")[0].target, target);
    let ours: Vec<_> =
        tab.navigations().await.into_iter().filter(|l| l.url.starts_with(&door.site)).collect();
    assert_eq!(ours.iter().map(|landing| landing.status).collect::<Vec<_>>(), [302, 302, 200]);

    let cookies = context.cookies().await;
    let session = cookies.iter().find(|cookie| cookie["name"] == SESSION).expect("a session");
    let flags = ["httpOnly", "secure", "sameSite", "path"].map(|flag| session[flag].clone());
    assert_eq!(flags, [json!(true), json!(false), json!("Lax"), json!("/")]);
    assert!(!tab.evaluate("document.cookie").await.to_string().contains("lockgate"));
    assert_eq!(tab.reload().await.status, 200);
}

#[tokio::test]
async fn two_tabs_that_sign_in_at_the_same_time_both_arrive() {
    let door = door().await;
    let context = browser().await.context().await;
    let (one, two) = (context.tab().await, context.tab().await);
    let [first, second] = [door.url("/one?a=1&b=2"), door.url("/two?c=3&d=4")];
    for (tab, url) in [(&one, &first), (&two, &second)] {
        assert!(tab.goto(url).await.url.starts_with(door.provider.issuer()));
    }
    assert_eq!(two.sign_in_at_oidc_provider("bob").await, at(&second, 200));
    // The provider knows by now what bob agrees to, so that his name is all it wants.
    one.fill("[name=login]", "bob").await;
    one.fill("[name=password]", "any").await;
    assert_eq!(one.follow("button[type=submit]").await, at(&first, 200));
    let cookies = context.cookies().await;
    let ours = cookies.iter().filter(|cookie| cookie["name"].to_string().contains("lockgate"));
    assert_eq!(ours.count(), 2, "a session and one cookie for any number of logins: {cookies:?}");
    for tab in [one, two] {
        assert_eq!(tab.goto(&door.url("/after")).await.status, 200);
    }
}

#[tokio::test]
async fn the_chooser_leads_to_each_of_two_providers_and_back() {
    let (provider, mock) =
        tokio::join!(OidcProvider::builder().host("localhost").start(), OidcMock::start(&[]));
    let config = door_config(provider.issuer(), |config| {
        config["sign_in"]["providers"][0]["title"] = json!("Company login");
        let guests = json!({
            "name": "guests", "title": "Guests & <friends>", "issuer": mock.issuer(),
            "client_id": CLIENT_ID, "client_secret": {"env": "OIDC_CLIENT_SECRET"},
        });
        config["sign_in"]["providers"].as_array_mut().unwrap().push(guests);
    });
    let stack = door_stack(&config).start().await;
    let site = public_url(&stack);
    provider.register_gateway(&site, &[]).await;
    let page = format!("{site}/page?a=1&b=2");
    for (title, account) in [("Company login", "carol"), ("Guests & <friends>", "dave@example.com")] {
        let context = browser().await.context().await;
        let tab = context.tab().await;
        let landing = tab.goto(&page).await;
        assert!(landing.url.starts_with(&format!("{site}/_lockgate/sign-in?")), "{landing:?}");
        assert_eq!((landing.status, tab.count("a").await), (200, 2));
        assert_clean(&tab, 0, "the chooser").await;
        tab.follow(&format!("text={title}")).await;
        let landing = match title {
            "Company login" => tab.sign_in_at_oidc_provider(account).await,
            _ => tab.sign_in_at_oidc_mock(account).await,
        };
        assert_eq!(landing, at(&page, 200));
        let reached = stack.upstream().requests().since(0).pop().unwrap();
        assert_eq!(reached.headers.text("x-lockgate-subject").as_deref(), Some(account));
    }
}

#[tokio::test]
async fn the_token_page_shows_who_signed_in_a_token_that_is_theirs() {
    let door = door().await;
    let context = browser().await.context().await;
    let tab = context.tab().await;
    let landing = door.sign_in(&tab, "/_lockgate/token", "erin").await;
    assert_eq!(landing, at(&door.url("/_lockgate/token"), 200));
    let token = tab.evaluate("document.querySelector('textarea').value").await;
    let (issuer, provider) = (door.provider.issuer(), door.provider);
    let party = RelyingParty::discover(issuer, provider.client_id(), provider.secret(), "").await;
    let told = party.userinfo(token.as_str().unwrap()).await;
    assert_eq!((told.status, told.json()["sub"].clone()), (200, json!("erin")));
    let page = context.tab().await;
    page.goto(&door.url("/_lockgate/token")).await;
    assert_clean(&page, 0, "the token page").await;
    let stranger = browser().await.context().await;
    let nobody = stranger.tab().await;
    nobody.goto(&door.url("/public/page")).await;
    let answer = nobody.fetch("/_lockgate/token", json!({})).await;
    assert_eq!((&answer["status"], &answer["redirected"]), (&json!(401), &json!(false)));
}

#[tokio::test]
async fn a_form_of_a_session_that_has_ended_is_refused_on_a_page_and_sent_nowhere() {
    let door = door().await;
    let context = browser().await.context().await;
    let tab = context.tab().await;
    assert_eq!(door.sign_in(&tab, "/form", "frank").await, at(&door.url("/form"), 200));
    tab.fill("[name=text]", "while it lasts").await;
    assert_eq!(tab.follow("button").await, at(&door.url("/save"), 200));
    tab.goto(&door.url("/form")).await;
    tab.fill("[name=text]", "long work").await;
    door.provider.logout_everywhere("frank").await;

    let (before, errors) = (tab.navigations().await.len(), tab.errors().await.len());
    assert_eq!(tab.follow("button").await, at(&door.url("/save"), 401));
    assert_eq!(tab.navigations().await[before..], [at(&door.url("/save"), 401)], "and nowhere else");
    assert!(tab.text("main").await.contains("what you sent was not taken"), "{}", tab.html().await);
    let saved: Vec<_> = door.reached("/save").iter().map(|request| request.text()).collect();
    assert_eq!(saved, ["text=while+it+lasts"]);
    assert_clean(&tab, errors, "the refusal of a form").await;
    // The way on: to sign in, and then a page.
    let there = tab.follow("main a").await;
    assert!(there.url.starts_with(door.provider.issuer()), "{there:?}");
    assert_eq!(tab.sign_in_at_oidc_provider("frank").await.status, 200);
}

#[tokio::test]
async fn a_script_of_a_page_whose_session_has_ended_is_told_401_and_led_nowhere() {
    let door = door().await;
    let context = browser().await.context().await;
    let tab = context.tab().await;
    door.sign_in(&tab, "/page", "grace").await;
    assert_eq!(tab.fetch("/data", json!({})).await["text"], "upstream");
    door.provider.logout_everywhere("grace").await;
    let before = context.cookies().await.len();
    for options in
        [json!({}), json!({"method": "POST", "body": "x"}), json!({"headers": {"accept": "text/html"}})]
    {
        let answer = tab.fetch("/refused", options.clone()).await;
        let seen = ["status", "redirected", "type", "url"].map(|name| answer[name].clone());
        let expected = [json!(401), json!(false), json!("basic"), json!(door.url("/refused"))];
        assert_eq!(seen, expected, "{options}");
        let headers = answer["headers"].as_array().unwrap();
        assert!(headers.contains(&json!(["www-authenticate", "Bearer realm=\"lockgate\""])), "{answer}");
    }
    assert_eq!(context.cookies().await.len(), before, "no login was begun");
    assert!(door.reached("/refused").is_empty());
    // The next page that is opened signs in again.
    assert_eq!(door.sign_in(&tab, "/page", "grace").await, at(&door.url("/page"), 200));
}

#[tokio::test]
async fn the_button_signs_out_here_and_at_the_provider_which_is_another_site() {
    let door = door().await;
    let context = browser().await.context().await;
    let tab = context.tab().await;
    door.sign_in(&tab, "/page", "heidi").await;
    let out = context.tab().await;
    assert_eq!(out.goto(&door.url("/_lockgate/sign-out")).await.status, 200);
    assert!(out.text("main").await.contains("heidi@example.com"));
    assert_clean(&out, 0, "the sign-out page").await;
    let there = out.follow("main button").await;
    assert!(there.url.starts_with(door.provider.issuer()), "the policy lets the form lead there: {there:?}");
    let signed_out = door.url("/_lockgate/signed-out");
    assert_eq!(out.follow("button[name=logout]").await, at(&signed_out, 200));
    let end = context.tab().await;
    end.goto(&signed_out).await;
    assert_clean(&end, 0, "the signed-out page").await;

    assert!(context.cookies().await.iter().all(|cookie| cookie["name"] != SESSION));
    let page = tab.reload().await;
    assert!(
        page.url.starts_with(door.provider.issuer()),
        "the other tab's next page needs a login: {page:?}"
    );
    assert_eq!(tab.count("[name=password]").await, 1);
    let again = end.follow("text=Sign in again").await;
    assert!(again.url.starts_with(door.provider.issuer()), "{again:?}");
    assert_eq!(end.sign_in_at_oidc_provider("heidi").await, at(&door.url("/"), 200));
}

#[tokio::test]
async fn a_provider_may_lead_by_yet_another_site_back_to_the_signed_out_page() {
    let (provider, federated) = (HostileProvider::named("localhost", ""), Upstream::on_free_port());
    let further = federated.url();
    // As one does whose people have signed in with somebody else still.
    provider.answer(Endpoint::EndSession, move |request| {
        let url = Url::parse(&further).join(&request.target);
        Some(redirect(&url.with_pairs(&[("back", url.query("post_logout_redirect_uri")?)]).to_string()))
    });
    federated.program(|request| {
        Some(redirect(&Url::parse("http://127.0.0.1").join(&request.target).query("back")?))
    });
    let stack = door_stack(&door_config(provider.issuer(), |_| {})).start().await;
    let site = public_url(&stack);
    let context = browser().await.context().await;
    let tab = context.tab().await;
    assert_eq!(tab.goto(&format!("{site}/page")).await, at(&format!("{site}/page"), 200));
    tab.goto(&format!("{site}/_lockgate/sign-out")).await;
    tab.click("main button").await;
    let end = until("the signed-out page", async || {
        let errors = tab.errors().await;
        assert!(errors.is_empty(), "the browser goes no further than {:?}: {errors:?}", tab.landing().await);
        Some(tab.landing().await).filter(|landing| landing.url.ends_with("/_lockgate/signed-out"))
    })
    .await;
    assert_eq!(end, at(&format!("{site}/_lockgate/signed-out"), 200));
    assert_eq!(federated.requests().len(), 1);
}

#[tokio::test]
async fn a_page_of_another_site_signs_nobody_out() {
    let door = door().await;
    let evil = Upstream::on_free_port();
    let action = door.url("/_lockgate/sign-out");
    let page = format!("<form method=post action={action}><button>Win</button></form><img src={action}>");
    evil.program(move |_| Some(html(&page)));
    let context = browser().await.context().await;
    let tab = context.tab().await;
    door.sign_in(&tab, "/page", "ivan").await;
    let other = context.tab().await;
    other.goto(&format!("http://localhost:{}/", evil.address().port())).await;
    assert_eq!(other.follow("button").await, at(&action, 403));
    let refused = other.text("main").await;
    assert!(refused.contains("this site's own page"), "{refused}");
    assert_eq!(tab.reload().await, at(&door.url("/page"), 200), "signed in as before");
}

#[tokio::test]
async fn who_is_not_allowed_sees_a_page_and_its_link_leads_to_somebody_else() {
    let door = door().await;
    let context = browser().await.context().await;
    let tab = context.tab().await;
    let page = door.url("/page?a=1");
    assert_eq!(door.sign_in(&tab, "/page?a=1", "mallory").await, at(&page, 403));
    let before = tab.navigations().await.len();
    assert_eq!(tab.reload().await, at(&page, 403));
    assert_eq!(tab.navigations().await.len(), before + 1, "no second login");
    let refusal = context.tab().await;
    refusal.goto(&page).await;
    assert_clean(&refusal, 0, "the refusal").await;

    assert_eq!(tab.follow("text=Sign in as somebody else").await.url, door.url("/_lockgate/sign-out"));
    tab.follow("main button").await;
    tab.follow("button[name=logout]").await;
    tab.follow("text=Sign in again").await;
    assert_eq!(tab.sign_in_at_oidc_provider("judy").await, at(&door.url("/"), 200));
    assert_eq!(refusal.reload().await, at(&page, 200));
    let seen = door.reached("/page");
    assert!(seen.iter().all(|r| r.headers.text("x-lockgate-email").as_deref() != Some("mallory@evil.test")));
}

#[tokio::test]
async fn the_way_back_says_plainly_what_did_not_work() {
    let door = door().await;
    let context = browser().await.context().await;
    let tab = context.tab().await;
    let callback = door.url("/_lockgate/callback?code=c&state=s");
    assert_eq!(tab.goto(&callback).await, at(&callback, 400));
    assert!(tab.text("main").await.contains("This sign-in did not begin here."));
    assert_clean(&tab, 0, "the refusal of a callback").await;
    let again = tab.follow("text=Try again").await;
    assert!(again.url.starts_with(door.provider.issuer()), "{again:?}");
    let declined = tab.navigations().await.len();
    let cancelled = tab.follow("text=[ Cancel ]").await;
    assert_eq!((cancelled.status, tab.navigations().await.len() > declined), (403, true), "{cancelled:?}");
    assert!(tab.text("main").await.contains("The sign-in was declined."));
}
