//! The WebAssembly side: modules compiled once a process, instances, and calls into them.

use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Mutex, OnceLock, PoisonError};

use wasmtime::{
    AsContextMut, Config, Engine, Instance, Linker, Memory, Module, Store, StoreContextMut, Strategy,
    TypedFunc, WasmParams, WasmResults,
};

use crate::host::Host;

/// The store as every part of the host sees it: the state, and the VM to call.
pub(crate) type Cx<'a> = StoreContextMut<'a, Host>;

type CallResponse = TypedFunc<(u32, u32, u32, u32, u32), ()>;

/// The functions that a module exports and the host may call.
pub(crate) struct Exports {
    pub(crate) memory: Memory,
    malloc: TypedFunc<u32, u32>,
    pub(crate) on_context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) on_vm_start: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) on_configure: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) on_tick: Option<TypedFunc<u32, ()>>,
    pub(crate) on_queue_ready: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) on_http_call_response: Option<CallResponse>,
    pub(crate) on_request_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) on_request_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) on_request_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) on_response_headers: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) on_response_body: Option<TypedFunc<(u32, u32, u32), u32>>,
    pub(crate) on_response_trailers: Option<TypedFunc<(u32, u32), u32>>,
    pub(crate) on_done: Option<TypedFunc<u32, u32>>,
    pub(crate) on_log: Option<TypedFunc<u32, ()>>,
    pub(crate) on_delete: Option<TypedFunc<u32, ()>>,
}

/// Compiles a module, or finds it where this process has compiled the same bytes before.
pub(crate) fn module(bytes: &[u8]) -> Result<Module, String> {
    static MODULES: OnceLock<Mutex<HashMap<Vec<u8>, Module>>> = OnceLock::new();
    let modules = MODULES.get_or_init(Mutex::default);
    let mut modules = modules.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(module) = modules.get(bytes) {
        return Ok(module.clone());
    }
    let module = compile(bytes).map_err(|error| format!("cannot be compiled: {error:#}"))?;
    modules.insert(bytes.to_vec(), module.clone());
    Ok(module)
}

/// The baseline compiler is several times faster than the optimizing one and enough for tests; what
/// it does not know, the other one does.
fn compile(bytes: &[u8]) -> wasmtime::Result<Module> {
    let baseline = engine(Strategy::Winch).and_then(|engine| Module::new(&engine, bytes));
    baseline.or_else(|_| Module::new(&engine(Strategy::Cranelift)?, bytes))
}

fn engine(strategy: Strategy) -> wasmtime::Result<Engine> {
    static ENGINES: Mutex<Vec<(Strategy, Engine)>> = Mutex::new(Vec::new());
    let mut engines = ENGINES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, engine)) = engines.iter().find(|(other, _)| *other == strategy) {
        return Ok(engine.clone());
    }
    let mut config = Config::new();
    config.strategy(strategy);
    let engine = Engine::new(&config)?;
    engines.push((strategy, engine.clone()));
    Ok(engine)
}

/// Checks what Envoy checks of a module before it runs: the ABI it was built for and, as functions
/// that a host does not have keep a module from loading, what it imports.
pub(crate) fn check(store: &mut Store<Host>, linker: &Linker<Host>, module: &Module) -> Result<(), String> {
    let known = ["proxy_abi_version_0_2_0", "proxy_abi_version_0_2_1"];
    if !known.iter().any(|name| module.get_export(name).is_some()) {
        return Err("Missing or unknown Proxy-Wasm ABI version".to_owned());
    }
    for import in module.imports() {
        let (from, name) = (import.module(), import.name());
        if linker.get(&mut *store, from, name).is_err() {
            return Err(format!("imports {from}.{name}, which Envoy 1.36 does not have"));
        }
    }
    Ok(())
}

/// Makes a VM: an instance whose `_initialize` or `_start` has run.
pub(crate) fn start(store: &mut Store<Host>, linker: &Linker<Host>, module: &Module) -> Result<(), String> {
    let instance =
        linker.instantiate(&mut *store, module).map_err(|error| format!("cannot be linked: {error:#}"))?;
    let exports = exports(store, &instance)?;
    let generation = store.data_mut().vm.restart(Rc::new(exports));
    for name in ["_initialize", "_start"] {
        if let Ok(entry) = instance.get_typed_func::<(), ()>(&mut *store, name) {
            let mut cx = store.as_context_mut();
            call(&mut cx, 0, &entry, ());
            break;
        }
    }
    match store.data().vm.is_failed(generation) {
        true => Err("Failed to initialize Wasm code".to_owned()),
        false => Ok(()),
    }
}

fn exports(store: &mut Store<Host>, instance: &Instance) -> Result<Exports, String> {
    let memory = instance.get_memory(&mut *store, "memory").ok_or_else(|| "exports no memory".to_owned())?;
    let malloc = find(store, instance, "malloc")
        .or_else(|| find(store, instance, "proxy_on_memory_allocate"))
        .ok_or_else(|| "Wasm module is missing malloc function.".to_owned())?;
    Ok(Exports {
        memory,
        malloc,
        on_context_create: find(store, instance, "proxy_on_context_create"),
        on_vm_start: find(store, instance, "proxy_on_vm_start"),
        on_configure: find(store, instance, "proxy_on_configure"),
        on_tick: find(store, instance, "proxy_on_tick"),
        on_queue_ready: find(store, instance, "proxy_on_queue_ready"),
        on_http_call_response: find(store, instance, "proxy_on_http_call_response"),
        on_request_headers: find(store, instance, "proxy_on_request_headers"),
        on_request_body: find(store, instance, "proxy_on_request_body"),
        on_request_trailers: find(store, instance, "proxy_on_request_trailers"),
        on_response_headers: find(store, instance, "proxy_on_response_headers"),
        on_response_body: find(store, instance, "proxy_on_response_body"),
        on_response_trailers: find(store, instance, "proxy_on_response_trailers"),
        on_done: find(store, instance, "proxy_on_done"),
        on_log: find(store, instance, "proxy_on_log"),
        on_delete: find(store, instance, "proxy_on_delete"),
    })
}

fn find<P: WasmParams, R: WasmResults>(
    store: &mut Store<Host>,
    instance: &Instance,
    name: &str,
) -> Option<TypedFunc<P, R>> {
    instance.get_typed_func(store, name).ok()
}

/// Calls into the VM on behalf of `context`. A trap ends the VM and yields `None`.
///
/// The effective context is none at every entry, and the one before is in force again afterwards.
pub(crate) fn call<P: WasmParams, R: WasmResults>(
    cx: &mut Cx<'_>,
    context: u32,
    function: &TypedFunc<P, R>,
    parameters: P,
) -> Option<R> {
    let before = cx.data_mut().vm.enter(context);
    let result = function.call(&mut *cx, parameters);
    let host = cx.data_mut();
    host.vm.leave(before);
    match result {
        Ok(result) => Some(result),
        Err(error) => {
            host.trap(&error);
            None
        }
    }
}

/// Reads `length` bytes of the VM's memory.
pub(crate) fn read(cx: &Cx<'_>, pointer: u32, length: u32) -> Option<Vec<u8>> {
    let exports = cx.data().vm.exports()?;
    let start = usize::try_from(pointer).ok()?;
    let end = start.checked_add(usize::try_from(length).ok()?)?;
    exports.memory.data(cx).get(start..end).map(<[u8]>::to_vec)
}

/// Writes `bytes` into the VM's memory.
pub(crate) fn write(cx: &mut Cx<'_>, pointer: u32, bytes: &[u8]) -> Option<()> {
    let exports = cx.data().vm.exports()?;
    exports.memory.write(&mut *cx, usize::try_from(pointer).ok()?, bytes).ok()
}

/// Hands `bytes` to the VM: allocated by it, with pointer and length written where it said. Nothing
/// is allocated for no bytes, which is why the SDK sees an empty value as absent.
pub(crate) fn give(cx: &mut Cx<'_>, bytes: &[u8], pointer_at: u32, length_at: u32) -> Option<()> {
    let length = u32::try_from(bytes.len()).ok()?;
    let mut pointer = 0;
    if length > 0 {
        let exports = cx.data().vm.exports()?;
        pointer = call(cx, 0, &exports.malloc, length).filter(|pointer| *pointer != 0)?;
        write(cx, pointer, bytes)?;
    }
    write(cx, pointer_at, &pointer.to_le_bytes())?;
    write(cx, length_at, &length.to_le_bytes())
}
