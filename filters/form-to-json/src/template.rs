//! The template language: JSON in which an object with a `$` member stands for a value of the
//! document (README.md, "Templates"). Compiled when the filter is configured, so that a request
//! meets only templates that can be used.

use lockgate_common::config::ConfigError;
use lockgate_common::json::Json;

use crate::error::ConvertError;

mod compile;
mod evaluate;

/// Objects, arrays and `$each` inside each other in a template. The result nests at most this much
/// deeper than the document.
pub const MAX_DEPTH: usize = 32;

/// A template that can be used.
#[derive(Debug)]
pub struct Template {
    root: Node,
}

impl Template {
    /// Reads a template that stands at `path` in the configuration. An error names the place below
    /// it.
    pub fn compile(json: Json<'_>, path: &str) -> Result<Self, ConfigError> {
        Ok(Self { root: compile::root(json, path)? })
    }

    /// The JSON that the template makes of a document, of at most `max_bytes` bytes.
    pub fn evaluate(&self, document: Json<'_>, max_bytes: usize) -> Result<Vec<u8>, ConvertError> {
        evaluate::evaluate(&self.root, document, max_bytes)
    }
}

#[derive(Debug)]
enum Node {
    /// A string, number, `true`, `false` or `null`, as JSON text.
    Scalar(Vec<u8>),
    Array(Vec<Node>),
    Object(Vec<Member>),
    Lookup(Box<Lookup>),
}

#[derive(Debug)]
struct Member {
    name: String,
    node: Node,
}

/// An operator: what is taken from the document, and what is made of it.
#[derive(Debug)]
struct Lookup {
    /// A JSON Pointer (RFC 6901).
    pointer: String,
    missing: Missing,
    form: Form,
}

/// What stands in the place of a value that is not there.
#[derive(Debug)]
enum Missing {
    /// Nothing can: the request is refused.
    Refuse,
    /// Nothing: the member that would hold it is left out, or the element.
    Omit,
    /// This literal.
    Default(Node),
}

/// What is made of the value.
#[derive(Debug)]
enum Form {
    /// `$ptr`: itself.
    Value,
    /// `$json`: its JSON text in a string.
    Text,
    /// `$each`: an object with a member for each of its members.
    Each {
        key: Node,
        value: Node,
        /// Members that stand in the place of generated ones of the same name.
        members: Vec<Member>,
    },
}
