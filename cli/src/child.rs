//! Children that do not outlive their parent, however it ends. The kernel's death signal has to be
//! asked for in the child itself, so a child is started through this very binary.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;

use tokio::process::Command;

/// A command that ends with this process. It stays in the process group.
///
/// # Errors
/// If this binary's path is not to be found.
pub fn bound(program: &OsStr) -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("bound-to-parent").arg(std::process::id().to_string()).arg("--").arg(program);
    command.kill_on_drop(true);
    Ok(command)
}

/// Asks for the death signal and becomes the command. Returns only if that fails.
pub fn become_bound(parent: u32, command: &[String]) -> io::Error {
    #[cfg(target_os = "linux")]
    {
        let signal = Some(rustix::process::Signal::KILL);
        if let Err(error) = rustix::process::set_parent_process_death_signal(signal) {
            return error.into();
        }
        // It may have died before the signal was asked for.
        let present = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if present != Some(parent) {
            return io::Error::other("the parent is gone");
        }
    }
    let _ = parent;
    match command.split_first() {
        Some((program, arguments)) => std::process::Command::new(program).args(arguments).exec(),
        None => io::Error::other("no command"),
    }
}
