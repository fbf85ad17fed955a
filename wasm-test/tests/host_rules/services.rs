//! What the host offers besides HTTP: shared data, queues, metrics, properties, signatures.

use crate::agree;
use crate::proxy::{CHAIN, DEFAULT, probe};

#[test]
fn shared_data_is_set_only_with_the_number_that_was_read() {
    agree(
        DEFAULT,
        |run| run.send(probe("cas")),
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              before: 1 none cas=false
              set where none is, with a number: 0
              first: 0 "0" cas=true
              set with the number read: 0
              set with an old number: 8
              second: 0 "1" cas=true
              the number grew: true
              set without a number: 0
              empty: 0 none cas=true
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn a_queue_wakes_the_root_that_registered_it_after_the_callback() {
    agree(
        DEFAULT,
        |run| {
            run.send(probe("queue"));
            run.notes();
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              enqueue: 0
              resolve: true
              resolve none: 1
              resolve elsewhere: 1
              register again: true
              enqueue nowhere: 1
              dequeue nowhere: 1
              queue ready: root=true token=true
              its item: Some(Ok("first"))
              and then: 7
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn metrics_have_their_kinds_rules() {
    agree(
        DEFAULT,
        |run| run.send(probe("metrics")),
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              probe.counter: 0
              add 2: 0
              add 0: 2
              add -1: 2
              record 7: 0
              value: (0, 9)
              probe.gauge: 0
              add 2: 0
              add 0: 0
              add -1: 0
              record 7: 0
              value: (0, 7)
              probe.histogram: 0
              add 2: 2
              add 0: 2
              add -1: 2
              record 7: 0
              value: (2, 0)
              no such kind: 2
              no such metric: 1
              no such metric: 1 1
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn properties_are_read_and_filter_state_is_set() {
    agree(
        DEFAULT,
        |run| {
            let request = probe("properties").header("x-a", "1").header("user-agent", "test");
            let mut request = request.host("example.test").body("body");
            request.path = "/a/b?c=d".to_owned();
            run.send(request);
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /a/b?c=d content-length=4 "body"
              request headers end=false
              request.path: 0 "/a/b?c=d"
              request.url_path: 0 "/a/b"
              request.query: 0 "c=d"
              request.host: 0 "example.test"
              request.method: 0 "POST"
              request.scheme: 0 "http"
              request.protocol: 0 "HTTP/1.1"
              request.size: 0 "\x04\x00\x00\x00\x00\x00\x00\x00"
              request.useragent: 0 "test"
              request.referer: 1 none
              request.duration: 1 none
              request.nothing: 1 none
              request.headers.x-a: 0 "1"
              request.headers.x-none: 1 none
              connection.mtls: 0 "\x00"
              connection.requested_server_name: 0 none
              response.code: 1 none
              plugin_root_id: 0 "probe-0"
              nothing: 1 none
              set: 0
              set again: 0
              set two: 0
              set empty: 0
              probe: 0 "other"
              probe.deep: 1 none
              probe_empty: 0 none
              wasm.probe: 1 none
              enter the root: 0
              set at the root: 1
              get at the root: 1
              request body 4 end=false
              request body 0 end=true
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn the_environment_is_what_was_given_and_there_are_no_files() {
    agree(
        DEFAULT,
        |run| {
            run.send(probe("environment"));
            run.send(probe("file"));
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              variable: Ok("given")
              no variable: true
              arguments: 0
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              file: Err(NotFound)
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn sleeping_takes_no_time() {
    agree(
        DEFAULT,
        |run| run.send(probe("sleep")),
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              slept
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 0 end=true
              log
              done
              delete
        "#,
    );
}

#[test]
fn filter_state_reaches_the_next_filter_and_no_other_request() {
    agree(
        CHAIN,
        |run| {
            run.send(probe("filter-state"));
            run.send(probe("filter-state"));
        },
        r#"
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              before: none
              set: 0
              request headers end=true
              before: "by the one before"
              set: 0
              response headers "200" length="8" end=false
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 8 end=false
              response body 0 end=true
              response body 0 end=true
              log
              log
              done
              delete
              done
              delete
            client: 200 content-length=8 "upstream"
            upstream: POST /x content-length=0 ""
              request headers end=true
              before: none
              set: 0
              request headers end=true
              before: "by the one before"
              set: 0
              response headers "200" length="8" end=false
              response headers "200" length="8" end=false
              response body 8 end=false
              response body 8 end=false
              response body 0 end=true
              response body 0 end=true
              log
              log
              done
              delete
              done
              delete
        "#,
    );
}
