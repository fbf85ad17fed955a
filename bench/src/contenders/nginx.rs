//! The seed's design in Debian's nginx with Lua; the configuration and the code are in `contenders/`.

use std::fs;
use std::path::Path;

use super::{Kit, PUSH_AUDIENCE, Recipe, SLACK_SECRET};
use crate::Result;
use crate::process::free_address;
use crate::sections::NGINX;
use crate::tokens::PUSHER;

const CONFIG: &str = include_str!("../../contenders/nginx.conf");
const CODE: [(&str, &str); 2] = [
    ("slack.lua", include_str!("../../contenders/slack.lua")),
    ("playback.lua", include_str!("../../contenders/playback.lua")),
];

impl Kit {
    /// nginx with Lua.
    pub(crate) fn nginx(&self, workers: usize) -> Result<Recipe> {
        let (address, directory) = (free_address()?, self.scratch("nginx"));
        fs::create_dir(&directory)?;
        let libraries = libraries(&self.nginx)?;
        let backend = self.backend.address().to_string();
        let text = |path: &Path| path.to_string_lossy().into_owned();
        let values = [
            ("DIRECTORY", text(&directory)),
            ("CODE", text(&directory)),
            ("ROOT", text(&fs::canonicalize(&self.nginx)?)),
            (
                "COMPILED",
                libraries.split(':').map(|path| format!("{path}/lua/5.1/?.so")).collect::<Vec<_>>().join(";"),
            ),
            ("WORKERS", workers.to_string()),
            ("LISTEN", address.to_string()),
            ("SERVICES", backend.clone()),
            ("UPSTREAM", backend),
            ("ISSUER", self.backend.url()),
            ("AUDIENCE", PUSH_AUDIENCE.to_owned()),
            ("PUSHER", PUSHER.to_owned()),
        ];
        let fill = |template: &str| {
            values
                .iter()
                .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("@{name}@"), value))
        };
        for (name, code) in CODE {
            fs::write(directory.join(name), fill(code))?;
        }
        let config = directory.join("nginx.conf");
        fs::write(&config, fill(CONFIG))?;
        let environment = [("LD_LIBRARY_PATH", libraries), ("SLACK_SIGNING_SECRET", SLACK_SECRET.to_owned())];
        Ok(Recipe {
            name: NGINX.to_owned(),
            address,
            program: self.nginx.join("usr/sbin/nginx"),
            arguments: vec!["-p".to_owned(), text(&directory), "-c".to_owned(), text(&config)],
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            log: self.scratch("nginx.log"),
        })
    }
}

/// Where the unpacked packages have their libraries: Debian names the directory after the architecture.
fn libraries(root: &Path) -> Result<String> {
    let mut found = Vec::new();
    for parent in ["usr/lib", "lib"] {
        for entry in fs::read_dir(fs::canonicalize(root)?.join(parent))? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().contains("-linux-gnu")) {
                found.push(path.to_string_lossy().into_owned());
            }
        }
    }
    if found.is_empty() { Err("nginx's libraries are missing".into()) } else { Ok(found.join(":")) }
}
