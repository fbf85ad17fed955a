//! Ends what a test process started even when it is killed, or leaves through `exit`.
//!
//! A stack shared by the tests of a file lives in a static, which Rust never drops. So a small
//! shell holds the other end of a pipe: the kernel closes it however this process ends, and the
//! shell then kills the process groups and removes the directories it was told of.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Kills this process group when the test process ends.
pub(crate) fn guard_group(id: i32) {
    tell(&format!("group {id}\n"));
}

/// The group has ended, and its number may soon belong to somebody else.
pub(crate) fn forget_group(id: i32) {
    tell(&format!("gone {id}\n"));
}

/// Removes this directory when the test process ends.
pub(crate) fn guard_directory(path: &Path) {
    tell(&format!("directory {}\n", path.display()));
}

const SCRIPT: &str = r#"
groups=" "
while read -r what name; do
  case $what in
    group) groups="$groups$name " ;;
    gone) groups="${groups%% $name *} ${groups#* $name }" ;;
    directory) set -- "$@" "$name" ;;
  esac
done
for group in $groups; do kill -s KILL -- "-$group" 2>/dev/null; done
if [ "$#" -gt 0 ]; then rm -rf -- "$@"; fi
"#;

fn tell(line: &str) {
    static SHELL: OnceLock<Mutex<Child>> = OnceLock::new();
    let shell = SHELL.get_or_init(|| Mutex::new(start()));
    let mut shell = shell.lock().unwrap_or_else(PoisonError::into_inner);
    let stdin = shell.stdin.as_mut().expect("the shell's stdin is a pipe");
    stdin.write_all(line.as_bytes()).expect("the watchdog shell is alive");
}

fn start() -> Child {
    Command::new("sh")
        .args(["-c", SCRIPT, "lockgate-e2e-watchdog"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        // An interrupt from the terminal ends the test process; the watchdog must outlive it.
        .process_group(0)
        .spawn()
        .expect("start sh")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read};
    use std::sync::Arc;

    use crate::{Journal, Process};

    use super::*;

    const PIPE: &str = "LOCKGATE_E2E_WATCHDOG_TEST";

    #[test]
    fn what_a_killed_test_process_had_started_ends() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let name = "watchdog::tests::starts_a_program_and_waits";
        let mut test = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--ignored"])
            .env(PIPE, &pipe)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let mut pipe = BufReader::new(std::fs::File::open(pipe).unwrap());
        let mut line = String::new();
        pipe.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        test.kill().unwrap();
        test.wait().unwrap();
        // The end of the pipe: nobody holds it open any more.
        assert_eq!(pipe.read_to_string(&mut line).unwrap(), 0);
    }

    #[test]
    #[ignore = "the test above runs it, and kills it"]
    fn starts_a_program_and_waits() {
        let script = format!("exec >${PIPE}; read -r word; echo $word; sleep 60");
        let log = Arc::new(Journal::default());
        let mut sh = Process::start("sh", Command::new("sh").args(["-c", &script]), log);
        sh.take_stdin().unwrap().write_all(b"started\n").unwrap();
        loop {
            std::thread::park();
        }
    }
}
