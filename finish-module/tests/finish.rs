//! What becomes of a module behind the linker.

use wasm_encoder::*;
use wasmparser::{Operator, Parser, Payload};

/// `proxy_on_tick` calls an imported function and one of its own; `proxy_on_grpc_close` calls another.
fn linked() -> Vec<u8> {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut imports = ImportSection::new();
    imports.import("env", "proxy_done", EntityType::Function(0));
    let mut functions = FunctionSection::new();
    for _ in 0..5 {
        functions.function(0);
    }
    let mut tables = TableSection::new();
    let table = TableType {
        element_type: RefType::FUNCREF,
        table64: false,
        minimum: 2,
        maximum: Some(2),
        shared: false,
    };
    tables.table(table);
    let mut exports = ExportSection::new();
    exports.export("proxy_on_grpc_close", ExportKind::Func, 1);
    exports.export("proxy_on_tick", ExportKind::Func, 3);
    let mut elements = ElementSection::new();
    elements.active(None, &ConstExpr::i32_const(1), Elements::Functions([5].as_slice().into()));
    let mut code = CodeSection::new();
    let bodies: [&[Instruction<'_>]; 5] = [
        &[Instruction::Call(2)],
        &[Instruction::Nop],
        &[Instruction::Call(0), Instruction::Call(4)],
        &[Instruction::Nop, Instruction::Nop],
        &[Instruction::Nop, Instruction::Nop, Instruction::Nop],
    ];
    for body in bodies {
        let mut function = Function::new([]);
        for instruction in body {
            function.instruction(instruction);
        }
        function.instruction(&Instruction::End);
        code.function(&function);
    }
    let mut module = Module::new();
    module.section(&types).section(&imports).section(&functions).section(&tables);
    module.section(&exports).section(&elements).section(&code);
    module.finish()
}

fn bodies(module: &[u8]) -> Vec<Vec<Operator<'_>>> {
    Parser::new(0)
        .parse_all(module)
        .filter_map(|payload| match payload.unwrap() {
            Payload::CodeSectionEntry(body) => {
                Some(body.get_operators_reader().unwrap().into_iter().map(Result::unwrap).collect())
            }
            _ => None,
        })
        .collect()
}

#[test]
fn a_callback_that_no_filter_uses_goes_with_what_only_it_reaches() {
    let finished = finish_module::finish(&linked()).unwrap();
    let exports: Vec<String> = Parser::new(0)
        .parse_all(&finished)
        .filter_map(|payload| match payload.unwrap() {
            Payload::ExportSection(section) => Some(section),
            _ => None,
        })
        .flat_map(|section| section.into_iter().map(|export| export.unwrap().name.to_owned()))
        .collect();
    assert_eq!(exports, ["proxy_on_tick"]);
    // The tick, what it calls, and what stands in the table.
    assert_eq!(bodies(&finished).len(), 3);
}

#[test]
fn a_call_within_the_module_goes_through_the_table_and_one_to_the_host_does_not() {
    let finished = finish_module::finish(&linked()).unwrap();
    let bodies = bodies(&finished);
    assert!(
        matches!(
            bodies[0][..],
            [
                Operator::Call { function_index: 0 },
                // Behind the slots that were there.
                Operator::I32Const { value: 2 },
                Operator::CallIndirect { type_index: 0, table_index: 0 },
                Operator::End,
            ]
        ),
        "{:?}",
        bodies[0]
    );
}

#[test]
fn the_slot_holds_the_function_that_was_called() {
    let finished = finish_module::finish(&linked()).unwrap();
    let mut slots = Vec::new();
    for payload in Parser::new(0).parse_all(&finished) {
        if let Payload::ElementSection(section) = payload.unwrap() {
            for element in section {
                if let wasmparser::ElementItems::Functions(functions) = element.unwrap().items {
                    slots.extend(functions.into_iter().map(Result::unwrap));
                }
            }
        }
    }
    // The imported one is 0. What was there already has three operations, what was called has two.
    assert_eq!(slots, [3, 2]);
    let bodies = bodies(&finished);
    assert_eq!((bodies[3 - 1].len(), bodies[2 - 1].len()), (3 + 1, 2 + 1));
}

#[test]
fn a_module_without_a_table_is_refused() {
    let mut types = TypeSection::new();
    types.ty().function([], []);
    let mut module = Module::new();
    module.section(&types);
    assert!(finish_module::finish(&module.finish()).is_err());
}

#[test]
fn a_module_that_cannot_be_read_is_refused() {
    assert!(finish_module::finish(b"\0asm\x01\0\0\0\x0a\xff").is_err());
}
