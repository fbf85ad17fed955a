//! Cookies, kept and sent as a browser keeps and sends them (RFC 6265bis), and open to a test that
//! reads, changes and forges them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::http1::{Headers, Response};
use crate::url::Url;

/// The longest name and value, together, that browsers take, in bytes.
pub const LONGEST: usize = 4096;

/// A cookie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// The name.
    pub name: String,
    /// The value, as it stands in the header.
    pub value: String,
    /// `Path`, as the server wrote it.
    pub path: Option<String>,
    /// `Domain`, as the server wrote it.
    pub domain: Option<String>,
    /// Seconds it is to live, zero or less when it is being deleted; `None` for one that lives as
    /// long as the browser. From `Max-Age`, else from `Expires`.
    pub max_age: Option<i64>,
    /// `Secure`.
    pub secure: bool,
    /// `HttpOnly`.
    pub http_only: bool,
    /// `SameSite`, in lower case.
    pub same_site: Option<String>,
}

impl Cookie {
    /// Reads the value of a `Set-Cookie` header.
    pub fn parse(line: &str) -> Self {
        let mut parts = line.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).unwrap_or(("", line));
        let mut cookie = Self {
            name: name.trim().to_owned(),
            value: value.trim().to_owned(),
            path: None,
            domain: None,
            max_age: None,
            secure: false,
            http_only: false,
            same_site: None,
        };
        let mut expires = None;
        for part in parts {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            match &*name.to_ascii_lowercase() {
                "path" => cookie.path = Some(value.to_owned()),
                "domain" => cookie.domain = Some(value.trim_start_matches('.').to_owned()),
                "max-age" => cookie.max_age = value.parse().ok(),
                "expires" => expires = seconds_until(value),
                "secure" => cookie.secure = true,
                "httponly" => cookie.http_only = true,
                "samesite" => cookie.same_site = Some(value.to_ascii_lowercase()),
                _ => {}
            }
        }
        cookie.max_age = cookie.max_age.or(expires);
        cookie
    }

    /// Why a browser would not take it from this URL.
    fn refused(&self, from: &Url) -> Option<&'static str> {
        let name = self.name.to_ascii_lowercase();
        let trustworthy = from.scheme == "https" || from.address().ip().is_loopback();
        if self.name.is_empty() {
            Some("it has no name")
        } else if self.name.len() + self.value.len() > LONGEST {
            Some("it is longer than 4,096 bytes")
        } else if self.domain.as_ref().is_some_and(|domain| *domain != from.host) {
            Some("its domain is another")
        } else if self.secure && !trustworthy {
            Some("it is Secure, and the page is not")
        } else if self.same_site.as_deref() == Some("none") && !self.secure {
            Some("it is SameSite=None and not Secure")
        } else if name.starts_with("__secure-") && !self.secure {
            Some("it is named __Secure- and is not")
        } else if name.starts_with("__host-")
            && (!self.secure || self.domain.is_some() || self.path.as_deref() != Some("/"))
        {
            Some("it is named __Host- and is not Secure, or has a Domain, or another Path than /")
        } else {
            None
        }
    }
}

/// What a response sets, whether a browser would take it or not.
pub fn set_cookies(response: &Response) -> Vec<Cookie> {
    lines(&response.headers).map(|line| Cookie::parse(&line)).collect()
}

fn lines(headers: &Headers) -> impl Iterator<Item = String> {
    headers.all("set-cookie").into_iter().map(|value| String::from_utf8_lossy(value).into_owned())
}

/// The cookies of one browser, of all hosts. As in a browser, a port makes no difference.
#[derive(Clone, Debug, Default)]
pub struct CookieJar {
    kept: Vec<Kept>,
    refused: Vec<String>,
}

#[derive(Clone, Debug)]
struct Kept {
    cookie: Cookie,
    host: String,
    path: String,
    end: Option<SystemTime>,
}

impl Kept {
    fn lives(&self) -> bool {
        self.end.is_none_or(|end| end > SystemTime::now())
    }

    /// RFC 6265bis, section 5.1.4.
    fn is_for(&self, url: &Url) -> bool {
        let path = url.path();
        let below = path.strip_prefix(&self.path);
        let matches =
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || self.path.ends_with('/'));
        matches && self.host == url.host && self.lives()
    }
}

impl CookieJar {
    /// Takes what a response from this URL sets.
    pub fn take(&mut self, from: &Url, response: &Response) {
        for line in lines(&response.headers) {
            let cookie = Cookie::parse(&line);
            match cookie.refused(from) {
                Some(reason) => self.refused.push(format!("{reason}: {line}")),
                None => self.keep(from, cookie),
            }
        }
    }

    fn keep(&mut self, from: &Url, cookie: Cookie) {
        let path = cookie.path.clone().filter(|path| path.starts_with('/'));
        let path = path.unwrap_or_else(|| default_path(from.path()));
        let same =
            |kept: &Kept| kept.cookie.name == cookie.name && kept.host == from.host && kept.path == path;
        self.kept.retain(|kept| !same(kept));
        let lifetime = cookie.max_age.map(|seconds| Duration::from_secs(seconds.max(0).unsigned_abs()));
        if lifetime.is_none_or(|lifetime| !lifetime.is_zero()) {
            let end = lifetime.and_then(|lifetime| SystemTime::now().checked_add(lifetime));
            self.kept.push(Kept { cookie, host: from.host.clone(), path, end });
        }
    }

    /// The `Cookie` header of a request to this URL: the longest paths first, then the oldest.
    pub fn header(&self, url: &Url) -> Option<String> {
        let mut sent: Vec<_> = self.kept.iter().filter(|kept| kept.is_for(url)).collect();
        sent.sort_by_key(|kept| std::cmp::Reverse(kept.path.len()));
        let pairs: Vec<_> =
            sent.iter().map(|kept| format!("{}={}", kept.cookie.name, kept.cookie.value)).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }

    /// All cookies that live, in the order in which they came.
    pub fn cookies(&self) -> impl Iterator<Item = &Cookie> {
        self.kept.iter().filter(|kept| kept.lives()).map(|kept| &kept.cookie)
    }

    /// The names of those that begin with a prefix.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        self.cookies().map(|cookie| cookie.name.clone()).filter(|name| name.starts_with(prefix)).collect()
    }

    /// A cookie by its name.
    pub fn cookie(&self, name: &str) -> Option<&Cookie> {
        self.cookies().find(|cookie| cookie.name == name)
    }

    /// A cookie's value.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.cookie(name).map(|cookie| &*cookie.value)
    }

    /// Changes a cookie's value, as somebody who owns the browser can.
    ///
    /// # Panics
    /// When there is no such cookie.
    pub fn tamper(&mut self, name: &str, change: impl FnOnce(&str) -> String) {
        let kept = self.kept.iter_mut().find(|kept| kept.cookie.name == name);
        let kept = kept.unwrap_or_else(|| panic!("there is no cookie {name}"));
        kept.cookie.value = change(&kept.cookie.value);
    }

    /// Sets a cookie for a host, with the path `/`, as a script or another service of the host can.
    pub fn plant(&mut self, host: &str, name: &str, value: &str) {
        let from = Url { scheme: "http".into(), host: host.to_owned(), port: 80, target: "/".into() };
        self.keep(&from, Cookie::parse(&format!("{name}={value}; Path=/")));
    }

    /// Forgets the cookies that begin with a prefix; all of them with an empty one.
    pub fn forget(&mut self, prefix: &str) {
        self.kept.retain(|kept| !kept.cookie.name.starts_with(prefix));
    }

    /// The cookies a browser would not have taken, each with the reason. A test that ends with
    /// some has found a mistake.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }
}

/// RFC 6265bis, section 5.1.4: the directory of the page.
fn default_path(path: &str) -> String {
    match path.rfind('/') {
        None | Some(0) => "/".to_owned(),
        Some(at) => path[..at].to_owned(),
    }
}

/// How long until a date as in `Expires`: `Sun, 06 Nov 1994 08:49:37 GMT`.
fn seconds_until(date: &str) -> Option<i64> {
    let fields: Vec<&str> = date.split([' ', '-', ':']).filter(|field| !field.is_empty()).collect();
    let [_, day, month, year, hour, minute, second, "GMT"] = fields[..] else { return None };
    let number = |text: &str| text.parse::<i64>().ok();
    let months = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let month = 1 + months.iter().position(|name| *name == month)? as i64;
    let days = days_since_1970(number(year)?, month, number(day)?);
    let then = ((days * 24 + number(hour)?) * 60 + number(minute)?) * 60 + number(second)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs() as i64;
    Some(then - now)
}

/// Counts from a year that begins in March, so that a leap day is a year's last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    365 * year + leap_days + (153 * month + 2) / 5 + day - 719_469
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(lines: &[&str]) -> Response {
        let mut response = Response::new(200);
        lines.iter().for_each(|line| response.headers.push("set-cookie", line));
        response
    }

    #[test]
    fn a_cookie_is_sent_to_its_host_and_path_on_any_port() {
        let mut jar = CookieJar::default();
        let page = Url::parse("http://127.0.0.1:9/a/page");
        jar.take(&page, &answered(&["root=1; Path=/", "here=2", "deep=3; Path=/a/b; HttpOnly"]));
        for (url, sent) in [
            ("http://127.0.0.1:10/", Some("root=1")),
            ("http://127.0.0.1:9/a/b/c", Some("deep=3; here=2; root=1")),
            ("http://127.0.0.1:9/ab", Some("root=1")),
            ("http://localhost:9/a", None),
        ] {
            assert_eq!(jar.header(&Url::parse(url)).as_deref(), sent, "{url}");
        }
    }

    #[test]
    fn the_end_of_a_cookie_is_kept_and_a_past_one_deletes_it() {
        let mut jar = CookieJar::default();
        let page = Url::parse("http://127.0.0.1:9/");
        jar.take(&page, &answered(&["a=1; Max-Age=60", "b=1", "c=1; expires=Sun, 22 Nov 2126 07:55:35 GMT"]));
        assert_eq!(jar.names(""), ["a", "b", "c"]);
        assert_eq!(jar.cookie("a").unwrap().max_age, Some(60));
        assert!(jar.cookie("c").unwrap().max_age.unwrap() > 0);
        let gone =
            ["a=; Max-Age=0", "b=; Max-Age=60; Path=/other", "c=; Expires=Thu, 01 Jan 1970 00:00:00 GMT"];
        jar.take(&page, &answered(&gone));
        assert_eq!(jar.names(""), ["b", "b"]);
    }

    #[test]
    fn what_a_browser_refuses_is_refused() {
        let long = format!("long={}", "x".repeat(LONGEST));
        let refused = [
            "__Host-a=1; Path=/",
            "__Host-b=1; Secure",
            "__Secure-c=1",
            "d=1; SameSite=None",
            "e=1; Domain=example.com",
            &long,
        ];
        let mut jar = CookieJar::default();
        let page = Url::parse("http://127.0.0.1:9/");
        jar.take(&page, &answered(&refused));
        assert_eq!((jar.names(""), jar.refused().len()), (vec![], refused.len()));
        jar.take(&page, &answered(&["__Host-a=1; Path=/; Secure", "f=1; Secure; SameSite=Lax"]));
        assert_eq!(jar.names(""), ["__Host-a", "f"]);
    }

    #[test]
    fn a_date_is_counted_from_1970() {
        for (date, days) in [((1970, 1, 1), 0), ((2000, 2, 29), 11_016), ((2000, 3, 1), 11_017)] {
            assert_eq!(days_since_1970(date.0, date.1, date.2), days);
        }
    }
}
