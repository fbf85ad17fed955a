//! Push tokens, genuine in everything but what a test changes.

use std::path::Path;

use lockgate_local::{Signer, id_token_claims};
use serde_json::{Map, Value};

use crate::slack::now;
use crate::stack::PUSH_ACCOUNT;

/// Mints tokens with the key of a state directory.
#[derive(Debug)]
pub struct Tokens {
    signer: Signer,
    issuer: String,
    audience: String,
}

impl Tokens {
    /// The key of a state directory, made there if there is none yet.
    pub fn new(state_directory: &Path, issuer: &str, audience: &str) -> Self {
        Self {
            signer: Signer::load(state_directory).expect("the signing key"),
            issuer: issuer.to_owned(),
            audience: audience.to_owned(),
        }
    }

    /// A token as the queue itself sends it.
    pub fn push(&self) -> String {
        self.push_with(|_| {})
    }

    /// The same with other claims.
    pub fn push_with(&self, change: impl FnOnce(&mut Map<String, Value>)) -> String {
        let mut claims = id_token_claims(&self.issuer, &self.audience, PUSH_ACCOUNT, now());
        change(&mut claims);
        self.signer.sign_id_token(&claims).expect("sign a token")
    }

    /// The public keys, as a JSON Web Key Set.
    pub fn key_set(&self) -> &str {
        self.signer.key_set()
    }
}
