//! A worker's VM: loading it, configuring its plugins, and loading it anew after it died.

use wasmtime::{AsContextMut, Linker, Module, Store};

use crate::events;
use crate::host::Host;
use crate::host::contexts::Context;
use crate::vm::{self, Cx};

/// Loads a VM and configures every plugin in it.
pub(crate) fn load(store: &mut Store<Host>, linker: &Linker<Host>, module: &Module) -> Result<(), String> {
    vm::start(store, linker, module)?;
    let mut cx = store.as_context_mut();
    let plugins = cx.data().settings.plugins.len();
    (0..plugins).try_for_each(|plugin| configure(&mut cx, plugin))
}

/// Loads a dead VM anew when a request comes, unless it was loaded a moment ago (`FAIL_RELOAD`).
/// The interval counts from the last load, not from the death. The first VM counts as old.
pub(crate) fn reload(store: &mut Store<Host>, linker: &Linker<Host>, module: &Module) {
    let host = store.data_mut();
    let Some(interval) = host.settings.reload else { return };
    if !host.vm.is_failed(host.vm.generation()) {
        return;
    }
    let now = host.clock.now();
    let interval = u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX);
    if host.vm.last_load.is_some_and(|last| now.saturating_sub(last) < interval) {
        return;
    }
    host.vm.last_load = Some(now);
    if let Err(message) = load(store, linker, module) {
        let host = store.data_mut();
        host.vm.fail();
        host.log.envoy(&message);
    }
}

/// Makes a plugin's root context: `on_context_create`, `on_vm_start`, `on_configure`.
fn configure(cx: &mut Cx<'_>, plugin: usize) -> Result<(), String> {
    let Some(exports) = cx.data().vm.exports() else {
        return Err("there is no VM".to_owned());
    };
    let root = cx.data_mut().vm.create(Context::Root { plugin });
    cx.data_mut().vm.configuring = Some(plugin);
    let settings = cx.data().settings.clone();
    let length = settings.plugins.get(plugin).map_or(0, |plugin| plugin.configuration.len());
    let length = u32::try_from(length).unwrap_or(u32::MAX);
    if let Some(on_context_create) = &exports.on_context_create {
        vm::call(cx, root, on_context_create, (root, 0));
    }
    if let Some(on_vm_start) = &exports.on_vm_start {
        accept(cx, |cx| vm::call(cx, root, on_vm_start, (root, 0)), "Failed to start Wasm VM")?;
    }
    if let Some(on_configure) = &exports.on_configure {
        let failure = "Failed to configure Wasm plugin";
        accept(cx, |cx| vm::call(cx, root, on_configure, (root, length)), failure)?;
    }
    cx.data_mut().vm.configuring = None;
    Ok(())
}

fn accept(
    cx: &mut Cx<'_>,
    call: impl FnOnce(&mut Cx<'_>) -> Option<u32>,
    failure: &str,
) -> Result<(), String> {
    let vm = &cx.data().vm;
    let accepted = if vm.is_failed(vm.generation()) { None } else { call(cx) };
    events::after_callback(cx);
    match accepted {
        Some(accepted) if accepted != 0 => Ok(()),
        _ => Err(failure.to_owned()),
    }
}
