//! The filters work older Envoys as on the one that is shipped.

use std::collections::BTreeSet;

use lockgate_e2e::{Stack, scenarios};
use serde_json::Value;

#[tokio::test]
async fn the_main_scenario_on_every_older_envoy() {
    let named = std::env::var("OLDER_ENVOYS").unwrap_or_default();
    let envoys: Vec<&str> = named.split_whitespace().collect();
    assert!(!envoys.is_empty(), "OLDER_ENVOYS names no Envoy binaries. Run:\n  make e2e");
    let mut versions = BTreeSet::new();
    for envoy in &envoys {
        println!("with {envoy}");
        let stack = Stack::builder().variable("ENVOY", envoy).start().await;
        scenarios::a_command_is_stored_and_delivered(&stack).await;
        scenarios::a_command_in_one_byte_chunks_is_whole(&stack).await;
        scenarios::a_forged_signature_is_refused(&stack).await;
        scenarios::a_permanent_answer_makes_a_dead_letter(&stack).await;
        scenarios::an_open_route_passes_through(&stack).await;
        let server: Value = serde_json::from_str(&stack.admin().text("/server_info").await).unwrap();
        versions.insert(server["version"].to_string());
    }
    println!("{versions:?}");
    assert_eq!(versions.len(), envoys.len(), "as many versions as Envoys");
}
