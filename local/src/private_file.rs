//! Files that only their owner may read. A key is written once, and is on the disk before anybody relies on it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// The content of `directory/name`; if there is none yet, what `generate` makes is stored there first.
///
/// Two processes that start at once agree: the file appears whole or not at all, and the first one wins.
pub(crate) fn load_or_create<E: From<io::Error>>(
    directory: &Path,
    name: &str,
    generate: impl FnOnce() -> Result<Vec<u8>, E>,
) -> Result<Vec<u8>, E> {
    let path = directory.join(name);
    match fs::read(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        found => return found.map_err(E::from),
    }
    let content = generate()?;
    let draft = directory.join(format!("{name}.{}", std::process::id()));
    write_synced(&draft, &content)?;
    let linked = fs::hard_link(&draft, &path);
    fs::remove_file(&draft)?;
    match linked {
        Ok(()) => File::open(directory)?.sync_all()?,
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(fs::read(&path)?),
        Err(error) => return Err(error.into()),
    }
    Ok(content)
}

/// An empty file, unless there is one; for a program that would create it readable by all.
pub(crate) fn create_if_missing(path: &Path) -> io::Result<()> {
    options().append(true).open(path).map(drop)
}

fn write_synced(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = options().write(true).truncate(true).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_content_stays_and_only_its_owner_can_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let create = |content: &[u8]| {
            load_or_create::<io::Error>(directory.path(), "key", || Ok(content.to_vec())).unwrap()
        };
        assert_eq!(create(b"first"), b"first");
        assert_eq!(create(b"second"), b"first");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(directory.path().join("key")).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "no draft is left behind");
    }
}
