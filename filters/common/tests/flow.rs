//! Streams that wait for something shared: each is ended exactly once, whatever happens meanwhile.

mod scripted;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use lockgate_common::event::Event;
use lockgate_common::fetch::{FetchError, Fetched, Shared};
use lockgate_common::flow::{Filter, Flow, Step, Stream, Verdict};
use lockgate_common::http::{Headers, Refusal, Reply};
use lockgate_common::runtime::{MAX_WAITING, Runtime, Story};
use lockgate_common::services::Services;
use lockgate_common::{config, json};

use scripted::{Ending, Scripted};

const ROOT: u32 = 1;
const NOT_READY: Refusal = Refusal { status: 503, reason: "not_ready", sentence: "Not now." };

/// A filter that needs a shared value to let anything pass.
struct Door(Shared<u32>);

impl Filter for Door {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move {
            let deadline = stream.host().now_ms() + 1_000;
            match self.0.value(deadline).await {
                Ok(_) => Verdict::Continue,
                Err(_) => Verdict::Refuse(NOT_READY),
            }
        })
    }
}

struct Bench {
    host: Rc<Scripted>,
    runtime: Rc<Runtime>,
    door: Rc<Door>,
}

impl Bench {
    /// The value is good for a minute, and ages after half of it.
    fn new() -> Self {
        let host = Scripted::new();
        let runtime = Runtime::new(host.clone(), "door", ROOT);
        runtime.listen();
        let document =
            json::Json::parse(br#"{"version":1,"rules":[{}],"services":{"pubsub":"http://127.0.0.1:1"}}"#);
        let services = Services::from_document(&config::document(document.unwrap(), &[]).unwrap()).unwrap();
        let fetching = runtime.clone();
        let shared = Shared::new(
            &runtime,
            "value",
            Box::new(move || {
                let (runtime, call) = (fetching.clone(), services.pubsub.anonymous_get("/value"));
                Box::pin(async move {
                    let answer = runtime.call(call).await;
                    let now = runtime.host().now_ms();
                    match answer.is_success() {
                        true => Ok(Fetched { value: 7, refresh_ms: now + 30_000, expires_ms: now + 60_000 }),
                        false => Err(FetchError::Unavailable),
                    }
                })
            }),
        );
        Self { host, runtime, door: Rc::new(Door(shared)) }
    }

    /// A stream whose callback is about to be called, as the proxy puts it in force.
    fn stream(&self, context: u32) -> Rc<Flow> {
        self.host.entered.set(context);
        Flow::new(context, self.door.clone(), self.runtime.clone())
    }

    /// A stream that waits.
    fn waiting(&self, context: u32) -> Rc<Flow> {
        let flow = self.stream(context);
        assert_eq!(flow.on_request_headers(true), Step::Pause);
        flow
    }

    fn wake(&self) {
        self.runtime.on_queue_ready(1);
    }

    fn answer(&self, token: u32, status: u16) {
        self.host.answer.replace((status, b"{}".to_vec()));
        self.runtime.on_call_response(token, 1, 2);
    }

    fn calls(&self) -> usize {
        self.host.calls.borrow().len()
    }
}

#[test]
fn two_streams_one_fetch_each_resumed_once() {
    let bench = Bench::new();
    let _streams = [bench.waiting(10), bench.waiting(11)];
    bench.wake();
    bench.wake();
    assert_eq!(bench.calls(), 1);
    bench.answer(1, 200);
    assert_eq!(bench.host.endings(), [(10, Ending::Resumed), (11, Ending::Resumed)]);
    bench.answer(1, 200);
    bench.runtime.on_tick();
    bench.wake();
    assert_eq!(bench.host.endings(), []);
}

#[test]
fn the_call_is_made_by_the_root_whoever_asked() {
    let bench = Bench::new();
    let _stream = bench.waiting(10);
    assert_eq!(bench.calls(), 0, "a stream makes no call");
    bench.wake();
    assert_eq!(bench.host.entered.get(), ROOT);
}

#[test]
fn when_the_first_waiter_leaves_the_others_are_served() {
    for leaves_before_the_call in [true, false] {
        let bench = Bench::new();
        let (first, _second) = (bench.waiting(10), bench.waiting(11));
        if !leaves_before_the_call {
            bench.wake();
        }
        bench.host.gone.borrow_mut().insert(10);
        drop(first);
        bench.wake();
        bench.answer(1, 200);
        assert_eq!(bench.host.endings(), [(11, Ending::Resumed)]);
    }
}

#[test]
fn a_stream_whose_context_is_gone_is_left_alone_and_so_is_the_next() {
    let bench = Bench::new();
    let _streams = [bench.waiting(10), bench.waiting(11)];
    bench.wake();
    bench.host.gone.borrow_mut().insert(10);
    bench.answer(1, 200);
    assert_eq!(bench.host.endings(), [(11, Ending::Resumed)]);
}

#[test]
fn a_failed_fetch_refuses_every_waiter_once_and_the_next_tries_again_after_the_cool_down() {
    let bench = Bench::new();
    let _streams = [bench.waiting(10), bench.waiting(11)];
    bench.wake();
    bench.answer(1, 500);
    assert_eq!(bench.host.endings(), [(10, Ending::Replied(503)), (11, Ending::Replied(503))]);
    let refused = bench.stream(12);
    refused.on_request_headers(true);
    assert_eq!(bench.host.endings(), [(12, Ending::Replied(503))], "at once, while cooling down");
    bench.wake();
    assert_eq!(bench.calls(), 1);
    bench.host.advance(1_000);
    let _stream = bench.waiting(13);
    bench.wake();
    assert_eq!(bench.calls(), 2);
}

#[test]
fn a_deadline_refuses_and_a_late_answer_changes_nothing() {
    let bench = Bench::new();
    let _stream = bench.waiting(10);
    assert!(bench.host.tick_ms.get() > 0, "armed while something waits");
    bench.wake();
    bench.host.advance(999);
    bench.runtime.on_tick();
    assert_eq!(bench.host.endings(), []);
    bench.host.advance(1);
    bench.runtime.on_tick();
    assert_eq!(bench.host.endings(), [(10, Ending::Replied(503))]);
    bench.answer(1, 200);
    assert_eq!(bench.host.endings(), []);
    bench.runtime.on_tick();
    assert_eq!(bench.host.tick_ms.get(), 0, "and not a moment longer");
}

#[test]
fn a_value_that_ages_is_served_while_it_is_fetched_anew_and_only_when_used() {
    let bench = Bench::new();
    let _stream = bench.waiting(10);
    bench.wake();
    bench.answer(1, 200);
    bench.host.advance(30_000);
    bench.runtime.on_tick();
    assert_eq!(bench.calls(), 1, "nobody used it");
    assert_eq!(bench.stream(11).on_request_headers(true), Step::Continue);
    bench.wake();
    assert_eq!(bench.calls(), 2);
    bench.answer(2, 500);
    assert_eq!(bench.stream(12).on_request_headers(true), Step::Continue, "the last good value is kept");
    bench.host.advance(30_000);
    let _expired = bench.waiting(13);
}

#[test]
fn a_call_that_cannot_be_sent_refuses() {
    let bench = Bench::new();
    bench.host.refuse_calls.set(true);
    let _stream = bench.waiting(10);
    bench.wake();
    assert_eq!(bench.host.endings(), [(10, Ending::Replied(503))]);
}

#[test]
fn an_answer_without_headers_is_a_connection_that_was_reset() {
    let bench = Bench::new();
    let _stream = bench.waiting(10);
    bench.wake();
    bench.runtime.on_call_response(1, 0, 0);
    assert_eq!(bench.host.endings(), [(10, Ending::Replied(503))]);
}

#[test]
fn no_more_streams_wait_than_may() {
    let bench = Bench::new();
    let waiting: Vec<_> = (0..MAX_WAITING as u32).map(|index| bench.waiting(10 + index)).collect();
    bench.stream(9_999).on_request_headers(true);
    assert_eq!(bench.host.endings().len(), 1, "the one too many is refused at once");
    drop(waiting);
    let _next = bench.waiting(10_000);
}

#[test]
fn a_request_that_the_proxy_ended_is_not_ended_again() {
    let bench = Bench::new();
    let stream = bench.waiting(10);
    bench.wake();
    assert_eq!(stream.on_response_headers(), Step::Continue);
    bench.answer(1, 200);
    assert_eq!(bench.host.endings(), []);
}

#[test]
fn a_refusal_is_one_line_with_filter_reason_status_and_request_id_and_one_count() {
    let bench = Bench::new();
    let id = ("x-request-id".to_owned(), b"abc\n\x1b[31m lockgate filter=x".to_vec());
    bench.host.request.replace(Headers::from_iter([id]));
    let _stream = bench.waiting(10);
    bench.wake();
    bench.answer(1, 500);
    let lines: Vec<String> =
        bench.host.log.take().into_iter().filter(|line| line.contains("refused")).collect();
    assert_eq!(
        lines,
        ["lockgate filter=door refused reason=not_ready status=503 request_id=abc???31m?lockgate?filter?x"]
    );
    assert_eq!(bench.host.counts.borrow().get("lockgate.door.refused.not_ready"), Some(&1));
}

/// A filter that reads at most four bytes.
struct Reader;

impl Filter for Reader {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move {
            match stream.request_body(4).await {
                Ok(_) => Verdict::Continue,
                Err(_) => {
                    Verdict::Refuse(Refusal { status: 413, reason: "too_large", sentence: "Too large." })
                }
            }
        })
    }
}

#[test]
fn a_body_is_waited_for_to_its_end_and_refused_at_the_first_byte_too_many() {
    let bench = Bench::new();
    let flow = || Flow::new(10, Rc::new(Reader), bench.runtime.clone());
    let ended_by_data = flow();
    assert_eq!(ended_by_data.on_request_headers(false), Step::Pause);
    assert_eq!(ended_by_data.on_request_body(3, false), Step::Pause);
    assert_eq!(ended_by_data.on_request_body(4, true), Step::Continue);

    let ended_by_trailers = flow();
    ended_by_trailers.on_request_headers(false);
    assert_eq!(ended_by_trailers.on_request_body(4, false), Step::Pause);
    assert_eq!(ended_by_trailers.on_request_trailers(), Step::Continue);

    assert_eq!(bench.host.endings(), []);
    let too_large = flow();
    too_large.on_request_headers(false);
    assert_eq!(too_large.on_request_body(5, false), Step::Pause);
    assert_eq!(bench.host.endings(), [(0, Ending::Replied(413))]);
    assert_eq!(too_large.on_request_body(6, true), Step::Continue);
    assert_eq!(bench.host.endings(), []);

    bench.host.request.replace(Headers::from_iter([("content-length", "5")]));
    flow().on_request_headers(false);
    assert_eq!(bench.host.endings(), [(0, Ending::Replied(413))], "announced, so refused unread");
}

/// A filter that answers with another status than it begins to.
struct Relay;

impl Filter for Relay {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move {
            let told = Box::pin(async move { stream.replace_response(418) });
            Verdict::ReplyThen(Reply::empty(200), told)
        })
    }
}

#[test]
fn an_answer_may_be_changed_as_it_comes_back_and_not_before() {
    let bench = Bench::new();
    let flow = Flow::new(10, Rc::new(Relay), bench.runtime.clone());
    assert_eq!(flow.on_request_headers(true), Step::Pause);
    assert_eq!(bench.host.endings(), [(0, Ending::Replied(200))]);
    assert_eq!(bench.host.response.borrow().first(":status"), None);
    assert_eq!(flow.on_response_headers(), Step::Continue);
    assert_eq!(bench.host.response.borrow().first(":status"), Some(b"418".as_slice()));
    assert_eq!(bench.host.endings(), []);
}

/// A wait that ends early leaves its deadline behind, which wakes the task in the middle of its next wait.
#[test]
fn a_task_that_lives_for_ever_is_woken_as_often_in_its_hundredth_wait_as_in_its_first() {
    let bench = Bench::new();
    let (arrival, polls) = (Rc::new(RefCell::new(Event::<()>::default())), Rc::new(Cell::new(0)));
    let (runtime, next, polled) = (bench.runtime.clone(), arrival.clone(), polls.clone());
    let mut story: Story<()> = Box::pin(async move {
        loop {
            let until = runtime.host().now_ms() + 1_000;
            let event = next.borrow().clone();
            event.wait(&runtime, until).await;
            runtime.sleep(until).await;
        }
    });
    bench.runtime.spawn(Box::pin(std::future::poll_fn(move |context| {
        polled.set(polled.get() + 1);
        story.as_mut().poll(context)
    })));
    bench.wake();
    let turns = |count: u32| {
        let before = polls.get();
        for _ in 0..count {
            arrival.take().settle(&bench.runtime, ());
            bench.wake();
            bench.host.advance(1_000);
            bench.runtime.on_tick();
        }
        polls.get() - before
    };
    let first = turns(1);
    assert!(first > 1 && turns(100) <= 100 * first, "{first} times, then {}", polls.get());
}
