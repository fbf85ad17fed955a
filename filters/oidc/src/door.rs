//! What every request's story uses: the door as configured, and what its worker remembers.

use std::rc::Rc;

use lockgate_common::assertion::Assertions;
use lockgate_common::flow::Stream;
use lockgate_common::http::Refusal;
use lockgate_common::rules::Match;
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::{Parsed, Secret, SecretSource};

use crate::access::{Policies, RuleAccess};
use crate::cache::Cache;
use crate::cookies::Attributes;
use crate::events::Events;
use crate::programs::Programs;
use crate::provider::Provider;
use crate::refuse::{NO_RANDOM, NO_SECRET};
use crate::seal::{Keyring, Purpose};
use crate::session::Session;
use crate::site::Site;
use crate::upstream_headers::IdentityHeaders;
use crate::visit::Opened;

/// The door.
pub struct Door {
    /// Where calls are made.
    pub runtime: Rc<Runtime>,
    /// What it stands before.
    pub site: Site,
    /// Absent where nobody signs in.
    pub sessions: Option<Sessions>,
    /// Whom people sign in with.
    pub providers: Vec<Rc<Provider>>,
    /// Whose tokens programs bring.
    pub programs: Programs,
    /// Who may pass, wherever.
    pub policies: Policies,
    /// Who may pass where; the first that matches.
    pub rules: Vec<(Match, RuleAccess)>,
    /// What the upstream is told in headers.
    pub identity_headers: IdentityHeaders,
    /// What it is told signed.
    pub assertions: Option<Assertions>,
    /// The claims that conditions and headers look at.
    pub claims: Vec<String>,
    /// Whether conditions or the assertion look at groups.
    pub needs_groups: bool,
    /// Whether people are shown their access token.
    pub token_page: bool,
    /// Whether a session keeps its access token.
    pub keeps_access_token: bool,
    /// Session cookies that were opened, by their bytes.
    pub opened: Cache<Opened>,
    /// The parsed form of the secret that is in force.
    pub keyring: Parsed<Keyring>,
}

/// How long people stay signed in, and what seals it.
pub struct Sessions {
    /// Seals cookies.
    pub secret: SecretSource,
    /// A session unused for this long is over, in seconds.
    pub idle_s: u64,
    /// A session this old is over, in seconds.
    pub lifetime_s: u64,
    /// Where sign-ins are told; absent where they are not.
    pub events: Option<Rc<Events>>,
}

impl Door {
    /// The keys that seal and open, waiting for them until `deadline` (ms since 1970).
    pub async fn keyring(&self, deadline: u64) -> Result<Rc<Keyring>, Refusal> {
        let sessions = self.sessions.as_ref().ok_or(NO_SECRET)?;
        let secret = sessions.secret.value(deadline).await.map_err(|_| NO_SECRET)?;
        self.parsed(&secret).ok_or(NO_SECRET)
    }

    /// The keys as fetched after now, where the throttle allows; none where there is nothing newer.
    pub async fn newer_keyring(&self, deadline: u64) -> Option<Rc<Keyring>> {
        let secret = self.sessions.as_ref()?.secret.newer(deadline).await?;
        self.parsed(&secret)
    }

    /// With another secret, what the last one opened is forgotten: its keys may have been removed.
    fn parsed(&self, secret: &Rc<Secret>) -> Option<Rc<Keyring>> {
        self.keyring.known(secret).or_else(|| {
            self.opened.clear();
            self.keyring.of(secret)
        })
    }

    /// A session's cookie value.
    pub fn seal(&self, stream: &Stream, keys: &Keyring, session: &Session) -> Result<String, Refusal> {
        let plain = session.encode();
        keys.seal(stream.host(), Purpose::Session, &self.site.cookie, &plain).ok_or(NO_RANDOM)
    }

    /// The attributes of a session's cookie: the browser forgets it when it would be refused anyway.
    pub fn attributes(&self, session: &Session, now_s: u64) -> Attributes {
        let max_age_s = self.ends_s(session).saturating_sub(now_s);
        Attributes { secure: self.site.secure, max_age_s }
    }

    /// When a session is over at the latest, in seconds since 1970.
    pub fn ends_s(&self, session: &Session) -> u64 {
        session.signed_in_s + self.sessions.as_ref().map_or(0, |sessions| sessions.lifetime_s)
    }

    /// Whether a session's lifetimes have not ended.
    pub fn is_live(&self, session: &Session, now_s: u64) -> bool {
        let live = |sessions: &Sessions| !session.is_over(now_s, sessions.idle_s, sessions.lifetime_s);
        self.sessions.as_ref().is_some_and(live)
    }

    /// The idle limit, in seconds.
    pub fn idle_s(&self) -> u64 {
        self.sessions.as_ref().map_or(0, |sessions| sessions.idle_s)
    }

    /// A provider by its name.
    pub fn provider(&self, name: &str) -> Option<Rc<Provider>> {
        self.providers.iter().find(|provider| provider.name == name).cloned()
    }

    /// The claims that a session of this provider must have, from wherever it tells them.
    pub fn needed(&self, provider: &Provider) -> Vec<String> {
        let mut needed = vec!["email".to_owned()];
        if !provider.claim_rules.trust_email {
            needed.push("email_verified".to_owned());
        }
        if self.needs_groups {
            needed.push(provider.claim_rules.groups_claim.clone());
        }
        needed.extend(self.claims.iter().cloned());
        needed
    }

    /// The claims that a session of this provider keeps where they are told.
    pub fn wanted(&self, provider: &Provider) -> Vec<String> {
        let mut wanted = self.needed(provider);
        wanted.extend(["sub", "name", &provider.claim_rules.groups_claim].map(str::to_owned));
        wanted
    }

    /// Keys, metadata and secrets are there; asked for where they are not.
    pub fn is_ready(&self) -> bool {
        let missing = self.providers.iter().filter(|provider| !provider.is_ready()).count();
        let sessions = self.sessions.as_ref().is_none_or(|sessions| sessions.secret.prefetch());
        let assertions = self.assertions.as_ref().is_none_or(Assertions::is_ready);
        self.programs.is_ready() && sessions && assertions && missing == 0
    }
}
