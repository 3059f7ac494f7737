// The test command: `deno task test` for everything, `deno task ok` for what takes less than two minutes. Installs the
// tools that tests compare with where it can (Debian or Ubuntu, as root), else says what is missing; tests that need a
// missing tool do not run then, except under CI, where that is a failure. Ends with one line: "N passed, N failed".
//
// Tests are `*_test.ts` under tests/, by subject. Those under tests/system run whole machines and are not part of `ok`.

import { parse } from "@std/flags";
import { TextLineStream } from "@std/streams";

/** A program that tests run, and the Debian package that has it. */
const TOOLS: readonly { readonly program: string; readonly from: string; readonly quick: boolean }[] = [
  { program: "qemu-aarch64", from: "qemu-user", quick: true },
  { program: "qemu-img", from: "qemu-utils", quick: true },
  { program: "dtc", from: "device-tree-compiler", quick: true },
  { program: "gdb-multiarch", from: "gdb-multiarch", quick: true },
  { program: "e2fsck", from: "e2fsprogs", quick: false },
  { program: "nbdkit", from: "nbdkit", quick: false },
  { program: "debootstrap", from: "debootstrap", quick: false },
  { program: "qemu-aarch64-static", from: "qemu-user-static", quick: false },
  { program: "iperf3", from: "iperf3", quick: false },
  { program: "passt", from: "passt", quick: false },
  { program: "qemu-system-aarch64", from: "qemu-system-arm", quick: false },
];
/** Formatted, linted and type-checked. */
const FOLDERS = ["main.ts", "src", "devices", "gdbstub", "tests", "bench"];
const UNIT_ONLY = ["--ignore=tests/system"];

interface Tally {
  passed: number;
  failed: number;
}

const root = new URL("../", import.meta.url);
const ci = (Deno.env.get("CI") ?? "") !== "";

const exists = async (path: string) => await Deno.stat(new URL(path, root)).then(() => true, () => false);

async function hasProgram(program: string): Promise<boolean> {
  for (const directory of (Deno.env.get("PATH") ?? "").split(":")) {
    if (await Deno.stat(`${directory}/${program}`).then((info) => info.isFile, () => false)) return true;
  }
  return false;
}

async function missingTools(quick: boolean) {
  const wanted = TOOLS.filter((tool) => tool.quick || !quick);
  const there = await Promise.all(wanted.map(({ program }) => hasProgram(program)));
  return wanted.filter((_, index) => !there[index]);
}

/** Runs a command with its output on ours; true when it succeeds. */
async function run(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<boolean> {
  const child = new Deno.Command(command, { args: [...args], cwd: root, env, stdin: "null" }).spawn();
  return (await child.status).success;
}

async function installTools(quick: boolean): Promise<void> {
  const missing = await missingTools(quick);
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map(({ from }) => from))];
  if (Deno.uid() !== 0 || !await hasProgram("apt-get")) return;
  console.log(`installing ${packages.join(", ")}`);
  const env = { DEBIAN_FRONTEND: "noninteractive" };
  await run("apt-get", ["update", "-qq"], env);
  await run("apt-get", ["install", "-y", "-qq", "--no-install-recommends", ...packages], env);
}

/** Names what is still missing; the number of tools that must be there and are not. */
async function reportMissing(quick: boolean): Promise<number> {
  const missing = await missingTools(quick);
  for (const { program, from } of missing) {
    console.log(`MISSING ${program}: tests that compare with it do not run. Debian package: ${from}`);
  }
  return ci ? missing.length : 0;
}

async function step(name: string, tally: Tally, args: readonly string[]): Promise<void> {
  const start = Date.now();
  const good = await run(Deno.execPath(), args);
  console.log(`${good ? "ok" : "FAILED"}: ${name} (${((Date.now() - start) / 1000).toFixed(1)} s)`);
  if (good) tally.passed++;
  else tally.failed++;
}

/** Runs `deno test`, its output on ours, and adds its counts. */
async function unitTests(tally: Tally, args: readonly string[]): Promise<void> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--no-check", ...args, "tests"],
    cwd: root,
    env: { NO_COLOR: "1" },
    stdin: "null",
    stdout: "piped",
  }).spawn();
  let counts: Tally | null = null;
  for await (const line of child.stdout.pipeThrough(new TextDecoderStream()).pipeThrough(new TextLineStream())) {
    console.log(line);
    const summary = /^(?:ok|FAILED) \| (\d+) passed.*? \| (\d+) failed/.exec(line);
    if (summary) counts = { passed: Number(summary[1]), failed: Number(summary[2]) };
  }
  const { success } = await child.status;
  tally.passed += counts?.passed ?? 0;
  // A run that fails without a failed test (a module that does not load, a leak) is one failure.
  tally.failed += counts?.failed || (success ? 0 : 1);
}

const options = parse(Deno.args, { boolean: ["ok"], string: ["filter"] });
const quick = options.ok === true;
const folders = (await Promise.all(FOLDERS.map(async (path) => await exists(path) ? [path] : []))).flat();
const tally: Tally = { passed: 0, failed: 0 };

await installTools(quick);
tally.failed += await reportMissing(quick);
await step("format", tally, ["fmt", "--check", "--quiet", ...folders]);
await step("lint", tally, ["lint", "--quiet", ...folders]);
await step("types", tally, ["check", "--quiet", ...folders]);
const filter = typeof options.filter === "string" && options.filter !== "" ? [`--filter=${options.filter}`] : [];
await unitTests(tally, [...(quick ? UNIT_ONLY : []), ...filter]);
await reportMissing(quick);
console.log(`${tally.passed} passed, ${tally.failed} failed`);
Deno.exit(tally.failed === 0 ? 0 : 1);
