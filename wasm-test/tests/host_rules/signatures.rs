//! Foreign functions: which signatures the host can check and make.

use p256::ecdsa::signature::Signer as _;
use p256::pkcs8::EncodePrivateKey as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _};
use rsa::rand_core::{CryptoRng, Error, RngCore};
use rsa::sha2::{Digest as _, Sha256, Sha384, Sha512};
use rsa::{Pkcs1v15Sign, Pss, RsaPrivateKey};
use wasm_test::Request;

use crate::agree;
use crate::proxy::{STOPPING, Script, probe};

const TEXT: &[u8] = b"header.payload";

#[test]
fn rsa_signatures_are_checked_with_pkcs1_padding_alone() {
    let key = RsaPrivateKey::from_pkcs8_pem(RSA_KEY).unwrap();
    let der = key.to_public_key().to_public_key_der().unwrap().into_vec();
    let sha256 = key.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(TEXT)).unwrap();
    let sha384 = key.sign(Pkcs1v15Sign::new::<Sha384>(), &Sha384::digest(TEXT)).unwrap();
    let sha512 = key.sign(Pkcs1v15Sign::new::<Sha512>(), &Sha512::digest(TEXT)).unwrap();
    let pss = key.sign_with_rng(&mut NotRandom, Pss::new::<Sha256>(), &Sha256::digest(TEXT)).unwrap();
    agree(
        STOPPING,
        |run| {
            let mut check = |name: &str, hash: &str, key: &[u8], signature: &[u8], text: &[u8]| {
                run.say(name);
                call(run, "verify_signature", &arguments(hash, key, signature, text));
            };
            check("RS256", "sha256", &der, &sha256, TEXT);
            check("RS256, hash in capitals", "SHA256", &der, &sha256, TEXT);
            check("RS384", "sha384", &der, &sha384, TEXT);
            check("RS512", "sha512", &der, &sha512, TEXT);
            check("another text", "sha256", &der, &sha256, b"header.other");
            check("another hash", "sha512", &der, &sha256, TEXT);
            check("PS256", "sha256", &der, &pss, TEXT);
            check("no key", "sha256", b"", &sha256, TEXT);
            check("a key that is none", "sha256", b"key", &sha256, TEXT);
            check("a hash that is none", "md5", &der, &sha256, TEXT);
            run.say("no message");
            call(run, "verify_signature", b"\xff");
            run.say("no function");
            call(run, "no_such_function", b"x");
        },
        r#"
            -- RS256
              verify_signature: 0 "\x08\x01"
            -- RS256, hash in capitals
              verify_signature: 0 "\x08\x01"
            -- RS384
              verify_signature: 0 "\x08\x01"
            -- RS512
              verify_signature: 0 "\x08\x01"
            -- another text
              verify_signature: 0 "\x12&Failed to verify digest. Error code: 0"
            -- another hash
              verify_signature: 0 "\x12&Failed to verify digest. Error code: 0"
            -- PS256
              verify_signature: 0 "\x12&Failed to verify digest. Error code: 0"
            -- no key
              verify_signature: 2 none
            -- a key that is none
              verify_signature: 0 "\x12#Failed to initialize digest verify."
            -- a hash that is none
              verify_signature: 0 "\x12\x15md5 is not supported."
            -- no message
              verify_signature: 2 none
            -- no function
              no_such_function: 1 none
        "#,
    );
}

#[test]
fn ecdsa_signatures_are_checked_in_der_alone() {
    let key = p256::ecdsa::SigningKey::from_slice(&[7; 32]).unwrap();
    let public = p256::PublicKey::from(key.verifying_key());
    let der = p256::pkcs8::EncodePublicKey::to_public_key_der(&public).unwrap().into_vec();
    let signature: p256::ecdsa::Signature = key.sign(TEXT);
    agree(
        STOPPING,
        |run| {
            run.say("ES256, DER");
            let encoded = signature.to_der();
            call(run, "verify_signature", &arguments("sha256", &der, encoded.as_bytes(), TEXT));
            run.say("ES256, as in a token");
            call(run, "verify_signature", &arguments("sha256", &der, &signature.to_bytes(), TEXT));
        },
        r#"
            -- ES256, DER
              verify_signature: 0 "\x08\x01"
            -- ES256, as in a token
              verify_signature: 0 "\x12&Failed to verify digest. Error code: 0"
        "#,
    );
}

#[test]
fn a_signature_that_the_host_made_is_one_it_accepts() {
    let rsa = RsaPrivateKey::from_pkcs8_pem(RSA_KEY).unwrap();
    let p256 = p256::SecretKey::from_slice(&[7; 32]).unwrap();
    let p256_der = p256.to_pkcs8_der().unwrap();
    let p256_public = p256::pkcs8::EncodePublicKey::to_public_key_der(&p256.public_key()).unwrap();
    agree(
        STOPPING,
        |run| {
            run.say("RS256, PEM");
            let mut signing = Vec::new();
            put(&mut signing, 1, b"sha256");
            put(&mut signing, 3, TEXT);
            put(&mut signing, 4, RSA_KEY.as_bytes());
            let made = run.foreign(signed("sign", &signing));
            let expected = rsa.sign(Pkcs1v15Sign::new::<Sha256>(), &Sha256::digest(TEXT)).unwrap();
            run.say(&format!("as expected: {}", made.ends_with(&expected)));
            run.say("ES256, DER");
            let mut signing = Vec::new();
            put(&mut signing, 1, b"sha256");
            put(&mut signing, 2, p256_der.as_bytes());
            put(&mut signing, 3, TEXT);
            let made = run.foreign(signed("sign", &signing));
            // Result, then the length of the signature, then it.
            let signature = made.get(4..).unwrap_or_default();
            let check = arguments("sha256", p256_public.as_bytes(), signature, TEXT);
            call(run, "verify_signature", &check);
            run.say("no key, two keys, a key that is none");
            for keys in [&[][..], &[2, 4], &[2]] {
                let mut signing = Vec::new();
                put(&mut signing, 1, b"sha256");
                put(&mut signing, 3, TEXT);
                keys.iter().for_each(|field| put(&mut signing, *field, b"key"));
                call(run, "sign", &signing);
            }
        },
        r#"
            -- RS256, PEM
            -- as expected: true
            -- ES256, DER
              verify_signature: 0 "\x08\x01"
            -- no key, two keys, a key that is none
              sign: 2 none
              sign: 2 none
              sign: 0 "\x1a=Invalid key type: private key required for signing operation."
        "#,
    );
}

fn signed(function: &str, argument: &[u8]) -> Request {
    probe("foreign").header("x-fn", function).body(argument)
}

/// Calls a foreign function and reports its status and result.
fn call(run: &mut Script<'_>, function: &str, argument: &[u8]) {
    run.noted(signed(function, argument), &format!("  {function}:"));
}

fn arguments(hash: &str, key: &[u8], signature: &[u8], text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put(&mut out, 1, hash.as_bytes());
    put(&mut out, 2, key);
    put(&mut out, 3, signature);
    put(&mut out, 4, text);
    out
}

/// A length-delimited field of a protocol buffer.
fn put(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(field << 3 | 2);
    let mut length = bytes.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend(bytes);
}

/// Salt for PSS that is the same in every run.
struct NotRandom;

impl RngCore for NotRandom {
    fn next_u32(&mut self) -> u32 {
        4
    }

    fn next_u64(&mut self) -> u64 {
        4
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        bytes.fill(4);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Error> {
        bytes.fill(4);
        Ok(())
    }
}

impl CryptoRng for NotRandom {}

/// A key for these tests alone.
const RSA_KEY: &str = include_str!("test-key.pem");
