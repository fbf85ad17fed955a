//! What keys are read, how a token is put together, and how long it is used.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests and their helpers"
)]

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use lockgate_common::assertion::{AssertionKeys, Assertions, Identity, SignError};
use lockgate_common::config::{self, Fields};
use lockgate_common::encoding::{base64, from_base64, from_base64url};
use lockgate_common::host::{Body, Call, Host, HostError, Level, Map, Metric, Phase};
use lockgate_common::http::{Headers, Reply};
use lockgate_common::json::Json;
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::Secret;
use lockgate_common::services::Services;
use proptest::prelude::{Just, any, prop_assert, proptest};
use serde_json::{Value, json};

/// The key of RFC 7515, A.3, as openssl writes it in PKCS #8.
const PKCS8: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgjpsQnnGQmL+YBIff
H1136cspYG6+0iY7X1fCE9+E9LKhRANCAAR/zc4ncPbEXUGDy+5v20t7WAczNXvp
7xO6z248e9FURcfxRM0bvZt+hyzf7bnuufSzaV1uqQskrYpGIyiFiOWt
-----END PRIVATE KEY-----
";

/// The same key in SEC 1.
const SEC1: &str = "-----BEGIN EC PRIVATE KEY-----
MHcCAQEEII6bEJ5xkJi/mASH3x9dd+nLKWBuvtImO19XwhPfhPSyoAoGCCqGSM49
AwEHoUQDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEXH8UTNG72b
focs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==
-----END EC PRIVATE KEY-----
";

/// The thumbprint of its public part (RFC 7638).
const KEY_ID: &str = "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U";

/// Another key, as `openssl ecparam -genkey` writes it without `-noout`.
const OTHER: &str = "-----BEGIN EC PARAMETERS-----
BggqhkjOPQMBBw==
-----END EC PARAMETERS-----
-----BEGIN EC PRIVATE KEY-----
MHcCAQEEIAf0a1rByipq5orvOIqP/8wQay5lz7LCtk+4Qh7yBvUloAoGCCqGSM49
AwEHoUQDQgAEmnbbuq1+xfZ1EKvFNHYPtt03RirruvBBBE15QInyAOz/w5vQJKSZ
0NNK9GTiy/rxUtMoWG7fpNffnUvfuWrP+A==
-----END EC PRIVATE KEY-----
";

fn parse(text: &str) -> Option<AssertionKeys> {
    AssertionKeys::parse(&Secret::new(text.as_bytes().to_vec()))
}

/// The key set that is published for a secret.
fn published(text: &str) -> Vec<Value> {
    let set: Value = serde_json::from_str(&parse(text).expect("keys").jwks()).unwrap();
    set["keys"].as_array().unwrap().clone()
}

#[test]
fn a_key_set_has_the_public_part_under_its_thumbprint() {
    let key = json!({"kty": "EC", "crv": "P-256", "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
                     "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0", "use": "sig", "alg": "ES256", "kid": KEY_ID});
    for one in [PKCS8, SEC1] {
        assert_eq!(published(one), std::slice::from_ref(&key));
    }
    let both = published(&[OTHER, SEC1].concat());
    assert_eq!((both.len(), &both[1]), (2, &key), "all of them, in their order");
    assert_ne!(both[0]["kid"], KEY_ID);
}

#[test]
fn line_breaks_are_as_an_environment_variable_has_them() {
    let two = [PKCS8, OTHER].concat();
    let expected = published(&two);
    for breaks in ["\r\n", "\\n", "\\r\\n", " ", "", "\n\n"] {
        assert_eq!(published(&two.replace('\n', breaks)), expected, "{breaks:?}");
    }
    assert_eq!(published(&["\n ", &two, "\n"].concat()), expected);
}

#[test]
fn what_is_no_p256_key_with_its_public_part_is_refused() {
    let pem = |label: &str, body: &str| {
        ["-----BEGIN ", label, "-----\n", body, "\n-----END ", label, "-----\n"].concat()
    };
    let ec = |body: &str| pem("EC PRIVATE KEY", body);
    let refused = [
        ("nothing", String::new()),
        ("no PEM", "secret".to_owned()),
        ("the curve alone", pem("EC PARAMETERS", "BggqhkjOPQMBBw==")),
        (
            "P-384",
            pem(
                "PRIVATE KEY",
                "MIG2AgEAMBAGByqGSM49AgEGBSuBBAAiBIGeMIGbAgEBBDBB/nvFVPyHvhuoGkwFUos4FvYC5O71h8+lFaGMgmtPK8D++OodnX0xkDFXhnPn3cyhZANiAATOvD6jyFK8qBSMWeEXmEfOwizDMqmttjlEKNYnxoUZC87a9PG12KUng7SUH4xhP5NBpzSh9HTLOaxlJ+ws1gmLxLmzjVxtDA2sO8VGabIsBE5hrHMXlsPvPur+1AZe470=",
            ),
        ),
        ("Ed25519", pem("PRIVATE KEY", "MC4CAQAwBQYDK2VwBCIEINmPjhMS5Y/Rb9W7abysZvk5fAOIpjTM4nPFu6rUcgaQ")),
        ("without its point", ec("MDECAQEEII6bEJ5xkJi/mASH3x9dd+nLKWBuvtImO19XwhPfhPSyoAoGCCqGSM49AwEH")),
        (
            "a compressed point",
            ec(
                "MFcCAQEEII6bEJ5xkJi/mASH3x9dd+nLKWBuvtImO19XwhPfhPSyoAoGCCqGSM49AwEHoSQDIgADf83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU=",
            ),
        ),
        (
            "a curve by its numbers",
            ec(
                "MIIBaAIBAQQgjpsQnnGQmL+YBIffH1136cspYG6+0iY7X1fCE9+E9LKggfowgfcCAQEwLAYHKoZIzj0BAQIhAP////8AAAABAAAAAAAAAAAAAAAA////////////////MFsEIP////8AAAABAAAAAAAAAAAAAAAA///////////////8BCBaxjXYqjqT57PrvVV2mIa8ZR0GsMxTsPY7zjw+J9JgSwMVAMSdNgiG5wSTamZ44ROdJreBn36QBEEEaxfR8uEsQkf4vOblY6RA8ncDfYEt6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9QIhAP////8AAAAA//////////+85vqtpxeehPO5ysL8YyVRAgEBoUQDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==",
            ),
        ),
        ("another label", PKCS8.replace("PRIVATE KEY", "RSA PRIVATE KEY")),
        ("encrypted", PKCS8.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY")),
        ("two labels", PKCS8.replace("END PRIVATE", "END EC PRIVATE")),
        ("no end", PKCS8.replace("-----END PRIVATE KEY-----\n", "")),
        ("a body that is not base64", PKCS8.replace("MIGH", "MI?H")),
        ("a word between", [PKCS8, "and\n", OTHER].concat()),
        ("one of two is none", [PKCS8, &ec("MDE=")].concat()),
        ("nine keys", PKCS8.repeat(9)),
    ];
    for (what, text) in refused {
        assert!(parse(&text).is_none(), "{what}");
    }
    assert_eq!(published(&PKCS8.repeat(8)).len(), 8);
}

/// The DER of a PEM block.
fn der(pem: &str) -> Vec<u8> {
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    from_base64(body.as_bytes()).unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    ["-----BEGIN ", label, "-----", &base64(der), "-----END ", label, "-----"].concat()
}

#[test]
fn a_key_that_was_cut_or_grew_is_refused() {
    for (label, whole) in [("PRIVATE KEY", der(PKCS8)), ("EC PRIVATE KEY", der(SEC1))] {
        assert!(parse(&pem(label, &whole)).is_some());
        for end in 0..whole.len() {
            assert!(parse(&pem(label, &whole[..end])).is_none(), "{label} cut to {end}");
        }
        assert!(parse(&pem(label, &[&whole[..], &[0]].concat())).is_none());
    }
}

proptest! {
    #[test]
    fn no_bytes_panic(text in any::<Vec<u8>>()) {
        AssertionKeys::parse(&Secret::new(text));
    }

    #[test]
    fn no_changed_key_panics_and_what_is_read_has_whole_coordinates(
        (label, whole) in proptest::prop_oneof![
            Just(("PRIVATE KEY", der(PKCS8))),
            Just(("EC PRIVATE KEY", der(SEC1))),
        ],
        at in 0..138_usize,
        byte in any::<u8>(),
    ) {
        let mut changed = whole;
        let length = changed.len();
        changed[at % length] = byte;
        if let Some(keys) = parse(&pem(label, &changed)) {
            let set: Value = serde_json::from_str(&keys.jwks()).unwrap();
            for coordinate in ["x", "y"] {
                let text = set["keys"][0][coordinate].as_str().unwrap();
                prop_assert!(from_base64url(text.as_bytes()).unwrap().len() == 32);
            }
        }
    }
}

/// A proxy that answers `sign` as a test says, and remembers what it was to sign.
struct Proxy {
    now_ms: Cell<u64>,
    environment: BTreeMap<&'static str, String>,
    result: RefCell<Result<Vec<u8>, HostError>>,
    signed: RefCell<Vec<Vec<u8>>>,
}

/// SignResult with this signature.
fn result(signature: &[u8]) -> Vec<u8> {
    [&[0x08, 0x01, 0x12, signature.len() as u8], signature].concat()
}

/// r has its highest bit set, s begins with many zeros.
fn short_signature() -> Vec<u8> {
    [&[0x30, 0x26, 0x02, 0x21, 0x00][..], &[0xff; 32], &[0x02, 0x01, 0x05]].concat()
}

impl Proxy {
    fn new() -> Rc<Self> {
        Rc::new(Self {
            now_ms: Cell::new(1_000_000),
            environment: BTreeMap::from([("KEY", PKCS8.replace('\n', "\\n")), ("NOT_KEY", "secret".into())]),
            result: RefCell::new(Ok(result(&short_signature()))),
            signed: RefCell::default(),
        })
    }

    fn answer(&self, result: Result<Vec<u8>, HostError>) {
        *self.result.borrow_mut() = result;
    }

    fn signatures(&self) -> usize {
        self.signed.borrow().len()
    }
}

impl Host for Proxy {
    fn now_ms(&self) -> u64 {
        self.now_ms.get()
    }
    fn foreign(&self, name: &str, argument: &[u8]) -> Result<Vec<u8>, HostError> {
        assert_eq!(name, "sign");
        if argument.is_empty() {
            return self.result.borrow().clone().and(Err(HostError::BadArgument));
        }
        self.signed.borrow_mut().push(argument.to_vec());
        self.result.borrow().clone()
    }
    fn env(&self, name: &str) -> Option<String> {
        self.environment.get(name).cloned()
    }
    fn random(&self, _: &mut [u8]) -> bool {
        false
    }
    fn log(&self, _: Level, _: &str) {}
    fn enter(&self, _: u32) -> Result<(), HostError> {
        Ok(())
    }
    fn headers(&self, _: Map) -> Headers {
        Headers::default()
    }
    fn set_headers(&self, _: Map, _: &Headers) {}
    fn set_header(&self, _: Map, _: &str, _: Option<&[u8]>) {}
    fn add_header(&self, _: Map, _: &str, _: &[u8]) {}
    fn body(&self, _: Body, _: usize) -> Option<Vec<u8>> {
        None
    }
    fn set_body(&self, _: Body, _: usize, _: &[u8]) {}
    fn resume(&self, _: Phase) {}
    fn reply(&self, _: &Reply) {}
    fn property(&self, _: &[&str]) -> Option<Vec<u8>> {
        None
    }
    fn set_property(&self, _: &str, _: &[u8]) {}
    fn dispatch(&self, _: &Call) -> Result<u32, HostError> {
        Err(HostError::BadArgument)
    }
    fn shared(&self, _: &str) -> (Option<Vec<u8>>, u32) {
        (None, 0)
    }
    fn set_shared(&self, _: &str, _: &[u8], _: u32) -> Result<(), HostError> {
        Ok(())
    }
    fn register_queue(&self, _: &str) -> Option<u32> {
        None
    }
    fn enqueue(&self, _: u32) {}
    fn dequeue(&self, _: u32) -> bool {
        false
    }
    fn set_tick(&self, _: u64) {}
    fn define_metric(&self, _: Metric, _: &str) -> Option<u32> {
        None
    }
    fn increment(&self, _: u32) {}
    fn record(&self, _: u32, _: u64) {}
}

#[test]
fn a_token_is_signed_with_the_first_key_and_carries_r_and_s() {
    let proxy = Proxy::new();
    let keys = parse(&[PKCS8, OTHER].concat()).unwrap();
    let token = keys.sign(&*proxy, br#"{"sub":"somebody"}"#).unwrap();
    let parts: Vec<Vec<u8>> = token.split('.').map(|part| from_base64url(part.as_bytes()).unwrap()).collect();
    let header: Value = serde_json::from_slice(&parts[0]).unwrap();
    assert_eq!(header, json!({"alg": "ES256", "kid": KEY_ID, "typ": "JWT"}));
    assert_eq!(parts[1], br#"{"sub":"somebody"}"#);
    assert_eq!(parts[2], [&[0xff; 32][..], &[0; 31], &[5]].concat());
    let (signed, _) = token.rsplit_once('.').unwrap();
    let expected = [
        &[0x0a, 6][..],
        b"sha256",
        &[0x12, 138, 1],
        &der(PKCS8),
        &[0x1a, signed.len() as u8 | 0x80, (signed.len() >> 7) as u8],
        signed.as_bytes(),
    ];
    assert_eq!(*proxy.signed.borrow(), [expected.concat()]);
}

#[test]
fn sec_1_is_handed_to_the_proxy_as_pkcs_8() {
    let proxy = Proxy::new();
    for pem in [PKCS8, SEC1] {
        parse(pem).unwrap().sign(&*proxy, b"{}").unwrap();
    }
    let signed = proxy.signed.borrow();
    assert_eq!(signed[0], signed[1]);
}

#[test]
fn every_key_is_tried() {
    let proxy = Proxy::new();
    let keys = parse(&[PKCS8, OTHER].concat()).unwrap();
    assert_eq!(keys.can_sign(&*proxy), Ok(()));
    assert_eq!(proxy.signatures(), 2);
    proxy.answer(Err(HostError::NotFound));
    assert_eq!(keys.can_sign(&*proxy), Err(SignError::NoFunction));
    proxy.answer(Err(HostError::BadArgument));
    assert_eq!(keys.can_sign(&*proxy), Err(SignError::Refused));
}

#[test]
fn what_the_proxy_answers_in_the_place_of_a_signature_is_refused() {
    let proxy = Proxy::new();
    let keys = parse(PKCS8).unwrap();
    let whole = short_signature();
    let mut longer = vec![0x30, 0x2d, 0x02, 0x28];
    longer.extend([&[0xff; 40][..], &[0x02, 0x01, 0x05]].concat());
    let mut answers = vec![
        b"\x1a=Invalid key type: private key required for signing operation.".to_vec(),
        result(&longer),
        result(&[]),
        result(&[0x30, 0x06, 0x02, 0x01, 0x00, 0x02, 0x01, 0x05]),
        [&result(&whole)[..], &[0]].concat(),
        vec![0x08, 0x01],
    ];
    answers.extend((0..whole.len()).map(|end| result(&whole[..end])));
    answers.extend((0..whole.len() + 4).map(|end| result(&whole)[..end].to_vec()));
    for answer in answers {
        proxy.answer(Ok(answer.clone()));
        assert_eq!(keys.sign(&*proxy, b"{}"), Err(SignError::Refused), "{answer:?}");
    }
}

fn configured(proxy: &Rc<Proxy>, settings: &Value) -> Result<Assertions, String> {
    let runtime = Runtime::new(proxy.clone(), "door", 1);
    let document = json!({"version": 1, "rules": [{}]}).to_string();
    let document = config::document(Json::parse(document.as_bytes()).unwrap(), &[]).unwrap();
    let services = Rc::new(Services::from_document(&document).unwrap());
    let settings = settings.to_string();
    let json = Json::parse(settings.as_bytes()).unwrap();
    let fields = Fields::new(json, "assertion", &["keys", "audience", "lifetime_s"]).unwrap();
    Assertions::from_config(&fields, "https://app.example.com", &runtime, &services)
        .map_err(|error| error.line())
}

fn settings() -> Value {
    json!({"keys": {"env": "KEY"}, "audience": "https://upstream"})
}

/// A future that waits for nothing.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("it waits"),
    }
}

fn header(assertions: &Assertions, proxy: &Proxy, subject: &str) -> Rc<str> {
    let identity = Identity { issuer: "https://idp", subject, email: None, groups: &[] };
    now(assertions.header(&identity, proxy, u64::MAX)).unwrap()
}

fn claims(token: &str) -> Value {
    serde_json::from_slice(&from_base64url(token.split('.').nth(1).unwrap().as_bytes()).unwrap()).unwrap()
}

#[test]
fn an_assertion_says_who_to_whom_and_for_how_long() {
    let proxy = Proxy::new();
    let assertions = configured(&proxy, &settings()).unwrap();
    let groups = ["staff".to_owned(), "a\"b\\\n\u{7f}\u{e9}".to_owned()];
    let identity =
        Identity { issuer: "https://idp", subject: "\",\"sub\":\"x", email: Some("a@b"), groups: &groups };
    let token = now(assertions.header(&identity, &*proxy, 0)).unwrap();
    let expected = json!({"sub": "\",\"sub\":\"x", "idp": "https://idp", "email": "a@b", "groups": groups,
                          "iss": "https://app.example.com", "aud": "https://upstream", "iat": 1_000, "exp": 1_300});
    assert_eq!(claims(&token), expected);
    let bare = claims(&header(&assertions, &proxy, "s"));
    assert!(bare.get("email").is_none() && bare.get("groups").is_none());
}

#[test]
fn an_assertion_is_used_until_the_last_fifth_of_its_life() {
    let proxy = Proxy::new();
    let mut settings = settings();
    settings["lifetime_s"] = json!(30);
    let assertions = configured(&proxy, &settings).unwrap();
    let first = header(&assertions, &proxy, "s");
    let tried = proxy.signatures();
    proxy.now_ms.set(1_023_999);
    assert_eq!(header(&assertions, &proxy, "s"), first);
    assert_eq!(proxy.signatures(), tried);
    proxy.now_ms.set(1_024_000);
    assert_eq!(claims(&header(&assertions, &proxy, "s"))["exp"], 1_054);
    proxy.now_ms.set(900_000);
    assert_eq!(claims(&header(&assertions, &proxy, "s"))["exp"], 930, "the clock was set back");
}

#[test]
fn whoever_differs_has_an_assertion_of_their_own() {
    let proxy = Proxy::new();
    let assertions = configured(&proxy, &settings()).unwrap();
    let groups = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let cases = [
        ("i", "s", None, groups(&[])),
        ("is", "", None, groups(&[])),
        ("i", "s", Some(""), groups(&[])),
        ("i", "s", Some("g"), groups(&[])),
        ("i", "s", None, groups(&["g"])),
        ("i", "s", None, groups(&["g", "h"])),
        ("i", "s", None, groups(&["g\",\"h"])),
    ];
    for _ in 0..2 {
        for (issuer, subject, email, groups) in &cases {
            let identity = Identity { issuer, subject, email: *email, groups };
            let claims = claims(&now(assertions.header(&identity, &*proxy, 0)).unwrap());
            assert_eq!((&claims["idp"], &claims["sub"]), (&json!(issuer), &json!(subject)));
            assert_eq!(claims.get("email"), email.map(|email| json!(email)).as_ref());
            assert_eq!(claims.get("groups"), (!groups.is_empty()).then(|| json!(groups)).as_ref());
        }
    }
    assert_eq!(proxy.signatures(), 1 + cases.len(), "one to try the key, then one each");
}

#[test]
fn as_many_are_kept_as_may_and_the_one_not_used_for_longest_goes() {
    let proxy = Proxy::new();
    let assertions = configured(&proxy, &settings()).unwrap();
    for index in 0..256 {
        header(&assertions, &proxy, &index.to_string());
    }
    let signatures = proxy.signatures();
    header(&assertions, &proxy, "0");
    assert_eq!(proxy.signatures(), signatures);
    header(&assertions, &proxy, "one more");
    header(&assertions, &proxy, "0");
    assert_eq!(proxy.signatures(), signatures + 1);
    header(&assertions, &proxy, "1");
    assert_eq!(proxy.signatures(), signatures + 2);
}

#[test]
fn without_a_signature_there_is_no_assertion() {
    let proxy = Proxy::new();
    let assertions = configured(&proxy, &settings()).unwrap();
    proxy.answer(Ok(b"\x1a\x04Sad.".to_vec()));
    let identity = Identity { issuer: "i", subject: "s", email: None, groups: &[] };
    assert_eq!(now(assertions.header(&identity, &*proxy, 0)), Err(SignError::Refused));
    proxy.answer(Ok(result(&short_signature())));
    header(&assertions, &proxy, "s");
}

#[test]
fn a_configuration_that_cannot_sign_says_why() {
    let with = |name: &str, value: Value| {
        let mut settings = settings();
        settings[name] = value;
        configured(&Proxy::new(), &settings).err().unwrap_or_default()
    };
    let no_key = with("keys", json!({"env": "NOT_KEY"}));
    assert!(
        no_key.starts_with(r#"assertion.keys: given {"env":"NOT_KEY"}, expected P-256 private keys in PEM"#)
    );
    assert!(
        no_key.ends_with("openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt")
    );
    assert!(with("keys", json!({"env": "UNSET"})).starts_with("assertion.keys.env: "));
    assert!(with("audience", json!("")).starts_with("assertion.audience: "));
    for lifetime_s in [29, 3_601] {
        assert!(with("lifetime_s", json!(lifetime_s)).ends_with("expected a whole number from 30 to 3600"));
    }
    let proxy = Proxy::new();
    for (answer, reason) in
        [(Err(HostError::NotFound), "Envoy 1.37 or newer"), (Ok(Vec::new()), "the proxy signs with")]
    {
        proxy.answer(answer);
        let error = configured(&proxy, &settings()).err().unwrap();
        assert!(error.contains(reason), "{error}");
    }
    let fetched = json!({"keys": {"sm": "projects/p/secrets/s/versions/latest"}, "audience": "a"});
    assert!(configured(&proxy, &fetched).is_ok());
    proxy.answer(Err(HostError::NotFound));
    assert!(
        configured(&proxy, &fetched).err().unwrap().contains("Envoy 1.37 or newer"),
        "known before any key"
    );
}
