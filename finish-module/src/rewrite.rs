//! Writes a module anew: without what nothing reaches, its calls going through the table.

use std::collections::BTreeMap;

use wasm_encoder::reencode::{Error as Reencoding, Reencode, utils};
use wasm_encoder::{CodeSection, ConstExpr, Elements, ExportSection, FunctionSection, Instruction};
use wasm_encoder::{ElementSection, TableSection, TableType};
use wasmparser::{CodeSectionReader, Export, ExternalKind, FunctionBody, Operator};

use crate::liveness::Survey;

pub(crate) struct Rewrite {
    survey: Survey,
    /// Number before → number now.
    numbers: BTreeMap<u32, u32>,
    /// Number before → slot in the table.
    slots: BTreeMap<u32, u32>,
}

type Written = Result<(), Reencoding<&'static str>>;

impl Rewrite {
    pub(crate) fn new(survey: Survey) -> Self {
        let numbers = survey.live.iter().copied().zip(0..).collect();
        let slots = survey.called.iter().copied().zip(survey.slots..).collect();
        Self { survey, numbers, slots }
    }

    fn is_live(&self, function: u32) -> bool {
        self.survey.live.contains(&function)
    }

    fn end_of_table(&self) -> u32 {
        self.survey.slots + u32::try_from(self.slots.len()).unwrap_or(u32::MAX)
    }
}

impl Reencode for Rewrite {
    type Error = &'static str;

    fn function_index(&mut self, function: u32) -> Result<u32, Reencoding<&'static str>> {
        let number = self.numbers.get(&function).copied();
        number.ok_or(Reencoding::UserError("a function is used that nothing reaches"))
    }

    /// Names and the like are for people, and would be wrong by now.
    fn parse_custom_section(
        &mut self,
        _module: &mut wasm_encoder::Module,
        _section: wasmparser::CustomSectionReader<'_>,
    ) -> Written {
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        _section: wasmparser::FunctionSectionReader<'_>,
    ) -> Written {
        let own = (0..).zip(&self.survey.types).skip(self.survey.imported as usize);
        for (_, kind) in own.filter(|(function, _)| self.is_live(*function)) {
            functions.function(*kind);
        }
        Ok(())
    }

    fn parse_table_section(
        &mut self,
        tables: &mut TableSection,
        section: wasmparser::TableSectionReader<'_>,
    ) -> Written {
        for table in section {
            let size = u64::from(self.end_of_table());
            let table = self.table_type(table?.ty)?;
            // Of one size for good: then V8 needs no load to check a slot.
            tables.table(TableType { minimum: size, maximum: Some(size), ..table });
        }
        Ok(())
    }

    fn parse_export(&mut self, exports: &mut ExportSection, export: Export<'_>) -> Written {
        let kept = self.survey.exports.contains(&export.name);
        if kept && matches!(export.kind, ExternalKind::Func | ExternalKind::Memory) {
            utils::parse_export(self, exports, export)?;
        }
        Ok(())
    }

    fn parse_element_section(
        &mut self,
        elements: &mut ElementSection,
        section: wasmparser::ElementSectionReader<'_>,
    ) -> Written {
        utils::parse_element_section(self, elements, section)?;
        let called: Vec<u32> =
            self.slots.keys().filter_map(|called| self.numbers.get(called)).copied().collect();
        let first = ConstExpr::i32_const(self.survey.slots.cast_signed());
        elements.active(None, &first, Elements::Functions(called.into()));
        Ok(())
    }

    fn parse_code_section(&mut self, code: &mut CodeSection, section: CodeSectionReader<'_>) -> Written {
        for (function, body) in (self.survey.imported..).zip(section) {
            if self.is_live(function) {
                self.parse_function_body(code, body?)?;
            }
        }
        Ok(())
    }

    fn parse_function_body(&mut self, code: &mut CodeSection, body: FunctionBody<'_>) -> Written {
        let mut function = self.new_function_with_parsed_locals(&body)?;
        for operator in body.get_operators_reader()? {
            let operator = operator?;
            let called = match operator {
                Operator::Call { function_index } => Some(function_index),
                _ => None,
            };
            let slot = called.and_then(|called| self.slots.get(&called));
            let kind = called.and_then(|called| self.survey.types.get(called as usize));
            if let (Some(slot), Some(kind)) = (slot, kind) {
                function.instruction(&Instruction::I32Const(slot.cast_signed()));
                function.instruction(&Instruction::CallIndirect { type_index: *kind, table_index: 0 });
            } else {
                function.instruction(&self.instruction(operator)?);
            }
        }
        code.function(&function);
        Ok(())
    }
}
