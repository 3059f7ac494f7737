// The cheap half of the house style: what a machine can see.

import assert from "node:assert/strict";
import { TRACE_GROUPS } from "../../src/base/trace.ts";
import { type Source, sources } from "./sources.ts";

const PROGRAM = ["src", "devices", "gdbstub"];
const ALL = [...PROGRAM, "main.ts", "tests", "bench"];

/** 400 lines ask for a second look; from here on the file must be a table, or be named here with its reason. */
const LONG_LINES = 650;
const LONG_FILES: Readonly<Record<string, string>> = {};

const where = (source: Source, index: number) => `${source.path}:${index + 1}: ${source.lines[index]!.trim()}`;

async function linesThat(pattern: RegExp, folders: readonly string[], except: readonly string[] = []) {
  return (await sources(...folders))
    .filter(({ path }) => !except.some((prefix) => path.startsWith(prefix)))
    .flatMap((source) => source.lines.flatMap((line, index) => pattern.test(line) ? [where(source, index)] : []));
}

Deno.test("a file is short, or says why not", async () => {
  const long = (await sources(...PROGRAM)).filter(({ path, lines }) =>
    lines.length > LONG_LINES && !(path in LONG_FILES)
  );
  assert.deepEqual(long.map(({ path, lines }) => `${path}: ${lines.length} lines`), []);
});

Deno.test("file names are snake_case", async () => {
  const wrong = (await sources(...ALL)).filter(({ path }) => !/^([a-z0-9_]+\/)*[a-z0-9_]+\.ts$/.test(path));
  assert.deepEqual(wrong.map(({ path }) => path), []);
});

Deno.test("a file opens with what it is", async () => {
  const wrong = (await sources(...PROGRAM, "main.ts", "bench")).filter(({ lines }) =>
    !/^(\/\/ |\/\*\*)/.test(lines[0]!)
  );
  assert.deepEqual(wrong.map(({ path }) => path), []);
});

Deno.test("no stray console output in the program", async () => {
  assert.deepEqual(await linesThat(/\bconsole\.(log|debug|info|warn)\b/, PROGRAM), []);
});

Deno.test("no state at module level", async () => {
  assert.deepEqual(await linesThat(/^(export )?(let|var) /, PROGRAM), []);
});

Deno.test("only the clock and what starts the machine read the host's time", async () => {
  const readers = ["src/base/clock.ts", "src/machine/daemon.ts", "src/machine/worker.ts"];
  assert.deepEqual(await linesThat(/\bDate\.now\(|\bperformance\.now\(|\bnew Date\(\)/, PROGRAM, readers), []);
});

Deno.test("nothing is left for later in a comment", async () => {
  assert.deepEqual(await linesThat(/\b(TODO|FIXME|XXX|HACK)\b/, ALL, ["tests/tidy/"]), []);
});

Deno.test("no test is switched off or alone", async () => {
  assert.deepEqual(
    await linesThat(/\bDeno\.test\.(only|ignore)\b|\bonly: true\b|\bignore: true\b/, ["tests"], ["tests/tidy/"]),
    [],
  );
});

Deno.test("every trace group of -d has a trace point", async () => {
  const text = (await sources(...PROGRAM)).map((source) => source.text).join("\n");
  const silent = Object.keys(TRACE_GROUPS).filter((group) => !new RegExp(`tracePoint\\(\\s*"${group}"`).test(text));
  assert.deepEqual(silent, []);
});
