// Semihosting: our guest program says the same, and ends with the same code, on this machine and under QEMU; with gdb its
// calls are performed by gdb's host, on both. And what QEMU would let it do and we do not: reach the host.

import assert from "node:assert/strict";
import { type Machine, QEMU, VITRINE } from "../../bench/machines.ts";
import { GDB, hasGdb } from "../debug/gdb.ts";
import { BOARD, hasQemu, TestMachine } from "./machine.ts";

const PROGRAM = new URL("../guests/semihosting/semihosting.elf", import.meta.url).pathname;
const LIMIT_MS = 120_000;
const qemu = await hasQemu(), gdb = await hasGdb();
for (const [found, name] of [[qemu, "qemu-system-aarch64"], [gdb, GDB]] as const) {
  if (found) continue;
  console.log(`MISSING ${name}`);
  if (Deno.env.get("CI")) throw new Error(`${name} is missing`);
}

interface Result {
  readonly code: number;
  readonly out: string;
  readonly error: string;
}
interface Given {
  /** Sub-options of -semihosting-config. */
  readonly config: string;
  readonly options?: readonly string[];
  readonly input?: string;
  /** Where it runs. */
  readonly folder?: string;
  /** Its output is not read before. */
  readonly readAfterMs?: number;
}

/** Runs the program to its end. */
async function run(
  machine: Machine,
  { config, options = [], input = "", folder, readAfterMs = 0 }: Given,
): Promise<Result> {
  const child = new Deno.Command(machine.command, {
    args: [
      ...machine.args,
      ...["-M", "virt,gic-version=3,virtualization=on", "-cpu", "cortex-a57", "-display", "none", "-nic", "none"],
      ...["-monitor", "none", "-serial", "null", "-kernel", PROGRAM, ...options],
      ...(config === "" ? [] : ["-semihosting-config", config]),
    ],
    env: machine.env ?? {},
    ...(folder === undefined ? {} : { cwd: folder }),
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS), writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(input)).catch(() => {});
  await writer.close().catch(() => {});
  if (readAfterMs > 0) await new Promise((resolve) => setTimeout(resolve, readAfterMs));
  const { code, stdout, stderr } = await child.output();
  clearTimeout(timer);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), error: text(stderr) };
}
const both = (given: Given) => Promise.all([run(VITRINE, given), run(QEMU, given)]);
const native = (...words: readonly string[]) =>
  ["enable=on,target=native", ...["prog", ...words].map((word) => `arg=${word}`)].join(",");
/** What the program says before it does what it is told. */
const linesOf = (text: string) => text.split("\n").slice(3, -1);

async function inFolder<T>(does: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir();
  try {
    return await does(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

Deno.test({
  name: "console, features and times are as under QEMU, and so is which stream things come out of",
  ignore: !qemu,
  fn: async () => {
    const [ours, theirs] = await both({ config: native("console") });
    assert.deepEqual(ours, theirs);
    assert.equal(ours.code, 42);
    assert.equal(ours.out, "a line by SYS_WRITE\n");
    assert.match(ours.error, /^SHFB, features 3$/m);
  },
});

Deno.test({
  name: "exit codes are as under QEMU",
  ignore: !qemu,
  fn: async () => {
    for (const [words, code] of [[["exit", "7"], 7], [["exit-extended", "9"], 9], [["abort"], 1]] as const) {
      const [ours, theirs] = await both({ config: native(...words) });
      assert.deepEqual([ours.code, theirs.code], [code, code]);
      assert.deepEqual(ours, theirs);
    }
    // Not even -no-shutdown keeps a machine whose guest ends the program.
    const { code } = await run(VITRINE, { config: native("exit", "3"), options: ["-no-shutdown"] });
    assert.equal(code, 3);
  },
});

Deno.test({
  name: "files beneath the directory are as those under QEMU, and stay as they were left",
  ignore: !qemu,
  fn: async () => {
    await inFolder((ours) =>
      inFolder(async (theirs) => {
        const [here, there] = await Promise.all([
          run(VITRINE, { config: `${native("files")},dir=${ours}` }),
          run(QEMU, { config: native("files"), folder: theirs }),
        ]);
        assert.deepEqual(here, there);
        assert.equal(linesOf(here.error).length, 20);
        assert.deepEqual([...Deno.readDirSync(ours)], []);
        // As ISO C has it; QEMU 7.2 does not add to a file that is opened for that.
        const { error } = await run(VITRINE, { config: `${native("append")},dir=${ours}` });
        assert.match(error, /^read: 2\n01234567$/m);
        assert.match(error, /^length of what was emptied: 0$/m);
        assert.equal(Deno.statSync(`${ours}/made`).size, 0);
      })
    );
  },
});

Deno.test({
  name: "what is typed is read as under QEMU, and from a character device",
  ignore: !qemu,
  fn: async () => {
    const [ours, theirs] = await both({ config: native("input"), input: "abcdefghXY\xff" });
    assert.deepEqual(ours, theirs);
    assert.deepEqual(linesOf(ours.error)[0], "left 0: abcdefgh");
    const options = ["-chardev", "stdio,id=c"];
    const typed = await run(VITRINE, { config: `${native("readc")},chardev=c`, options, input: "ab" });
    // The third one finds the end.
    assert.deepEqual(linesOf(typed.out), ["readc a", "readc b", "readc \ufffd"]);
    assert.equal(typed.code, 42);
  },
});

Deno.test({
  name: "a program that says more than anybody reads waits for its reader, and loses nothing",
  ignore: !qemu,
  fn: async () => {
    const [ours, theirs] = await both({ config: native("much"), readAfterMs: 1500 });
    assert.equal(ours.out.length, 300_000);
    assert.equal(ours.out, theirs.out);
    assert.equal(ours.error, theirs.error);
    assert.deepEqual([ours.code, theirs.code], [42, 42]);
  },
});

Deno.test("without a directory there are no files; the command line is the kernel's name and -append", async () => {
  await inFolder(async (folder) => {
    await Deno.writeTextFile(`${folder}/own`, "of the host");
    const { error } = await run(VITRINE, { config: "", options: ["-semihosting", "-append", "files"], folder });
    assert.match(error, /^21: semihosting.elf files$/m);
    assert.match(error, /^open what is not there: -1, errno 13$/m);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name), ["own"]);
    assert.equal(linesOf(error).every((line) => !line.endsWith(": 0") || /^(iserror|seek)/.test(line)), true, error);
  });
});

Deno.test("nothing outside of the directory can be reached, by whatever name", async () => {
  await inFolder(async (folder) => {
    const dir = `${folder}/dir`, secret = "nobody's business";
    for (const path of [dir, `${dir}/inside`, `${folder}/elsewhere`]) await Deno.mkdir(path);
    await Deno.writeTextFile(`${folder}/outside`, secret);
    await Deno.writeTextFile(`${folder}/elsewhere/file`, secret);
    await Deno.writeTextFile(`${dir}/own`, "own");
    await Deno.writeTextFile(`${dir}/inside/own`, "own");
    await Deno.symlink("../outside", `${dir}/link`);
    await Deno.symlink("../elsewhere", `${dir}/linked`);
    const { success } = await new Deno.Command("mkfifo", { args: [`${dir}/pipe`] }).output();
    assert.equal(success, true);
    const before = [...Deno.readDirSync(dir)].map(({ name }) => name).sort();
    const { code, error } = await run(VITRINE, { config: `${native("forbidden")},dir=${dir}`, folder: dir });
    assert.equal(code, 42);
    const lines = linesOf(error), tried = lines.slice(0, 40);
    assert.equal(tried.length, 40);
    for (const line of tried) assert.match(line, /: -1, errno (13|2|20|21)$/);
    assert.deepEqual(lines.slice(40), ["own: 1", "inside/own: 1", "system: -1, errno 38"]);
    assert.deepEqual([...Deno.readDirSync(dir)].map(({ name }) => name).sort(), before);
    for (const path of ["outside", "elsewhere/file"]) {
      assert.equal(await Deno.readTextFile(`${folder}/${path}`), secret);
    }
    assert.equal(await Deno.readTextFile(`${dir}/own`), "own");
  });
});

Deno.test("arguments that make no sense are errors", async () => {
  await inFolder(async (folder) => {
    const trace = `${folder}/trace`, options = ["-d", "guest_errors", "-D", trace];
    const { code, error } = await run(VITRINE, { config: native("wrong"), options });
    assert.equal(code, 42);
    assert.match(await Deno.readTextFile(trace), /semihosting call 0x77 is not known/);
    assert.deepEqual(linesOf(error), [
      ...["open: -1, errno 14", "arguments: -1, errno 14", "long name: -1, errno 36", "mode: -1, errno 22"],
      ...["write: 4", "write much: -1, errno 22", "read: 4", "handle: 4", "heapinfo: -1, errno 14"],
      ...["elapsed: -1, errno 14", "call: -1, errno 38"],
    ]);
  });
});

Deno.test("a recorded run repeats with what was typed, and refuses what no log holds", async () => {
  await inFolder(async (folder) => {
    const log = `${folder}/log`, options = (what: string) => [what, log];
    const given = { config: native("input"), input: "abcdefghXYZ" };
    const first = await run(VITRINE, { ...given, options: options("-record") });
    const again = await run(VITRINE, { ...given, input: "something else", options: options("-replay") });
    assert.match(first.error, /^left 5: XYZ$/m);
    assert.deepEqual([again.code, linesOf(again.error)], [42, linesOf(first.error)]);
    const other = await run(VITRINE, { config: native("console"), options: options("-replay") });
    assert.equal(other.code, 2);
    assert.match(other.error, /-semihosting-config/);
    const without = await run(VITRINE, { config: "", options: options("-replay") });
    assert.equal(without.code, 2);
    assert.match(without.error, /recorded with another -semihosting-config/);
    const files = await run(VITRINE, { config: `${native("files")},dir=${folder}`, options: options("-record") });
    assert.equal(files.code, 2);
    assert.match(files.error, /dir and -record exclude each other/);
  });
});

Deno.test("what cannot be is refused", async () => {
  const wrong = async (config: string, message: RegExp) => {
    const { code, error } = await run(VITRINE, { config });
    assert.equal(code, 2);
    assert.match(error, message);
  };
  await wrong("target=gdb", /target=gdb needs -gdb or -s/);
  await wrong("chardev=nothing", /there is no -chardev with id=nothing/);
  await wrong("target=other", /"other" is not one of native, gdb, auto/);
  await wrong(`dir=${PROGRAM}`, /cannot use .* for semihosting: it is not a directory/);
});

/** HLT #0xF000 with SYS_EXIT, at EL0; HCR_EL2.TGE. */
const AT_EL0 = [
  ...[0x100001a0, 0xd51c4020, 0xd2800000, 0xd51c4000, 0x10003f80, 0xd51cc000, 0xd2a10000, 0xb2610000, 0xd51c1100],
  ...[0xd5033fdf, 0xd2800300, 0x100000a1, 0xd69f03e0, 0xd45e0000, 0x17ffffff, 0xd503201f, 0x20026, 0, 5, 0],
];

/** VBAR_EL2 is 0x800 behind the first instruction. */
const VECTORS = [0x10004000, 0xd51cc000];

Deno.test("HLT is UNDEFINED without the option, with another number, and at EL0 unless that may call", async () => {
  const at = async (words: readonly number[], ...options: readonly string[]) => {
    const test = await TestMachine.from([
      ...BOARD,
      "-device",
      "loader,addr=0x40200000,cpu-num=0",
      "-m",
      "16",
      ...options,
    ]);
    test.put(0, words);
    for (const vector of [0xa00, 0xc00]) test.put(vector, [0x14000000]);
    const { machine } = test, { sys } = machine.vcpus[0]!;
    test.runUntil(() => sys.ESR_EL2 !== 0n, 5000);
    return { esr: sys.ESR_EL2, code: machine.exitCode };
  };
  const undefined_ = { esr: 0x0200_0000n, code: null };
  assert.deepEqual(await at([...VECTORS, 0xd45e0000]), undefined_);
  assert.deepEqual(await at([...VECTORS, 0xd45e0020], "-semihosting"), undefined_);
  assert.deepEqual(await at(AT_EL0, "-semihosting"), undefined_);
  assert.deepEqual(await at(AT_EL0, "-semihosting-config", "userspace=on"), { esr: 0n, code: 5 });
});

interface GdbResult {
  readonly said: string;
  readonly code: number;
}

/** The program with gdb on it; its files are those of the folder that gdb runs in. */
async function withGdb(config: string, folder: string, ...commands: readonly string[]): Promise<GdbResult> {
  const socket = `${folder}/socket`, work = `${folder}/work`;
  await Deno.mkdir(work);
  const program = run(VITRINE, { config, options: ["-gdb", `unix:${socket}`, "-S"] });
  for (const start = performance.now(); performance.now() - start < LIMIT_MS;) {
    if (await Deno.stat(socket).then(() => true, () => false)) break;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const lines = ["set pagination off", "set confirm off", `target extended-remote ${socket}`, ...commands];
  const child = new Deno.Command("sh", {
    args: ["-c", 'exec "$0" "$@" 2>&1', GDB, "-q", "-nx", "-batch", ...lines.flatMap((line) => ["-ex", line])],
    cwd: work,
    stdin: "null",
    stdout: "piped",
    env: { LC_ALL: "C", DEBUGINFOD_URLS: "" },
  }).spawn();
  const timer = setTimeout(() => child.kill("SIGKILL"), LIMIT_MS);
  const { stdout } = await child.output();
  clearTimeout(timer);
  return { said: new TextDecoder().decode(stdout), code: (await program).code };
}

Deno.test({
  name: "with target=gdb calls are gdb's to perform: its console, its files, its exit code",
  ignore: !gdb,
  fn: async () => {
    await inFolder(async (folder) => {
      const config = native("files").replace("native", "gdb");
      const { said, code } = await withGdb(
        config,
        folder,
        // A step over a call that gdb performs ends when gdb has.
        ...[
          "break semihosting_call if $x0 == 4",
          "continue",
          "stepi",
          "print $x0",
          "print $pc - (long) &semihosting_call",
        ],
        ...["delete", "tbreak semihosting_call if $x0 == 0xe", "continue", "shell ls", "continue", "print $_exitcode"],
      );
      assert.match(said, /^get_cmdline: 0\n[\s\S]*^\$1 = 0\n\$2 = .* 0x4$/m);
      assert.match(said, /^AB23456789\n[\s\S]*^rename: 0\n[\s\S]*^other\n[\s\S]*^remove again: -1, errno 2$/m);
      assert.match(said, /^length: 10$/m);
      assert.match(said, /exited with code 052[\s\S]*^\$3 = 42$/m);
      assert.equal(code, 42);
    });
  },
});

Deno.test({
  name: "with target=auto they are gdb's while gdb is there, and ours again when it has gone",
  ignore: !gdb,
  fn: async () => {
    await inFolder(async (folder) => {
      const config = `${native("input").replace("native", "auto")}`;
      const { said, code } = await withGdb(
        config,
        folder,
        ...["break semihosting_call if $x0 == 4", "continue", "continue", "delete", "detach"],
      );
      assert.match(said, /^get_cmdline: 0$/m);
      assert.doesNotMatch(said, /left/);
      assert.equal(code, 42);
    });
  },
});
