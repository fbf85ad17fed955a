//! Foreign functions: Envoy's own additions to the ABI, as far as they are about signatures.

use crate::host::{Release, Status};
use crate::signatures::{self, Hash};
use crate::vm::{self, Cx};

/// `proxy_call_foreign_function`.
pub(crate) fn call(cx: &mut Cx<'_>, name: (u32, u32), argument: (u32, u32), result_at: (u32, u32)) -> Status {
    let read = |range: (u32, u32)| vm::read(cx, range.0, range.1);
    let (Some(name), Some(argument)) = (read(name), read(argument)) else {
        return Status::InvalidMemoryAccess;
    };
    let release = cx.data().settings.release;
    let result = match name.as_slice() {
        b"verify_signature" => verify_signature(&argument, release),
        b"sign" if release >= Release::V1_40 => sign(&argument),
        // Each request has one route here, so there is nothing to clear.
        b"clear_route_cache" => Ok(Vec::new()),
        _ => Err(Status::NotFound),
    };
    match result {
        Ok(bytes) => vm::give(cx, &bytes, result_at.0, result_at.1).into(),
        Err(status) => status,
    }
}

/// `VerifySignatureArguments { hash_function = 1, public_key = 2, signature = 3, text = 4,
/// public_key_pem = 5 }` to `VerifySignatureResult { result = 1, error = 2 }`.
fn verify_signature(argument: &[u8], release: Release) -> Result<Vec<u8>, Status> {
    let fields = proto::fields(argument).ok_or(Status::BadArgument)?;
    let hash = proto::text(&fields, 1);
    let (signature, text) = (proto::bytes(&fields, 3), proto::bytes(&fields, 4));
    let (der, pem) = (proto::bytes(&fields, 2), proto::text(&fields, 5));
    let key = match (der.is_empty(), pem.is_empty()) {
        _ if release < Release::V1_40 => signatures::public_key(der),
        (false, true) => signatures::public_key(der),
        (true, false) => signatures::public_key_pem(&pem),
        _ => return Err(Status::BadArgument),
    };
    let outcome = match (Hash::named(&hash), key) {
        (None, _) => Err(format!("{hash} is not supported.")),
        (_, None) => Err("Failed to initialize digest verify.".to_owned()),
        (Some(hash), Some(key)) if key.verifies(hash, text, signature) => Ok(()),
        _ => Err("Failed to verify digest. Error code: 0".to_owned()),
    };
    let mut out = Vec::new();
    match outcome {
        Ok(()) => proto::put_true(&mut out, 1),
        Err(error) => proto::put(&mut out, 2, error.as_bytes()),
    }
    Ok(out)
}

/// `SignArguments { hash_function = 1, private_key = 2, text = 3, private_key_pem = 4 }` to
/// `SignResult { result = 1, signature = 2, error = 3 }`. Exactly one key is to be given.
fn sign(argument: &[u8]) -> Result<Vec<u8>, Status> {
    let fields = proto::fields(argument).ok_or(Status::BadArgument)?;
    let (hash, text) = (proto::text(&fields, 1), proto::bytes(&fields, 3));
    let (der, pem) = (proto::bytes(&fields, 2), proto::text(&fields, 4));
    let key = match (der.is_empty(), pem.is_empty()) {
        (false, true) => signatures::private_key(der),
        (true, false) => signatures::private_key_pem(&pem),
        _ => return Err(Status::BadArgument),
    };
    let mut out = Vec::new();
    match (Hash::named(&hash), key) {
        (None, _) => proto::put(&mut out, 3, format!("{hash} is not supported.").as_bytes()),
        (_, None) => {
            proto::put(&mut out, 3, b"Invalid key type: private key required for signing operation.")
        }
        (Some(hash), Some(key)) => match key.sign(hash, text) {
            Some(signature) => {
                proto::put_true(&mut out, 1);
                proto::put(&mut out, 2, &signature);
            }
            None => proto::put(&mut out, 3, b"Failed to create signature."),
        },
    }
    Ok(out)
}

/// As much of protocol buffers as these messages need.
mod proto {
    pub(super) type Fields<'a> = Vec<(u64, &'a [u8])>;

    /// The length-delimited fields; numbers are skipped, anything else is malformed.
    pub(super) fn fields(mut rest: &[u8]) -> Option<Fields<'_>> {
        let mut fields = Vec::new();
        while !rest.is_empty() {
            let key = varint(&mut rest)?;
            match key & 7 {
                0 => drop(varint(&mut rest)?),
                2 => {
                    let length = usize::try_from(varint(&mut rest)?).ok()?;
                    let (bytes, after) = rest.split_at_checked(length)?;
                    fields.push((key >> 3, bytes));
                    rest = after;
                }
                _ => return None,
            }
        }
        Some(fields)
    }

    /// The last value of a field, as the format demands; empty where there is none.
    pub(super) fn bytes<'a>(fields: &Fields<'a>, number: u64) -> &'a [u8] {
        let last = fields.iter().rev().find(|(other, _)| *other == number);
        last.map_or(&[], |(_, bytes)| bytes)
    }

    pub(super) fn text(fields: &Fields<'_>, number: u64) -> String {
        String::from_utf8_lossy(bytes(fields, number)).into_owned()
    }

    pub(super) fn put(out: &mut Vec<u8>, number: u64, bytes: &[u8]) {
        put_varint(out, number << 3 | 2);
        put_varint(out, bytes.len() as u64);
        out.extend(bytes);
    }

    pub(super) fn put_true(out: &mut Vec<u8>, number: u64) {
        put_varint(out, number << 3);
        out.push(1);
    }

    fn varint(rest: &mut &[u8]) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, after) = rest.split_first()?;
            *rest = after;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    fn put_varint(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
}
