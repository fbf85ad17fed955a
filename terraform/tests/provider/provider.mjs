// A stand-in for the Google provider that knows its schema and nothing else: with it Terraform checks
// every resource, block and argument, and `terraform test` plans with mocked values, offline.
//
// It speaks Terraform's plugin protocol 5 (terraform/docs/plugin-protocol) over plain gRPC, so it needs
// TF_DISABLE_PLUGIN_TLS=1. PROVIDER_STAND_IN_TYPES has the types to answer for, separated by commas;
// reading all fourteen hundred takes a second, and Terraform starts a provider often.
import { createServer } from "node:http2";
import { dataSourceSchema, providerSchema, resourceSchema } from "./schema.mjs";
import { bytes, fields, message, number, unpack } from "./wire.mjs";

const NESTING = { list: 2, set: 3, struct: 1 };
const types = (process.env.PROVIDER_STAND_IN_TYPES ?? "").split(",");
const schemas = (kind, read) =>
  types
    .filter((type) => type.startsWith(`${kind}.`))
    .map((type) => type.slice(kind.length + 1))
    .map((type) => [type, read(type)])
    .filter(([, schema]) => schema !== undefined);
const resources = new Map(schemas("resource", resourceSchema));
const dataSources = new Map(schemas("data", dataSourceSchema));

const methods = {
  "/plugin.GRPCController/Shutdown": () => (setImmediate(() => process.exit(0)), message()),
  "/tfplugin5.Provider/GetSchema": () =>
    message(
      bytes(1, schemaMessage(providerSchema())),
      [...resources].map(([type, schema]) => bytes(2, message(bytes(1, type), bytes(2, schemaMessage(schema))))),
      [...dataSources].map(([type, schema]) => bytes(3, message(bytes(1, type), bytes(2, schemaMessage(schema))))),
    ),
  // The prepared configuration is the given one.
  "/tfplugin5.Provider/PrepareProviderConfig": (request) => message(bytes(1, fields(request).get(1))),
  "/tfplugin5.Provider/ValidateDataSourceConfig": () => message(),
  "/tfplugin5.Provider/ValidateResourceTypeConfig": (request) => {
    const type = fields(request).get(1).toString();
    const config = unpack(fields(fields(request).get(2)).get(1));
    return message(unlistedValues(resources.get(type), config, type).map(errorMessage).map((error) => bytes(1, error)));
  },
};

function schemaMessage(block) {
  return message(bytes(2, blockMessage(block)));
}

function blockMessage({ attributes, blocks }) {
  return message(
    attributes.map(({ name, type, required, optional, computed }) =>
      bytes(2, message(bytes(1, name), bytes(2, JSON.stringify(type)), number(4, required), number(5, optional), number(6, computed))),
    ),
    blocks.map(({ name, kind, required, many, block }) => {
      const bounds = kind === "struct" ? [] : [number(4, required), number(5, !many)];
      return bytes(3, message(bytes(1, name), bytes(2, blockMessage(block)), number(3, NESTING[kind]), bounds));
    }),
  );
}

/** Values outside of what the documentation lists, where it lists them. */
function unlistedValues({ attributes, blocks }, config, path) {
  const here = attributes
    .filter(({ name, values }) => values && typeof config[name] === "string" && !values.includes(config[name]))
    .map(({ name, values }) => `${path}.${name} is "${config[name]}"; it may be ${values.join(", ")}`);
  const below = blocks.flatMap(({ name, block }) =>
    [config[name]].flat().filter((value) => value !== null && typeof value === "object").flatMap((value) => unlistedValues(block, value, `${path}.${name}`)),
  );
  return [...here, ...below];
}

function errorMessage(detail) {
  return message(number(1, 1), bytes(2, "Unlisted value"), bytes(3, detail));
}

const server = createServer();
// Terraform keeps one connection; a Terraform that was killed has closed it, and says nothing more.
server.on("session", (session) => session.on("close", () => process.exit(0)));
server.on("stream", (stream, headers) => {
  const method = methods[headers[":path"]];
  const answer = { ":status": 200, "content-type": "application/grpc" };
  if (!method) {
    // UNIMPLEMENTED, which Terraform takes for what a provider may lack.
    stream.respond({ ...answer, "grpc-status": "12" }, { endStream: true });
    return;
  }
  const chunks = [];
  stream.on("data", (chunk) => chunks.push(chunk));
  stream.on("end", () => {
    let body, trailers;
    try {
      // A message in gRPC follows five bytes: whether it is compressed, and its length.
      const content = method(Buffer.concat(chunks).subarray(5));
      const prefix = Buffer.alloc(5);
      prefix.writeUInt32BE(content.length, 1);
      [body, trailers] = [Buffer.concat([prefix, content]), { "grpc-status": "0" }];
    } catch (error) {
      [body, trailers] = [Buffer.alloc(0), { "grpc-status": "13", "grpc-message": encodeURIComponent(error.stack) }];
    }
    stream.on("wantTrailers", () => stream.sendTrailers(trailers));
    stream.respond(answer, { waitForTrailers: true });
    stream.end(body);
  });
});
server.listen(0, "127.0.0.1", () => {
  // go-plugin's handshake: its own version, the protocol's, and where to connect.
  console.log(`1|5|tcp|127.0.0.1:${server.address().port}|grpc`);
});
