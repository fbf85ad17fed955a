//! The proxy-wasm ABI 0.2.1, each function with its status and what it handed over.

/// `Ok`.
pub const OK: u32 = 0;

mod raw {
    #[link(wasm_import_module = "env")]
    unsafe extern "C" {
        pub fn proxy_get_header_map_value(
            map: u32,
            name: *const u8,
            length: usize,
            at: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub fn proxy_get_header_map_pairs(map: u32, at: *mut *mut u8, size: *mut usize) -> u32;
        pub fn proxy_add_header_map_value(
            map: u32,
            name: *const u8,
            length: usize,
            value: *const u8,
            size: usize,
        ) -> u32;
        pub fn proxy_replace_header_map_value(
            map: u32,
            name: *const u8,
            length: usize,
            value: *const u8,
            size: usize,
        ) -> u32;
        pub fn proxy_remove_header_map_value(map: u32, name: *const u8, length: usize) -> u32;
        pub fn proxy_get_buffer_bytes(
            buffer: u32,
            start: usize,
            length: usize,
            at: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub fn proxy_set_buffer_bytes(
            buffer: u32,
            start: usize,
            length: usize,
            data: *const u8,
            size: usize,
        ) -> u32;
        pub fn proxy_get_property(path: *const u8, length: usize, at: *mut *mut u8, size: *mut usize) -> u32;
        pub fn proxy_set_property(path: *const u8, length: usize, value: *const u8, size: usize) -> u32;
        pub fn proxy_get_shared_data(
            key: *const u8,
            length: usize,
            at: *mut *mut u8,
            size: *mut usize,
            cas: *mut u32,
        ) -> u32;
        pub fn proxy_set_shared_data(
            key: *const u8,
            length: usize,
            value: *const u8,
            size: usize,
            cas: u32,
        ) -> u32;
        pub fn proxy_register_shared_queue(name: *const u8, length: usize, token: *mut u32) -> u32;
        pub fn proxy_resolve_shared_queue(
            vm_id: *const u8,
            vm_id_length: usize,
            name: *const u8,
            length: usize,
            token: *mut u32,
        ) -> u32;
        pub fn proxy_enqueue_shared_queue(token: u32, item: *const u8, length: usize) -> u32;
        pub fn proxy_dequeue_shared_queue(token: u32, at: *mut *mut u8, size: *mut usize) -> u32;
        pub fn proxy_http_call(
            cluster: *const u8,
            cluster_length: usize,
            headers: *const u8,
            headers_length: usize,
            body: *const u8,
            body_length: usize,
            trailers: *const u8,
            trailers_length: usize,
            timeout: u32,
            token: *mut u32,
        ) -> u32;
        pub fn proxy_send_local_response(
            status: u32,
            details: *const u8,
            details_length: usize,
            body: *const u8,
            body_length: usize,
            headers: *const u8,
            headers_length: usize,
            grpc_status: i32,
        ) -> u32;
        pub fn proxy_continue_stream(kind: u32) -> u32;
        pub fn proxy_close_stream(kind: u32) -> u32;
        pub fn proxy_set_effective_context(context: u32) -> u32;
        pub fn proxy_set_tick_period_milliseconds(period: u32) -> u32;
        pub fn proxy_call_foreign_function(
            name: *const u8,
            length: usize,
            argument: *const u8,
            argument_length: usize,
            at: *mut *mut u8,
            size: *mut usize,
        ) -> u32;
        pub fn proxy_define_metric(kind: u32, name: *const u8, length: usize, metric: *mut u32) -> u32;
        pub fn proxy_increment_metric(metric: u32, offset: i64) -> u32;
        pub fn proxy_record_metric(metric: u32, value: u64) -> u32;
        pub fn proxy_get_metric(metric: u32, value: *mut u64) -> u32;
    }
}

/// Memory for the host to put values into.
#[unsafe(no_mangle)]
pub extern "C" fn proxy_on_memory_allocate(size: usize) -> *mut u8 {
    Vec::leak(vec![0; size]).as_mut_ptr()
}

/// A call that hands over bytes. Absent ones are a null pointer, which is told apart from empty ones.
fn taking(call: impl FnOnce(*mut *mut u8, *mut usize) -> u32) -> (u32, Option<Vec<u8>>) {
    let mut at = std::ptr::null_mut();
    let mut size = 0;
    let status = call(&mut at, &mut size);
    if at.is_null() {
        return (status, None);
    }
    // SAFETY: the host has filled memory that `proxy_on_memory_allocate` leaked to it.
    (status, Some(unsafe { Vec::from_raw_parts(at, size, size) }))
}

pub fn header(map: u32, name: &str) -> (u32, Option<Vec<u8>>) {
    // SAFETY: as for all calls below, pointers and lengths are those of live slices.
    taking(|at, size| unsafe { raw::proxy_get_header_map_value(map, name.as_ptr(), name.len(), at, size) })
}

pub fn headers(map: u32) -> (u32, Vec<(String, Vec<u8>)>) {
    // SAFETY: see above.
    let (status, bytes) = taking(|at, size| unsafe { raw::proxy_get_header_map_pairs(map, at, size) });
    (status, decode(&bytes.unwrap_or_default()))
}

pub fn add_header(map: u32, name: &str, value: &[u8]) -> u32 {
    // SAFETY: see above.
    unsafe { raw::proxy_add_header_map_value(map, name.as_ptr(), name.len(), value.as_ptr(), value.len()) }
}

pub fn set_header(map: u32, name: &str, value: &[u8]) -> u32 {
    let (at, size) = (value.as_ptr(), value.len());
    // SAFETY: see above.
    unsafe { raw::proxy_replace_header_map_value(map, name.as_ptr(), name.len(), at, size) }
}

pub fn remove_header(map: u32, name: &str) -> u32 {
    // SAFETY: see above.
    unsafe { raw::proxy_remove_header_map_value(map, name.as_ptr(), name.len()) }
}

pub fn buffer(kind: u32, start: usize, length: usize) -> (u32, Option<Vec<u8>>) {
    // SAFETY: see above.
    taking(|at, size| unsafe { raw::proxy_get_buffer_bytes(kind, start, length, at, size) })
}

pub fn set_buffer(kind: u32, start: usize, length: usize, data: &[u8]) -> u32 {
    // SAFETY: see above.
    unsafe { raw::proxy_set_buffer_bytes(kind, start, length, data.as_ptr(), data.len()) }
}

pub fn property(path: &[&str]) -> (u32, Option<Vec<u8>>) {
    let path = path.join("\0");
    // SAFETY: see above.
    taking(|at, size| unsafe { raw::proxy_get_property(path.as_ptr(), path.len(), at, size) })
}

pub fn set_property(path: &[&str], value: &[u8]) -> u32 {
    let path = path.join("\0");
    // SAFETY: see above.
    unsafe { raw::proxy_set_property(path.as_ptr(), path.len(), value.as_ptr(), value.len()) }
}

pub fn shared_data(key: &str) -> (u32, Option<Vec<u8>>, u32) {
    let mut cas = 0;
    // SAFETY: see above.
    let (status, value) =
        taking(|at, size| unsafe { raw::proxy_get_shared_data(key.as_ptr(), key.len(), at, size, &mut cas) });
    (status, value, cas)
}

pub fn set_shared_data(key: &str, value: &[u8], cas: u32) -> u32 {
    // SAFETY: see above.
    unsafe { raw::proxy_set_shared_data(key.as_ptr(), key.len(), value.as_ptr(), value.len(), cas) }
}

pub fn register_queue(name: &str) -> (u32, u32) {
    let mut token = 0;
    // SAFETY: see above.
    let status = unsafe { raw::proxy_register_shared_queue(name.as_ptr(), name.len(), &mut token) };
    (status, token)
}

pub fn resolve_queue(vm_id: &str, name: &str) -> (u32, u32) {
    let mut token = 0;
    let (id, id_length) = (vm_id.as_ptr(), vm_id.len());
    // SAFETY: see above.
    let status =
        unsafe { raw::proxy_resolve_shared_queue(id, id_length, name.as_ptr(), name.len(), &mut token) };
    (status, token)
}

pub fn enqueue(token: u32, item: &[u8]) -> u32 {
    // SAFETY: see above.
    unsafe { raw::proxy_enqueue_shared_queue(token, item.as_ptr(), item.len()) }
}

pub fn dequeue(token: u32) -> (u32, Option<Vec<u8>>) {
    // SAFETY: see above.
    taking(|at, size| unsafe { raw::proxy_dequeue_shared_queue(token, at, size) })
}

pub fn http_call(cluster: &str, headers: &[(&str, &str)], body: &[u8], timeout: u32) -> (u32, u32) {
    let headers = encode(headers);
    let trailers = encode(&[]);
    let mut token = 0;
    // SAFETY: see above.
    let status = unsafe {
        raw::proxy_http_call(
            cluster.as_ptr(),
            cluster.len(),
            headers.as_ptr(),
            headers.len(),
            body.as_ptr(),
            body.len(),
            trailers.as_ptr(),
            trailers.len(),
            timeout,
            &mut token,
        )
    };
    (status, token)
}

pub fn reply(status: u32, headers: &[(&str, &str)], body: &[u8]) -> u32 {
    let (headers, details) = (encode(headers), "probe");
    // SAFETY: see above.
    unsafe {
        raw::proxy_send_local_response(
            status,
            details.as_ptr(),
            details.len(),
            body.as_ptr(),
            body.len(),
            headers.as_ptr(),
            headers.len(),
            -1,
        )
    }
}

pub fn resume(kind: u32) -> u32 {
    // SAFETY: no pointers.
    unsafe { raw::proxy_continue_stream(kind) }
}

pub fn close(kind: u32) -> u32 {
    // SAFETY: no pointers.
    unsafe { raw::proxy_close_stream(kind) }
}

pub fn enter(context: u32) -> u32 {
    // SAFETY: no pointers.
    unsafe { raw::proxy_set_effective_context(context) }
}

pub fn set_tick(milliseconds: u32) -> u32 {
    // SAFETY: no pointers.
    unsafe { raw::proxy_set_tick_period_milliseconds(milliseconds) }
}

pub fn foreign(name: &str, argument: &[u8]) -> (u32, Option<Vec<u8>>) {
    let (bytes, length) = (argument.as_ptr(), argument.len());
    // SAFETY: see above.
    taking(|at, size| unsafe {
        raw::proxy_call_foreign_function(name.as_ptr(), name.len(), bytes, length, at, size)
    })
}

pub fn define_metric(kind: u32, name: &str) -> (u32, u32) {
    let mut metric = 0;
    // SAFETY: see above.
    let status = unsafe { raw::proxy_define_metric(kind, name.as_ptr(), name.len(), &mut metric) };
    (status, metric)
}

pub fn increment(metric: u32, offset: i64) -> u32 {
    // SAFETY: no pointers.
    unsafe { raw::proxy_increment_metric(metric, offset) }
}

pub fn record(metric: u32, value: u64) -> u32 {
    // SAFETY: no pointers.
    unsafe { raw::proxy_record_metric(metric, value) }
}

pub fn metric(metric: u32) -> (u32, u64) {
    let mut value = 0;
    // SAFETY: see above.
    let status = unsafe { raw::proxy_get_metric(metric, &mut value) };
    (status, value)
}

fn encode(pairs: &[(&str, &str)]) -> Vec<u8> {
    let mut out = (pairs.len() as u32).to_le_bytes().to_vec();
    for (name, value) in pairs {
        out.extend((name.len() as u32).to_le_bytes());
        out.extend((value.len() as u32).to_le_bytes());
    }
    for (name, value) in pairs {
        out.extend([name.as_bytes(), &[0], value.as_bytes(), &[0]].concat());
    }
    out
}

fn decode(bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let number = |at: usize| {
        let bytes = bytes.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        u32::from_le_bytes(bytes.unwrap_or_default()) as usize
    };
    let count = number(0);
    let mut at = 4 + 8 * count;
    let mut pairs = Vec::new();
    for index in 0..count {
        let (name, value) = (number(4 + 8 * index), number(8 + 8 * index));
        let take = |start: usize, length: usize| bytes.get(start..start + length).unwrap_or(&[]);
        let text = String::from_utf8_lossy(take(at, name)).into_owned();
        pairs.push((text, take(at + name + 1, value).to_vec()));
        at += name + value + 2;
    }
    pairs
}
