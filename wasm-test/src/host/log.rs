//! The log: lines of the filters and what the proxy itself says about the VM.

use crate::host::Status;
use crate::observed::{Level, LogLine};
use crate::vm::{self, Cx};

/// All lines so far, at or above the level in force.
#[derive(Debug, Default)]
pub(crate) struct Log {
    pub(crate) lines: Vec<LogLine>,
    pub(crate) level: Level,
}

impl Log {
    pub(crate) fn add(&mut self, level: Level, root_id: &str, message: &str) {
        if level >= self.level {
            let (root_id, message) = (root_id.to_owned(), message.to_owned());
            self.lines.push(LogLine { level, root_id, message });
        }
    }

    /// A line of the proxy itself.
    pub(crate) fn envoy(&mut self, message: &str) {
        self.add(Level::Critical, "", message);
    }
}

/// `proxy_log`.
pub(crate) fn log(cx: &mut Cx<'_>, level: u32, pointer: u32, length: u32) -> Status {
    let Some(level) = Level::from_abi(level) else {
        return Status::BadArgument;
    };
    let Some(message) = vm::read(cx, pointer, length) else {
        return Status::InvalidMemoryAccess;
    };
    write(cx, level, &message);
    Status::Ok
}

/// Writes a line on behalf of the context in force.
pub(crate) fn write(cx: &mut Cx<'_>, level: Level, message: &[u8]) {
    let host = cx.data_mut();
    let plugin = host.vm.plugin_of(host.vm.subject());
    let plugin = plugin.and_then(|plugin| host.settings.plugins.get(plugin));
    let root_id = plugin.map(|plugin| plugin.root_id.clone()).unwrap_or_default();
    host.log.add(level, &root_id, &String::from_utf8_lossy(message));
}

/// `proxy_get_log_level`.
pub(crate) fn level(cx: &mut Cx<'_>, at: u32) -> Status {
    let level = cx.data().log.level as u32;
    vm::write(cx, at, &level.to_le_bytes()).into()
}
