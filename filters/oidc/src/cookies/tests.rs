//! Cookies by example; the properties are in `tests/cookies.rs`.

use super::*;

const PLAIN: Attributes = Attributes { secure: false, max_age_s: 60 };

fn cookie(values: &[&str]) -> Headers {
    values.iter().map(|value| ("cookie", value)).collect()
}

fn read(values: &[&str]) -> Result<Option<String>, CookieError> {
    session_value(&cookie(values), "lockgate")
}

fn left(values: &[&str]) -> Option<Vec<String>> {
    let kept = without(&cookie(values), "lockgate")?;
    Some(kept.into_iter().map(|value| String::from_utf8(value).unwrap()).collect())
}

#[test]
fn a_session_is_joined_from_its_chunks() {
    for values in [
        &["lockgate=3.ab; lockgate.1=cd; lockgate.2=ef"][..],
        &["lockgate.2=ef;lockgate=3.ab;\tlockgate.1 = cd ;"],
        &["a=b; lockgate.1=cd", "lockgate=3.ab", "lockgate.2=ef; x"],
        &["lockgate=3.ab; lockgate.1=cd; lockgate.2=ef; lockgate.3=stale; lockgate.3=stale"],
    ] {
        assert_eq!(read(values), Ok(Some("abcdef".into())), "{values:?}");
    }
    assert_eq!(read(&["lockgate=1.a-_9"]), Ok(Some("a-_9".into())));
}

#[test]
fn without_the_first_cookie_there_is_no_session() {
    for values in [&[][..], &[""], &["lockgate"], &["Lockgate=1.a"], &["lockgate.1=a"], &["=lockgate=1.a"]] {
        assert_eq!(read(values), Ok(None), "{values:?}");
    }
}

#[test]
fn a_needed_cookie_that_stands_twice_is_refused_even_when_equal() {
    for values in [
        &["lockgate=1.a; lockgate=1.a"][..],
        &["lockgate=1.a", "lockgate=1.b"],
        &["lockgate=1.a; lockgate ="],
        &["lockgate=2.a; lockgate.1=b; lockgate.1=b"],
    ] {
        assert_eq!(read(values), Err(CookieError::Repeated), "{values:?}");
    }
}

#[test]
fn what_was_never_set_is_broken() {
    let mut nine = String::from("lockgate=9.a");
    for index in 1..9 {
        nine.push_str(&[&chunk_name("; lockgate", index), "=b"].concat());
    }
    let long = ["lockgate=1.", &"a".repeat(MAX_VALUE - 1)].concat();
    for value in [
        "lockgate=",
        "lockgate=a",
        "lockgate=1.",
        "lockgate=.a",
        "lockgate=0.a",
        "lockgate=01.a",
        "lockgate=+1.a",
        "lockgate=9.a",
        "lockgate=10.a",
        "lockgate=1.a=",
        "lockgate=\"1.a\"",
        "lockgate=1.é",
        "lockgate=1.a b",
        "lockgate=1.a.b",
        "lockgate=2.a",
        "lockgate=2.a; lockgate.1=",
        "lockgate=2.a; lockgate.01=b",
        "lockgate=2.a; lockgate.1=1.b",
        "lockgate=3.a; lockgate.1=b; lockgate.3=c",
        &long,
        &nine,
    ] {
        assert_eq!(read(&[value]), Err(CookieError::Broken), "{value}");
    }
    let odd = Headers::from_iter([("cookie", b"lockgate=1.\xff")]);
    assert_eq!(session_value(&odd, "lockgate"), Err(CookieError::Broken));
}

#[test]
fn a_login_cookie_is_one_whose_name_ends_as_its_value_begins() {
    let long = ["l-login-aaaaaa=", &"a".repeat(MAX_VALUE + 1)].concat();
    for odd in ["l-login-=", "l-login-abcdef=abcdeg", "l-login-abc.ef=abc.ef", "l-login=abcdef", &long] {
        assert!(logins(&cookie(&[odd]), "l").is_empty(), "{odd}");
    }
    let two = cookie(&["l-login-abcdef=abcdef1; x=y", "l-login-ghijkl=ghijkl2"]);
    assert_eq!(logins(&two, "l"), ["abcdef1", "ghijkl2"]);
}

#[test]
fn our_cookies_go_and_the_others_stay() {
    let cases: [(&[&str], Option<&[&str]>); 14] = [
        (&[], None),
        (&["a=1; b=2"], None),
        (&["xlockgate=1; lockgateX=2; Lockgate=3; lockgate; lockgate.=4; lockgate.1a=5"], None),
        (
            &[
                "lockgate-logins=1; lockgate-login=5; lockgate-login-abcde=6; lockgate-=2; lockgate-login.1=3; lockgate.1.2=4",
            ],
            None,
        ),
        (&["lockgate=1"], Some(&[])),
        (&["lockgate=1; lockgate.1=2; lockgate.007=3; lockgate-login-abcdef=4;"], Some(&[])),
        (&["lockgate=1; a=1; b=2"], Some(&["a=1; b=2"])),
        (&["a=1; lockgate=1; b=2"], Some(&["a=1; b=2"])),
        (&["a=1;lockgate.3=1;b=2"], Some(&["a=1;b=2"])),
        (&["a=1; b=2; lockgate-login-a-_4Bc=1"], Some(&["a=1; b=2"])),
        (&["a=\"x y\"; ;; =v; q ; lockgate =1"], Some(&["a=\"x y\"; ;; =v; q "])),
        (&["a=1", "lockgate=1", "b=2"], Some(&["a=1", "b=2"])),
        (&["", " ; ", "lockgate=1; "], Some(&[" ; "])),
        (&["lockgate=1; lockgate=2; a=lockgate=3"], Some(&["a=lockgate=3"])),
    ];
    for (values, kept) in cases {
        let kept = kept.map(|kept| kept.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>());
        assert_eq!(left(values), kept, "{values:?}");
    }
}

#[test]
fn a_browser_is_told_all_attributes() {
    let secure = Attributes { secure: true, max_age_s: 43_200 };
    let common = "; Path=/; HttpOnly; SameSite=Lax; Max-Age=";
    assert_eq!(
        set("__Host-lockgate", "ab", secure, 0),
        Some(vec![["__Host-lockgate=1.ab", common, "43200; Secure"].concat()])
    );
    assert_eq!(
        set_login("lockgate", "abcdefg", false),
        ["lockgate-login-abcdef=abcdefg", common, "600"].concat()
    );
    assert_eq!(
        delete("lockgate", true, 2),
        ["lockgate=", "lockgate.1="].map(|start| [start, common, "0; Secure"].concat())
    );
    assert_eq!(delete("lockgate-login", false, 0), [["lockgate-login=", common, "0"].concat()]);
}

#[test]
fn chunks_left_over_from_a_longer_session_are_deleted() {
    let headers = cookie(&["lockgate=3.a; lockgate.1=b; lockgate.2=c"]);
    assert_eq!(present(&headers, "lockgate"), 3);
    let lines = set("lockgate", "abc", PLAIN, 3).unwrap();
    let names: Vec<&str> = lines.iter().map(|line| line.split_once('=').unwrap().0).collect();
    assert_eq!(names, ["lockgate", "lockgate.1", "lockgate.2"]);
    assert!(lines[1..].iter().all(|line| line.contains("=; ") && line.contains("Max-Age=0")));
}

#[test]
fn how_many_chunks_are_present_is_bounded() {
    for (value, count) in [
        ("", 0),
        ("lockgate=1.a", 1),
        ("lockgate.5=a", 6),
        ("lockgate.31=a", 32),
        ("lockgate.32=a; lockgate.99=a; lockgate.1000=a; lockgate.01=a; lockgate.0=a", 0),
    ] {
        assert_eq!(present(&cookie(&[value]), "lockgate"), count, "{value}");
    }
    assert_eq!(set("lockgate", "a", PLAIN, usize::MAX).unwrap().len(), 32);
    assert_eq!(delete("lockgate", false, usize::MAX).len(), 32);
}

#[test]
fn a_full_line_is_4000_bytes() {
    let lines = set("lockgate", &"a".repeat(2 * MAX_LINE), PLAIN, 0).unwrap();
    assert_eq!(lines.iter().map(String::len).take(2).collect::<Vec<_>>(), [MAX_LINE; 2]);
}

#[test]
fn what_no_cookie_can_hold_is_not_set() {
    for payload in ["", "a;b", "a b", "é", "a=", &"a".repeat(8 * MAX_LINE)] {
        assert_eq!(set("lockgate", payload, PLAIN, 0), None, "{payload}");
    }
    assert_eq!(set(&"n".repeat(MAX_LINE), "a", PLAIN, 0), None);
}
