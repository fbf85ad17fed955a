//! The envelope's bytes, pinned: what one release stores, later ones must read for 31 days.

use lockgate_common::encoding::base64;
use lockgate_common::envelope::{Envelope, EnvelopeError, LogKeys};
use lockgate_common::secret::Secret;

const PLAIN: &[u8] = include_bytes!("golden/envelope-v1.plain");
const SEALED: &[u8] = include_bytes!("golden/envelope-v1.sealed");
const BODY: &[u8] = b"text=\xff\n{\"v\":2}\n";

fn keys(bytes: &[u8]) -> LogKeys {
    let texts: Vec<String> = bytes.iter().map(|byte| base64(&[*byte; 32])).collect();
    LogKeys::parse(&Secret::new(texts.join(",").into_bytes())).unwrap()
}

fn envelope() -> Envelope<'static> {
    let header = |name: &'static str, value: &'static [u8]| (name.into(), value.into());
    Envelope {
        id: "01931d2e-0000-7000-8000-000000000000".into(),
        dedup: Some("Ev\"1".into()),
        received_at: "2026-11-22T04:00:00.000Z".into(),
        route: "slack-command".into(),
        method: "POST".into(),
        path: "/slack/command?x=1".into(),
        headers: vec![
            header("content-type", b"application/x-www-form-urlencoded"),
            header("x-odd", b"\xff\""),
            header("x-odd", "é".as_bytes()),
        ],
        principal: Some(r#"{"filter":"slack-signature","mac":{"key":"x"}}"#.into()),
        trace: Some("abc".into()),
    }
}

#[test]
fn the_bytes_of_version_1_are_what_they_were() {
    assert_eq!(envelope().encode(BODY, None), PLAIN);
    assert_eq!(envelope().encode(BODY, Some(&keys(&[1, 2]))), SEALED);
}

#[test]
fn an_envelope_comes_back_as_it_was() {
    for (data, keys) in [(PLAIN, None), (SEALED, Some(keys(&[1]))), (SEALED, Some(keys(&[9, 1])))] {
        let (opened, body) = Envelope::decode(data, keys.as_ref()).unwrap();
        let expected = envelope();
        assert_eq!(body, BODY);
        assert_eq!(
            (&opened.id, &opened.dedup, &opened.path),
            (&expected.id, &expected.dedup, &expected.path)
        );
        assert_eq!((&opened.headers, &opened.trace), (&expected.headers, &expected.trace));
        assert_eq!(opened.principal, expected.principal.filter(|_| keys.is_some()));
    }
}

#[test]
fn without_its_seal_nothing_is_believed() {
    let decode = |data: &[u8], keys: &LogKeys| Envelope::decode(data, Some(keys)).err();
    assert_eq!(decode(PLAIN, &keys(&[1])), Some(EnvelopeError::Unsealed));
    assert_eq!(decode(SEALED, &keys(&[9])), Some(EnvelopeError::UnknownKey));
    for (index, byte) in SEALED.iter().enumerate() {
        let mut changed = SEALED.to_vec();
        changed[index] = byte ^ 1;
        assert!(decode(&changed, &keys(&[1])).is_some(), "byte {index}");
    }
    assert!(decode(&SEALED[..SEALED.len() - 1], &keys(&[1])).is_some());
    assert!(decode(&[SEALED, b"x"].concat(), &keys(&[1])).is_some());
}

#[test]
fn what_is_no_envelope_of_ours_is_told_apart() {
    let cases: [(&[u8], EnvelopeError); 6] = [
        (b"", EnvelopeError::Malformed),
        (b"garbage", EnvelopeError::Malformed),
        (b"{}\n", EnvelopeError::Malformed),
        (b"{\"v\":0}\n", EnvelopeError::Malformed),
        (b"{\"v\":2}\n", EnvelopeError::Newer),
        (b"{\"v\":1,\"v\":1}\n", EnvelopeError::Malformed),
    ];
    for (data, error) in cases {
        assert_eq!(Envelope::decode(data, None).err(), Some(error), "{data:?}");
    }
}
