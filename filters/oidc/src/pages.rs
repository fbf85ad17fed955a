//! The door's own HTML pages: plain documents without script, without anything from elsewhere and
//! without a cookie. Text is escaped where it is put in, and a policy stands behind that (Content
//! Security Policy Level 3): nothing loads or runs but the one style, named by its hash.

use Part::{Html, Link, Text};
use lockgate_common::http::Reply;

/// The content of every page's `style` element.
const STYLE: &str = include_str!("pages/style.css");

/// The policy of every page. A test compares the hash, which is that of [`STYLE`].
const POLICY: &str = "default-src 'none'; style-src 'sha256-FfD4YZuH7M2fRn55+q2KACBKQ2RSWQAclP61lYpvg+g='; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'self'";

/// A piece of a page's content.
enum Part<'a> {
    /// As it is.
    Html(&'a str),
    /// To be escaped.
    Text(&'a str),
    /// A link that looks like a button: its text and its address, to be escaped both.
    Link(&'a str, &'a str),
}

/// Where to sign in: a link to each provider, given as its title and a path of this site.
pub fn chooser(providers: &[(&str, String)], request_id: &str) -> Reply {
    let mut content = vec![Html("<p>Choose how to sign in.</p><ul>")];
    for (title, href) in providers {
        content.extend([Html("<li>"), Link(title, href)]);
    }
    content.push(Html("</ul>"));
    page(200, "Sign in", &content, None, request_id)
}

/// Why a person does not get in: a heading, a sentence and, where there is a way on, a link to it,
/// given as its text and a path of this site. A 503 says when to come again (RFC 9110, 10.2.3). The
/// challenge that a 401 needs (RFC 9110, 11.6.1) is the caller's.
pub fn refusal(
    status: u16,
    heading: &str,
    sentence: &str,
    link: Option<(&str, &str)>,
    request_id: &str,
) -> Reply {
    let link = link.map_or(Html(""), |(text, href)| Link(text, href));
    let content = [Html("<p>"), Text(sentence), Html("</p>"), link];
    let mut reply = page(status, heading, &content, None, request_id);
    if status == 503 {
        reply.headers.push(("retry-after", "1".to_owned()));
    }
    reply
}

/// Asks whether to sign out, because a link elsewhere must not be able to do it. `who` is the e-mail
/// address or the subject. `scheme` is of where the answer to the form leads beside this site, with its
/// colon, or empty: browsers hold every redirect behind a form to `form-action`, and a provider may lead on
/// to others before it leads back.
pub fn confirm_sign_out(who: &str, scheme: &'static str, request_id: &str) -> Reply {
    let content = [
        Html("<p>You are signed in as <b>"),
        Text(who),
        Html("</b>.</p><form method=post action=/_lockgate/sign-out><button>Sign out</button></form>"),
        Link("Stay signed in", "/"),
    ];
    page(200, "Sign out?", &content, Some(scheme), request_id)
}

/// Says that the session has ended.
pub fn signed_out(request_id: &str) -> Reply {
    let content = [Html("<p>You have signed out.</p>"), Link("Sign in again", "/")];
    page(200, "Signed out", &content, None, request_id)
}

/// Shows a signed-in person a token for their command line. `expires` is a time as it is to be read.
pub fn token(token: &str, expires: &str, request_id: &str) -> Reply {
    let content = [
        Html(
            "<p>With this token a program can do here what you can do. It is a secret: share it with \
             nobody, and keep it out of files that others can read.</p><p>Valid until ",
        ),
        Text(expires),
        Html(
            "</p><label for=token>Token</label>\
             <textarea id=token rows=8 readonly spellcheck=false autocomplete=off>",
        ),
        Text(token),
        Html(
            "</textarea><p>On the command line, with the token in the variable TOKEN:</p>\
             <pre>curl -H \"Authorization: Bearer $TOKEN\" ADDRESS</pre>",
        ),
    ];
    page(200, "Your token", &content, None, request_id)
}

/// `heading` and `request_id` are text. `form_scheme` is there where a form is.
fn page(
    status: u16,
    heading: &str,
    content: &[Part<'_>],
    form_scheme: Option<&str>,
    request_id: &str,
) -> Reply {
    let start = [
        Html("<!doctype html><html lang=en><head><meta name=viewport content=\"width=device-width\"><title>"),
        Text(heading),
        Html("</title><style>"),
        Html(STYLE),
        Html("</style></head><body><main><h1>"),
        Text(heading),
        Html("</h1>"),
    ];
    let end = [Html("</main><footer>Request id: "), Text(request_id), Html("</footer></body></html>\n")];
    let mut body = Vec::new();
    push(&mut body, &start);
    push(&mut body, content);
    push(&mut body, &end);

    let mut policy = POLICY.to_owned();
    if let Some(scheme) = form_scheme.filter(|scheme| !scheme.is_empty()) {
        policy.push(' ');
        policy.push_str(scheme);
    }
    // Under `no-referrer` a form comes with `Origin: null` (Fetch, "append a request Origin header"),
    // which does not show that it is this site's.
    let referrer = if form_scheme.is_some() { "same-origin" } else { "no-referrer" };
    let headers = [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-store"),
        ("content-security-policy", &policy),
        ("cross-origin-opener-policy", "same-origin"),
        ("referrer-policy", referrer),
        ("x-content-type-options", "nosniff"),
        ("x-frame-options", "DENY"),
    ];
    Reply {
        status: u32::from(status),
        headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(),
        body,
    }
}

fn push(out: &mut Vec<u8>, parts: &[Part<'_>]) {
    for part in parts {
        match part {
            Html(html) => out.extend_from_slice(html.as_bytes()),
            Text(text) => push_escaped(out, text),
            Link(text, href) => {
                let link =
                    [Html("<a class=button href=\""), Text(href), Html("\">"), Text(text), Html("</a>")];
                push(out, &link);
            }
        }
    }
}

/// Text for an element's content or for an attribute value in quotes.
fn push_escaped(out: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        let escape = match byte {
            b'&' => "&amp;",
            b'<' => "&lt;",
            b'>' => "&gt;",
            b'"' => "&quot;",
            b'\'' => "&#39;",
            _ => {
                out.push(byte);
                continue;
            }
        };
        out.extend_from_slice(escape.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use lockgate_common::encoding::base64;
    use sha2::{Digest, Sha256};

    use super::*;

    const HOSTILE: &str = "</title></style></textarea><script>alert(1)</script>\" onfocus='x' &amp;";
    const HOSTILE_ESCAPED: &str = "&lt;/title&gt;&lt;/style&gt;&lt;/textarea&gt;&lt;script&gt;alert(1)\
                                   &lt;/script&gt;&quot; onfocus=&#39;x&#39; &amp;amp;";

    fn text(reply: &Reply) -> &str {
        std::str::from_utf8(&reply.body).unwrap()
    }

    fn header<'a>(reply: &'a Reply, name: &str) -> &'a str {
        let mut values = reply.headers.iter().filter(|(other, _)| *other == name);
        let (_, value) = values.next().unwrap_or_else(|| panic!("{name} is missing"));
        assert!(values.next().is_none(), "{name} stands twice");
        value
    }

    /// One of each page, with `dynamic` wherever text comes from outside.
    fn every_page(dynamic: &str) -> Vec<Reply> {
        vec![
            chooser(&[(dynamic, dynamic.to_owned()), ("Company", "/_lockgate/sign-in".to_owned())], dynamic),
            refusal(403, dynamic, dynamic, Some((dynamic, dynamic)), dynamic),
            refusal(503, dynamic, dynamic, None, dynamic),
            confirm_sign_out(dynamic, "https:", dynamic),
            signed_out(dynamic),
            token(dynamic, dynamic, dynamic),
        ]
    }

    #[test]
    fn text_from_outside_is_escaped_in_every_place() {
        for (page, places) in every_page(HOSTILE).iter().zip([3, 6, 4, 2, 1, 3]) {
            let text = text(page);
            assert_eq!(text.matches(HOSTILE_ESCAPED).count(), places, "{text}");
            assert_eq!(text.matches("alert").count(), places, "{text}");
            assert!(!text.contains("<script"), "{text}");
        }
    }

    #[test]
    fn an_address_with_a_query_keeps_its_meaning() {
        let href = "/_lockgate/sign-in?provider=a&return_to=%2Fb".to_owned();
        let page = chooser(&[("Bob's \"login\"", href)], "1");
        let link = "<a class=button href=\"/_lockgate/sign-in?provider=a&amp;return_to=%2Fb\">\
                    Bob&#39;s &quot;login&quot;</a>";
        assert!(text(&page).contains(link));
    }

    #[test]
    fn the_policy_names_the_hash_of_the_style() {
        let style_src = ["style-src 'sha256-", &base64(&Sha256::digest(STYLE)), "'"].concat();
        for page in every_page("x") {
            let (_, rest) = text(&page).split_once("<style>").unwrap();
            assert_eq!(rest.split_once("</style>").unwrap().0, STYLE);
            assert!(header(&page, "content-security-policy").split("; ").any(|part| part == style_src));
        }
        // A parser of HTML would change these, and the hash with them.
        assert!(!STYLE.contains(['\r', '\0', '<']));
    }

    #[test]
    fn every_header_is_there_once() {
        for page in every_page("x") {
            let policy = header(&page, "content-security-policy");
            let part = |part: &str| policy.split("; ").any(|other| other == part);
            assert!(part("default-src 'none'") && part("frame-ancestors 'none'") && part("base-uri 'none'"));
            assert!(part("form-action 'self'") || part("form-action 'self' https:"));
            assert_eq!(header(&page, "content-type"), "text/html; charset=utf-8");
            assert_eq!(header(&page, "cache-control"), "no-store");
            assert_eq!(header(&page, "x-content-type-options"), "nosniff");
            assert_eq!(header(&page, "x-frame-options"), "DENY");
            assert_eq!(header(&page, "cross-origin-opener-policy"), "same-origin");
        }
    }

    #[test]
    fn a_page_with_a_form_lets_the_browser_say_whose_form_it_is() {
        for page in every_page("x") {
            let form = text(&page).contains("<form");
            let expected = if form { "same-origin" } else { "no-referrer" };
            assert_eq!(header(&page, "referrer-policy"), expected);
        }
    }

    #[test]
    fn the_form_may_lead_where_the_providers_scheme_leads_and_nowhere_else() {
        for (scheme, expected) in [("https:", "'self' https:"), ("", "'self'")] {
            let page = confirm_sign_out("a@b.c", scheme, "1");
            let policy = header(&page, "content-security-policy");
            assert!(policy.ends_with(&["; form-action ", expected].concat()), "{policy}");
        }
    }

    #[test]
    fn pages_are_whole_documents_that_name_nothing_elsewhere() {
        for page in every_page("x") {
            let text = text(&page);
            assert!(text.starts_with("<!doctype html><html lang=en>"));
            for once in ["<title>", "<h1>", "<main>", "</main>", "<meta name=viewport ", "Request id: x<"] {
                assert_eq!(text.matches(once).count(), 1, "{once} in {text}");
            }
            for never in ["http://", "https://", "<script", "<img", "<link", "style=", "url(", "@import"] {
                assert!(!text.contains(never), "{never} in {text}");
            }
        }
    }

    #[test]
    fn a_page_is_small() {
        for page in every_page("x") {
            assert!(page.body.len() < 1_800, "{}", page.body.len());
        }
    }

    #[test]
    fn a_refusal_has_its_status_and_a_503_says_when_to_come_again() {
        for status in [400, 401, 403, 503] {
            let page = refusal(status, "h", "s", None, "1");
            assert_eq!(page.status, u32::from(status));
            assert!(!text(&page).contains("<a "));
            let again = page.headers.iter().any(|(name, _)| *name == "retry-after");
            assert_eq!(again, status == 503);
        }
    }
}
