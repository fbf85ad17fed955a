//! A form (`application/x-www-form-urlencoded`) as a JSON object.

use std::collections::BinaryHeap;

use lockgate_common::form::{self, Pair};
use lockgate_common::json::{Json, Kind, write_string};

use crate::error::ConvertError;

/// The field whose value is embedded where it is a JSON object or array: how Slack sends
/// interactions (docs.slack.dev/interactivity/handling-user-interaction).
const EMBEDDED: &str = "payload";

/// The fields as members, in the order in which their names first appear; a repeated name has all
/// its values, as an array. More than `max_fields` fields are an error, before they are decoded.
pub fn form_to_json(body: &[u8], max_fields: usize) -> Result<Vec<u8>, ConvertError> {
    let mut fields = Vec::new();
    for pair in form::pairs(body) {
        if fields.len() == max_fields {
            return Err(ConvertError::TooManyFields);
        }
        fields.push(pair?);
    }
    let links = links(&fields);
    let mut out = Vec::with_capacity(body.len() + 8 * fields.len() + 2);
    out.push(b'{');
    for ((name, value), link) in fields.iter().zip(&links) {
        if link.repeats {
            continue;
        }
        if out.len() > 1 {
            out.push(b',');
        }
        write_string(&mut out, name);
        out.push(b':');
        if link.next.is_some() {
            out.push(b'[');
        }
        write_value(&mut out, name, value);
        let mut next = link.next;
        while let Some(at) = next {
            out.push(b',');
            if let Some((name, value)) = fields.get(at) {
                write_value(&mut out, name, value);
            }
            next = links.get(at).and_then(|link| link.next);
        }
        if link.next.is_some() {
            out.push(b']');
        }
    }
    out.push(b'}');
    Ok(out)
}

fn write_value(out: &mut Vec<u8>, name: &str, value: &str) {
    let embedded = Some(value.as_bytes())
        .filter(|_| name == EMBEDDED)
        .and_then(|value| Json::parse(value).ok())
        .filter(|json| matches!(json.kind(), Kind::Object | Kind::Array));
    match embedded {
        Some(json) => out.extend_from_slice(json.text()),
        None => write_string(out, value),
    }
}

/// Where a field's name stands again.
#[derive(Clone, Copy, Default)]
struct Link {
    /// It stood before.
    repeats: bool,
    /// The next field of this name.
    next: Option<usize>,
}

/// Finds repeated names by sorting, because no choice of names makes a sort slow as it would a hash
/// map; by a heap, because that is the least code.
fn links(fields: &[Pair<'_>]) -> Vec<Link> {
    let mut links = vec![Link::default(); fields.len()];
    let names: BinaryHeap<(&str, usize)> =
        fields.iter().enumerate().map(|(at, (name, _))| (&**name, at)).collect();
    for pair in names.into_sorted_vec().windows(2) {
        if let [(name, at), (next_name, next)] = pair
            && name == next_name
        {
            if let Some(link) = links.get_mut(*at) {
                link.next = Some(*next);
            }
            if let Some(link) = links.get_mut(*next) {
                link.repeats = true;
            }
        }
    }
    links
}
