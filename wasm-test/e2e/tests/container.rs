//! The container image itself: what is in it, and that it serves, ends and looks after its processes
//! where it has nothing but what the platform gives it. All tests but the first need root, an image
//! (`make image`), buildah, skopeo and runc; `make container-test` runs them.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use lockgate_e2e::container::{Container, Image};
use lockgate_e2e::stack::{SLACK_SECRET, workspace};
use lockgate_e2e::{Answer, Fault, Request, Stack, slack};
use rustix::process::{Pid, Signal};
use serde_json::Value;

/// From SIGTERM to SIGKILL on Cloud Run.
const TEN_SECONDS: Duration = Duration::from_secs(10);

/// Unpacked once: it has 110 MB.
static IMAGE: LazyLock<Image> = LazyLock::new(Image::unpack);

/// The environment of a stack's chain, as the platform of a container would set it.
fn environment(stack: &Stack) -> BTreeMap<String, String> {
    let command = stack.lockgate("run");
    let text = |value: &std::ffi::OsStr| value.to_string_lossy().into_owned();
    let set = command.get_envs().filter_map(|(name, value)| Some((text(name), text(value?))));
    // What is the image's own affair, and the files of this machine.
    let image = ["ENVOY", "LOCKGATE_MODULES", "LOCKGATE_CONFIG", "STATE_DIR", "PATH", "HOME", "TMPDIR"];
    set.filter(|(name, _)| !image.contains(&name.as_str())).collect()
}

/// A container in the place of a stack's chain.
async fn start(stack: &Stack) -> Container {
    stack.stop_gateway().await;
    let container = IMAGE.start(&environment(stack));
    container.process().wait_for_line("ready", 0, |line| line.contains("ready http://")).await;
    container
}

/// The kernel tells nobody about another's children, so this asks again and again.
async fn until(what: &str, holds: impl Fn() -> bool) {
    let waited = async {
        while !holds() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(TEN_SECONDS, waited).await.unwrap_or_else(|_| panic!("not in ten seconds: {what}"));
}

fn command(text: &str) -> Request {
    slack::signed(slack::command("/slack/command", text), SLACK_SECRET)
}

#[test]
fn the_dockerfile_has_the_envoy_and_the_rust_that_are_tested() {
    let read = |file: &str| std::fs::read_to_string(workspace().join(file)).unwrap();
    let value = |file: &str, name: &str| {
        let text = read(file);
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{file} says nothing of {name}"))
            .trim_matches(['=', ' ', ':', '"'])
            .to_owned()
    };
    let envoy = value("Makefile", "ENVOY_VERSION");
    assert!(value("envoy/Dockerfile", "ARG ENVOY_IMAGE").ends_with(&format!(":distroless-v{envoy}")));
    let rust = value("Cargo.toml", "rust-version = ");
    assert!(value("envoy/Dockerfile", "ARG RUST_IMAGE").contains(&format!(":{rust}-")));
    let readme = read("envoy/README.md");
    for image in ["ARG ENVOY_IMAGE", "ARG RUST_IMAGE"] {
        let image = value("envoy/Dockerfile", image);
        assert!(readme.contains(&format!("`{image}`")), "envoy/README.md does not name {image}");
    }
}

#[test]
#[ignore = "make container-test"]
fn the_tool_is_one_file_that_needs_no_other() {
    let tool = std::fs::read(IMAGE.root().join("usr/local/bin/lockgate")).unwrap();
    let number = |at: usize, size: usize| {
        tool[at..at + size].iter().rev().fold(0_usize, |number, byte| number << 8 | usize::from(*byte))
    };
    // The program headers of a 64-bit ELF file; a dynamic linker would be named by one of type 3.
    assert_eq!(&tool[..5], b"\x7fELF\x02");
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    let kinds: Vec<_> = (0..count).map(|n| number(table + n * size, 4)).collect();
    assert!(count > 3 && !kinds.contains(&3), "{kinds:?}");
    assert!(tool.len() < 9_000_000, "it has {} bytes", tool.len());
}

#[test]
#[ignore = "make container-test"]
fn the_image_runs_the_tool_without_root_and_holds_no_secret() {
    let config = IMAGE.config();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(
        (&config["Entrypoint"][0], &config["Cmd"][0]),
        (&"/usr/local/bin/lockgate".into(), &"run".into())
    );
    let names = config["Env"].as_array().unwrap().iter().filter_map(|set| set.as_str()?.split('=').next());
    let expected = ["PATH", "ENVOY", "LOCKGATE_MODULES", "LISTEN_ADDRESS", "LOG_FORMAT", "STATE_DIR"];
    assert_eq!(names.collect::<Vec<_>>(), expected);
    let root = IMAGE.root();
    for file in ["bin/lockgate", "bin/envoy", "share/lockgate/lockgate.wasm", "share/lockgate/log.wasm"] {
        let metadata = std::fs::metadata(root.join("usr/local").join(file)).unwrap();
        assert_eq!((metadata.uid(), metadata.mode() & 0o022), (0, 0), "others may write {file}");
    }
    // Which are loaded is for the configuration to say.
    let built = std::fs::read_dir(workspace().join("dist")).unwrap().map(|entry| entry.unwrap().path());
    let modules: Vec<_> =
        built.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect();
    assert!(modules.len() >= 10, "{modules:?}");
    for module in modules {
        let name = module.file_name().unwrap();
        let there = std::fs::read(root.join("usr/local/share/lockgate").join(name)).unwrap();
        let plain = std::fs::read(&module).unwrap();
        assert!(there == plain, "{name:?}");
        let compiled = std::fs::read(root.join("usr/local/share/lockgate/precompiled").join(name)).unwrap();
        assert!(compiled.len() > 3 * plain.len() && compiled.starts_with(&plain), "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "make container-test"]
async fn it_serves_on_every_address_as_the_first_process_and_drains_on_sigterm() {
    let stack = Stack::builder().start().await;
    let container = start(&stack).await;
    // It can be reached from elsewhere, its admin interface cannot.
    let other = |port: u16| ([127, 0, 0, 2], port).into();
    let elsewhere = lockgate_e2e::Client::new(other(stack.client().address().port()));
    assert_eq!(elsewhere.send(&Request::get("/health")).await.status, 204);
    let admin = environment(&stack)["ADMIN_PORT"].parse().unwrap();
    let refused = lockgate_e2e::Client::new(other(admin)).try_send(&Request::get("/ready")).await;
    assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);

    let status = |pid: u32| std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let first = status(container.first_process());
    for line in
        ["NSpid:\t", "Uid:\t65532\t65532\t65532\t65532", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(first.contains(line), "{line}: {first}");
    }
    assert!(first.lines().any(|line| line.starts_with("NSpid:") && line.ends_with("\t1")), "{first}");
    assert_eq!(container.children().len(), 1, "Envoy alone");
    // What was compiled when the image was built, on this machine.
    assert!(stack.admin().text("/config_dump").await.contains("/usr/local/share/lockgate/precompiled/"));
    // The root of the container, as its own processes see it.
    let mounts = std::fs::read_to_string(format!("/proc/{}/mounts", container.first_process())).unwrap();
    let root = mounts.lines().find(|line| line.split(' ').nth(1) == Some("/")).unwrap();
    assert!(root.split(' ').nth(3).is_some_and(|options| options.starts_with("ro")), "{root}");

    assert_eq!(stack.client().send(&command("contained-1")).await.status, 200);
    assert_eq!(stack.delivered("contained-1").await.json()["text"], "contained-1");
    // One command is being stored and one is being played back when the signal comes.
    stack.upstream().program(|request| {
        request.contains("contained-2").then(|| Answer::status(200).after(Duration::from_millis(1_500)))
    });
    assert_eq!(stack.client().send(&command("contained-2")).await.status, 200);
    stack.delivered("contained-2").await;
    stack.proxy().fail_publishes_with("contained-3", Fault::Slow(Duration::from_millis(700)));
    let calls = stack.proxy().calls().len();
    let client = stack.client();
    let stored = tokio::spawn(async move { client.send(&command("contained-3")).await });
    stack.admin().wait_for_stat("http.lockgate.downstream_rq_active", |active| active == 2).await;
    let asked = Instant::now();
    container.kill("TERM");
    assert_eq!(stored.await.unwrap().status, 200);
    let ended = container.process().wait_exit(TEN_SECONDS).await;
    assert!(ended.success() && asked.elapsed() < TEN_SECONDS, "{ended} after {:?}", asked.elapsed());
    assert!(stack.proxy().calls().len() > calls);

    for line in container.process().log().since(0) {
        let line: Option<Value> =
            serde_json::from_str(&line).ok().or_else(|| line.starts_with("runc ended").then(|| Value::Null));
        assert!(
            line.is_some_and(|line| line.is_null() || line["severity"].is_string()),
            "every line is an object"
        );
    }
    // What was acknowledged arrives when there is an instance again, and what was delivered does not.
    stack.start_gateway().await;
    stack.delivered("contained-3").await;
    let again = stack.upstream().requests().matching(|request| request.contains("contained-2"));
    assert_eq!(again.len(), 1, "the playback in flight was acknowledged");
}

#[tokio::test]
#[ignore = "make container-test"]
async fn a_signal_right_after_the_start_is_heard() {
    let stack = Stack::builder().start().await;
    stack.stop_gateway().await;
    let container = IMAGE.start(&environment(&stack));
    container.runs("lockgate").await;
    let asked = Instant::now();
    container.kill("TERM");
    let ended = container.process().wait_exit(TEN_SECONDS).await;
    assert!(
        ended.success() && asked.elapsed() < Duration::from_secs(4),
        "{ended} after {:?}",
        asked.elapsed()
    );
}

#[tokio::test]
#[ignore = "make container-test"]
async fn the_end_of_a_process_without_a_parent_is_noticed() {
    let stack = Stack::builder().start().await;
    let container = start(&stack).await;
    let envoy = container.children();
    // A program of this machine in the container's process namespace, whose child loses its parent.
    let namespace = format!("--pid=/proc/{}/ns/pid", container.first_process());
    let orphan = Command::new("nsenter").args([&namespace, "sh", "-c", "sleep 0.2 & exit"]).status();
    assert!(orphan.unwrap().success());
    until("the first process is given the orphan", || container.children() != envoy).await;
    until("the orphan is waited for", || container.children() == envoy).await;
    assert_eq!(stack.client().send(&Request::get("/health")).await.status, 204);
}

#[tokio::test]
#[ignore = "make container-test"]
async fn envoys_crash_ends_the_container_with_its_status() {
    let stack = Stack::builder().start().await;
    let container = start(&stack).await;
    let envoy = Pid::from_raw(container.children()[0].cast_signed()).unwrap();
    rustix::process::kill_process(envoy, Signal::SEGV).unwrap();
    assert_eq!(container.process().wait_exit(TEN_SECONDS).await.code(), Some(128 + 11));
}

#[tokio::test]
#[ignore = "make container-test"]
async fn what_is_missing_is_said_on_one_line_for_the_log() {
    let container = IMAGE.start(&BTreeMap::new());
    let ended = container.process().wait_exit(TEN_SECONDS).await;
    assert_eq!(ended.code(), Some(1));
    let lines = container.process().log().since(0);
    let said: Value = serde_json::from_str(&lines[0]).unwrap();
    assert_eq!(said["severity"], "ERROR");
    assert!(
        said["message"].as_str().unwrap().starts_with("lockgate: upstream.url: UPSTREAM_URL is not set"),
        "{said}"
    );
}
