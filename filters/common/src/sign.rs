//! Signatures that the proxy computes, by its foreign function `sign`.

use crate::host::{Host, HostError};
use crate::jwt;

/// Why there is no signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignError {
    /// The proxy has no function `sign`; Envoy has it from 1.37 on.
    NoFunction,
    /// The proxy does not sign with this key, as where the public part is another key's.
    Refused,
    /// There are no keys: they cannot be fetched, or what was fetched is none.
    NoKeys,
}

/// Whether the proxy has the function.
pub fn is_possible(host: &dyn Host) -> bool {
    // Without a key the function refuses the argument, where there is the function.
    call(host, &[]) != Err(SignError::NoFunction)
}

/// Signs a text with SHA-256 and a private key (PKCS #8, DER: the one form that the proxy takes without
/// PEM). With an RSA key the signature is RSASSA-PKCS1-v1_5, with one on a curve it is ECDSA's in DER.
pub fn sign(host: &dyn Host, pkcs8: &[u8], text: &[u8]) -> Result<Vec<u8>, SignError> {
    // SignArguments of Envoy's foreign function: hash_function, private_key, text.
    let result = call(host, &jwt::arguments(&[(1, b"sha256".as_slice()), (2, pkcs8), (3, text)]))?;
    signature(&result).map(<[u8]>::to_vec).ok_or(SignError::Refused)
}

fn call(host: &dyn Host, argument: &[u8]) -> Result<Vec<u8>, SignError> {
    host.foreign("sign", argument).map_err(|error| match error {
        HostError::NotFound => SignError::NoFunction,
        _ => SignError::Refused,
    })
}

/// SignResult: field 1 is true, and field 2 is the signature, shorter than 16 KiB.
fn signature(result: &[u8]) -> Option<&[u8]> {
    let (length, bytes) = match result.strip_prefix(&[0x08, 0x01, 0x12])? {
        [low @ 0..=0x7f, bytes @ ..] => (usize::from(*low), bytes),
        [low, high @ 0..=0x7f, bytes @ ..] => (usize::from(*low & 0x7f) | usize::from(*high) << 7, bytes),
        _ => return None,
    };
    (bytes.len() == length).then_some(bytes)
}
