//! The filters on every Envoy that the documents name: as the tool runs it and as a mesh does, all in
//! one module and each in one of its own. `envoy/istio/README.md` says which Envoy is which Istio's.

use std::collections::BTreeSet;
use std::path::Path;

use lockgate_e2e::assertion::key_pem;
use lockgate_e2e::envoys::envoys;
use lockgate_e2e::istio::{Images, Line, Mesh};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::stack::{CONFIG, SLACK_SECRET};
use lockgate_e2e::visitor::until;
use lockgate_e2e::{Builder, Request, Stack, identity, scenarios, slack};

fn line(minor: u32) -> Line {
    if minor < 38 { Line::From1_28 } else { Line::From1_30 }
}

fn stack(envoy: &str) -> Builder {
    // Beside the sender's own credentials, whose absence a scenario asserts.
    let config = identity::config(", header: x-serverless-authorization");
    Stack::builder().config(&[&config, scenarios::PROGRAMS].concat()).variable("ENVOY", envoy)
}

/// The main scenarios, with all filters in one module and with each in its own.
async fn hold(builder: impl Fn() -> Builder) {
    for separate in ["", "true"] {
        let stack = builder().variable("LOCKGATE_SEPARATE_MODULES", separate).start().await;
        let modules: BTreeSet<String> = modules(&stack).await;
        assert_eq!(modules.contains("lockgate.wasm"), separate.is_empty(), "{modules:?}");
        assert_eq!(modules.len() > 1, !separate.is_empty(), "{modules:?}");
        scenarios::a_command_is_stored_and_delivered(&stack).await;
        scenarios::a_command_in_one_byte_chunks_is_whole(&stack).await;
        scenarios::a_forged_signature_is_refused(&stack).await;
        scenarios::a_permanent_answer_makes_a_dead_letter(&stack).await;
        scenarios::a_program_comes_in_with_its_token(&stack).await;
        scenarios::an_open_route_passes_through(&stack).await;
        until_ready(&stack).await;
        let seen = stack.upstream().requests().since(0);
        assert!(seen.len() > 4);
        for request in seen {
            let shown = identity::claims(&request, "x-serverless-authorization").expect("an identity");
            assert_eq!(shown["aud"], identity::AUDIENCE, "{}", request.target);
        }
    }
}

/// The probe that asks every filter.
async fn until_ready(stack: &Stack) {
    let ready = Request::get("/_lockgate/ready");
    until("a chain that is ready", async || (stack.client().send(&ready).await.status == 204).then_some(()))
        .await;
}

/// The files that Envoy has loaded.
async fn modules(stack: &Stack) -> BTreeSet<String> {
    let dump = stack.admin().text("/config_dump").await;
    let files = dump.split('"').filter(|text| text.contains('/') && text.ends_with(".wasm"));
    files.filter_map(|file| Some(Path::new(file).file_name()?.to_string_lossy().into_owned())).collect()
}

#[tokio::test]
async fn the_main_scenarios_hold_on_every_envoy_that_the_tool_runs() {
    for (minor, envoy) in envoys() {
        println!("Envoy 1.{minor}");
        hold(|| stack(&envoy)).await;
    }
}

#[tokio::test]
async fn the_main_scenarios_hold_on_every_envoy_that_a_mesh_runs() {
    for (minor, envoy) in envoys() {
        println!("Envoy 1.{minor}");
        hold(|| stack(&envoy).mesh(Mesh::new(line(minor)))).await;
    }
}

/// Envoy 1.36 and 1.37 crash when a process's first VM is made now; there, a filter that is never on has one.
#[tokio::test]
async fn a_mesh_without_the_images_lets_nobody_pass_until_they_are_there() {
    for (minor, envoy) in envoys() {
        println!("Envoy 1.{minor}");
        for (images, refusal) in [(Images::Missing, 403), (Images::Broken, 500)] {
            let mesh = Mesh::new(line(minor)).images(images);
            let stack = stack(&envoy).mesh(mesh).start().await;
            let signed = slack::signed(slack::command("/slack/command", "too-early"), SLACK_SECRET);
            let ready = Request::get("/_lockgate/ready?too-early");
            let others = [Request::get("/admin/too-early"), Request::get("/public/too-early"), ready];
            for request in [signed].into_iter().chain(others) {
                assert_eq!(stack.client().send(&request).await.status, refusal, "{}", request.target);
            }
            stack.assert_no_trace("too-early");
            // Envoy says of itself that it is: no probe may ask that.
            assert_eq!(stack.admin().text("/ready").await, "LIVE\n");
            stack.update_images(Images::Fetched).await;
            until_ready(&stack).await;
            scenarios::a_command_is_stored_and_delivered(&stack).await;
        }
    }
}

/// Where the tool starts Envoy, it does not start; a mesh's has been started already.
#[tokio::test]
async fn a_mesh_whose_envoy_cannot_sign_says_so_and_lets_nobody_pass() {
    let (minor, envoy) = envoys().swap_remove(0);
    assert_eq!(minor, 36, "the one without the function");
    let asserting = format!("{}  assertion: {{ key: {{ env: ASSERTION_KEY }} }}\n", scenarios::PROGRAMS);
    let stack = Stack::builder()
        .config(&[CONFIG, &asserting].concat())
        .variable("ENVOY", &envoy)
        .variable("ASSERTION_KEY", &key_pem(1))
        .mesh(Mesh::new(line(minor)))
        .start()
        .await;
    for request in [Request::get("/admin/no-signer"), Request::get("/public/no-signer")] {
        assert_eq!(stack.client().send(&request).await.status, 500);
    }
    stack.assert_no_trace("no-signer");
    let said = |lines: &[String]| lines.iter().any(|line| line.contains("expected Envoy 1.37 or newer"));
    assert!(stack.gateway_log().reaches(PATIENCE, said).await);
}
