//! A module as linked → the module as shipped: the same behaviour, compiled by V8 in little more than half
//! the time.
//!
//! - The SDK exports a callback for everything a proxy can tell a filter. Those that no filter here has
//!   a use for (gRPC, TCP) go, and with them the code that only they reach.
//! - Envoy's V8 runs without its baseline compiler, and then inlines blindly: while it compiles a function,
//!   it copies in up to sixty others, until what it copied is two to five times as long as the function
//!   itself. The linker has inlined what is worth it by then. A call through the table is never
//!   inlined; so every call within the module becomes one.

mod liveness;
mod rewrite;

use wasm_encoder::reencode::Reencode;

/// Why a module cannot be finished: it cannot be read or written, is malformed, or has no table of its own.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// Callbacks that filters are called by, and what a host needs to load them. An export that is none of
/// these is dropped.
const EXPORTS: &[&str] = &[
    "_initialize",
    "memory",
    "proxy_abi_version_0_2_1",
    "proxy_on_configure",
    "proxy_on_context_create",
    "proxy_on_delete",
    "proxy_on_http_call_response",
    "proxy_on_memory_allocate",
    "proxy_on_queue_ready",
    "proxy_on_request_body",
    "proxy_on_request_headers",
    "proxy_on_request_trailers",
    "proxy_on_response_body",
    "proxy_on_response_headers",
    "proxy_on_response_trailers",
    "proxy_on_tick",
    "proxy_on_vm_start",
];

/// The finished module, which is valid if the linked one was.
///
/// # Errors
/// Where the module is malformed or has no table of its own.
pub fn finish(linked: &[u8]) -> Result<Vec<u8>, Error> {
    let mut rewrite = rewrite::Rewrite::new(liveness::survey(linked, EXPORTS)?);
    let mut module = wasm_encoder::Module::new();
    rewrite
        .parse_core_module(&mut module, wasmparser::Parser::new(0), linked)
        .map_err(|error| error.to_string())?;
    let finished = module.finish();
    wasmparser::validate(&finished)?;
    Ok(finished)
}
