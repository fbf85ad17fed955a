//! A template as written → as used.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::encoding::push_decimal;
use lockgate_common::json::{Json, Kind};

use super::{Form, Lookup, MAX_DEPTH, Member, Missing, Node};

/// Reads the whole template.
pub(super) fn root(json: Json<'_>, path: &str) -> Result<Node, ConfigError> {
    let root = node(json, path, 0)?;
    match &root {
        Node::Lookup(lookup) if matches!(lookup.missing, Missing::Omit) => Err(ConfigError {
            field: [path, ".omit"].concat(),
            given: "true".to_owned(),
            expected: "a member around it that can be left out, or \"default\"".to_owned(),
        }),
        _ => Ok(root),
    }
}

fn node(json: Json<'_>, path: &str, depth: usize) -> Result<Node, ConfigError> {
    match json.kind() {
        Kind::Object | Kind::Array if depth == MAX_DEPTH => Err(ConfigError {
            field: path.to_owned(),
            given: "one level more".to_owned(),
            expected: "at most 32 levels".to_owned(),
        }),
        Kind::Object => object(json, path, depth + 1),
        Kind::Array => {
            let mut nodes = Vec::new();
            for element in json.elements() {
                let mut path = [path, "["].concat();
                push_decimal(&mut path, nodes.len() as u64);
                path.push(']');
                nodes.push(node(element, &path, depth + 1)?);
            }
            Ok(Node::Array(nodes))
        }
        _ => Ok(Node::Scalar(json.text().to_vec())),
    }
}

fn object(json: Json<'_>, path: &str, depth: usize) -> Result<Node, ConfigError> {
    let members: Vec<_> = json.members().collect();
    let names: Vec<&str> = members.iter().map(|(name, _)| &**name).collect();
    // For a literal every name is right, but none twice.
    let fields = Fields::new(json, path, &names)?;
    match names.iter().find(|name| name.starts_with('$')) {
        Some(operator) => lookup(operator, &names, &fields, depth),
        None => {
            let mut members = Vec::new();
            for name in names {
                members.push(member(name, &fields, depth)?);
            }
            Ok(Node::Object(members))
        }
    }
}

fn member(name: &str, fields: &Fields<'_>, depth: usize) -> Result<Member, ConfigError> {
    let json = fields.required(name, "a template")?;
    Ok(Member { name: name.to_owned(), node: node(json, &fields.join(name), depth)? })
}

fn lookup(operator: &str, names: &[&str], fields: &Fields<'_>, depth: usize) -> Result<Node, ConfigError> {
    let form = match operator {
        "$ptr" => Form::Value,
        "$json" => Form::Text,
        "$each" => Form::Each {
            key: key(fields, depth)?,
            value: member("value", fields, depth)?.node,
            members: Vec::new(),
        },
        _ => return Err(fields.error(operator, "$ptr, $json, $each, or a name without \"$\"")),
    };
    let pointer = fields.required(operator, "a pointer")?.str().filter(|text| is_pointer(text));
    let mut lookup = Lookup {
        pointer: pointer.map(|text| text.into_owned()).ok_or_else(|| {
            fields.error(operator, "a JSON Pointer such as \"/a/b\", or \"\" for the whole document")
        })?,
        missing: missing(fields, depth)?,
        form,
    };
    for name in names {
        match (&mut lookup.form, *name) {
            (_, "default" | "omit") => {}
            (_, name) if name == operator => {}
            (Form::Each { .. }, "key" | "value") => {}
            (Form::Each { members, .. }, name) if !name.starts_with('$') => {
                members.push(member(name, fields, depth)?);
            }
            _ => return Err(fields.error(name, "nothing but \"default\" or \"omit\" beside the operator")),
        }
    }
    Ok(Node::Lookup(Box::new(lookup)))
}

/// The template for the names that `$each` makes.
fn key(fields: &Fields<'_>, depth: usize) -> Result<Node, ConfigError> {
    let key = member("key", fields, depth)?.node;
    match &key {
        Node::Scalar(text) if text.first() == Some(&b'"') => Ok(key),
        Node::Lookup(lookup) if !matches!(lookup.form, Form::Each { .. }) => Ok(key),
        _ => Err(fields.error("key", "a text, $ptr or $json")),
    }
}

fn missing(fields: &Fields<'_>, depth: usize) -> Result<Missing, ConfigError> {
    match (fields.optional("default"), fields.optional("omit").map(Json::bool)) {
        (None, None) => Ok(Missing::Refuse),
        (None, Some(Some(true))) => Ok(Missing::Omit),
        (Some(_), None) => {
            let default = member("default", fields, depth)?.node;
            if !is_literal(&default) {
                return Err(fields.error("default", "a literal, without $ptr, $json or $each"));
            }
            Ok(Missing::Default(default))
        }
        _ => Err(fields.error("omit", "true, and no \"default\" beside it")),
    }
}

fn is_literal(node: &Node) -> bool {
    match node {
        Node::Scalar(_) => true,
        Node::Array(nodes) => nodes.iter().all(is_literal),
        Node::Object(members) => members.iter().all(|member| is_literal(&member.node)),
        Node::Lookup(_) => false,
    }
}

/// RFC 6901, 3: empty, or tokens that each begin with `/`; `~` only as `~0` or `~1`.
fn is_pointer(text: &str) -> bool {
    let mut escapes = text.as_bytes().split(|byte| *byte == b'~').skip(1);
    matches!(text.as_bytes().first(), None | Some(b'/'))
        && escapes.all(|rest| matches!(rest.first(), Some(b'0' | b'1')))
}
