//! What runs over the bytes of every request. The profile `wasm` compiles this crate for speed, and everything
//! else for size: a module's size is paid at each start, and a loop at each byte.

pub mod encoding;
pub mod form;
pub mod header_policy;
pub mod headers;
pub mod json;
