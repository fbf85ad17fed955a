//! One line for each sign-in and sign-out: `lockgate audit event=… provider=… issuer=… subject=…
//! email=… session=… request_id=…`. A refusal has its own line, of the same shape, for all filters.

use lockgate_common::flow::Stream;
use lockgate_common::host::Level;
use lockgate_common::json::Json;

use crate::session::Session;

/// Says what became of a session. None of its tokens, and not its id but the half that identifies it.
pub fn session(stream: &Stream, event: &str, session: &Session) {
    let claims = Json::parse(session.claims.as_bytes()).ok();
    let email = claims.and_then(|claims| Some(claims.field("email")?.str()?.into_owned()));
    let mut line = String::from("lockgate audit event=");
    line.push_str(event);
    let fields = [
        (" provider=", session.provider.as_str()),
        (" issuer=", &session.issuer),
        (" subject=", &session.subject),
        (" email=", email.as_deref().unwrap_or_default()),
    ];
    for (name, value) in fields {
        line.push_str(name);
        push_value(&mut line, value);
    }
    line.push_str(" session=");
    line.push_str(session.id.get(..11).unwrap_or_default());
    line.push_str(" request_id=");
    line.push_str(&stream.request_id());
    stream.host().log(Level::Info, &line);
}

/// At most 128 characters, and none that could end the value or the line.
fn push_value(line: &mut String, value: &str) {
    let plain = |c: char| if c.is_ascii_graphic() && c != '=' && c != '"' { c } else { '?' };
    line.extend(value.chars().take(128).map(plain));
}
