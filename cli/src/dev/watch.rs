//! What asks for a rebuild: a file that changed, or `r` and Enter.

use std::collections::BTreeMap;
use std::io::BufRead;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc::Sender;

const PERIOD: Duration = Duration::from_millis(500);

/// Files by path, with when they were last written and how long they are.
pub(super) type Snapshot = BTreeMap<PathBuf, (SystemTime, u64)>;

/// Says which file changed since `known` was seen, until nobody listens.
pub(super) async fn files(directories: Vec<PathBuf>, mut known: Snapshot, changes: Sender<String>) {
    loop {
        tokio::time::sleep(PERIOD).await;
        let now = snapshot(&directories);
        if let Some(path) = difference(&known, &now)
            && changes.send(format!("{} changed", path.display())).await.is_err()
        {
            return;
        }
        known = now;
    }
}

/// Says that a person asked. It has a thread of its own, because a read from a terminal cannot be
/// called off.
pub(super) fn keyboard(changes: Sender<String>) {
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            if line.trim() == "r" && changes.blocking_send("asked for".to_owned()).is_err() {
                return;
            }
        }
    });
}

fn difference(before: &Snapshot, after: &Snapshot) -> Option<PathBuf> {
    let changed = after.iter().find(|(path, state)| before.get(*path) != Some(*state));
    let gone = before.keys().find(|path| !after.contains_key(*path));
    changed.map(|(path, _)| path.clone()).or_else(|| gone.cloned())
}

pub(super) fn snapshot(directories: &[PathBuf]) -> Snapshot {
    let mut found = Snapshot::new();
    for directory in directories {
        collect(directory, &mut found);
    }
    found
}

fn collect(path: &Path, found: &mut Snapshot) {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    // Editors' own files, and what building leaves.
    if name.starts_with('.') && name.len() > 1
        || name.ends_with('~')
        || name == "target"
        || name == "node_modules"
    {
        return;
    }
    let Ok(metadata) = std::fs::symlink_metadata(path) else { return };
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).into_iter().flatten().flatten() {
            collect(&entry.path(), found);
        }
    } else if let Ok(modified) = metadata.modified() {
        found.insert(path.to_owned(), (modified, metadata.len()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_new_and_removed_files_are_changes_and_editors_files_are_not() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("watched");
        std::fs::create_dir(&root).unwrap();
        std::fs::write(root.join("a"), "1").unwrap();
        let roots = [root.clone()];
        let before = snapshot(&roots);
        std::fs::write(root.join(".a.swp"), "x").unwrap();
        std::fs::write(root.join("a~"), "x").unwrap();
        assert_eq!(difference(&before, &snapshot(&roots)), None);
        std::fs::write(root.join("a"), "22").unwrap();
        assert_eq!(difference(&before, &snapshot(&roots)), Some(root.join("a")));
        let before = snapshot(&roots);
        std::fs::remove_file(root.join("a")).unwrap();
        assert_eq!(difference(&before, &snapshot(&roots)), Some(root.join("a")));
    }
}
