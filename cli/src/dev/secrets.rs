//! Secrets of a laptop: random, made once, kept where only their owner reads them.

use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jwt_simple::algorithms::ES256KeyPair;

/// Creates the directory for its owner alone.
pub(super) fn create_directory(directory: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// The secret in `path`, made now if there is none: 32 random bytes in base64, which suits nearly every
/// use.
pub(super) fn kept(path: &Path) -> io::Result<String> {
    kept_or_made(path, || {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(io::Error::other)?;
        Ok(STANDARD.encode(bytes))
    })
}

/// The signing key in `path`, made now if there is none: a private key on P-256 in PEM (PKCS #8).
pub(super) fn kept_key(path: &Path) -> io::Result<String> {
    kept_or_made(path, || ES256KeyPair::generate().to_pem().map_err(io::Error::other))
}

fn kept_or_made(path: &Path, make: impl FnOnce() -> io::Result<String>) -> io::Result<String> {
    match std::fs::File::open(path) {
        Ok(mut file) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(text.trim().to_owned())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let text = make()?;
            // Written beside and renamed, so that a kill leaves no half secret to be kept for ever.
            let fresh = path.with_extension("fresh");
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&fresh)?;
            file.write_all(text.as_bytes())?;
            std::fs::rename(&fresh, path)?;
            Ok(text.trim().to_owned())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_made_once_and_only_its_owner_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("secret");
        let first = kept(&path).unwrap();
        assert_eq!(kept(&path).unwrap(), first);
        assert_eq!(STANDARD.decode(&first).unwrap().len(), 32);
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_ne!(kept(&directory.path().join("other")).unwrap(), first);
    }

    #[test]
    fn a_key_is_made_once_and_is_one() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let first = kept_key(&path).unwrap();
        assert_eq!(kept_key(&path).unwrap(), first);
        assert!(first.starts_with("-----BEGIN PRIVATE KEY-----"), "PKCS #8");
        assert!(ES256KeyPair::from_pem(&first).is_ok());
    }
}
