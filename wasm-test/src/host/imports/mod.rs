//! The functions a module may import, each with its ABI signature: proxy-wasm 0.2.1 and the WASI
//! functions of Envoy 1.36. Every call is counted.

mod messages;
mod services;
mod system;

use wasmtime::Linker;

use crate::host::Host;
use crate::vm::Cx;

/// Defines one import: counts the call, runs the body with the store, and unwinds if the VM died
/// meanwhile, which a body that enters it again can cause.
macro_rules! import {
    ($linker:ident, $module:literal, $name:literal, |$cx:ident $(, $argument:ident: $type:ty)*| $body:expr) => {
        $linker.func_wrap($module, $name, |mut caller: wasmtime::Caller<'_, Host> $(, $argument: $type)*| {
            let mut store = wasmtime::AsContextMut::as_context_mut(&mut caller);
            let $cx = &mut store;
            $cx.data_mut().host_calls.add($name);
            let result = $body as u32;
            $crate::host::imports::alive($cx).map(|()| result)
        })?;
    };
}

use import;

fn alive(cx: &Cx<'_>) -> wasmtime::Result<()> {
    let vm = &cx.data().vm;
    match vm.is_failed(vm.generation()) {
        true => Err(wasmtime::Error::msg("the VM died in a call that this one has caused")),
        false => Ok(()),
    }
}

/// All imports. A module that wants another one does not load.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    // A module built for older toolchains imports WASI under its first name.
    linker.allow_shadowing(true);
    messages::messages(&mut linker)?;
    services::sharing(&mut linker)?;
    services::context(&mut linker)?;
    system::environment(&mut linker)?;
    system::files(&mut linker)?;
    linker.alias_module("wasi_snapshot_preview1", "wasi_unstable")?;
    Ok(linker)
}
