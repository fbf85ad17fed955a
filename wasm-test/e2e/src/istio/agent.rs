//! What Istio's agent does to a filter before Envoy sees it: code from afar becomes a file, or something
//! that lets nobody pass, and words between the agent and the control plane go.

use std::path::Path;

use serde_json::{Value, json};

use super::Images;

pub(super) fn fetch(resource: &mut Value, images: Images, modules: &Path, directory: &Path) {
    if images == Images::Missing {
        resource["typed_config"] = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC",
            "rules": {},
            "rules_stat_prefix": "wasm-default-deny",
        });
        return;
    }
    let vm = resource.pointer_mut("/typed_config/config/vm_config").expect("a VM");
    let uri = vm.pointer("/code/remote/http_uri/uri").and_then(Value::as_str).expect("an image").to_owned();
    assert!(uri.starts_with("oci://"), "{uri}");
    let (module, _tag) = uri.rsplit_once('/').and_then(|(_, image)| image.split_once(':')).expect("an image");
    let mut file = modules.join(module).with_extension("wasm");
    assert!(file.is_file(), "{} is missing: run `make wasm`", file.display());
    if images == Images::Broken {
        file = directory.join("broken.wasm");
        std::fs::write(&file, b"no module").expect("write");
    }
    vm["code"] = json!({"local": {"filename": file}});
    let variables = vm.pointer_mut("/environment_variables/key_values").and_then(Value::as_object_mut);
    if let Some(variables) = variables {
        variables.retain(|name, _| !name.starts_with("ISTIO_META_"));
    }
}
