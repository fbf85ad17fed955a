//! Pushes, and the requests they ask for: whatever is restored names no other place and ends no line.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_common::envelope::Envelope;
use lockgate_common::http::Headers;
use pubsub_playback::push::Push;
use pubsub_playback::restore;

fuzz_target!(|data: &[u8]| {
    let _ = Push::parse(data);
    let Ok((envelope, _)) = Envelope::decode(data, None) else { return };
    let pushed = Headers::from_iter([(":authority", "proxy")]);
    let Ok(headers) = restore::headers(&envelope, &Push::default(), &[], &pushed) else { return };
    assert_eq!(headers.iter().filter(|(name, _)| *name == ":authority").count(), 1);
    for (name, value) in headers.iter() {
        assert!(!name.starts_with("x-forwarded-") || name == "x-forwarded-proto");
        assert!(!value.iter().any(|byte| matches!(byte, b'\0' | b'\r' | b'\n')));
    }
    assert!(envelope.path.starts_with('/') && !envelope.path.starts_with("//"));
});
