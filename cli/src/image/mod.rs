//! WebAssembly modules as OCI images, in the layout that Istio's agent calls "compat": an image as any
//! other, whose last layer holds the file `plugin.wasm`. Every registry and every tool that moves images
//! takes it. The same module makes the same image, byte for byte: nothing in it tells when or where it
//! was made. <https://github.com/opencontainers/image-spec>

mod layer;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use layer::Layer;

/// Why modules could not be packed, or images not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file failed.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// There is nothing to pack.
    #[error("{} has no modules: run `make wasm`", .0.display())]
    NoModules(PathBuf),
    /// A module that is none.
    #[error("{} is not a WebAssembly module", .0.display())]
    NotWasm(PathBuf),
    /// A directory that this program has not written.
    #[error("{} is not an OCI layout: run `make oci`", .0.display())]
    NotLayout(PathBuf),
}

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const NAME: &str = "org.opencontainers.image.ref.name";
const TITLE: &str = "org.opencontainers.image.title";

/// Packs every module of a directory into an OCI layout, each under its name, and returns the digests of
/// their manifests. What the layout had before under its index is replaced.
///
/// # Errors
/// Files that cannot be read or written, and files that are no modules.
pub fn pack(modules: &Path, layout: &Path) -> Result<BTreeMap<String, String>, Error> {
    let blobs = Blobs(layout.join("blobs/sha256"));
    std::fs::create_dir_all(&blobs.0).map_err(at(&blobs.0))?;
    let mut images = Vec::new();
    for path in files(modules)? {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let module = std::fs::read(&path).map_err(at(&path))?;
        if !module.starts_with(b"\0asm") {
            return Err(Error::NotWasm(path));
        }
        let layer = Layer::of(&module).map_err(at(&path))?;
        let mut image = blobs.image(&name, &layer)?;
        if let Value::Object(image) = &mut image {
            image.insert("annotations".to_owned(), json!({NAME: name}));
        }
        images.push(image);
    }
    if images.is_empty() {
        return Err(Error::NoModules(modules.to_owned()));
    }
    write(&layout.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string().as_bytes())?;
    let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": images});
    write(&layout.join("index.json"), index.to_string().as_bytes())?;
    digests(layout)
}

/// The digests of the manifests of an OCI layout, in hexadecimal, by the images' names.
///
/// # Errors
/// A directory that is no such layout.
pub fn digests(layout: &Path) -> Result<BTreeMap<String, String>, Error> {
    let path = layout.join("index.json");
    let index = std::fs::read(&path).map_err(at(&path))?;
    let index: Value = serde_json::from_slice(&index).map_err(|_| Error::NotLayout(layout.to_owned()))?;
    let images = index.get("manifests").and_then(Value::as_array);
    let images = images.ok_or_else(|| Error::NotLayout(layout.to_owned()))?;
    let named = images.iter().filter_map(|image| {
        let name = image.get("annotations")?.get(NAME)?.as_str()?;
        let digest = image.get("digest")?.as_str()?.strip_prefix(ALGORITHM)?;
        Some((name.to_owned(), digest.to_owned()))
    });
    Ok(named.collect())
}

struct Blobs(PathBuf);

impl Blobs {
    /// The image of one module, as an index names it.
    fn image(&self, name: &str, layer: &Layer) -> Result<Value, Error> {
        let config = json!({
            "architecture": "wasm",
            "os": "wasip1",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [digest(&layer.tar)]},
            "history": [{"created_by": "lockgate image"}],
        });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.add(CONFIG, config.to_string().as_bytes())?,
            "layers": [self.add(LAYER, &layer.gzip)?],
            "annotations": {TITLE: name},
        });
        self.add(MANIFEST, manifest.to_string().as_bytes())
    }

    fn add(&self, media_type: &str, bytes: &[u8]) -> Result<Value, Error> {
        let digest = digest(bytes);
        let name = digest.strip_prefix(ALGORITHM).unwrap_or_default();
        write(&self.0.join(name), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": digest, "size": bytes.len()}))
    }
}

const ALGORITHM: &str = "sha256:";

fn digest(bytes: &[u8]) -> String {
    let mut text = ALGORITHM.to_owned();
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// The modules of a directory, by name.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(at(directory))? {
        let path = entry.map_err(at(directory))?.path();
        if path.extension().is_some_and(|extension| extension == "wasm") {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    std::fs::write(path, bytes).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |error| Error::File { path, error }
}
