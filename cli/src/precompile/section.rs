//! The custom section in which Envoy looks for what was compiled before (WebAssembly core specification,
//! 5.5.3; the section's name is proxy-wasm's).

use wasm_encoder::{CustomSection, Section};

/// How the section's name begins; V8's version and the platform follow.
pub(super) const NAME_PREFIX: &str = "precompiled_wee8_v";

/// How a module begins, with the one version that there is (5.5.16).
const MAGIC: &[u8] = b"\0asm\x01\0\0\0";

/// Whether it is a module without such a section. Each module of one of these names in it would be one too.
pub(super) fn is_plain(wasm: &[u8]) -> bool {
    wasm.starts_with(MAGIC) && memchr::memmem::find(wasm, NAME_PREFIX.as_bytes()).is_none()
}

/// The module with the section behind it.
pub(super) fn append(wasm: &[u8], name: &str, code: &[u8]) -> Vec<u8> {
    let mut whole = wasm.to_vec();
    CustomSection { name: name.into(), data: code.into() }.append_to(&mut whole);
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_stands_behind_the_module() {
        let code = vec![9; 200];
        let whole = append(MAGIC, "precompiled_wee8_v1.2.3.4_linux_x86_64", &code);
        assert_eq!(&whole[..8], MAGIC);
        // 1 + 38 + 200 bytes: 239 in two bytes.
        assert_eq!(&whole[8..12], [0, 0xef, 0x01, 38]);
        assert!(whole.ends_with(&code));
        assert_eq!(whole.len(), 8 + 3 + 1 + 38 + 200);
        assert!(is_plain(MAGIC) && !is_plain(&whole) && !is_plain(b"text"));
    }
}
