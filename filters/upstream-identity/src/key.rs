//! An identity token for a service account's key, where there is no metadata server: a signed assertion
//! with `target_audience`, exchanged at the token endpoint (RFC 7523, 2.1;
//! developers.google.com/identity/protocols/oauth2/service-account).

use std::rc::Rc;

use lockgate_common::encoding::{base64url, from_base64, push_decimal};
use lockgate_common::host::Host;
use lockgate_common::json::{Json, write_string};
use lockgate_common::pem;
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::{Secret, SecretSource};
use lockgate_common::services::{Service, Services, tried_again};
use lockgate_common::sign::{SignError, sign};

/// How long an assertion is good for, in seconds; Google takes an hour at most.
const LIFETIME_S: u64 = 3_600;

/// The smallest RSA key, in bytes (NIST SP 800-131A).
const MIN_RSA_BYTES: usize = 256;

/// Time for the exchange, in milliseconds.
const TIMEOUT_MS: u64 = 2_000;

const GRANT: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";

/// What a key looks like.
pub const FORM: &str = "the JSON of a service account's key, or that in base64: \
    client_email, private_key, and token_uri with https or on loopback";

/// What would have to be otherwise for the key to sign.
pub fn expected(error: SignError) -> &'static str {
    match error {
        SignError::NoFunction => "Envoy 1.37 or newer: this one has no function \"sign\"",
        SignError::Refused | SignError::NoKeys => {
            "a private_key that the proxy signs with: RSA of 2,048 bits or more, PKCS #8, PEM"
        }
    }
}

/// A service account's key, as the console hands it out.
pub struct KeyFile {
    email: String,
    key_id: String,
    pkcs8: Vec<u8>,
    token_uri: String,
}

impl KeyFile {
    /// Reads a key file's JSON, or that in base64, as environment variables carry it.
    pub fn parse(secret: &Secret) -> Option<Self> {
        let text = secret.expose().trim_ascii();
        let decoded = match text.first() {
            Some(b'{') => text.to_vec(),
            _ => {
                let text: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
                from_base64(&text)?
            }
        };
        let json = Json::parse(&decoded).ok()?;
        let text = |name: &str| json.unique_field(name).ok()??.str().map(|text| text.into_owned());
        let email = text("client_email").filter(|email| email.contains('@'))?;
        let token_uri = text("token_uri")?;
        let blocks = pem::blocks(text("private_key")?.as_bytes())?;
        let [(label, pkcs8)] = blocks.as_slice() else { return None };
        (label == b"PRIVATEKEY").then(|| Self {
            email,
            key_id: text("private_key_id").unwrap_or_default(),
            pkcs8: pkcs8.clone(),
            token_uri,
        })
    }

    /// Where the assertion is exchanged; none for plain http to another machine.
    pub fn endpoint(&self, services: &Services) -> Option<Service> {
        services.endpoint(&self.token_uri)
    }

    /// The assertion that is exchanged: a compact JWS (RFC 7515, 7.1) with RS256.
    pub fn assertion(&self, host: &dyn Host, audience: &str) -> Result<String, SignError> {
        let mut header = b"{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":".to_vec();
        write_string(&mut header, &self.key_id);
        header.push(b'}');
        let mut token = base64url(&header);
        token.push('.');
        token.push_str(&base64url(&self.claims(audience, host.now_ms() / 1_000)));
        let signature = match sign(host, &self.pkcs8, token.as_bytes()) {
            #[cfg(feature = "jwt-simple")]
            Err(SignError::NoFunction) => return self.signed_here(audience),
            signature => signature?,
        };
        // As long as its key: 2,048 bits at least, and no key on a curve.
        if signature.len() < MIN_RSA_BYTES {
            return Err(SignError::Refused);
        }
        token.push('.');
        token.push_str(&base64url(&signature));
        Ok(token)
    }

    #[cfg(feature = "jwt-simple")]
    fn signed_here(&self, audience: &str) -> Result<String, SignError> {
        let Self { email, key_id, pkcs8, token_uri, .. } = self;
        crate::rsa::assertion(pkcs8, key_id, email, token_uri, audience, LIFETIME_S)
    }

    fn claims(&self, audience: &str, now_s: u64) -> Vec<u8> {
        let mut out = b"{\"iss\":".to_vec();
        write_string(&mut out, &self.email);
        for (name, text) in [(",\"aud\":", self.token_uri.as_str()), (",\"target_audience\":", audience)] {
            out.extend_from_slice(name.as_bytes());
            write_string(&mut out, text);
        }
        let mut times = String::from(",\"iat\":");
        push_decimal(&mut times, now_s);
        times.push_str(",\"exp\":");
        push_decimal(&mut times, now_s + LIFETIME_S);
        times.push('}');
        out.extend_from_slice(times.as_bytes());
        out
    }
}

/// What the token endpoint gives for an assertion.
pub async fn exchange(
    source: &SecretSource,
    services: &Services,
    audience: &str,
    runtime: &Rc<Runtime>,
) -> Option<Vec<u8>> {
    let secret = source.value(runtime.host().now_ms() + TIMEOUT_MS).await.ok()?;
    let key = KeyFile::parse(&secret)?;
    let endpoint = key.endpoint(services)?;
    let assertion = key.assertion(runtime.host(), audience).ok()?;
    // The same assertion gives the same account's token however often it is sent.
    let mut call = tried_again(endpoint.post_form([GRANT, &assertion].concat()));
    call.timeout_ms = TIMEOUT_MS;
    let answer = runtime.call(call).await;
    let json = answer.is_success().then(|| Json::parse(&answer.body).ok()).flatten()?;
    json.field("id_token")?.str().map(|token| token.into_owned().into_bytes())
}
