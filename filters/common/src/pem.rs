//! PEM (RFC 7468), as secrets carry it.

use crate::encoding::from_base64;

/// The blocks of a text, each with its label without spaces, as `PRIVATEKEY`. Line breaks may be missing,
/// or be the two characters `\n`, as in environment variables. `None` where anything else stands there.
pub fn blocks(text: &[u8]) -> Option<Vec<(Vec<u8>, Vec<u8>)>> {
    let text = without_breaks(text);
    let mut parts = text.split(|byte| *byte == b'-').filter(|part| !part.is_empty());
    let mut blocks = Vec::new();
    while let Some(begin) = parts.next() {
        let (body, end) = (from_base64(parts.next()?)?, parts.next()?);
        let label = begin.strip_prefix(b"BEGIN")?;
        if label != end.strip_prefix(b"END")? {
            return None;
        }
        blocks.push((label.to_vec(), body));
    }
    Some(blocks)
}

/// PEM without its line breaks, however they are written.
fn without_breaks(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let [byte, rest @ ..] = text {
        text = match (byte, rest) {
            (b'\\', [b'n' | b'r', rest @ ..]) => rest,
            _ => {
                if !byte.is_ascii_whitespace() {
                    out.push(*byte);
                }
                rest
            }
        };
    }
    out
}
