//! The forms of a page, as a browser would submit them. For pages that are known to be plain: no
//! parser of HTML.

/// A form of a page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form {
    /// Where it is sent to; empty: to the page itself.
    pub action: String,
    /// `GET` or `POST`.
    pub method: String,
    /// Its inputs and what stands in them.
    pub fields: Vec<(String, String)>,
    /// Its submitting buttons that have a name: name, value.
    pub buttons: Vec<(String, String)>,
}

impl Form {
    /// Whether it has an input of this name.
    pub fn has(&self, name: &str) -> bool {
        self.fields.iter().any(|(field, _)| field == name)
    }

    /// What stands in an input.
    pub fn value(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// Fills an input in, or presses the button of that name.
    pub fn fill(mut self, name: &str, value: &str) -> Self {
        self.fields.retain(|(field, _)| field != name);
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The forms of a page, in order.
pub fn forms(html: &str) -> Vec<Form> {
    let mut forms: Vec<(Option<String>, Form)> = Vec::new();
    let mut loose = Vec::new();
    let mut open = false;
    for tag in tags(html) {
        match &*tag.name {
            "form" => {
                open = true;
                let method = tag.value("method").unwrap_or_default().to_ascii_uppercase();
                let form = Form {
                    action: tag.value("action").unwrap_or_default(),
                    method: if method == "POST" { method } else { "GET".to_owned() },
                    fields: Vec::new(),
                    buttons: Vec::new(),
                };
                forms.push((tag.value("id"), form));
            }
            "/form" => open = false,
            "input" | "button" => match (tag.value("form"), forms.last_mut()) {
                // Of a form anywhere on the page, by its id.
                (Some(id), _) => loose.push((id, tag)),
                (None, Some((_, form))) if open => tag.add_to(form),
                _ => {}
            },
            _ => {}
        }
    }
    for (id, tag) in loose {
        if let Some((_, form)) = forms.iter_mut().find(|(form, _)| form.as_ref() == Some(&id)) {
            tag.add_to(form);
        }
    }
    forms.into_iter().map(|(_, form)| form).collect()
}

struct Tag {
    name: String,
    attributes: Vec<(String, String)>,
}

impl Tag {
    fn value(&self, name: &str) -> Option<String> {
        self.attributes.iter().find(|(attribute, _)| attribute == name).map(|(_, value)| value.clone())
    }

    fn add_to(&self, form: &mut Form) {
        let Some(name) = self.value("name") else { return };
        let value = self.value("value").unwrap_or_default();
        let kind = self.value("type").unwrap_or_default();
        match (&*self.name, &*kind) {
            ("button", _) | (_, "submit") => form.buttons.push((name, value)),
            _ => form.fields.push((name, value)),
        }
    }
}

fn tags(html: &str) -> Vec<Tag> {
    let mut tags = Vec::new();
    let mut rest = html;
    while let Some((_, after)) = rest.split_once('<') {
        let end = after.find([' ', '\n', '\t', '>', '<']).unwrap_or(after.len());
        let (name, after) = after.split_at(end);
        let (attributes, after) = attributes(after);
        tags.push(Tag { name: name.to_ascii_lowercase(), attributes });
        rest = after;
    }
    tags
}

/// The attributes up to the tag's end, and what follows it.
fn attributes(mut rest: &str) -> (Vec<(String, String)>, &str) {
    let mut attributes = Vec::new();
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        let Some(first) = rest.chars().next() else { return (attributes, rest) };
        if first == '>' {
            return (attributes, &rest[1..]);
        }
        let end = rest.find(|c: char| c.is_ascii_whitespace() || "=>/".contains(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end.max(first.len_utf8()));
        let (value, after) = match after.strip_prefix('=') {
            None => ("", after),
            Some(after) => match after.chars().next().filter(|quote| "\"'".contains(*quote)) {
                Some(quote) => after[1..].split_once(quote).unwrap_or((after, "")),
                None => after.split_at(
                    after.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(after.len()),
                ),
            },
        };
        attributes.push((name.to_ascii_lowercase(), unescape(value)));
        rest = after;
    }
}

fn unescape(text: &str) -> String {
    let entities =
        [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&#34;", "\""), ("&#39;", "'"), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_and_buttons_are_found_inside_and_by_id() {
        let html = r#"<a href="/x">no</a><form id="f" action="/go?a=1&amp;b=2" method=post>
            <input type="hidden" name="xsrf" value="a&quot;b"/><input name='who' required></form>
            <button type="submit" form="f" value="yes" name="logout">Yes</button>
            <input name="stray" value="1"><form><input type=submit name=q value=Go></form>"#;
        let [first, second] = &forms(html)[..] else { panic!("not two forms") };
        assert_eq!((&*first.action, &*first.method), ("/go?a=1&b=2", "POST"));
        assert_eq!(first.value("xsrf"), Some("a\"b"));
        assert!(first.has("who") && !first.has("stray"));
        assert_eq!(first.buttons, [("logout".to_owned(), "yes".to_owned())]);
        assert_eq!((&*second.action, &*second.method), ("", "GET"));
        assert_eq!(second.buttons, [("q".to_owned(), "Go".to_owned())]);
    }

    #[test]
    fn a_page_that_ends_in_a_tag_ends_the_search() {
        for html in ["", "<", "<form", "<form action=\"", "<input name", "<form><input value='x"] {
            forms(html);
        }
    }
}
