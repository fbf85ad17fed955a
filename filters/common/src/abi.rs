//! The host calls that are not made through the SDK or the standard library, and the only unsafe code. For a
//! header map the SDK allocates twice for each header, and ends the VM over a name that is not UTF-8.
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

#[link(wasm_import_module = "wasi_snapshot_preview1")]
unsafe extern "C" {
    fn environ_sizes_get(count: *mut usize, size: *mut usize) -> u32;
    fn environ_get(variables: *mut *mut u8, text: *mut u8) -> u32;
}

/// The environment that the VM was given, each variable as `NAME=value` and a zero. The C library keeps a copy
/// of it, with an allocator of its own that nothing else here needs.
pub(crate) fn environment() -> Vec<u8> {
    let (mut count, mut size) = (0, 0);
    // SAFETY: both are places for what the host has to say.
    if unsafe { environ_sizes_get(&raw mut count, &raw mut size) } != 0 {
        return Vec::new();
    }
    let (mut variables, mut text) = (vec![std::ptr::null_mut(); count], vec![0; size]);
    // SAFETY: the host fills as many places and bytes as it said, and the two are that long.
    match unsafe { environ_get(variables.as_mut_ptr(), text.as_mut_ptr()) } {
        0 => text,
        _ => Vec::new(),
    }
}
