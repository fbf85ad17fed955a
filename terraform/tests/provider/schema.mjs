// The Google provider's schema, read from the types that @cdktf/provider-google carries: index.js names
// every argument, block and plain attribute as Terraform does, index.d.ts says which must be there.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";

const require = createRequire(import.meta.url);
const manifest = require.resolve("@cdktf/provider-google/package.json");

/** The version of the provider that the package describes. */
export const providerVersion = JSON.parse(readFileSync(manifest)).cdktf.provider.version;

/** The schema of a resource type, or undefined where the provider has no such type. */
export const resourceSchema = (type) => schemaIn(type.replace(/^google_/, "").replaceAll("_", "-"));

/** The schema of a data source. */
export const dataSourceSchema = (type) => schemaIn(`data-${type.replaceAll("_", "-")}`);

/** The schema of the provider's own block. */
export const providerSchema = () => schemaIn("provider");

function schemaIn(folder) {
  let types, code;
  try {
    types = readFileSync(join(dirname(manifest), "lib", folder, "index.d.ts"), "utf8");
    code = readFileSync(join(dirname(manifest), "lib", folder, "index.js"), "utf8");
  } catch (error) {
    if (error.code === "ENOENT") return undefined;
    throw error;
  }
  const { name, body } = mainClass(code);
  const source = { code, settings: settingsByInterface(types) };
  const block = blockOf(source, `${name}Config`, between(body, "    synthesizeHclAttributes() {", "\n    }"));
  // The provider fills `id` in; which other optional arguments it fills in the package does not say.
  for (const attribute of block.attributes) attribute.computed = attribute.name === "id" && attribute.optional;
  block.attributes.push(...computedIn(body, block));
  return block;
}

function mainClass(code) {
  const [, name] = /^class (\w+) extends cdktf\.Terraform(?:Resource|DataSource|Provider) /m.exec(code);
  return { name, body: code.slice(code.indexOf(`class ${name} extends`)) };
}

function between(text, start, end) {
  const from = text.indexOf(start);
  return text.slice(from, text.indexOf(end, from));
}

/** What each interface says of each of its properties, by Terraform's name. */
function settingsByInterface(types) {
  const interfaces = new Map();
  for (const [, name, body] of types.matchAll(/^export interface (\w+)[^{\n]*\{\n([\s\S]*?)^\}/gm)) {
    const settings = new Map();
    const property = /\/\*\*((?:(?!\*\/)[\s\S])*?#(\w+) \w+#\w+\}(?:(?!\*\/)[\s\S])*)\*\/\s+readonly \w+(\??): ([^;]+);/g;
    for (const [, comment, argument, optional, type] of body.matchAll(property)) {
      settings.set(argument, {
        required: optional === "",
        many: /\[\]/.test(type),
        values: possibleValues(comment),
      });
    }
    interfaces.set(name, settings);
  }
  return interfaces;
}

/** The values that the documentation lists, where it lists them. */
function possibleValues(comment) {
  const listed = /Possible values: \[([^\]]*)\]/.exec(comment)?.[1];
  return listed === undefined ? undefined : [...listed.matchAll(/"([^"]+)"/g)].map(([, value]) => value);
}

function blockOf(source, interfaceName, text) {
  const settings = source.settings.get(interfaceName);
  const block = { attributes: [], blocks: [] };
  const entry = /^\s+(\w+): \{\n\s+value: (.+),\n\s+isBlock: (true|false),\n\s+type: "(\w+)",\n\s+storageClassType: "(\w+)",\n/gm;
  for (const [, name, value, isBlock, kind, storage] of text.matchAll(entry)) {
    // `alias` is Terraform's, not the provider's.
    if (name === "alias") continue;
    const { required, many, values } = settings.get(name);
    if (isBlock === "true") {
      const struct = /(\w+)ToHclTerraform[(,)]/.exec(value)[1];
      const type = struct[0].toUpperCase() + struct.slice(1);
      const body = between(source.code, `function ${struct}ToHclTerraform(`, "\n}");
      block.blocks.push({ name, kind, required, many, block: blockOf(source, type, body) });
    } else {
      block.attributes.push({ name, type: attributeType(storage), required, optional: !required, values });
    }
  }
  return block;
}

/** Attributes that only the provider sets; those with a structure are left out. */
function computedIn(body, { attributes, blocks }) {
  const known = new Set([...attributes, ...blocks].map(({ name }) => name));
  const getter = /return this\.get(\w+)Attribute\('(\w+)'\)/g;
  return [...body.matchAll(getter)]
    .filter(([, , name]) => !known.has(name))
    .map(([, storage, name]) => ({ name, type: attributeType(storage), computed: true }));
}

/** As Terraform writes a type in JSON. */
function attributeType(storage) {
  const type = {
    string: "string",
    number: "number",
    boolean: "bool",
    stringlist: ["list", "string"],
    numberlist: ["list", "number"],
    list: ["list", "string"],
    stringset: ["set", "string"],
    stringmap: ["map", "string"],
    numbermap: ["map", "number"],
    booleanmap: ["map", "bool"],
  }[storage.toLowerCase()];
  if (type === undefined) throw new Error(`an attribute of the kind ${storage}, which is not known here`);
  return type;
}
