//! An identity token from Google's metadata server
//! (cloud.google.com/compute/docs/instances/verifying-instance-identity).

use lockgate_common::answer::Answer;
use lockgate_common::encoding::push_percent;

/// Where it says a token for this audience.
pub fn path(audience: &str) -> String {
    let mut path =
        String::from("/computeMetadata/v1/instance/service-accounts/default/identity?format=full&audience=");
    push_percent(&mut path, audience);
    path
}

/// The answer's text, where it is no refusal.
pub fn token(answer: &Answer) -> Option<Vec<u8>> {
    answer.is_success().then(|| answer.body.to_vec())
}
