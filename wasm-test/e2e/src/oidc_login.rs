//! Logs in at an OpenID provider without a browser: follows redirects and fills in the forms of
//! `oidc-provider` and of `oidc-provider-mock`, of which each has its own.

use crate::html_form::Form;
use crate::url::Url;
use crate::user_agent::{Page, UserAgent};

/// More pages than any provider here shows on the way.
const FORMS: usize = 6;

/// Opens a URL, logs in as an account wherever a provider asks who it is, agrees to everything,
/// and returns the first page that is not a provider's form.
///
/// # Panics
/// When something does not answer, or the forms do not end.
pub async fn sign_in(agent: &mut UserAgent, start: &str, account: &str) -> Page {
    sign_in_until(agent, start, account, |_| false).await
}

/// The same, but a redirect to a URL that satisfies a condition is not followed, and returned.
/// So a test gets a provider's answer before the gateway does: see [`Page::location`].
///
/// # Panics
/// As [`sign_in`].
pub async fn sign_in_until(
    agent: &mut UserAgent,
    start: &str,
    account: &str,
    stop: impl Fn(&Url) -> bool,
) -> Page {
    let mut page = agent.follow_until(start, &stop).await;
    for _ in 0..FORMS {
        let Some(form) = filled_in(&page, account) else { return page };
        page = agent.submit(&page, &form).await;
        page = agent.go_on(page, &stop).await;
    }
    panic!("no end of forms at {}:\n{}", page.url, page.response.text());
}

/// Agrees to end the session on a provider's page that asks, and follows.
///
/// # Panics
/// When the page asks nothing.
pub async fn confirm_sign_out(agent: &mut UserAgent, page: &Page) -> Page {
    let form = page.forms().into_iter().next();
    let form = form.unwrap_or_else(|| panic!("no form at {}:\n{}", page.url, page.response.text()));
    let form =
        if form.buttons.iter().any(|(name, _)| name == "logout") { form.fill("logout", "yes") } else { form };
    let answer = agent.submit(page, &form).await;
    agent.go_on(answer, |_| false).await
}

/// What a person who wants to log in sends.
fn filled_in(page: &Page, account: &str) -> Option<Form> {
    page.forms().into_iter().find_map(|form| match form.value("prompt") {
        Some("login") => Some(form.fill("login", account).fill("password", "any")),
        Some("consent") => Some(form),
        _ => form.has("sub").then(|| form.fill("sub", account)),
    })
}
