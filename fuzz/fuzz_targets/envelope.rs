//! Envelopes: what can be read is written back as it was, and a seal holds.

#![no_main]

use libfuzzer_sys::fuzz_target;
use lockgate_common::encoding::base64;
use lockgate_common::envelope::{Envelope, LogKeys};
use lockgate_common::secret::Secret;

fuzz_target!(|data: &[u8]| {
    let keys = LogKeys::parse(&Secret::new(base64(&[1; 32]).into_bytes())).unwrap();
    assert!(Envelope::decode(data, Some(&keys)).is_err() || data.windows(6).any(|part| part == b"\"mac\":"));
    let Ok((envelope, body)) = Envelope::decode(data, None) else { return };
    let sealed = envelope.encode(body, Some(&keys));
    let (again, same_body) = Envelope::decode(&sealed, Some(&keys)).unwrap();
    assert_eq!((&again.id, &again.path, &again.headers, same_body), (&envelope.id, &envelope.path, &envelope.headers, body));
});
