//! Signing out: here, and at the provider where it offers that (OpenID Connect RP-Initiated Logout 1.0).

use std::rc::Rc;

use lockgate_common::flow::Stream;
use lockgate_common::http::{Refusal, Reply};

use crate::door::Door;
use crate::login::redirect;
use crate::marks::{self, Kind};
use crate::provider::Provider;
use crate::refuse::{CROSS_ORIGIN, NO_STORE};
use crate::token_endpoint::{self, push_pair};
use crate::visit::{self, Opened, session_fact};
use crate::{audit, cookies, navigation, pages};

const SIGNED_OUT: &str = "/_lockgate/signed-out";

/// Asks first: an address alone must not sign anybody out, as an image on another site could name it.
pub async fn ask(door: &Rc<Door>, stream: &Stream, deadline: u64) -> Result<Reply, Refusal> {
    let Some(opened) = visit::open(door, stream, deadline).await? else {
        return Ok(redirect(302, SIGNED_OUT.to_owned()));
    };
    let who = opened.identity.email.as_deref().unwrap_or(&opened.identity.subject);
    let there = at_provider(door, &opened, deadline).await;
    let scheme = match there.as_deref() {
        Some(address) if address.starts_with("https:") => "https:",
        Some(_) => "http:",
        None => "",
    };
    Ok(pages::confirm_sign_out(who, scheme, &stream.request_id()))
}

/// Ends the session: for this browser, for a copy of its cookie, and at the provider.
pub async fn sign_out(door: &Rc<Door>, stream: &Stream, deadline: u64) -> Result<Reply, Refusal> {
    if !navigation::is_same_origin(stream.headers(), &door.site.origin) {
        return Err(CROSS_ORIGIN);
    }
    let opened = visit::open(door, stream, deadline).await?;
    let mut location = SIGNED_OUT.to_owned();
    if let Some(opened) = &opened {
        let session = &opened.session;
        let now_s = stream.host().now_ms() / 1_000;
        if door.is_live(session, now_s)
            && !marks::mark(
                stream.host(),
                Kind::Revoked,
                &session_fact(&session.id),
                door.ends_s(session),
                now_s,
            )
        {
            return Err(NO_STORE);
        }
        revoke(door, opened);
        if let Some(there) = at_provider(door, opened, deadline).await {
            location = there;
        }
        stream.runtime().count(&["signed_out"]);
        audit::session(stream, "signed_out", session);
    }
    let mut reply = redirect(303, location);
    let present = cookies::present(stream.headers(), &door.site.cookie);
    let lines = cookies::delete(&door.site.cookie, door.site.secure, present.max(1));
    reply.headers.extend(lines.into_iter().map(|line| ("set-cookie", line)));
    // What the browser keeps of the pages that were seen (W3C Clear Site Data).
    reply.headers.push(("clear-site-data", "\"cache\"".to_owned()));
    Ok(reply)
}

/// The provider's page to sign out, leading back here; none where it has none or is not to be asked.
async fn at_provider(door: &Door, opened: &Opened, deadline: u64) -> Option<String> {
    let provider = door.provider(&opened.session.provider).filter(|provider| provider.end_session)?;
    let discovery = provider.discovery.value(deadline).await.ok()?;
    let mut location = discovery.end_session_endpoint.clone()?;
    location.push(if location.contains('?') { '&' } else { '?' });
    push_pair(&mut location, "client_id", &provider.client_id);
    push_pair(&mut location, "post_logout_redirect_uri", &door.site.address(SIGNED_OUT));
    if let Some(id_token) = &opened.session.id_token {
        push_pair(&mut location, "id_token_hint", id_token);
    }
    Some(location)
}

/// Nobody waits for it: the session is over here whatever the provider says.
fn revoke(door: &Rc<Door>, opened: &Rc<Opened>) {
    let Some(provider) = door.provider(&opened.session.provider) else { return };
    let (runtime, opened): (_, Rc<Opened>) = (door.runtime.clone(), opened.clone());
    let provider: Rc<Provider> = provider;
    door.runtime.spawn(Box::pin(async move {
        if let Some(token) = &opened.session.refresh_token {
            token_endpoint::revoke(&runtime, &provider, token).await;
        }
    }));
}
