//! The story of a request at the door.

use std::rc::Rc;

use lockgate_common::assertion;
use lockgate_common::bearer;
use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::flow::{Filter, Stream, Verdict};
use lockgate_common::host::Map;
use lockgate_common::http::{Refusal, path_without_query, without_parameters};
use lockgate_common::json::{write_string, write_strings};
use lockgate_common::rules::{first_fit, first_fit_at};
use lockgate_common::runtime::{Runtime, Story, part};

use crate::access::{Asked, Decision, RuleAccess};
use crate::door::Door;
use crate::identity::Identity;
use crate::provider::DEADLINE_MS;
use crate::refuse::{
    AMBIGUOUS_PATH, DENIED, MISSING_SCOPE, NO_ASSERTION, NO_CREDENTIALS, NO_SESSION, NOT_ALLOWED,
    REPEATED_HEADER,
};
use crate::visit::{self, Visit};
use crate::{config, cookies, login, navigation, own, refuse, site};

/// How long after its start a worker asks for metadata and keys, in milliseconds. Earlier it does not
/// know its clusters; whoever comes before that has them fetched.
const PREFETCH_MS: u64 = 100;

/// The filter as configured.
pub struct Oidc(Rc<Door>);

/// Who came, and with what.
struct Visitor {
    identity: Rc<Identity>,
    /// Absent for a program.
    visit: Option<Visit>,
}

impl Oidc {
    /// Reads the configuration, and has the providers' metadata and keys fetched before anybody asks.
    pub fn configure(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        let door = config::door(fields, runtime)?;
        let (waiting, prefetching) = (runtime.clone(), door.clone());
        runtime.spawn(Box::pin(async move {
            waiting.sleep(waiting.host().now_ms() + PREFETCH_MS).await;
            prefetching.is_ready();
        }));
        Ok(Rc::new(Self(door)))
    }

    async fn admit(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let door = &self.0;
        let deadline = stream.host().now_ms() + DEADLINE_MS;
        if site::is_own(path_without_query(stream.text(":path"))) {
            return part(own::answer(door, stream, deadline)).await.map(Verdict::Reply);
        }
        let rule = first_fit(&door.rules, stream)?;
        // Where upstreams disagree on which path this is, both must be under the same rule.
        let plain = without_parameters(path_without_query(stream.text(":path")));
        if let Some(plain) = &plain
            && !std::ptr::eq(rule, first_fit_at(&door.rules, stream, plain)?)
        {
            return Err(AMBIGUOUS_PATH);
        }
        if matches!(rule, RuleAccess::Public) {
            self.remove_ours(stream, false);
            return Ok(Verdict::Continue);
        }
        let Some(visitor) = self.visitor(stream, deadline).await? else {
            return part(self.challenge(stream)).await;
        };
        let refusal = match self.decide(stream, rule, plain.as_deref(), &visitor.identity) {
            Ok(()) => match part(self.pass_on(stream, rule, &visitor)).await {
                Ok(()) => return Ok(self.then_rewrite(stream, visitor)),
                Err(refusal) => refusal,
            },
            Err(refusal) => refusal,
        };
        // A refreshed session's cookie must reach the browser with a refusal too: the old one is used up.
        let lines = match &visitor.visit {
            Some(visit) => part(visit::cookie(door, stream, visit)).await,
            None => Vec::new(),
        };
        Ok(refuse::with_cookies(stream, refusal, lines))
    }

    /// Whoever brings a token is judged by the token alone; a cookie beside it is ignored. A credential
    /// of another scheme is the upstream's affair.
    async fn visitor(&self, stream: &Stream, deadline: u64) -> Result<Option<Visitor>, Refusal> {
        if let Some(token) = bearer::token(stream.headers()).map_err(|_| REPEATED_HEADER)? {
            let identity = part(self.0.programs.check(stream, token, deadline)).await?;
            return Ok(Some(Visitor { identity, visit: None }));
        }
        if self.0.sessions.is_none() {
            return Ok(None);
        }
        let visit = part(visit::current(&self.0, stream, deadline)).await?;
        Ok(visit.map(|visit| Visitor { identity: visit.opened.identity.clone(), visit: Some(visit) }))
    }

    /// Nobody came whom we know. A browser that is about to show a page is sent to sign in; nothing else
    /// is, and nothing else leaves a login behind.
    async fn challenge(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let door = &self.0;
        let method = stream.text(":method");
        if door.providers.is_empty() || !navigation::is_navigation(stream.headers(), method) {
            let page = navigation::wants_html(stream.headers());
            return Err(if page && method != "GET" { NO_SESSION } else { NO_CREDENTIALS });
        }
        let target = navigation::return_path(stream.text(":path"));
        // The provider leads back to the public address, and the cookie must be there by then.
        if !stream.text(":authority").eq_ignore_ascii_case(&door.site.authority) {
            return Ok(Verdict::Reply(login::redirect(302, door.site.address(&target))));
        }
        let reply = match door.providers.as_slice() {
            [only] => login::begin(door, stream, only, &target).await?,
            _ => own::to_chooser(&target),
        };
        Ok(Verdict::Reply(reply))
    }

    fn decide(
        &self,
        stream: &Stream,
        rule: &RuleAccess,
        plain: Option<&str>,
        identity: &Identity,
    ) -> Result<(), Refusal> {
        for path in [Some(stream.text(":path")), plain].into_iter().flatten() {
            let asked = Asked { method: stream.text(":method"), host: stream.text(":authority"), path };
            match self.0.policies.decide(rule, &asked, identity) {
                Decision::Allowed => {}
                Decision::Denied => return Err(DENIED),
                Decision::NotAllowed => return Err(NOT_ALLOWED),
                Decision::MissingScope => return Err(MISSING_SCOPE),
            }
        }
        Ok(())
    }

    /// What the upstream learns of the visitor, and the next filters. The marks come first: the header
    /// writes behind them make the proxy choose the route anew.
    async fn pass_on(&self, stream: &Stream, rule: &RuleAccess, visitor: &Visitor) -> Result<(), Refusal> {
        let door = &self.0;
        let host = stream.host();
        let identity = &visitor.identity;
        let assertion = match &door.assertions {
            Some(assertions) => {
                let deadline = host.now_ms() + DEADLINE_MS;
                let asserted = assertion::Identity {
                    issuer: &identity.issuer,
                    subject: &identity.subject,
                    email: identity.email.as_deref(),
                    groups: &identity.groups,
                };
                let signed = assertions.header(&asserted, host, deadline).await;
                Some(signed.map_err(|_| NO_ASSERTION)?)
            }
            None => None,
        };
        host.set_property("lockgate_principal", &principal(identity));
        host.set_property("lockgate_oidc", b"passed");
        self.remove_ours(stream, !rule.forwards_token());
        for (name, value) in door.identity_headers.values(identity) {
            if let Some(value) = value {
                host.set_header(Map::Request, name, Some(value.as_bytes()));
            }
        }
        host.set_header(Map::Request, assertion::HEADER, assertion.as_deref().map(str::as_bytes));
        if let (true, Some(visit)) = (rule.forwards_token(), &visitor.visit)
            && let Some(token) = &visit.opened.session.access_token
        {
            host.set_header(Map::Request, "authorization", Some(["Bearer ", token].concat().as_bytes()));
        }
        Ok(())
    }

    fn then_rewrite(&self, stream: &Stream, visitor: Visitor) -> Verdict {
        let Some(visit) = visitor.visit.filter(|visit| visit.rewrite) else { return Verdict::Continue };
        let (door, stream) = (self.0.clone(), stream.clone());
        Verdict::ContinueThen(Box::pin(async move {
            for line in part(visit::cookie(&door, &stream, &visit)).await {
                stream.host().add_header(Map::Response, "set-cookie", line.as_bytes());
            }
        }))
    }

    /// What came for the door goes no further: its cookies, the token it took, and whatever looks like
    /// its own word about somebody.
    fn remove_ours(&self, stream: &Stream, token: bool) {
        let (host, headers) = (stream.host(), stream.headers());
        for name in self.0.identity_headers.spoofed(headers) {
            host.set_header(Map::Request, name, None);
        }
        if let Some(rest) = cookies::without(headers, &self.0.site.cookie) {
            host.set_header(Map::Request, "cookie", None);
            for value in rest {
                host.add_header(Map::Request, "cookie", &value);
            }
        }
        if token && bearer::token(headers).is_ok_and(|token| token.is_some()) {
            host.set_header(Map::Request, "authorization", None);
        }
    }
}

impl Filter for Oidc {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move {
            match self.admit(&stream).await {
                Ok(verdict) => verdict,
                Err(refusal) => refuse::verdict(&stream, refusal),
            }
        })
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }
}

/// Who was verified, as the write-ahead log keeps it.
fn principal(identity: &Identity) -> Vec<u8> {
    let mut out = b"{\"filter\":\"oidc\"".to_vec();
    let texts = [
        (",\"issuer\":", Some(&identity.issuer)),
        (",\"subject\":", Some(&identity.subject)),
        (",\"email\":", identity.email.as_ref()),
    ];
    for (name, text) in texts {
        if let Some(text) = text {
            out.extend_from_slice(name.as_bytes());
            write_string(&mut out, text);
        }
    }
    if !identity.groups.is_empty() {
        out.extend_from_slice(b",\"groups\":");
        write_strings(&mut out, &identity.groups);
    }
    out.push(b'}');
    out
}
