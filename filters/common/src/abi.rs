//! The one host call that is not made through the SDK, and the only unsafe code: the SDK allocates twice for
//! each header and ends the VM over a name that is not UTF-8.
#![expect(unsafe_code, reason = "the host writes into this memory, and is told where")]

use lockgate_wire::headers::Headers;
use proxy_wasm::types::MapType;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_header_map_pairs(map: u32, data: *mut *mut u8, size: *mut usize) -> u32;
}

/// A header map; without headers where there is none.
pub(crate) fn headers(map: MapType) -> Headers {
    let (mut data, mut size) = (std::ptr::null_mut(), 0);
    // SAFETY: both are places for what the host has to say.
    let status = unsafe { proxy_get_header_map_pairs(map as u32, &raw mut data, &raw mut size) };
    if status != 0 || data.is_null() {
        return Headers::default();
    }
    // SAFETY: the host asked `proxy_on_memory_allocate` for `size` bytes, wrote all of them, and left them to
    // us. The SDK's allocates a slice of just that length, as a vector of that capacity is.
    Headers::from_serialized(unsafe { Vec::from_raw_parts(data, size, size) })
}
