//! Modules that were compiled before: every Envoy loads what it has compiled, `lockgate run` takes it where it
//! fits, and serves where it does not.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use lockgate_e2e::envoys::envoys;
use lockgate_e2e::stack::{binary, workspace};
use lockgate_e2e::{Stack, scenarios};
use tempfile::TempDir;

const REFUSED: &str = "Envoy did not start with the modules that were compiled before";

fn envoy() -> String {
    std::env::var("ENVOY").expect("ENVOY must name an Envoy binary; `make e2e` fetches one and sets it")
}

/// A directory with the module that holds everything.
fn modules() -> TempDir {
    let directory = TempDir::with_prefix("lockgate-e2e-modules-").unwrap();
    fs::copy(workspace().join("dist/lockgate.wasm"), directory.path().join("lockgate.wasm")).unwrap();
    directory
}

fn precompile(modules: &Path, envoy: &str, options: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command.arg("precompile").arg("--modules").arg(modules).args(["--envoy", envoy]).args(options);
    command.output().unwrap()
}

fn compiled_by(envoy: &str) -> TempDir {
    let directory = modules();
    let done = precompile(directory.path(), envoy, &[]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    assert!(said.starts_with("lockgate: ") && said.contains(" bytes, compiled "), "{said}");
    directory
}

async fn stack(modules: &TempDir, envoy: &str) -> Stack {
    let modules = modules.path().to_str().unwrap();
    // With sign-in for programs, so that everything is in the one module.
    let config = [lockgate_e2e::stack::CONFIG, scenarios::PROGRAMS].concat();
    Stack::builder()
        .config(&config)
        .variable("LOCKGATE_MODULES", modules)
        .variable("ENVOY", envoy)
        .start()
        .await
}

/// Whether Envoy has loaded what was compiled before; what it has loaded is one or the other.
async fn is_precompiled(stack: &Stack) -> bool {
    let dump = stack.admin().text("/config_dump").await;
    let precompiled = dump.contains("/precompiled/lockgate.wasm");
    assert_eq!(dump.contains(r#""allow_precompiled": true"#), precompiled);
    assert!(dump.contains("/lockgate.wasm"));
    precompiled
}

#[tokio::test]
async fn every_envoy_loads_what_it_has_compiled() {
    for (minor, envoy) in envoys() {
        println!("Envoy 1.{minor}");
        let modules = compiled_by(&envoy);
        let stack = stack(&modules, &envoy).await;
        assert!(is_precompiled(&stack).await);
        scenarios::a_command_is_stored_and_delivered(&stack).await;
        scenarios::a_forged_signature_is_refused(&stack).await;
        scenarios::a_program_comes_in_with_its_token(&stack).await;
        let refused = |line: &String| line.contains(REFUSED);
        assert!(!stack.gateway_log().since(0).iter().any(refused), "it was compiled at the start after all");
    }
}

#[tokio::test]
async fn what_was_compiled_for_another_machine_or_of_another_module_is_not_taken() {
    let envoy = envoy();
    let modules = compiled_by(&envoy);
    let made_for = modules.path().join("precompiled/made-for");
    let here = fs::read_to_string(&made_for).unwrap();
    fs::write(&made_for, ["GenuineIntel 6 85 7 ", here.as_str()].concat()).unwrap();
    let stack = stack(&modules, &envoy).await;
    assert!(!is_precompiled(&stack).await);

    fs::write(&made_for, here).unwrap();
    stack.stop_gateway().await;
    stack.start_gateway().await;
    assert!(is_precompiled(&stack).await);

    // A newer module: the same, with a custom section behind it that nobody reads.
    let module = modules.path().join("lockgate.wasm");
    let newer = [fs::read(&module).unwrap(), vec![0, 2, 1, b'x']].concat();
    fs::write(&module, newer).unwrap();
    stack.stop_gateway().await;
    stack.start_gateway().await;
    assert!(!is_precompiled(&stack).await);
    scenarios::a_command_is_stored_and_delivered(&stack).await;
}

#[tokio::test]
async fn what_v8_refuses_is_compiled_at_the_start() {
    let envoy = envoy();
    let modules = compiled_by(&envoy);
    let (plain, compiled) = ("lockgate.wasm", "precompiled/lockgate.wasm");
    let length = fs::read(modules.path().join(plain)).unwrap().len();
    let mut bytes = fs::read(modules.path().join(compiled)).unwrap();
    // The module stands in it twice. What V8 checks follows: a magic number, its version, the processor.
    let wasm = bytes[..length].to_vec();
    let again = bytes[length..].windows(64).position(|window| window == &wasm[..64]).unwrap();
    let header = length + again + length;
    bytes[header..header + 16].fill(0);
    fs::write(modules.path().join(compiled), bytes).unwrap();

    let stack = stack(&modules, &envoy).await;
    assert!(!is_precompiled(&stack).await);
    let told = stack.gateway_log().since(0).iter().filter(|line| line.contains(REFUSED)).count();
    assert_eq!(told, 1);
    scenarios::a_command_is_stored_and_delivered(&stack).await;
}

#[test]
fn what_cannot_be_compiled_is_said() {
    let modules = modules();
    let stderr = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let failed = precompile(modules.path(), "/bin/false", &[]);
    assert_eq!(failed.status.code(), Some(1));
    assert!(stderr(&failed).contains("lockgate.wasm: Envoy could not be started"), "{}", stderr(&failed));
    let warned = precompile(modules.path(), "/bin/false", &["--if-possible"]);
    assert!(warned.status.success());
    assert!(stderr(&warned).contains("not compiled beforehand: "), "{}", stderr(&warned));

    let empty = TempDir::new().unwrap();
    let nothing = precompile(empty.path(), &envoy(), &[]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("no module is there"), "{}", stderr(&nothing));

    fs::write(empty.path().join("text.wasm"), "no module").unwrap();
    let text = precompile(empty.path(), &envoy(), &[]);
    assert!(
        stderr(&text).contains("text.wasm: expected a module as make wasm makes it"),
        "{}",
        stderr(&text)
    );
    assert!(!empty.path().join("precompiled/made-for").exists());
}
