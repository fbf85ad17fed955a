//! Our cookies and everybody else's, in one header.

mod scripted;

use lockgate_common::encoding;
use lockgate_common::http::Headers;
use lockgate_common::secret::Secret;
use oidc::cookies::{
    Attributes, MAX_CHUNKS, delete, logins, present, session_value, set, set_login, without,
};
use oidc::seal::{Keyring, Purpose};
use proptest::prelude::*;
use scripted::Scripted;

const NAME: &str = "__Host-lockgate";
const SECURE: Attributes = Attributes { secure: true, max_age_s: 43_200 };

fn headers(values: &[Vec<u8>]) -> Headers {
    values.iter().map(|value| ("cookie", value)).collect()
}

/// Name and value of a `Set-Cookie` line, as a browser sends them back.
fn pair(line: &str) -> String {
    line.split(';').next().unwrap().to_owned()
}

/// What a browser sends after these lines, deletions obeyed.
fn sent(lines: &[String]) -> Vec<String> {
    lines.iter().filter(|line| !line.contains("Max-Age=0")).map(|line| pair(line)).collect()
}

fn ours() -> impl Strategy<Value = Vec<u8>> {
    (
        r"[ \t]?__Host-lockgate(-login-[A-Za-z0-9_-]{6}|\.[0-9]{1,3})?[ ]?",
        prop::collection::vec(cookie_byte(), 0..20),
    )
        .prop_map(|(name, value)| [name.as_bytes(), b"=", &value].concat())
}

/// One of ours (true) or a foreign one.
fn any_cookie() -> impl Strategy<Value = (bool, Vec<u8>)> {
    prop_oneof![ours().prop_map(|cookie| (true, cookie)), foreign().prop_map(|cookie| (false, cookie))]
}

fn cookie_byte() -> impl Strategy<Value = u8> {
    any::<u8>().prop_map(|byte| if byte == b';' { b',' } else { byte })
}

/// What stands between two separators and is not ours: anything, also nothing.
fn foreign() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(cookie_byte(), 0..20),
        "[a-z]{1,3}=\"?[a-z= ]{0,5}\"?".prop_map(String::into_bytes),
        "(x__Host-lockgate|__host-lockgate|lockgate)=[a-z.]{0,5}".prop_map(String::into_bytes),
        "__Host-lockgate(x|-logins|[.])=[a-z.]{0,5}".prop_map(String::into_bytes),
        Just(b"__Host-lockgate".to_vec()),
    ]
}

/// Any, and those around a chunk's end.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![
        1..100_usize,
        1..28_000_usize,
        (1..8_usize, -3..4_isize).prop_map(|(n, d)| (n * 3_927).saturating_add_signed(d))
    ]
}

fn cookies(values: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let pieces = values.iter().flat_map(|value| value.split(|byte| *byte == b';'));
    pieces.map(|piece| piece.trim_ascii().to_vec()).filter(|piece| !piece.is_empty()).collect()
}

fn keyring() -> Keyring {
    Keyring::parse(&Secret::new(encoding::base64(&[1; 32]).into_bytes())).unwrap()
}

proptest! {
    #[test]
    fn foreign_cookies_stay_byte_for_byte(
        lists in prop::collection::vec(prop::collection::vec(any_cookie(), 1..8), 0..4),
        separator in prop_oneof![Just("; "), Just(";"), Just(" ;\t")],
    ) {
        let values: Vec<Vec<u8>> = lists
            .iter()
            .map(|list| list.iter().map(|(_, c)| c.clone()).collect::<Vec<_>>().join(separator.as_bytes()))
            .collect();
        let foreign: Vec<Vec<u8>> =
            lists.iter().flatten().filter(|(ours, _)| !ours).map(|(_, c)| c.clone()).collect();
        match without(&headers(&values), NAME) {
            None => prop_assert!(lists.iter().flatten().all(|(ours, _)| !ours)),
            Some(kept) => {
                prop_assert!(lists.iter().flatten().any(|(ours, _)| *ours));
                prop_assert_eq!(cookies(&kept), cookies(&foreign));
                prop_assert!(kept.iter().all(|value| !value.is_empty()));
                prop_assert!(without(&headers(&kept), NAME).is_none());
                // A header without one of ours is not touched at all.
                for (list, value) in lists.iter().zip(&values) {
                    let untouched = list.iter().all(|(ours, _)| !ours) && !value.is_empty();
                    prop_assert!(!untouched || kept.contains(value));
                }
            }
        }
    }

    #[test]
    fn what_is_set_is_read(
        length in length(),
        left_over in 0..12_usize,
        other in "[a-z]{1,5}=[a-z]{0,5}",
    ) {
        let payload: String = (0..length).map(|at| char::from(b'A' + (at * 7 % 26) as u8)).collect();
        let lines = set(NAME, &payload, SECURE, left_over).unwrap();
        prop_assert!(lines.iter().all(|line| line.len() <= 4_000));
        let mut sent = sent(&lines);
        prop_assert!(sent.len() <= MAX_CHUNKS);
        prop_assert_eq!(lines.len(), sent.len().max(left_over));
        sent.push(other);
        sent.reverse();
        let one_header = vec![sent.join("; ").into_bytes()];
        for values in [one_header, sent.iter().map(|cookie| cookie.clone().into_bytes()).collect()] {
            let headers = headers(&values);
            prop_assert_eq!(session_value(&headers, NAME), Ok(Some(payload.clone())));
            prop_assert_eq!(present(&headers, NAME), sent.len() - 1);
            prop_assert_eq!(without(&headers, NAME), Some(vec![sent[0].clone().into_bytes()]));
        }
        // What is deleted is what was set.
        let names = |lines: &[String]| -> Vec<String> {
            lines.iter().map(|line| line.split('=').next().unwrap().to_owned()).collect()
        };
        prop_assert_eq!(names(&delete(NAME, true, lines.len())), names(&lines));
    }

    #[test]
    fn chunks_of_two_sessions_never_open(
        a in 4_000..20_000_usize,
        b in 4_000..20_000_usize,
        from_b in prop::collection::vec(any::<bool>(), MAX_CHUNKS),
    ) {
        let (host, ring) = (Scripted::default(), keyring());
        let chunks = |length: usize, byte: u8| {
            let sealed = ring.seal(&host, Purpose::Session, NAME, &vec![byte; length]).unwrap();
            sent(&set(NAME, &sealed, SECURE, 0).unwrap())
        };
        let (a, b) = (chunks(a, b'a'), chunks(b, b'b'));
        let mixed: Vec<(bool, &String)> = from_b
            .iter()
            .enumerate()
            .filter_map(|(at, from_b)| Some((*from_b, if *from_b { b.get(at) } else { a.get(at) }?)))
            .collect();
        let needed = if from_b[0] { b.len() } else { a.len() };
        let value = mixed.iter().map(|(_, chunk)| chunk.as_str()).collect::<Vec<_>>().join("; ");
        if let Ok(Some(sealed)) = session_value(&headers(&[value.into_bytes()]), NAME) {
            let one_session = from_b[..needed].iter().all(|from| *from == from_b[0]);
            prop_assert_eq!(ring.open(Purpose::Session, NAME, &sealed).is_ok(), one_session);
        }
    }

    #[test]
    fn a_login_cookie_is_read_back(value in "[A-Za-z0-9_-]{6,300}", secure: bool) {
        let headers = headers(&[pair(&set_login("l", &value, secure)).into_bytes()]);
        prop_assert_eq!(logins(&headers, "l"), vec![value.as_str()]);
        prop_assert_eq!(without(&headers, "l"), Some(Vec::new()));
    }

    #[test]
    fn no_header_panics(
        values: Vec<Vec<u8>>,
        text in "[ ;=.0-9a-c\"-]{0,60}",
        name in "[a-c]{0,2}",
        payload: String,
        count: usize,
    ) {
        for values in [&values[..], &[text.into_bytes()]] {
            let headers = headers(values);
            let _ = session_value(&headers, &name);
            let _ = logins(&headers, &name);
            let _ = without(&headers, &name);
            let _ = delete(&name, true, present(&headers, &name));
        }
        let _ = set(&name, &payload, SECURE, count);
    }
}
