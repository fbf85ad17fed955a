//! The demonstration upstream: prints what reaches it, and says that all is well.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use serde_json::Value;
use tokio::net::TcpListener;

/// Longest body that is read, in bytes.
const LARGEST: usize = 10_000_000;

/// Longest piece of a body that is printed, in characters.
const LONGEST: usize = 4_000;

/// Binds the address, so that what is sent from now on is answered once it serves.
pub(super) async fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    TcpListener::bind(address).await
}

/// Serves until it is dropped.
pub(super) async fn serve(listener: TcpListener) -> std::io::Result<()> {
    axum::serve(listener, Router::new().fallback(answer)).await
}

async fn answer(request: Request<Body>) -> impl IntoResponse {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, LARGEST).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "The body is larger than this demonstration takes.\n");
    };
    let mut lines = format!("\nupstream ← {} {}\n", head.method, head.uri);
    for name in [
        "content-type",
        "x-lockgate-subject",
        "x-lockgate-email",
        "x-lockgate-message-id",
        "x-lockgate-delivery-attempt",
        "x-lockgate-received-at",
    ] {
        if let Some(value) = head.headers.get(name).and_then(|value| value.to_str().ok()) {
            lines.push_str(&format!("  {name}: {value}\n"));
        }
    }
    lines.push_str(&shown(&body));
    println!("{lines}");
    (StatusCode::OK, "The demonstration upstream has it.\n")
}

/// JSON laid out, anything else as one line; control characters never reach the terminal.
fn shown(body: &[u8]) -> String {
    let text = match serde_json::from_slice::<Value>(body) {
        Ok(json) => format!("{json:#}"),
        Err(_) => String::from_utf8_lossy(body).escape_debug().to_string(),
    };
    let mut shown: String = text.chars().take(LONGEST).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.lines().map(|line| format!("  {line}\n")).collect()
}
