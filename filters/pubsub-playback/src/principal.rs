//! Who a stored request was verified as, in the words of the filter that did it → in the assertion's.

use lockgate_common::assertion::Identity;
use lockgate_common::json::Json;

/// A principal as an envelope keeps it. To be believed only where the envelope was sealed.
#[derive(Debug, PartialEq, Eq)]
pub struct Principal {
    issuer: String,
    subject: String,
    email: Option<String>,
    groups: Vec<String>,
}

impl Principal {
    /// Reads a principal; `None` where it names nobody.
    pub fn parse(text: &str) -> Option<Self> {
        let json = Json::parse(text.as_bytes()).ok()?;
        let text = |name: &str| Some(json.unique_field(name).ok()??.str()?.into_owned());
        if text("filter")? == "slack-signature" {
            // A signature proves that it was Slack, which says for which workspace; it is no person's.
            let mut subject = String::from("slack");
            if let Some(team) = text("subject") {
                subject.push(':');
                subject.push_str(&team);
            }
            return Some(Self { issuer: "slack".to_owned(), subject, email: None, groups: Vec::new() });
        }
        let groups = json.field("groups").into_iter().flat_map(Json::elements);
        Some(Self {
            issuer: text("issuer")?,
            subject: text("subject")?,
            email: text("email"),
            groups: groups.filter_map(|group| Some(group.str()?.into_owned())).collect(),
        })
    }

    /// Whom the assertion names.
    pub fn identity(&self) -> Identity<'_> {
        Identity {
            issuer: &self.issuer,
            subject: &self.subject,
            email: self.email.as_deref(),
            groups: &self.groups,
        }
    }
}
