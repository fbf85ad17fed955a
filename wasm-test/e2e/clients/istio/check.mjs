// Reads a JSON array of resources, and says what Istio's definitions have against them: the schemas check
// values, and, since those let unknown fields pass, the types made of the same definitions check names.

import ts from "typescript";

const resources = JSON.parse(await new Response(process.stdin).text());
const packageOf = ({ apiVersion, kind }) => `@kubernetes-models/istio/${apiVersion}/${kind}`;
const problems = [];

for (const resource of resources) {
  try {
    const { [resource.kind]: Model } = await import(packageOf(resource));
    new Model(resource).validate();
  } catch (error) {
    problems.push(`${resource.kind} ${resource.metadata?.name}: ${error.message}`);
  }
}

const lines = resources.flatMap((resource, index) => [
  `import type { I${resource.kind} as Kind${index} } from "${packageOf(resource)}";`,
  `export const resource${index}: Kind${index} = ${JSON.stringify(resource)};`,
]);
const file = new URL("resources.ts", import.meta.url).pathname;
const options = {
  strict: true,
  noEmit: true,
  skipLibCheck: true,
  types: [],
  target: ts.ScriptTarget.ES2022,
  module: ts.ModuleKind.NodeNext,
  moduleResolution: ts.ModuleResolutionKind.NodeNext,
};
const host = ts.createCompilerHost(options);
const { fileExists, readFile } = host;
host.fileExists = (path) => path === file || fileExists(path);
host.readFile = (path) => (path === file ? lines.join("\n") : readFile(path));
const program = ts.createProgram([file], options, host);
for (const { messageText, file: source, start } of ts.getPreEmitDiagnostics(program)) {
  const place = source?.fileName === file ? source.getLineAndCharacterOfPosition(start).line : undefined;
  const resource = place === undefined ? undefined : resources[Math.floor(place / 2)];
  const text = ts.flattenDiagnosticMessageText(messageText, " ");
  problems.push(`${resource?.kind} ${resource?.metadata?.name}: ${text}`);
}

for (const problem of problems) {
  console.log(problem);
}
process.exitCode = problems.length > 0 ? 1 : 0;
