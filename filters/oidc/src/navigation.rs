//! What a browser's request is: somebody opening a page, or a script, an image, another site's form.

use lockgate_common::http::{Headers, is_plain_target, path_without_query};

/// Longest return address, in bytes. It travels in a cookie.
const MAX_RETURN_BYTES: usize = 1_024;

/// Whether a browser wants to show a page, so that a sign-in may begin. Everything else gets a plain
/// 401: fifty scripts of one page must not begin fifty sign-ins.
///
/// Fetch metadata says it (W3C Fetch Metadata Request Headers, section 2); a browser without it, that
/// it names HTML in `accept` and no script says it is one.
pub fn is_navigation(headers: &Headers, method: &str) -> bool {
    let present = |name| headers.first(name).is_some();
    let prefetch = |name| {
        headers.all(name).any(|value| value.to_ascii_lowercase().windows(8).any(|word| word == b"prefetch"))
    };
    if !matches!(method, "GET" | "HEAD")
        || present("authorization")
        || present("upgrade")
        || prefetch("sec-purpose")
        || prefetch("purpose")
    {
        return false;
    }
    if headers.iter().any(|(name, _)| name.starts_with("sec-fetch-")) {
        let document = matches!(headers.single("sec-fetch-dest"), Ok(None | Some(b"document")));
        return document && headers.single("sec-fetch-mode") == Ok(Some(b"navigate"));
    }
    (accepts(headers, "text/html") || accepts(headers, "application/xhtml+xml"))
        && !present("x-requested-with")
}

/// Whether a refusal is better a page than a line of text.
pub fn wants_html(headers: &Headers) -> bool {
    accepts(headers, "text/html")
}

/// Whether a state-changing request comes from a page of `origin` (scheme, host and port, as a browser
/// writes it; RFC 6454, section 6.2). A page that sends such requests must not have the referrer policy
/// `no-referrer`, with which a browser writes `Origin: null` (Fetch, "append a request Origin header").
pub fn is_same_origin(headers: &Headers, origin: &str) -> bool {
    match (headers.single("sec-fetch-site"), headers.single("origin")) {
        (Ok(None), Ok(None)) => false,
        (Ok(site), Ok(given)) => {
            site.is_none_or(|site| site == b"same-origin")
                && given.is_none_or(|given| given == origin.as_bytes())
        }
        _ => false,
    }
}

/// The path and query to go to after signing in or out: `text` where it is a path of this site and of
/// nothing else in any reader's eyes, else `/`. Lockgate's own pages are not returned to.
pub fn return_path(text: &str) -> String {
    let first = path_without_query(text).split('/').nth(1).unwrap_or_default();
    let plain = text.len() <= MAX_RETURN_BYTES && !text.contains('\\') && is_plain_target(text);
    if plain && decoded(first) != b"_lockgate" { text.to_owned() } else { "/".to_owned() }
}

/// Whether a media type is named in `accept` itself, not by `*/*`, and not with a weight of 0 (RFC
/// 9110, 12.5.1), which says that it is unwanted.
fn accepts(headers: &Headers, media_type: &str) -> bool {
    headers.all("accept").flat_map(|value| value.split(|byte| *byte == b',')).any(|range| {
        let mut parts = range.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let unwanted = |part: &[u8]| match part {
            [b'q' | b'Q', b'=', weight @ ..] => weight.iter().all(|byte| matches!(byte, b'0' | b'.')),
            _ => false,
        };
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case(media_type.as_bytes()))
            && !parts.any(unwanted)
    })
}

/// A segment as the proxy's path normalisation reads it; a broken escape stands for itself.
fn decoded(segment: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(segment.len());
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let mut after = bytes.clone();
        let mut digit = || char::from(after.next()?).to_digit(16);
        match (byte, digit(), digit()) {
            (b'%', Some(high), Some(low)) => {
                out.push((high << 4 | low) as u8);
                bytes = after;
            }
            _ => out.push(byte),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHROME: &[(&str, &str)] = &[
        ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"),
        ("sec-fetch-site", "none"),
        ("sec-fetch-mode", "navigate"),
        ("sec-fetch-user", "?1"),
        ("sec-fetch-dest", "document"),
    ];

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        let mut headers = Headers::default();
        pairs.iter().for_each(|(name, value)| headers.push(name, value.as_bytes()));
        headers
    }

    /// Chrome's request with one more header, or another value of one.
    fn chrome_with(name: &str, value: &str) -> bool {
        let mut pairs: Vec<_> = CHROME.iter().copied().filter(|(other, _)| *other != name).collect();
        pairs.push((name, value));
        is_navigation(&headers(&pairs), "GET")
    }

    fn opens(pairs: &[(&str, &str)]) -> bool {
        is_navigation(&headers(pairs), "GET")
    }

    #[test]
    fn a_page_is_opened_by_reading_it() {
        for method in ["GET", "HEAD"] {
            assert!(is_navigation(&headers(CHROME), method));
        }
        for method in ["POST", "PUT", "OPTIONS", "CONNECT", "get", ""] {
            assert!(!is_navigation(&headers(CHROME), method), "{method}");
        }
    }

    #[test]
    fn fetch_metadata_decides_where_it_is_there() {
        assert!(chrome_with("accept", "*/*") && chrome_with("x-requested-with", "com.example.app"));
        assert!(chrome_with("sec-fetch-site", "cross-site"));
        assert!(opens(&[("sec-fetch-mode", "navigate")]));
        for mode in ["cors", "no-cors", "same-origin", "websocket", "Navigate", "", "navigate, cors"] {
            assert!(!chrome_with("sec-fetch-mode", mode), "{mode}");
        }
        for dest in ["iframe", "frame", "embed", "object", "empty", "image", "script", ""] {
            assert!(!chrome_with("sec-fetch-dest", dest), "{dest}");
        }
        assert!(!opens(&[("accept", "text/html"), ("sec-fetch-site", "same-origin")]));
        assert!(!opens(&[("sec-fetch-mode", "navigate"), ("sec-fetch-mode", "navigate")]));
        assert!(!opens(&[
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("sec-fetch-dest", "document")
        ]));
    }

    #[test]
    fn a_page_fetched_ahead_is_not_opened() {
        for name in ["sec-purpose", "purpose"] {
            for value in ["prefetch", "prefetch;prerender", "Prefetch", "x, prefetch"] {
                assert!(!chrome_with(name, value), "{name}: {value}");
            }
            assert!(chrome_with(name, "other"), "{name}");
        }
        assert!(!opens(&[("accept", "text/html"), ("purpose", ""), ("purpose", "prefetch")]));
    }

    #[test]
    fn who_brings_a_token_or_wants_another_protocol_opens_no_page() {
        for value in ["Bearer x", "Basic x", ""] {
            assert!(!chrome_with("authorization", value), "{value}");
        }
        assert!(!chrome_with("upgrade", "websocket"));
        assert!(!opens(&[("accept", "text/html"), ("authorization", "Bearer x")]));
    }

    #[test]
    fn without_fetch_metadata_html_must_be_named() {
        for accept in ["text/html", "*/*, TEXT/HTML ; q=0.9", "application/xhtml+xml", "text/html;level=1"] {
            assert!(opens(&[("accept", accept)]), "{accept}");
            assert!(!opens(&[("accept", accept), ("x-requested-with", "XMLHttpRequest")]), "{accept}");
        }
        assert!(opens(&[("accept", "*/*"), ("accept", "text/html")]));
        for accept in ["*/*", "text/*", "application/json", "text/htmlx", "x/text/html", "text/html;q=0", ""]
        {
            assert!(!opens(&[("accept", accept)]), "{accept}");
        }
        assert!(!opens(&[]));
        let mut odd = Headers::default();
        odd.push("accept", b"\xff,\x00;;=,text/html\xff");
        assert!(!is_navigation(&odd, "GET"));
    }

    #[test]
    fn a_refusal_is_a_page_where_html_is_named() {
        assert!(wants_html(&headers(CHROME)) && wants_html(&headers(&[("accept", "a/b,text/html;q=0.1")])));
        for accept in ["*/*", "application/xhtml+xml", "text/html;q=0", "text/html; q=0.000", "text/plain"] {
            assert!(!wants_html(&headers(&[("accept", accept)])), "{accept}");
        }
        assert!(!wants_html(&headers(&[])));
    }

    #[test]
    fn only_our_own_pages_change_state() {
        const ORIGIN: &str = "https://app.example.com";
        let same = |pairs: &[(&str, &str)]| is_same_origin(&headers(pairs), ORIGIN);
        assert!(same(&[("origin", ORIGIN), ("sec-fetch-site", "same-origin")]));
        assert!(same(&[("origin", ORIGIN)]) && same(&[("sec-fetch-site", "same-origin")]));
        assert!(!same(&[]) && !same(&[("referer", "https://app.example.com/")]));
        for site in ["same-site", "cross-site", "none", "", "Same-Origin", "same-origin, cross-site"] {
            assert!(!same(&[("origin", ORIGIN), ("sec-fetch-site", site)]), "{site}");
        }
        for origin in [
            "null",
            "",
            "https://evil.org",
            "http://app.example.com",
            "https://app.example.com:8443",
            "https://app.example.com.evil.org",
            "https://app.example.com/",
            "https://APP.example.com",
            "https://sub.app.example.com",
        ] {
            assert!(!same(&[("origin", origin), ("sec-fetch-site", "same-origin")]), "{origin}");
            assert!(!same(&[("origin", origin)]), "{origin}");
        }
        assert!(!same(&[("origin", ORIGIN), ("origin", ORIGIN)]));
        assert!(!same(&[("origin", ORIGIN), ("origin", "https://evil.org")]));
        assert!(!same(&[
            ("origin", ORIGIN),
            ("sec-fetch-site", "same-origin"),
            ("sec-fetch-site", "same-origin")
        ]));
    }

    #[test]
    fn a_return_address_is_a_path_of_this_site() {
        let longest = ["/", &"a".repeat(1_023)].concat();
        for path in [
            "/",
            "/a",
            "/a/b?c=d&e=https://evil.org/%2f//x",
            "/a//b",
            "/a?next=/../x",
            "/@evil.org",
            "/javascript:alert(1)",
            "/_lockgatex",
            "/x/_lockgate/",
            "/%zz",
            &longest,
        ] {
            assert_eq!(return_path(path), path);
        }
    }

    #[test]
    fn any_other_return_address_is_the_front_page() {
        let too_long = ["/", &"a".repeat(1_024)].concat();
        for text in [
            "",
            "a",
            "?a",
            "//evil",
            "//evil.org/a",
            "///evil",
            "/\\evil",
            "\\\\evil",
            "/a\\b",
            "/a?b=\\",
            "/\t/evil",
            "/\n/evil",
            "/%09/evil\u{0}",
            " /a",
            "/a b",
            "/a\r\nset-cookie: x",
            "https://evil",
            "https:evil",
            "HTTPS://evil.org/a",
            "javascript:alert(1)",
            "data:text/html,x",
            "/%2f/evil",
            "/%2Fevil",
            "/%5cevil",
            "/a/%5C/evil",
            "/..;/x",
            "/a/../../evil",
            "/%2e%2e/x",
            "/.%2E;a/x",
            "/./x",
            "/a%00",
            "/a#b",
            "/\u{e4}",
            "/\u{2215}evil",
            "/_lockgate",
            "/_lockgate/",
            "/_lockgate/sign-out",
            "/_lockgate?a",
            "/%5flockgate/sign-in?return_to=/",
            "/_%6Cockgate/sign-in",
            &too_long,
        ] {
            assert_eq!(return_path(text), "/", "{text:?}");
        }
    }
}
