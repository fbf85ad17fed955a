//! A module's entry point. Where it holds several filters, a plugin's `root_id` selects one.
#![cfg(target_arch = "wasm32")]
#![expect(missing_docs, reason = "the macro writes the entry points")]

use lockgate_common::flow::Definition;
use lockgate_common::shell;

#[global_allocator]
static ALLOCATOR: talc::wasm::WasmDynamicTalc = talc::wasm::new_wasm_dynamic_allocator();

const FILTERS: &[Definition] = &[
    #[cfg(feature = "oidc")]
    oidc::FILTER,
    #[cfg(feature = "oidc")]
    oidc::BACK_CHANNEL,
    #[cfg(feature = "slack-signature")]
    slack_signature::FILTER,
    #[cfg(feature = "pubsub-playback")]
    pubsub_playback::FILTER,
    #[cfg(feature = "form-to-json")]
    form_to_json::FILTER,
    #[cfg(feature = "pubsub-enqueue")]
    pubsub_enqueue::FILTER,
    #[cfg(feature = "upstream-identity")]
    upstream_identity::FILTER,
];

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|context| shell::root(context, FILTERS));
}}
