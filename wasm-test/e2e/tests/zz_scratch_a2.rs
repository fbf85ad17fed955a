//! x
use lockgate_e2e::guarded_routes::*;
use lockgate_e2e::byte_stream::ByteStream;
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::{Request};

#[tokio::test]
async fn pipelined() {
    let provider = HostileProvider::start();
    let stack = guarded_stack(&provider, |_| {}).start().await;
    let agent = signed_in(&stack).await;
    let address = stack.client().address().to_string();
    let known = with_cookies(&stack, &agent, Request::get("/k1").header("host", &address));
    let nobody = Request::get("/k2").header("host", &address);
    let mut c = stack.client().connect().await;
    for r in [&known, &nobody, &known, &nobody] {
        c.write(&r.to_bytes()).await;
        println!("seq {:?}", c.read("GET").await.map(|a| a.status));
    }
    let mut c = stack.client().connect().await;
    c.write(&[known.to_bytes(), known.to_bytes(), nobody.to_bytes(), known.to_bytes()].concat()).await;
    for _ in 0..4 { println!("pipe k k n k {:?}", c.read("GET").await.map(|a| a.status)); }
    let mut c = stack.client().connect().await;
    c.write(&[nobody.to_bytes(), known.to_bytes()].concat()).await;
    for _ in 0..2 { println!("pipe n k {:?}", c.read("GET").await.map(|a| a.status)); }
}

#[tokio::test]
async fn many() {
    for n in [200, 230, 260, 300, 400] {
    let provider = HostileProvider::start();
    let hold = provider.hold(Endpoint::Discovery);
    let stack = guarded_stack(&provider, |_| {}).start().await;
    provider.wait_for_calls(Endpoint::Discovery, 1).await;
    let address = stack.client().address();
    let callers: Vec<_> = (0..n).map(|_| tokio::spawn(async move {
        let mut s = ByteStream::connect(address).await;
        s.write(&navigation("/page").header("host", address.to_string()).to_bytes()).await.unwrap();
        let head = s.read_until(b"\r\n\r\n").await;
        let rest = s.read_until(b"</html>\n").await;
        (head.map(|h| h.len()), rest.map(|h| h.len()))
    })).collect();
    let mut ok = 0; let mut nohead = 0; let mut nobody = 0;
    for c in callers { match c.await.unwrap() { (Ok(_), Ok(_)) => ok += 1, (Ok(_), Err(_)) => nobody += 1, _ => nohead += 1 } }
    println!("{n}: ok {ok} nohead {nohead} nobody {nobody}");
    let _ = stack.admin(); if false { println!("{}", stack.admin().text("/stats?filter=(downstream_cx_destroy|downstream_rq_|downstream_cx_tx|delayed|overload)").await.lines().filter(|l| !l.ends_with(": 0")).collect::<Vec<_>>().join("\n")); }
    for l in stack.gateway_log().since(0).into_iter().filter(|l| !l.contains("bytes_sent") && !l.contains("refused reason")).take(40) { println!("LOG {}", l.chars().take(600).collect::<String>()); }
    let log: Vec<_> = stack.gateway_log().since(0).into_iter().filter(|l| l.contains("bytes_sent")).collect();
    println!("{} {}", log.len(), log.last().unwrap());
    drop(hold);
    }
}
