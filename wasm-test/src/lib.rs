//! A proxy-wasm test harness: request in, response out, with Envoy's host behaviour.
