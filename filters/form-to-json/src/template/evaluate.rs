//! A template and a document → JSON.

use std::borrow::Cow;

use lockgate_common::json::{Json, Kind, write_string};

use super::{Form, Lookup, Member, Missing, Node};
use crate::error::ConvertError;

/// The JSON that `root` makes of `document`.
pub(super) fn evaluate(root: &Node, document: Json<'_>, max_bytes: usize) -> Result<Vec<u8>, ConvertError> {
    let mut out = Output { bytes: Vec::with_capacity(document.text().len()), max_bytes };
    out.node(root, &Scope::new(document))?;
    Ok(out.bytes)
}

/// A document and its members, read once for all pointers into it.
struct Scope<'a> {
    document: Json<'a>,
    members: Vec<(Cow<'a, str>, Json<'a>)>,
}

impl<'a> Scope<'a> {
    fn new(document: Json<'a>) -> Self {
        Self { document, members: document.members().collect() }
    }

    fn find(&self, pointer: &str) -> Option<Json<'a>> {
        let plain = pointer.strip_prefix('/').filter(|rest| !rest.as_bytes().contains(&b'~'));
        let Some(rest) = plain.filter(|_| self.document.kind() == Kind::Object) else {
            return self.document.pointer(pointer);
        };
        let end = rest.bytes().position(|byte| byte == b'/').unwrap_or(rest.len());
        let (first, rest) = rest.split_at_checked(end)?;
        let (_, value) = self.members.iter().rfind(|(name, _)| name == first)?;
        value.pointer(rest)
    }
}

struct Output {
    bytes: Vec<u8>,
    max_bytes: usize,
}

/// Whether something was written: what is to be omitted was not.
type Written = Result<bool, ConvertError>;

impl Output {
    fn node(&mut self, node: &Node, scope: &Scope<'_>) -> Written {
        let written = match node {
            Node::Scalar(text) => {
                self.bytes.extend_from_slice(text);
                true
            }
            Node::Array(nodes) => {
                self.bytes.push(b'[');
                for node in nodes {
                    let start = self.separate();
                    if !self.node(node, scope)? {
                        self.bytes.truncate(start);
                    }
                }
                self.bytes.push(b']');
                true
            }
            Node::Object(members) => {
                self.bytes.push(b'{');
                for member in members {
                    self.member(member, scope)?;
                }
                self.bytes.push(b'}');
                true
            }
            Node::Lookup(lookup) => self.lookup(lookup, scope)?,
        };
        if self.bytes.len() > self.max_bytes {
            return Err(ConvertError::OutputTooLarge);
        }
        Ok(written)
    }

    fn lookup(&mut self, lookup: &Lookup, scope: &Scope<'_>) -> Written {
        match (scope.find(&lookup.pointer), &lookup.missing) {
            (None, Missing::Refuse) => return Err(ConvertError::MissingValue),
            (None, Missing::Omit) => return Ok(false),
            (None, Missing::Default(literal)) => return self.node(literal, scope),
            (Some(value), _) => match &lookup.form {
                Form::Value => self.bytes.extend_from_slice(value.text()),
                Form::Text => write_string(&mut self.bytes, value.text_str()),
                Form::Each { key, value: template, members } => {
                    self.each(value, key, template, members, scope)?;
                }
            },
        }
        Ok(true)
    }

    fn each(
        &mut self,
        object: Json<'_>,
        key: &Node,
        template: &Node,
        members: &[Member],
        scope: &Scope<'_>,
    ) -> Result<(), ConvertError> {
        if object.kind() != Kind::Object {
            return Err(ConvertError::NotAnObject);
        }
        let mut due: Vec<Option<&Member>> = members.iter().map(Some).collect();
        self.bytes.push(b'{');
        let mut document = Vec::new();
        for (name, value) in object.members() {
            document.clear();
            document.extend_from_slice(b"{\"key\":");
            write_string(&mut document, &name);
            document.extend_from_slice(b",\"value\":");
            document.extend_from_slice(value.text());
            document.push(b'}');
            let inner = Scope::new(Json::parse(&document)?);

            let start = self.separate();
            let name_at = self.bytes.len();
            if !self.node(key, &inner)? {
                self.bytes.truncate(start);
                continue;
            }
            let generated = Json::parse(self.bytes.get(name_at..).unwrap_or_default())?;
            let name = generated.str().ok_or(ConvertError::NotAName)?;
            if let Some(at) = members.iter().position(|member| member.name == name) {
                self.bytes.truncate(start);
                if let Some(member) = due.get_mut(at).and_then(Option::take) {
                    self.member(member, scope)?;
                }
                continue;
            }
            self.bytes.push(b':');
            if !self.node(template, &inner)? {
                self.bytes.truncate(start);
            }
        }
        for member in due.into_iter().flatten() {
            self.member(member, scope)?;
        }
        self.bytes.push(b'}');
        Ok(())
    }

    /// Writes a member, or leaves it out where its value is to be omitted.
    fn member(&mut self, member: &Member, scope: &Scope<'_>) -> Result<(), ConvertError> {
        let start = self.separate();
        write_string(&mut self.bytes, &member.name);
        self.bytes.push(b':');
        if !self.node(&member.node, scope)? {
            self.bytes.truncate(start);
        }
        Ok(())
    }

    /// Writes the comma before all but the first item; the place before it.
    fn separate(&mut self) -> usize {
        let start = self.bytes.len();
        // No value ends with an opening bracket, so one says that nothing stands behind it yet.
        if !matches!(self.bytes.last(), Some(b'{' | b'[')) {
            self.bytes.push(b',');
        }
        start
    }
}
