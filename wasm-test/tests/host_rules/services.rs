//! What the host offers besides HTTP: shared data, queues, metrics, properties, signatures.

use crate::agree;
use crate::proxy::{DEFAULT, probe};

#[test]
fn shared_data_is_set_only_with_the_number_that_was_read() {
    agree(DEFAULT, |run| run.send(probe("cas")), "");
}

#[test]
fn a_queue_wakes_the_root_that_registered_it_after_the_callback() {
    agree(
        DEFAULT,
        |run| {
            run.send(probe("queue"));
            run.notes();
        },
        "",
    );
}

#[test]
fn metrics_have_their_kinds_rules() {
    agree(DEFAULT, |run| run.send(probe("metrics")), "");
}

#[test]
fn properties_are_read_and_filter_state_is_set() {
    agree(
        DEFAULT,
        |run| {
            let request = probe("properties").header("x-a", "1").header("user-agent", "test");
            let mut request = request.host("example.test").body("body");
            request.path = "/a/b?c=d#e".to_owned();
            run.send(request);
        },
        "",
    );
}

#[test]
fn the_environment_is_what_was_given_and_there_are_no_files() {
    agree(DEFAULT, |run| run.send(probe("environment")), "");
}
