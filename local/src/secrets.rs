//! Secret Manager's `versions/{version}:access`, from files: `<directory>/<secret>/<version number>`.
//!
//! Files are read on every call, so a new file is a new version at once. To replace nothing half-written, write the
//! file under another name and rename it.

use std::io;
use std::path::{Path, PathBuf};

use axum::http::Method;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use crate::api::Call;
use crate::status::{self, ApiError};

/// Google's limit on a payload (<https://cloud.google.com/secret-manager/quotas>).
const MAX_PAYLOAD_BYTES: usize = 65_536;

pub(crate) struct Secrets {
    directory: PathBuf,
}

impl Secrets {
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    pub(crate) async fn answer(&self, call: &Call) -> Result<Response, ApiError> {
        let segments: Vec<&str> = call.segments.iter().map(String::as_str).collect();
        match (&call.method, segments.as_slice(), call.verb.as_deref()) {
            (&Method::GET, ["projects", project, "secrets", secret, "versions", version], Some("access")) => {
                self.access(project, secret, version).await
            }
            _ => Err(ApiError::unimplemented("this method of Secret Manager")),
        }
    }

    async fn access(&self, project: &str, secret: &str, version: &str) -> Result<Response, ApiError> {
        if !is_secret_id(secret) {
            return Err(ApiError::invalid("A secret's name has 1 to 255 letters, digits, '_' and '-'."));
        }
        let resource = format!("projects/{project}/secrets/{secret}/versions/{version}");
        let wanted = match version {
            "latest" => None,
            number => Some(version_number(number).ok_or_else(|| {
                ApiError::invalid("A version is a number without leading zeros, or 'latest'.")
            })?),
        };
        let directory = self.directory.join(secret);
        let read = tokio::task::spawn_blocking(move || read(&directory, wanted)).await;
        let (number, payload) = match read.map_err(io::Error::other).flatten() {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(ApiError::not_found(&resource));
            }
            Err(error) => {
                log::error!("secret {secret} could not be read: {error}");
                return Err(ApiError::unavailable());
            }
        };
        status::ok(&json!({
            "name": format!("projects/{project}/secrets/{secret}/versions/{number}"),
            "payload": {
                "data": STANDARD.encode(&payload),
                "dataCrc32c": crc32c::crc32c(&payload).to_string(),
            }
        }))
    }
}

fn read(directory: &Path, wanted: Option<u64>) -> io::Result<(u64, Vec<u8>)> {
    let number = match wanted {
        Some(number) => number,
        None => latest(directory)?,
    };
    let payload = std::fs::read(directory.join(number.to_string()))?;
    match payload.len() {
        // Google stores no empty payload; an empty file is one that is about to be written.
        0 => Err(io::ErrorKind::NotFound.into()),
        length if length > MAX_PAYLOAD_BYTES => Err(io::Error::other("larger than 64 KiB")),
        _ => Ok((number, payload)),
    }
}

fn latest(directory: &Path) -> io::Result<u64> {
    let mut latest = None;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        if let Some(number) = entry.file_name().to_str().and_then(version_number)
            && std::fs::metadata(entry.path())?.len() > 0
        {
            latest = latest.max(Some(number));
        }
    }
    latest.ok_or_else(|| io::ErrorKind::NotFound.into())
}

fn is_secret_id(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    (1..=255).contains(&text.len()) && text.bytes().all(allowed)
}

fn version_number(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number > 0 && number.to_string() == text).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_versions_cannot_leave_the_directory() {
        for name in ["", ".", "..", "a/b", "a\\b", "a.b", "a\0", "é"] {
            assert!(!is_secret_id(name), "{name:?}");
        }
        assert!(is_secret_id("Slack_signing-secret1"));
        for version in ["", "0", "01", "+1", "-1", "1.tmp", "..", "latest", "99999999999999999999"] {
            assert_eq!(version_number(version), None, "{version:?}");
        }
        assert_eq!(version_number("12"), Some(12));
    }

    #[test]
    fn the_latest_is_the_highest_number_and_files_being_written_do_not_count() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &str| std::fs::write(directory.path().join(name), content).unwrap();
        write("2", "two");
        write("10", "ten");
        write("11", "");
        write("12.tmp", "half");
        assert_eq!(read(directory.path(), None).unwrap(), (10, b"ten".to_vec()));
        assert_eq!(read(directory.path(), Some(2)).unwrap(), (2, b"two".to_vec()));
        assert_eq!(read(directory.path(), Some(11)).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
