//! Whether what was compiled before is for this machine. V8 refuses code that it compiled for another processor
//! or that another build of it compiled, and Envoy does not start then; so it is not offered such code.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::DIRECTORY;

/// What the modules of the directory were compiled for. Written last, so that a directory with it is complete.
const MADE_FOR: &str = "made-for";

/// What V8 asks a processor of this family for, as the kernel names it in `/proc/cpuinfo`.
const FEATURES: [&str; 20] = [
    "pni",
    "ssse3",
    "sse4_1",
    "sse4_2",
    "lahf_lm",
    "avx",
    "avx2",
    "avx_vnni",
    "avx_vnni_int8",
    "avx10_2",
    "fma",
    "f16c",
    "bmi1",
    "bmi2",
    "abm",
    "popcnt",
    "sha_ni",
    "user_shstk",
    "ibt",
    "apx",
];

/// Forgets what the directory was made for: nothing in it is used any more.
pub(super) fn forget(directory: &Path) -> io::Result<()> {
    match std::fs::remove_file(directory.join(MADE_FOR)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

pub(super) fn remember(directory: &Path, envoy: &Path) -> io::Result<()> {
    std::fs::write(directory.join(MADE_FOR), here(envoy)?)
}

/// The directory with what was compiled before, if there is one, and it is for this processor and this Envoy, and
/// holds all of `used` as they are now.
pub fn fitting(modules: &Path, envoy: &Path, used: &BTreeSet<PathBuf>) -> Option<PathBuf> {
    let directory = modules.join(DIRECTORY);
    let made_for = std::fs::read_to_string(directory.join(MADE_FOR)).ok()?;
    // The module stands at the beginning of what was made of it.
    let is_current = |path: &PathBuf| {
        let (Ok(plain), Some(name)) = (std::fs::read(path), path.file_name()) else { return false };
        let mut beginning = vec![0; plain.len()];
        let read = File::open(directory.join(name)).and_then(|file| file.read_exact_at(&mut beginning, 0));
        read.is_ok() && beginning == plain
    };
    (here(envoy).ok()? == made_for && used.iter().all(is_current)).then_some(directory)
}

/// This processor and this Envoy, a line each.
fn here(envoy: &Path) -> io::Result<String> {
    let bytes = std::fs::metadata(found(envoy))?.len();
    Ok(format!("{}\nenvoy of {bytes} bytes\n", processor(&std::fs::read_to_string("/proc/cpuinfo")?)))
}

/// A program as it is found by its name.
fn found(program: &Path) -> PathBuf {
    if program.components().count() > 1 {
        return program.to_owned();
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let candidates = std::env::split_paths(&path).map(|directory| directory.join(program));
    candidates.into_iter().find(|path| path.is_file()).unwrap_or_else(|| program.to_owned())
}

/// The maker, the features, and of Intel's the model: V8 avoids faults of some.
fn processor(cpuinfo: &str) -> String {
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.split(':').next().is_some_and(|key| key.trim() == name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let there: Vec<_> = field("flags").split(' ').collect();
    let mut words = vec![field("vendor_id")];
    if field("vendor_id") == "GenuineIntel" {
        words.extend(["cpu family", "model", "stepping"].map(field));
    }
    words.extend(FEATURES.into_iter().filter(|feature| there.contains(feature)));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const AMD: &str = "processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nmodel\t\t: 1\n\
        model name\t: AMD EPYC\nstepping\t: 1\nflags\t\t: fpu pni avx avx2 bmi1 hypervisor\n";

    #[test]
    fn a_processor_is_what_v8_asks_it_for() {
        assert_eq!(processor(AMD), "AuthenticAMD pni avx avx2 bmi1");
        let another = AMD.replace("hypervisor", "vmmcall").replace("model\t\t: 1", "model\t\t: 17");
        assert_eq!(processor(&another), processor(AMD));
        assert_ne!(processor(&AMD.replace("avx2", "x")), processor(AMD));
        let intel = AMD.replace("AuthenticAMD", "GenuineIntel");
        assert_eq!(processor(&intel), "GenuineIntel 25 1 1 pni avx avx2 bmi1");
    }

    #[test]
    fn what_fits_is_for_this_envoy_and_of_these_modules() {
        let directory = tempfile::tempdir().unwrap();
        let modules = directory.path();
        let (envoy, module) = (modules.join("envoy"), modules.join("log.wasm"));
        let compiled = modules.join(DIRECTORY);
        std::fs::create_dir(&compiled).unwrap();
        std::fs::write(&envoy, "an Envoy").unwrap();
        std::fs::write(&module, "module").unwrap();
        std::fs::write(compiled.join("log.wasm"), "module, compiled").unwrap();
        let used = BTreeSet::from([module.clone()]);
        assert_eq!(fitting(modules, &envoy, &used), None);
        remember(&compiled, &envoy).unwrap();
        assert_eq!(fitting(modules, &envoy, &used), Some(compiled.clone()));

        std::fs::write(&module, "newer module").unwrap();
        assert_eq!(fitting(modules, &envoy, &used), None);
        std::fs::write(&module, "module").unwrap();
        std::fs::write(&envoy, "another Envoy").unwrap();
        assert_eq!(fitting(modules, &envoy, &used), None);
        std::fs::write(&envoy, "an Envoy").unwrap();
        assert_eq!(fitting(modules, &envoy, &BTreeSet::from([module, modules.join("lockgate.wasm")])), None);
        forget(&compiled).unwrap();
        forget(&compiled).unwrap();
        assert_eq!(fitting(modules, &envoy, &used), None);
    }
}
