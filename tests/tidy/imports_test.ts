// Imports go one way, as the table says, and never in a circle.

import assert from "node:assert/strict";
import { imports, type Source, sources } from "./sources.ts";

/** What each part may import directly; what those may import is allowed too. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  base: [],
  arch: ["base"],
  isa: ["arch"],
  cpu: ["arch"],
  wasm: ["base"],
  memory: ["base"],
  mmu: ["cpu", "memory"],
  jit: ["isa", "wasm", "cpu", "mmu"],
  devices: ["base", "memory"],
  gic: ["base", "memory"],
  timer: ["base", "memory"],
  gdbstub: ["base"],
  snapshot: ["base"],
};
/** These see everything. */
const TOP = ["machine", "main.ts"];
const FOLDERS = ["src", "devices", "gdbstub", "main.ts"];

function part(path: string): string {
  const [first, second] = path.split("/");
  return first === "src" ? second! : first!;
}

function reachable(name: string, seen = new Set<string>()): Set<string> {
  if (!seen.has(name)) {
    seen.add(name);
    for (const next of MAY_IMPORT[name] ?? []) reachable(next, seen);
  }
  return seen;
}

const ours = async () => (await sources(...FOLDERS)).filter(({ path }) => !path.startsWith("src/std/"));

Deno.test("imports go one way", async () => {
  const wrong: string[] = [];
  for (const source of await ours()) {
    const from = part(source.path);
    if (TOP.includes(from)) continue;
    assert(from in MAY_IMPORT, `${source.path} is in a folder that the table of imports does not know`);
    const allowed = reachable(from);
    for (const { path } of imports(source)) {
      if (path !== null && !allowed.has(part(path))) wrong.push(`${source.path} imports ${path}`);
    }
  }
  assert.deepEqual(wrong, []);
});

Deno.test("nothing in the program imports tests or bench", async () => {
  for (const source of await ours()) {
    for (const { path } of imports(source)) assert(!/^(tests|bench)\/.*\.ts$/.test(path ?? ""), source.path);
  }
});

/** The first circle of imports, as paths, or null. */
function circle(all: readonly Source[]): string[] | null {
  const graph = new Map(all.map((source) => [
    source.path,
    imports(source).flatMap(({ path, typeOnly }) => path === null || typeOnly ? [] : [path]),
  ]));
  const done = new Set<string>(), trail: string[] = [];
  const visit = (path: string): string[] | null => {
    if (done.has(path)) return null;
    const at = trail.indexOf(path);
    if (at >= 0) return [...trail.slice(at), path];
    trail.push(path);
    for (const next of graph.get(path) ?? []) {
      const found = visit(next);
      if (found) return found;
    }
    trail.pop();
    done.add(path);
    return null;
  };
  for (const path of graph.keys()) {
    const found = visit(path);
    if (found) return found;
  }
  return null;
}

Deno.test("no imports in a circle", async () => {
  assert.equal(circle(await sources(...FOLDERS, "tests", "bench")), null);
});

Deno.test("the tests of imports see what they should", () => {
  const source = (path: string, text: string): Source => ({ path, text, lines: [] });
  const a = source("src/a/x.ts", 'import { y } from "../b/y.ts";\nimport type { T } from "./t.ts";');
  assert.deepEqual(imports(a), [{ path: "src/b/y.ts", typeOnly: false }, { path: "src/a/t.ts", typeOnly: true }]);
  assert.deepEqual(
    imports(source("src/a/x.ts", 'export * from "./z.ts";\nimport {\n  type A,\n  type B,\n} from "k";')),
    [
      { path: "src/a/z.ts", typeOnly: false },
      { path: null, typeOnly: true },
    ],
  );
  assert.deepEqual(imports(source("a.ts", 'new Worker(new URL("./w.ts", import.meta.url))')), [
    { path: "w.ts", typeOnly: false },
  ]);
  assert.deepEqual(circle([a, source("src/b/y.ts", 'import "../a/x.ts";')]), [
    "src/a/x.ts",
    "src/b/y.ts",
    "src/a/x.ts",
  ]);
  assert.equal(circle([a, source("src/b/y.ts", 'import type { X } from "../a/x.ts";')]), null);
});
