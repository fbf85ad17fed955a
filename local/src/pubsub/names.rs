//! Resource names and list paging (<https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names>).

use percent_encoding::percent_decode_str;

use crate::status::ApiError;

/// The topic of a subscription whose topic was deleted, as Google names it.
pub(super) const DELETED_TOPIC: &str = "_deleted-topic_";

/// A list's page: how many, and the name after which it starts.
pub(super) struct Page {
    pub(super) size: usize,
    pub(super) after: String,
}

/// Google allows up to 1,000 a page.
const MAX_PAGE: usize = 1000;

/// `projects/<id>`; looser than Google about the id, which is not ours to give out.
pub(super) fn project(id: &str) -> Result<String, ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    if (1..=100).contains(&id.len()) && id.bytes().all(allowed) {
        Ok(format!("projects/{id}"))
    } else {
        Err(ApiError::invalid(format!("Invalid project id '{}'.", id.escape_default())))
    }
}

pub(super) fn topic(project_id: &str, id: &str) -> Result<String, ApiError> {
    Ok(format!("{}/topics/{}", project(project_id)?, resource_id("topic", id)?))
}

pub(super) fn subscription(project_id: &str, id: &str) -> Result<String, ApiError> {
    Ok(format!("{}/subscriptions/{}", project(project_id)?, resource_id("subscription", id)?))
}

/// A topic's full name in a request body.
pub(super) fn full_topic(name: &str) -> Result<String, ApiError> {
    let segments: Vec<&str> = name.split('/').collect();
    match segments.as_slice() {
        ["projects", project_id, "topics", id] => topic(project_id, id),
        _ => Err(ApiError::invalid("A topic's name has the form projects/{project}/topics/{topic}.")),
    }
}

fn resource_id<'a>(kind: &str, id: &'a str) -> Result<&'a str, ApiError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~+%".contains(&byte);
    let valid = (3..=255).contains(&id.len())
        && id.bytes().all(allowed)
        && id.starts_with(|first: char| first.is_ascii_alphabetic())
        && !id.starts_with("goog");
    if valid {
        return Ok(id);
    }
    Err(ApiError::invalid(format!(
        "Invalid {kind} id '{}': 3 to 255 letters, digits and '-_.~+%', a letter first, and not 'goog'.",
        id.escape_default()
    )))
}

/// `pageSize` and `pageToken`. The token is the last name of the page before.
pub(super) fn page(query: &str) -> Result<Page, ApiError> {
    let mut page = Page { size: MAX_PAGE, after: String::new() };
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = percent_decode_str(value).decode_utf8().unwrap_or_default();
        match name {
            "pageSize" => {
                let size: usize = value.parse().map_err(|_| ApiError::invalid("pageSize is a number."))?;
                page.size = if size == 0 { MAX_PAGE } else { size.min(MAX_PAGE) };
            }
            "pageToken" => page.after = value.into_owned(),
            _ => {}
        }
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_follow_googles_rules() {
        for good in ["abc", "a-b_c.d~e+f%g", &"a".repeat(255)] {
            assert!(topic("p", good).is_ok(), "{good}");
        }
        for bad in ["", "ab", "1bc", "-bc", "google-x", "a b", "a/b", "ä-b", &"a".repeat(256)] {
            assert!(topic("p", bad).is_err(), "{bad}");
        }
        assert!(topic("", "abc").is_err());
        assert_eq!(full_topic("projects/p/topics/abc").unwrap(), "projects/p/topics/abc");
        for bad in ["abc", "projects/p/subscriptions/abc", "/projects/p/topics/abc", "projects/p/topics/abc/"]
        {
            assert!(full_topic(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn paging_is_bounded() {
        assert_eq!(page("").unwrap().size, 1000);
        assert_eq!(page("pageSize=5000").unwrap().size, 1000);
        assert!(page("pageSize=-1").is_err());
        let second = page("pageSize=2&pageToken=projects%2Fp%2Ftopics%2Fabc").unwrap();
        assert_eq!((second.size, second.after.as_str()), (2, "projects/p/topics/abc"));
    }
}
