//! The mesh group: where in a service mesh the filters stand. Only `lockgate render --istio` uses it, so
//! that the same file can be tried on one machine.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::problem::{Problem, Problems};
use super::resolve::Context;
use super::scalars::Texts;
use super::url::{PublicUrl, Scheme, Url};

/// Where in a mesh the filters stand.
#[derive(Clone, Debug)]
pub struct Mesh {
    /// Begins the names of the resources, which two renderings for one namespace must not share.
    pub name: String,
    /// Of the pods, and of every resource.
    pub namespace: String,
    /// The labels of the pods.
    pub workload: BTreeMap<String, String>,
    /// Which proxy of a mesh it is.
    pub proxy: Proxy,
    /// Where the images are, without `oci://` and without the module's name.
    pub images: String,
    /// The images' tag.
    pub tag: String,
    /// Hosts that are called though no other field names them: those that only a discovery document does.
    pub hosts: Vec<String>,
}

/// Which proxy of a mesh the filters are in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proxy {
    /// The one beside the service, on the service's port.
    Sidecar(u16),
    /// The one where requests come into the mesh, for this host.
    Gateway(String),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with namespace, workload, proxy and images")]
pub(super) struct RawMesh {
    name: Option<String>,
    namespace: Option<String>,
    #[serde(default)]
    workload: BTreeMap<String, String>,
    proxy: Option<RawProxy>,
    images: Option<String>,
    tag: Option<String>,
    hosts: Option<Texts>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum RawProxy {
    Sidecar,
    Gateway,
}

pub(super) fn resolve(
    raw: Option<RawMesh>,
    public_url: PublicUrl<'_>,
    upstream: Option<&Url>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<Mesh> {
    let raw = raw?;
    let name = problems.keep(label("mesh.name", raw.name.unwrap_or_else(|| "lockgate".to_owned())));
    let namespace = context.required("mesh.namespace", raw.namespace, "shop");
    let namespace = problems.keep(namespace.and_then(|text| label("mesh.namespace", text)));
    let workload = problems.keep(workload(raw.workload));
    let proxy = context.required("mesh.proxy", raw.proxy, "sidecar");
    let proxy = problems.keep(proxy.and_then(|kind| match upstream {
        Some(upstream) => proxy_of(kind, public_url, upstream),
        // It has a problem of its own.
        None => Ok(None),
    }));
    let images = context.required("mesh.images", raw.images, IMAGES);
    let images = problems.keep(images.and_then(|text| images_at(&text)));
    let tag = raw.tag.unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned());
    let tag = problems.keep(image_tag(tag));
    let hosts = problems.keep(hosts(raw.hosts.map_or_else(Vec::new, |hosts| hosts.0)));
    Some(Mesh {
        name: name?,
        namespace: namespace?,
        workload: workload?,
        proxy: proxy??,
        images: images?,
        tag: tag?,
        hosts: hosts?,
    })
}

const IMAGES: &str = "oci://europe-docker.pkg.dev/my-project/lockgate";

fn label(field: &str, text: String) -> Result<String, Problem> {
    match is_label(&text) {
        true => Ok(text),
        false => Err(Problem::given(
            field,
            text,
            "a name of lower-case letters, digits and hyphens, for example shop",
        )),
    }
}

/// A DNS label (RFC 1123), as Kubernetes has them for names.
fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=63).contains(&text.len())
        && text.bytes().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn workload(labels: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Problem> {
    // Without one, the whole namespace would be meant.
    if labels.is_empty() || labels.iter().any(|(key, value)| key.is_empty() || value.is_empty()) {
        return Err(Problem::new(
            "mesh.workload",
            "expected the labels of the pods, for example {app: shop}",
        ));
    }
    Ok(labels)
}

fn proxy_of(kind: RawProxy, public_url: PublicUrl<'_>, upstream: &Url) -> Result<Option<Proxy>, Problem> {
    match kind {
        RawProxy::Sidecar if upstream.is_loopback() && upstream.scheme == Scheme::Http => {
            Ok(Some(Proxy::Sidecar(upstream.port)))
        }
        RawProxy::Sidecar => {
            let expected = "the service's own port on loopback, since a sidecar stands before no other service, \
                for example http://127.0.0.1:8080";
            Err(Problem::given("upstream.url", upstream, expected))
        }
        RawProxy::Gateway if upstream.ip().is_some() || upstream.is_loopback() => {
            let expected =
                "the service's name in the mesh, for example http://shop.shop.svc.cluster.local:8080";
            Err(Problem::given("upstream.url", upstream, expected))
        }
        RawProxy::Gateway => match public_url {
            PublicUrl::Known(url) => Ok(Some(Proxy::Gateway(url.host.clone()))),
            PublicUrl::Wrong => Ok(None),
            PublicUrl::Absent => Err(Problem::new(
                "public_url",
                "is missing; a gateway's routes are found by its host; expected, for example, https://app.example.com",
            )),
        },
    }
}

fn images_at(text: &str) -> Result<String, Problem> {
    let plain = |text: &str| {
        let byte = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_./:".contains(&byte);
        !text.is_empty() && text.bytes().all(byte) && text.split('/').all(|part| !part.is_empty())
    };
    match text.strip_prefix("oci://").filter(|place| plain(place)) {
        Some(place) => Ok(place.to_owned()),
        None => {
            let expected =
                format!("where `make oci` pushes to, without the module's name, for example {IMAGES}");
            Err(Problem::given("mesh.images", text, &expected))
        }
    }
}

fn image_tag(tag: String) -> Result<String, Problem> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    match (1..=128).contains(&tag.len()) && tag.bytes().all(plain) && !tag.starts_with(['-', '.']) {
        true => Ok(tag),
        false => Err(Problem::given("mesh.tag", tag, "an image's tag, for example 0.1.0")),
    }
}

fn hosts(hosts: Vec<String>) -> Result<Vec<String>, Problem> {
    let expected = "hosts without scheme and port, for example [tokens.example.com]";
    let named = |host: &String| host.contains('.') && host.split('.').all(is_label);
    match hosts.iter().find(|host| !named(host)) {
        Some(odd) => Err(Problem::given("mesh.hosts", odd, expected)),
        None => Ok(hosts),
    }
}
