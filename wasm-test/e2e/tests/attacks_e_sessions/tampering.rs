//! Cookies that were changed, cut, mixed, doubled, or never were any.

use lockgate_e2e::siege::{Turn, navigation};
use lockgate_e2e::{Request, h2c};

use crate::{door, header, person, session_in, session_of};

/// Checks that these cookies are no session for anybody: not for a script, not for a page, and not
/// for the door's own pages.
async fn assert_no_session(door: &Turn, what: &str, cookies: &[u8]) {
    let answer = door.asks(cookies).await;
    assert_eq!(answer.status, 401, "{what}: {}", answer.text());
    assert!(!answer.headers.contains("set-cookie"), "{what}: {:?}", answer.headers);
}

fn with_other_character(text: &str, at: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn no_byte_of_a_session_can_be_another() {
    let door = door().await;
    let one = session_of(&door, person("alice", 0)).await;
    let value = one[0].1.clone();
    assert_eq!(door.asks(header(&one)).await.status, 200);
    for at in 0..value.len() {
        let cookies = format!("lockgate={}", with_other_character(&value, at));
        assert_no_session(&door, &format!("byte {at}"), cookies.as_bytes()).await;
    }
    // The last characters hold fewer bits than others: none of them has a second spelling.
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let (rest, last) = value.split_at(value.len() - 1);
    for other in alphabet.chars().filter(|other| !last.starts_with(*other)) {
        assert_no_session(&door, "its last", format!("lockgate={rest}{other}").as_bytes()).await;
    }
    for odd in [0_u8, 1, 9, 10, 13, 32, 34, 43, 44, 47, 61, 92, 127, 128, 195, 255] {
        let mut bytes = header(&one).into_bytes();
        let middle = bytes.len() / 2;
        bytes[middle] = odd;
        let request = Request::get("/asks").header("cookie", &bytes);
        let answer = door.stack.client().try_send(&request).await;
        // Envoy itself refuses what cannot stand in a header.
        let status = answer.as_ref().map_or(400, |answer| answer.status);
        assert!(matches!(status, 400 | 401), "byte {odd}: {answer:?}");
    }

    let large = session_of(&door, person("bob", 6_000)).await;
    assert!(large.len() >= 3, "{} cookies", large.len());
    for (index, (name, value)) in large.iter().enumerate() {
        for at in (0..value.len()).step_by(61).chain([value.len() - 1]) {
            let mut changed = large.clone();
            changed[index].1 = with_other_character(value, at);
            assert_no_session(&door, &format!("{name}, byte {at}"), header(&changed).as_bytes()).await;
        }
    }
    assert_eq!(door.whose(&header(&large)).await.as_deref(), Some("bob"));
    assert_eq!(door.whose(&header(&one)).await.as_deref(), Some("alice"));
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_session_that_is_cut_or_longer_is_none() {
    let door = door().await;
    let one = session_of(&door, person("alice", 0)).await;
    let value = one[0].1.clone();
    let payload = value.strip_prefix("1.").unwrap();
    for length in 0..value.len() {
        assert_no_session(
            &door,
            &format!("{length} bytes"),
            format!("lockgate={}", &value[..length]).as_bytes(),
        )
        .await;
    }
    for (what, cookies) in [
        ("its first byte gone", format!("lockgate={}", &value[1..])),
        ("without its count", format!("lockgate={payload}")),
        ("count 0", format!("lockgate=0.{payload}")),
        ("count 2", format!("lockgate=2.{payload}")),
        ("count 9", format!("lockgate=9.{payload}")),
        ("count 01", format!("lockgate=01.{payload}")),
        ("count -1", format!("lockgate=-1.{payload}")),
        ("count +1", format!("lockgate=+1.{payload}")),
        ("a large count", format!("lockgate=18446744073709551617.{payload}")),
        ("a full-width count", format!("lockgate=\u{ff11}.{payload}")),
        ("another separator", format!("lockgate=1:{payload}")),
        ("doubled", format!("lockgate=1.{payload}{payload}")),
        ("padded", format!("lockgate={value}=")),
        ("padded twice", format!("lockgate={value}==")),
        ("longer", format!("lockgate={value}A")),
        ("longer by four", format!("lockgate={value}AAAA")),
        ("longer in front", format!("lockgate=1.A{payload}")),
        ("a dot behind", format!("lockgate={value}.")),
        ("quoted", format!("lockgate=\"{value}\"")),
        ("percent-encoded", format!("lockgate=1%2e{payload}")),
        ("in capitals", format!("lockgate={}", value.to_uppercase())),
        ("reversed", format!("lockgate=1.{}", payload.chars().rev().collect::<String>())),
        ("empty", "lockgate=".into()),
        ("nothing", "lockgate".into()),
        ("a count alone", "lockgate=1.".into()),
        ("of zeros", format!("lockgate=1.{}", "A".repeat(payload.len()))),
        ("of another key's id", format!("lockgate=1.AAAAAA{}", &payload[6..])),
        ("another name", format!("Lockgate={value}")),
        ("a name and more", format!("lockgate2={value}")),
        ("less of the name", format!("lockgat={value}")),
        ("the first chunk's name", format!("lockgate.1={value}")),
        ("in a chunk", format!("lockgate=2.{}; lockgate.1={value}", &payload[..40])),
        ("inside another", format!("a=lockgate={value}")),
        ("behind a comma", format!("a=b, lockgate={value}")),
        ("a path before it", format!("$Path=/; $lockgate={value}")),
    ] {
        assert_no_session(&door, what, cookies.as_bytes()).await;
        let page = door.opens("/asks", &cookies).await;
        assert_eq!(page.status, 302, "{what}: a browser signs in anew");
        assert_eq!(door.whose(&cookies).await, None, "{what}");
    }
    // White space around it is the header's.
    assert_eq!(door.asks(format!("a=b;   lockgate ={value} ;c=d")).await.status, 200);
    door.assert_unharmed().await;
}

#[tokio::test]
async fn chunks_of_two_sessions_make_none() {
    let door = door().await;
    let alice = session_of(&door, person("alice", 6_000)).await;
    let again = session_of(&door, person("alice", 6_000)).await;
    let bob = session_of(&door, person("bob", 6_000)).await;
    let chunks = alice.len();
    assert!(chunks >= 3 && chunks == bob.len() && chunks == again.len(), "{chunks} {}", bob.len());
    for other in [&bob, &again] {
        for choice in 1..(1 << chunks) - 1 {
            let mixed: Vec<_> = (0..chunks)
                .map(|at| if choice >> at & 1 == 1 { alice[at].clone() } else { other[at].clone() })
                .collect();
            assert_no_session(&door, &format!("{choice:b}"), header(&mixed).as_bytes()).await;
        }
    }
    for missing in 0..chunks {
        let mut some = alice.clone();
        some.remove(missing);
        assert_no_session(&door, &format!("without {missing}"), header(&some).as_bytes()).await;
        let mut other = alice.clone();
        other[missing].0 = "lockgate.7".into();
        assert_no_session(&door, &format!("{missing} is 7"), header(&other).as_bytes()).await;
        if missing > 0 {
            let mut odd = alice.clone();
            odd[missing].0 = format!("lockgate.0{missing}");
            assert_no_session(&door, &format!("0{missing}"), header(&odd).as_bytes()).await;
            let mut empty = alice.clone();
            empty[missing].1.clear();
            assert_no_session(&door, &format!("{missing} is empty"), header(&empty).as_bytes()).await;
        }
    }
    let mut swapped = alice.clone();
    (swapped[1].1, swapped[2].1) = (alice[2].1.clone(), alice[1].1.clone());
    assert_no_session(&door, "swapped", header(&swapped).as_bytes()).await;
    let mut fewer = alice.clone();
    fewer[0].1 = format!("{}{}", chunks - 1, &alice[0].1[1..]);
    assert_no_session(&door, "a smaller count", header(&fewer).as_bytes()).await;
    let mut more = alice.clone();
    more[0].1 = format!("{}{}", chunks + 1, &alice[0].1[1..]);
    assert_no_session(&door, "a larger count", header(&more).as_bytes()).await;
    more.push((format!("lockgate.{chunks}"), "AAAA".into()));
    assert_no_session(&door, "a larger count, and one more", header(&more).as_bytes()).await;
    // Another's chunks beyond the count are left over, and nobody's: whose they were does not count.
    let mut with_stale = session_of(&door, person("carol", 0)).await;
    with_stale.extend(bob[1..].to_vec());
    assert_eq!(door.whose(&header(&with_stale)).await.as_deref(), Some("carol"));
    let mut reordered = alice.clone();
    reordered.reverse();
    assert_eq!(
        door.whose(&header(&reordered)).await.as_deref(),
        Some("alice"),
        "their order in the header is the browser's"
    );
    door.assert_unharmed().await;
}

#[tokio::test]
async fn chunks_that_a_smaller_session_leaves_over_are_deleted() {
    let door = door().await;
    door.provider.set_person(person("alice", 6_000));
    let mut agent = door.signed_in().await;
    assert!(session_in(&agent).len() >= 3);
    let many = door.cookies(&agent);
    door.provider.set_person(person("alice", 0));
    let page = door.visit(&mut agent, "/_lockgate/sign-in?return_to=/smaller").await;
    assert_eq!((page.response.status, page.url.path()), (200, "/smaller"));
    assert_eq!(session_in(&agent).len(), 1, "{:?}", agent.jar.names(""));

    // A browser that kept them all the same is told again when it signs out.
    for index in [1, 2, 5, 31] {
        agent.jar.plant("127.0.0.1", &format!("lockgate.{index}"), "AAAA");
    }
    assert_eq!(door.asks(door.cookies(&agent)).await.status, 200);
    let asked = agent.open(&door.url("/_lockgate/sign-out")).await;
    let form = asked.forms().swap_remove(0);
    assert_eq!(agent.submit(&asked, &form).await.response.status, 303);
    assert!(session_in(&agent).is_empty(), "nothing of the session is left: {:?}", agent.jar.names(""));
    assert_eq!(door.asks(many).await.status, 200, "the first session was another one");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn of_two_session_cookies_neither_counts() {
    let door = door().await;
    let [alice, mallory] =
        [session_of(&door, person("alice", 0)).await, session_of(&door, person("mallory", 0)).await];
    let [a, m] = [header(&alice), header(&mallory)];
    let both: [(&str, Vec<String>); 11] = [
        ("the same twice", vec![format!("{a}; {a}")]),
        ("the same in two headers", vec![a.clone(), a.clone()]),
        ("two sessions", vec![format!("{a}; {m}")]),
        ("two sessions, the other first", vec![format!("{m}; {a}")]),
        ("two sessions in two headers", vec![m.clone(), a.clone()]),
        ("others between them", vec![format!("{a}; x=1"), "y=2".into(), format!("z=3; {m}")]),
        ("a good one and an empty one", vec![format!("{a}; lockgate=")]),
        ("an empty one and a good one", vec![format!("lockgate=; {a}")]),
        ("a good one and garbage", vec![format!("{a}; lockgate=\"")]),
        ("garbage and a good one", vec!["lockgate=1.x".into(), a.clone()]),
        ("spaces around the name", vec![format!("{a};lockgate =x")]),
    ];
    let client = door.stack.client();
    for (what, values) in both {
        for target in ["/two-cookies", "/_lockgate/userinfo", "/_lockgate/sign-out"] {
            let with_all = |request: Request| {
                values.iter().fold(request, |request, value| request.header("cookie", value))
            };
            for request in [with_all(Request::get(target)), with_all(navigation(target))] {
                let answer = client.send(&request).await;
                assert_eq!(answer.status, 400, "{what} on {target}: {}", answer.text());
                assert_eq!(door.stack.reason(&answer).await, "repeated_cookie", "{what}");
                assert!(!answer.headers.contains("set-cookie"), "{what}");
                let request = Request { headers: request.headers.clone(), ..request };
                let over_h2 = h2c::send(client.address(), &request).await.unwrap();
                assert_eq!(over_h2.status, 400, "{what} on {target}, HTTP/2");
            }
        }
    }
    let large = session_of(&door, person("bob", 6_000)).await;
    let twice = format!("{}; {}={}", header(&large), large[1].0, large[1].1);
    assert_eq!(door.asks(twice).await.status, 400, "a chunk that is needed stands twice");
    let stale = format!("{}; lockgate.9=a; lockgate.9=b", header(&large));
    assert_eq!(door.asks(stale).await.status, 200, "one that is not needed is nobody's");
    // HTTP/2 may cut the header at every pair (RFC 9113, section 8.2.3), HTTP/1.1 clients do it, too.
    let pairs = large.iter().fold(Request::get("/cut"), |request, pair| {
        request.header("cookie", header(std::slice::from_ref(pair)))
    });
    assert_eq!(client.send(&pairs).await.status, 200);
    assert_eq!(h2c::send(client.address(), &pairs).await.unwrap().status, 200);
    door.stack.assert_no_trace("/two-cookies");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn cookies_that_are_none_trap_nothing() {
    let door = door().await;
    let alice = header(&session_of(&door, person("alice", 0)).await);
    let mut odd: Vec<(String, Vec<u8>)> = vec![
        ("nothing".into(), b"".into()),
        ("semicolons".into(), b";;;;; ; ;".into()),
        ("equals".into(), b"====;=;=a;a=".into()),
        ("not UTF-8".into(), b"lockgate=\xff\xfe\xed\xa0\x80".into()),
        ("half a character".into(), b"lockgate=1.\xc3".into()),
        ("a name that is not UTF-8".into(), b"lockgate\xff=1.AAAA".into()),
        ("60 kB".into(), format!("lockgate=1.{}", "A".repeat(59_000)).into()),
        ("60 kB of garbage".into(), [b"lockgate=".to_vec(), vec![0xf0; 59_000]].concat()),
        ("a long name".into(), format!("{}=1.AAAA", "lockgate".repeat(7_000)).into()),
        ("10,000 cookies".into(), "a=b; ".repeat(10_000).into()),
        ("5,000 sessions".into(), "lockgate=A;".repeat(5_000).into()),
        ("10,000 empty ones".into(), ";lockgate".repeat(6_000).into()),
        (
            "eight chunks of 4 kB".into(),
            (1..8)
                .fold(format!("lockgate=8.{}", "A".repeat(4_000)), |all, index| {
                    format!("{all}; lockgate.{index}={}", "A".repeat(4_000))
                })
                .into(),
        ),
        (
            "eight chunks that are too long".into(),
            (1..8)
                .fold(format!("lockgate=8.{}", "A".repeat(7_000)), |all, index| {
                    format!("{all}; lockgate.{index}={}", "A".repeat(7_000))
                })
                .into(),
        ),
        (
            "a chunk of every number".into(),
            (0..2_000)
                .fold("lockgate=9.A".to_owned(), |all, index| format!("{all}; lockgate.{index}=A"))
                .into(),
        ),
        (
            "a large number".into(),
            b"lockgate=1.AAAA; lockgate.18446744073709551616=A; lockgate.99999999999999999999999=A".into(),
        ),
    ];
    let mut generator = fastrand::Rng::with_seed(20_261_122);
    for round in 0..200 {
        let mut bytes = b"lockgate=1.".to_vec();
        bytes.extend((0..generator.usize(..300)).map(|_| generator.u8(0x20..)).filter(|byte| *byte != 0x7f));
        odd.push((format!("random {round}"), bytes));
    }
    let client = door.stack.client();
    for (what, cookies) in odd {
        for target in [
            "/odd-cookies",
            "/admin/odd-cookies",
            "/_lockgate/userinfo",
            "/_lockgate/sign-out",
            "/_lockgate/callback?state=x&code=y",
        ] {
            let answer = client.try_send(&Request::get(target).header("cookie", &cookies)).await;
            let status = answer.as_ref().map_or(0, |answer| answer.status);
            let fine = if target.ends_with("sign-out") {
                matches!(status, 302 | 400 | 431)
            } else {
                matches!(status, 400 | 401 | 431)
            };
            assert!(fine, "{what} on {target}: {answer:?}");
        }
        let post = Request::post("/_lockgate/sign-out", "text/plain", "")
            .header("cookie", &cookies)
            .header("origin", door.url(""));
        let status = client.send(&post).await.status;
        assert!(matches!(status, 303 | 400 | 431), "{what}: {status}");
    }
    door.stack.assert_no_trace("odd-cookies");
    assert_eq!(door.asks(alice).await.status, 200);
    door.assert_unharmed().await;
}
