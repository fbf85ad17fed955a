//! Turns form bodies into JSON, and JSON into the shape that the upstream expects.

pub mod conversion;
pub mod convert;
pub mod error;
pub mod flow;
pub mod form;
pub mod media_type;
pub mod template;

use lockgate_common::flow::Definition;

/// The filter, for a module.
pub const FILTER: Definition =
    Definition { name: "form-to-json", sections: &[], counters: &[], configure: flow::FormToJson::configure };
