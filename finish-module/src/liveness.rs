//! Which functions a module needs.

use std::collections::BTreeSet;

use wasmparser::{ElementItems, ExternalKind, FunctionBody, Operator, Parser, Payload, TypeRef};

use crate::Error;

/// What is needed to write a module anew.
pub(crate) struct Survey {
    /// Exports that stay.
    pub(crate) exports: &'static [&'static str],
    /// Functions that the host provides; they come first in the numbering.
    pub(crate) imported: u32,
    /// The type of each function.
    pub(crate) types: Vec<u32>,
    /// Functions that something kept can reach, imported ones included.
    pub(crate) live: BTreeSet<u32>,
    /// Functions of the module's own that are called by number, in the order of their slots.
    pub(crate) called: BTreeSet<u32>,
    /// Slots that the table has already.
    pub(crate) slots: u32,
}

/// Follows the calls from the exports, and from the table, which is called by slot.
pub(crate) fn survey(module: &[u8], exports: &'static [&'static str]) -> Result<Survey, Error> {
    let mut survey = Survey {
        exports,
        imported: 0,
        types: Vec::new(),
        live: BTreeSet::new(),
        called: BTreeSet::new(),
        slots: 0,
    };
    let mut tables = 0;
    let mut bodies = Vec::new();
    let mut waiting = Vec::new();
    for payload in Parser::new(0).parse_all(module) {
        match payload? {
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    if let TypeRef::Func(kind) = import?.ty {
                        survey.imported += 1;
                        survey.types.push(kind);
                    }
                }
            }
            Payload::FunctionSection(functions) => {
                for kind in functions {
                    survey.types.push(kind?);
                }
            }
            Payload::TableSection(section) => {
                for table in section {
                    survey.slots = u32::try_from(table?.ty.initial)?;
                    tables += 1;
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export?;
                    if export.kind == ExternalKind::Func && exports.contains(&export.name) {
                        waiting.push(export.index);
                    }
                }
            }
            Payload::StartSection { func, .. } => waiting.push(func),
            Payload::ElementSection(section) => {
                for element in section {
                    if let ElementItems::Functions(functions) = element?.items {
                        for function in functions {
                            waiting.push(function?);
                        }
                    }
                }
            }
            Payload::CodeSectionEntry(body) => bodies.push(body),
            _ => {}
        }
    }
    if tables != 1 {
        return Err("a module needs one table, for calls to go through".into());
    }
    // What the host provides keeps its numbers.
    survey.live.extend(0..survey.imported);
    while let Some(function) = waiting.pop() {
        if survey.live.insert(function)
            && let Some(body) = function.checked_sub(survey.imported).and_then(|own| bodies.get(own as usize))
        {
            waiting.extend(calls(body)?);
        }
    }
    for (function, body) in (survey.imported..).zip(&bodies) {
        if survey.live.contains(&function) {
            survey.called.extend(calls(body)?.into_iter().filter(|called| *called >= survey.imported));
        }
    }
    Ok(survey)
}

fn calls(body: &FunctionBody<'_>) -> Result<Vec<u32>, Error> {
    let mut calls = Vec::new();
    for operator in body.get_operators_reader()? {
        match operator? {
            Operator::Call { function_index } => calls.push(function_index),
            // Neither is made by the compiler today; both would need a slot or a number of their own.
            Operator::RefFunc { .. } | Operator::ReturnCall { .. } => {
                return Err("a kind of call that is not known here".into());
            }
            _ => {}
        }
    }
    Ok(calls)
}
