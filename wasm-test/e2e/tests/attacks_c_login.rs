//! scratch
use lockgate_e2e::siege::Siege;
#[tokio::test]
async fn scratch() {
    let siege = Siege::start(2, |_| {}).await;
    let agent = siege.signed_in().await;
    for page in &agent.history { println!("{} {} {:?}", page.url, page.response.status, page.response.headers); }
    siege.assert_unharmed(0).await;
    for line in siege.stack.gateway_log().since(0) { println!("LOG {line}"); }
    println!("{}", siege.stack.admin().text("/stats?filter=wasm").await);
    let cookies = siege.cookies(&agent);
    println!("{} {cookies}", cookies.len());
    println!("{:?}", siege.asks(&cookies).await);
    println!("{:?}", siege.whose(&cookies).await);
    println!("{:?}", siege.stack.upstream().requests().since(0));
}
