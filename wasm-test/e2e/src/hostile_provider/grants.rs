//! What the provider has given out: codes, access tokens, refresh tokens, and to whom.

use std::collections::HashMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::random;
use crate::slack::now;

/// One sign-in of one person at one client.
#[derive(Clone, Debug)]
pub(super) struct Sitting {
    /// The person's claims.
    pub(super) person: Value,
    pub(super) client_id: String,
    pub(super) scope: String,
    pub(super) nonce: Option<String>,
    pub(super) sid: String,
    /// Since when, in seconds since 1970.
    pub(super) since: i64,
    /// All refresh tokens that descend from one code.
    pub(super) family: u64,
}

/// A code, until it is exchanged.
#[derive(Clone, Debug)]
pub(super) struct Code {
    pub(super) sitting: Sitting,
    pub(super) redirect_uri: String,
    pub(super) challenge: Option<String>,
}

#[derive(Clone, Debug)]
struct Refresh {
    sitting: Sitting,
    used: bool,
}

/// An access token's meaning.
#[derive(Clone, Debug)]
pub(super) struct Access {
    /// The person's claims, with `aud`, `client_id` and `scope`.
    pub(super) claims: Value,
    /// Its end, in seconds since 1970.
    pub(super) end: i64,
    family: Option<u64>,
}

#[derive(Debug, Default)]
pub(super) struct Grants {
    codes: HashMap<String, Code>,
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    families: u64,
    pub(super) reuses: usize,
}

impl Grants {
    pub(super) fn new_family(&mut self) -> u64 {
        self.families += 1;
        self.families
    }

    pub(super) fn code(&mut self, code: Code) -> String {
        let name = random();
        self.codes.insert(name.clone(), code);
        name
    }

    /// A code can be taken once.
    pub(super) fn take_code(&mut self, name: &str) -> Option<Code> {
        self.codes.remove(name)
    }

    /// An opaque access token of these claims.
    pub(super) fn access(&mut self, claims: &Value, lifetime: Duration) -> String {
        let name = format!("opaque-{}", random());
        self.keep_access(&name, claims, lifetime, None);
        name
    }

    pub(super) fn keep_access(
        &mut self,
        name: &str,
        claims: &Value,
        lifetime: Duration,
        family: Option<u64>,
    ) {
        let mut all = json!({"scope": "openid", "client_id": crate::oidc_provider::CLIENT_ID});
        for (name, value) in claims.as_object().into_iter().flatten() {
            all[name] = value.clone();
        }
        let end = now() + lifetime.as_secs() as i64;
        self.access.insert(name.to_owned(), Access { claims: all, end, family });
    }

    /// An access token that is still good.
    pub(super) fn live(&self, name: &str) -> Option<&Access> {
        self.access.get(name).filter(|access| access.end > now())
    }

    pub(super) fn refresh(&mut self, sitting: Sitting) -> String {
        let name = format!("refresh-{}", random());
        self.refresh.insert(name.clone(), Refresh { sitting, used: false });
        name
    }

    /// Whose a refresh token is. One that comes again after it was replaced is stolen, or was: all
    /// of its family goes.
    pub(super) fn use_refresh(&mut self, name: &str, rotates: bool) -> Option<Sitting> {
        let refresh = self.refresh.get_mut(name)?;
        let sitting = refresh.sitting.clone();
        if refresh.used {
            self.reuses += 1;
            self.refresh.retain(|_, other| other.sitting.family != sitting.family);
            self.access.retain(|_, access| access.family != Some(sitting.family));
            return None;
        }
        refresh.used = rotates;
        Some(sitting)
    }

    pub(super) fn revoke_everything(&mut self) {
        self.codes.clear();
        self.access.clear();
        self.refresh.clear();
    }
}
