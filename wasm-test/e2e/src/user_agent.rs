//! A browser without a window: one jar of cookies, redirects across hosts, forms. Enough for every
//! sign-in that needs no script.

use std::io;

use crate::Client;
use crate::cookie_jar::CookieJar;
use crate::html_form::{Form, forms};
use crate::http1::{Request, Response};
use crate::url::{Url, encode_form};

/// Where a browser gives up, too.
const REDIRECTS: usize = 20;

/// A page: an answer, and where it came from.
#[derive(Clone, Debug)]
pub struct Page {
    /// The URL it was asked for at.
    pub url: Url,
    /// The answer.
    pub response: Response,
}

impl Page {
    /// Where it redirects to, if it does.
    pub fn location(&self) -> Option<Url> {
        let location = self.response.headers.text("location")?;
        matches!(self.response.status, 301 | 302 | 303 | 307 | 308).then(|| self.url.join(&location))
    }

    /// Its forms.
    pub fn forms(&self) -> Vec<Form> {
        forms(&self.response.text())
    }

    /// The first of its forms that has an input of this name.
    pub fn form_with(&self, field: &str) -> Option<Form> {
        self.forms().into_iter().find(|form| form.has(field))
    }
}

/// A browser, of one person.
#[derive(Clone, Debug, Default)]
pub struct UserAgent {
    /// Its cookies.
    pub jar: CookieJar,
    /// Everything it was answered, redirects included.
    pub history: Vec<Page>,
}

impl UserAgent {
    /// A browser without cookies.
    pub fn new() -> Self {
        Self::default()
    }

    /// Opens a URL as if it were typed, and follows no redirect.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn open(&mut self, url: &str) -> Page {
        self.navigate(&Url::parse(url), "GET", None, None).await
    }

    /// Opens a URL and follows redirects to the first answer that is none.
    ///
    /// # Panics
    /// When there is no answer, or no end.
    pub async fn follow(&mut self, url: &str) -> Page {
        self.follow_until(url, |_| false).await
    }

    /// Opens a URL and follows redirects up to one to a URL that satisfies a condition: that one
    /// is not asked for, and the redirect to it is returned.
    ///
    /// # Panics
    /// When there is no answer, or no end.
    pub async fn follow_until(&mut self, url: &str, stop: impl Fn(&Url) -> bool) -> Page {
        let page = self.open(url).await;
        self.go_on(page, stop).await
    }

    /// Follows where a page redirects to, up to a URL that satisfies a condition.
    ///
    /// # Panics
    /// When there is no answer, or no end.
    pub async fn go_on(&mut self, mut page: Page, stop: impl Fn(&Url) -> bool) -> Page {
        let first = page.url.clone();
        for _ in 0..REDIRECTS {
            let Some(location) = page.location().filter(|location| !stop(location)) else { return page };
            page = self.navigate(&location, "GET", None, Some(&first)).await;
        }
        panic!("no end of redirects after {}", page.url);
    }

    /// Submits a form of a page, and follows no redirect.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn submit(&mut self, page: &Page, form: &Form) -> Page {
        let action = page.url.join(&form.action);
        if form.method == "GET" {
            return self.navigate(&action.with_pairs(&form.fields), "GET", None, Some(&page.url)).await;
        }
        self.navigate(&action, "POST", Some(encode_form(&form.fields)), Some(&page.url)).await
    }

    /// Sends any request with the cookies for its URL, takes the cookies of the answer, and
    /// follows no redirect. The target is the URL's.
    ///
    /// # Errors
    /// As [`Client::try_send`].
    pub async fn try_send(&mut self, url: &Url, request: Request) -> io::Result<Page> {
        let mut request = Request { target: url.target.clone(), ..request };
        request.headers.remove("cookie");
        if let Some(cookies) = self.jar.header(url) {
            request.headers.push("cookie", cookies);
        }
        if !request.headers.contains("host") {
            request.headers.push("host", url.authority());
        }
        let response = Client::new(url.address()).try_send(&request).await?;
        self.jar.take(url, &response);
        let page = Page { url: url.clone(), response };
        self.history.push(page.clone());
        Ok(page)
    }

    /// What a page's script gets from `fetch(url)`: no redirect is followed.
    ///
    /// # Panics
    /// When there is no answer.
    pub async fn fetch(&mut self, url: &str) -> Page {
        let request = Request::get("/")
            .header("accept", "*/*")
            .header("sec-fetch-site", "same-origin")
            .header("sec-fetch-mode", "cors")
            .header("sec-fetch-dest", "empty");
        self.answer(&Url::parse(url), request).await
    }

    /// A request as a browser makes it when it goes to another page. `from` is the page it was
    /// sent by, none where somebody typed the URL.
    async fn navigate(&mut self, url: &Url, method: &str, form: Option<String>, from: Option<&Url>) -> Page {
        let site = match from {
            None => "none",
            Some(page) if page.origin() == url.origin() => "same-origin",
            Some(page) if page.same_site(url) => "same-site",
            Some(_) => "cross-site",
        };
        let mut request = Request::new(method, &url.target)
            .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64) of a test")
            .header("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
            .header("accept-language", "en-US,en;q=0.9")
            .header("sec-fetch-site", site)
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-user", "?1")
            .header("sec-fetch-dest", "document")
            .header("upgrade-insecure-requests", "1");
        if let Some(form) = form {
            let origin = from.map_or_else(|| "null".to_owned(), Url::origin);
            request = request.header("origin", origin);
            request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
        }
        self.answer(url, request).await
    }

    async fn answer(&mut self, url: &Url, request: Request) -> Page {
        self.try_send(url, request).await.unwrap_or_else(|error| panic!("{url}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Upstream};

    fn redirect(to: String, cookie: &str) -> Option<Answer> {
        let mut response = Response::new(303);
        response.headers.push("location", to);
        response.headers.push("set-cookie", cookie);
        Some(Answer::Respond(response, std::time::Duration::ZERO))
    }

    #[tokio::test]
    async fn redirects_lead_across_hosts_with_the_cookies_of_each() {
        let [one, other] = [Upstream::on_free_port(), Upstream::on_free_port()];
        let back = one.url();
        let there = format!("http://localhost:{}/in", other.address().port());
        one.program(move |request| match request.path() {
            "/" => redirect(there.clone(), "a=1; Path=/"),
            _ => None,
        });
        other.program(move |_| redirect(format!("{back}/end"), "b=1; Path=/"));
        let mut agent = UserAgent::new();
        let page = agent.follow(&format!("{}/", one.url())).await;
        assert_eq!((page.url.path(), page.response.text().as_str()), ("/end", "upstream"));
        let seen = other.requests().since(0);
        assert_eq!(seen[0].headers.text("cookie"), None);
        assert_eq!(seen[0].headers.text("sec-fetch-site").as_deref(), Some("cross-site"));
        assert_eq!(one.requests().since(0)[1].headers.text("cookie").as_deref(), Some("a=1"));
        assert_eq!(agent.history.len(), 3);

        let stopped = agent.follow_until(&format!("{}/", one.url()), |url| url.path() == "/in").await;
        assert_eq!(stopped.location().unwrap().port, other.address().port());
        assert_eq!(other.requests().len(), 1);
    }
}
