//! The images: what a tool that knows nothing of Lockgate finds in them.

use std::path::{Path, PathBuf};
use std::process::Command;

use lockgate_e2e::stack::workspace;
use serde_json::Value;
use tempfile::TempDir;

fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(workspace()).output();
    let output = output.unwrap_or_else(|error| panic!("{program}: {error}; apt-get install {program}"));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {arguments:?}: {said}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn tool() -> String {
    std::env::var("LOCKGATE_BIN").unwrap_or_else(|_| "target/debug/lockgate".to_owned())
}

/// Packs the modules of `dist/`; every module's name with its image's digest.
fn pack(layout: &Path) -> Vec<(String, String)> {
    let printed = run(&tool(), &["image", "--modules", "dist", "--out", &layout.to_string_lossy()]);
    let images = printed.lines().map(|line| {
        let (digest, name) = line.split_once(' ').unwrap_or_else(|| panic!("{line}"));
        (name.to_owned(), digest.to_owned())
    });
    images.collect()
}

fn modules() -> Vec<PathBuf> {
    let files = std::fs::read_dir(workspace().join("dist")).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect()
}

#[test]
fn every_module_is_in_an_image_as_istios_agent_reads_it() {
    let directory = TempDir::new().unwrap();
    let layout = directory.path().join("oci");
    let images = pack(&layout);
    let mut names: Vec<String> =
        modules().iter().map(|path| path.file_stem().unwrap().to_string_lossy().into_owned()).collect();
    names.sort();
    assert_eq!(images.iter().map(|(name, _)| name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    assert!(images.iter().any(|(name, _)| name == "lockgate") && images.len() > 5);
    for (name, digest) in &images {
        let image = format!("oci:{}:{name}", layout.display());
        let inspected: Value = serde_json::from_str(&run("skopeo", &["inspect", &image])).unwrap();
        assert_eq!(inspected["Digest"], **digest, "{name}");
        let raw: Value = serde_json::from_str(&run("skopeo", &["inspect", "--raw", &image])).unwrap();
        assert_eq!(raw["mediaType"], "application/vnd.oci.image.manifest.v1+json");
        let layer = raw["layers"].as_array().unwrap().last().unwrap();
        assert_eq!(layer["mediaType"], "application/vnd.oci.image.layer.v1.tar+gzip");

        let copied = directory.path().join(name);
        run(
            "skopeo",
            &["--insecure-policy", "copy", "--quiet", &image, &format!("dir:{}", copied.display())],
        );
        let (_, blob) = layer["digest"].as_str().unwrap().split_once(':').unwrap();
        let blob = copied.join(blob).to_string_lossy().into_owned();
        assert_eq!(run("tar", &["-tzf", &blob]), "plugin.wasm\n");
        run("tar", &["-xzf", &blob, "-C", &copied.to_string_lossy()]);
        let unpacked = std::fs::read(copied.join("plugin.wasm")).unwrap();
        assert!(
            unpacked == std::fs::read(workspace().join("dist").join(name).with_extension("wasm")).unwrap()
        );
    }
}

#[test]
fn the_same_module_is_the_same_image() {
    let directory = TempDir::new().unwrap();
    let [first, second] = ["first", "second"].map(|name| pack(&directory.path().join(name)));
    assert_eq!(first, second);
    // Written over, and by another process.
    assert_eq!(first, pack(&directory.path().join("first")));
    let index = |name: &str| std::fs::read(directory.path().join(name).join("index.json")).unwrap();
    assert!(index("first") == index("second"));
}

#[test]
fn manifests_name_the_images_by_the_digests_that_were_printed() {
    let directory = TempDir::new().unwrap();
    let layout = directory.path().join("oci");
    let images = pack(&layout);
    let gateway = "envoy/istio/gateway.yaml";
    let layout = layout.to_string_lossy();
    let render = ["render", "--istio", "--config", gateway, "--images", &layout];
    let manifests = run(&tool(), &render);
    let (_, digest) = images.iter().find(|(name, _)| name == "lockgate").unwrap();
    let digest = digest.strip_prefix("sha256:").unwrap();
    let resources = lockgate_e2e::istio::parse(&manifests);
    let plugin = resources.iter().find(|resource| resource["kind"] == "WasmPlugin").unwrap();
    assert_eq!(plugin["spec"]["sha256"], digest);
    assert!(manifests.matches(digest).count() > 2 && !manifests.contains("sha256: nil"));
}
