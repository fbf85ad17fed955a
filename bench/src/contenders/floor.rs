//! The least that a filter can be: a few instructions around one call to Envoy, with everything known
//! beforehand. What such a contender costs more than Envoy without it is the price of being a filter in
//! WebAssembly, and nothing that Lockgate's code could save.

use serde_json::{Value, json};
use wasm_encoder::{
    BlockType, CodeSection, ConstExpr, DataSection, EntityType, ExportKind, ExportSection, Function,
    FunctionSection, ImportSection, Instruction, MemArg, MemorySection, MemoryType, Module, TypeSection,
    ValType,
};

use super::lockgate::{Chain, Deployment};
use super::native::{self, SERVICES};
use super::{Kit, PUBLIC_URL, Recipe};
use crate::Result;
use crate::process::free_address;
use crate::slack::ACKNOWLEDGED;

/// What a filter does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Floor {
    /// Lets every request pass.
    Passes,
    /// Has one signature verified, always the same, and lets the request pass.
    Verifies,
    /// Waits for the body, publishes one message, always the same, and acknowledges once the queue has.
    Publishes,
}

impl Floor {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Passes => "Envoy, a filter that does nothing",
            Self::Verifies => "Envoy, a filter that only has a signature verified",
            Self::Publishes => "Envoy, a filter that only publishes",
        }
    }
}

impl Kit {
    /// Envoy with such a filter in the place of a deployment's.
    pub(crate) fn floor(&self, floor: Floor, deployment: &Deployment) -> Result<Recipe> {
        let (address, admin) = (free_address()?, free_address()?);
        let whole = Deployment { chain: Chain::Whole, ..deployment.clone() };
        let mut tree = self.rendered(&whole, address.port(), admin.port())?;
        let module = match floor {
            Floor::Passes => passes(),
            Floor::Verifies => {
                let token = crate::visitors::token(&self.signer, PUBLIC_URL, 0)?;
                verifies(&self.signer.verification(&token)?)
            }
            Floor::Publishes => publishes(&crate::slack::publish_body(300)),
        };
        let path = self.scratch("floor.wasm");
        std::fs::write(&path, module)?;
        native::replace_guard(&mut tree, vec![filter(&path.to_string_lossy())])?;
        leave_health_alone(&mut tree);
        native::add_cluster(&mut tree, self.backend.address())?;
        let file = self.write("floor.json", &tree.to_string())?;
        Ok(self.envoy(floor.name(), &file, address, deployment.workers, Vec::new()))
    }
}

fn filter(module: &str) -> Value {
    json!({
        "name": "floor",
        "typed_config": {
            "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
            "config": {"name": "floor", "allow_on_headers_stop_iteration": true, "vm_config": {
                "vm_id": "floor",
                "runtime": "envoy.wasm.runtime.v8",
                "code": {"local": {"filename": module}},
            }},
        },
    })
}

/// The load greets every contender at `/health`, which has no body to wait for.
fn leave_health_alone(tree: &mut Value) {
    let routes = tree.pointer_mut(native::ROUTES).and_then(Value::as_array_mut);
    for route in routes.into_iter().flatten().filter(|route| route["match"]["path"] == "/health") {
        route["typed_per_filter_config"] = json!({"floor": {
            "@type": "type.googleapis.com/envoy.config.route.v3.FilterConfig",
            "disabled": true,
        }});
    }
}

/// `CONTINUE` and `PAUSE` of proxy-wasm's ABI 0.2.1.
const CONTINUE: i32 = 0;
const PAUSE: i32 = 1;

/// Where the host writes what it hands over, where constants begin, and whose calls are under way: a
/// context's number for the last digits of a call's.
const SCRATCH: i32 = 16;
const CONSTANTS: i32 = 4096;
const CALLERS: i32 = 16_384;
const CALLERS_MASK: i32 = 4_095;

const AT: MemArg = MemArg { offset: 0, align: 0, memory_index: 0 };

/// A module under construction.
#[derive(Default)]
struct Builder {
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    exports: ExportSection,
    code: CodeSection,
    constants: Vec<u8>,
    defined: u32,
    imported: u32,
}

impl Builder {
    fn kind(&mut self, parameters: u32, results: u32) -> u32 {
        let words = |count: u32| std::iter::repeat_n(ValType::I32, count as usize);
        self.types.ty().function(words(parameters), words(results));
        self.types.len() - 1
    }

    /// One of the host's functions; all of these return a status. Before anything that is defined.
    fn import(&mut self, name: &str, parameters: u32) -> u32 {
        let kind = self.kind(parameters, 1);
        self.imports.import("env", name, EntityType::Function(kind));
        self.imported += 1;
        self.imported - 1
    }

    fn export(&mut self, name: &str, parameters: u32, results: u32, body: &[Instruction<'_>]) {
        let kind = self.kind(parameters, results);
        self.functions.function(kind);
        self.exports.export(name, ExportKind::Func, self.imported + self.defined);
        self.defined += 1;
        let mut function = Function::new([]);
        for instruction in body.iter().chain(&[Instruction::End]) {
            function.instruction(instruction);
        }
        self.code.function(&function);
    }

    /// Keeps bytes; their address and their length as arguments.
    fn constant(&mut self, bytes: &[u8]) -> [Instruction<'static>; 2] {
        let address = CONSTANTS + self.constants.len() as i32;
        self.constants.extend_from_slice(bytes);
        [Instruction::I32Const(address), Instruction::I32Const(bytes.len() as i32)]
    }

    fn finish(mut self) -> Vec<u8> {
        self.export("proxy_abi_version_0_2_1", 0, 0, &[]);
        self.export("proxy_on_context_create", 2, 0, &[]);
        self.export("proxy_on_memory_allocate", 1, 1, &[Instruction::I32Const(SCRATCH)]);
        let mut memory = MemorySection::new();
        memory.memory(MemoryType {
            minimum: 1,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        });
        self.exports.export("memory", ExportKind::Memory, 0);
        let mut data = DataSection::new();
        data.active(0, &ConstExpr::i32_const(CONSTANTS), self.constants);
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions).section(&memory);
        module.section(&self.exports).section(&self.code).section(&data);
        module.finish()
    }
}

fn passes() -> Vec<u8> {
    let mut module = Builder::default();
    module.export("proxy_on_request_headers", 3, 1, &[Instruction::I32Const(CONTINUE)]);
    module.finish()
}

/// `argument` is a `VerifySignatureArguments` of Envoy's. What does not verify ends the VM, and the run.
fn verifies(argument: &[u8]) -> Vec<u8> {
    let mut module = Builder::default();
    let call = module.import("proxy_call_foreign_function", 6);
    // Nought would mean that the host need not say.
    let (result, length) = (4, 8);
    let mut body = Vec::new();
    body.extend(module.constant(b"verify_signature"));
    body.extend(module.constant(argument));
    body.extend([Instruction::I32Const(result), Instruction::I32Const(length), Instruction::Call(call)]);
    body.extend([Instruction::If(BlockType::Empty), Instruction::Unreachable, Instruction::End]);
    // VerifySignatureResult: field 1 is true.
    body.extend([Instruction::I32Const(result), Instruction::I32Load(AT), Instruction::I32Load16U(AT)]);
    body.extend([Instruction::I32Const(0x0108), Instruction::I32Ne]);
    body.extend([Instruction::If(BlockType::Empty), Instruction::Unreachable, Instruction::End]);
    body.push(Instruction::I32Const(CONTINUE));
    module.export("proxy_on_request_headers", 3, 1, &body);
    module.finish()
}

fn publishes(message: &[u8]) -> Vec<u8> {
    let mut module = Builder::default();
    let call = module.import("proxy_http_call", 10);
    let reply = module.import("proxy_send_local_response", 8);
    let speak_for = module.import("proxy_set_effective_context", 1);
    let caller = |call: Instruction<'static>| {
        let mask = [Instruction::I32Const(CALLERS_MASK), Instruction::I32And];
        let scale = [Instruction::I32Const(2), Instruction::I32Shl, Instruction::I32Const(CALLERS)];
        [call].into_iter().chain(mask).chain(scale).chain([Instruction::I32Add])
    };
    let authorization = ["Bearer ", crate::backend::ACCESS_TOKEN].concat();
    let headers = pairs(&[
        (":method", "POST"),
        (":path", crate::slack::PUBLISH_PATH),
        (":authority", "queue"),
        ("content-type", "application/json"),
        ("authorization", &authorization),
    ]);
    let mut publish = Vec::new();
    // Until the body's last part is there.
    publish.extend([Instruction::LocalGet(2), Instruction::If(BlockType::Empty)]);
    publish.extend(module.constant(SERVICES.as_bytes()));
    publish.extend(module.constant(&headers));
    publish.extend(module.constant(message));
    publish.extend(module.constant(&pairs(&[])));
    publish.extend([Instruction::I32Const(5_000), Instruction::I32Const(SCRATCH), Instruction::Call(call)]);
    publish.extend([Instruction::If(BlockType::Empty), Instruction::Unreachable, Instruction::End]);
    // The host answers the root context: who asked is for the filter to know.
    publish.push(Instruction::I32Const(SCRATCH));
    publish.extend(caller(Instruction::I32Load(AT)));
    publish.extend([Instruction::LocalGet(0), Instruction::I32Store(AT)]);
    publish.extend([Instruction::End, Instruction::I32Const(PAUSE)]);
    let mut acknowledge: Vec<_> = caller(Instruction::LocalGet(1)).collect();
    acknowledge.extend([Instruction::I32Load(AT), Instruction::Call(speak_for), Instruction::Drop]);
    acknowledge.push(Instruction::I32Const(i32::from(ACKNOWLEDGED.status)));
    acknowledge.extend(module.constant(b""));
    acknowledge.extend(module.constant(ACKNOWLEDGED.body.unwrap_or_default()));
    acknowledge.extend(module.constant(&pairs(&[("content-type", "application/json")])));
    acknowledge.extend([Instruction::I32Const(-1), Instruction::Call(reply), Instruction::Drop]);
    module.export("proxy_on_request_headers", 3, 1, &[Instruction::I32Const(PAUSE)]);
    module.export("proxy_on_request_body", 3, 1, &publish);
    module.export("proxy_on_http_call_response", 5, 0, &acknowledge);
    module.finish()
}

/// Headers as the ABI serialises them: how many, their lengths, then each name and value with a zero behind.
fn pairs(headers: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut word = |number: usize| out.extend((number as u32).to_le_bytes());
    word(headers.len());
    for (name, value) in headers {
        word(name.len());
        word(value.len());
    }
    for (name, value) in headers {
        for text in [name, value] {
            out.extend_from_slice(text.as_bytes());
            out.push(0);
        }
    }
    out
}
