// What a guest can do wrong, and what the machine does then: it goes on, lets others stop it, and tells with
// `-d guest_errors`.

import assert from "node:assert/strict";
import { TRACE_GROUPS, type TraceGroup } from "../../src/base/trace.ts";
import { PAGE_BYTES } from "../../src/memory/host_map.ts";
import { Random } from "../isa/random.ts";
import { confuse, jolt } from "./chaos.ts";
import { CODE_BASE, TestMachine } from "./machine.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
/** Where tests put exception vectors, from CODE_BASE. */
const VECTORS = 0x1_0000, SYNC_SAME_LEVEL = 0x200;
const START = ["-device", `loader,addr=0x${CODE_BASE.toString(16)},cpu-num=0`];
/** PSCI function numbers. */
const SYSTEM_OFF = 0x8400_0008n, SYSTEM_RESET = 0x8400_0009n;

const SMC = 0xd400_0003, BRANCH_TO_SELF = 0x1400_0000, UDF = 0;
/** A handler that logs ESR_EL2 at X10 and returns to X11, which moves on by one instruction. */
const SKIP_HANDLER = [
  0xd53c5209, // mrs x9, esr_el2
  0xf8008549, // str x9, [x10], #8
  0xd53c4029, // mrs x9, elr_el2
  0x91001129, // add x9, x9, #4
  0xd51c4029, // msr elr_el2, x9
  0xd69f03e0, // eret
];

const cpuOf = (test: TestMachine) => test.machine.vcpus[0]!;

/** Slices end though no instruction ever completes: the thread stays responsive. */
function assertSlicesEnd(test: TestMachine, count = 20): void {
  const before = cpuOf(test).state.retired;
  for (let n = 0; n < count; n++) assert.equal(test.machine.runSlice(), true);
  assert.equal(test.machine.power, "on");
  assert(cpuOf(test).state.retired - before >= count * 10_000, "a slice takes its instructions");
}

Deno.test("an exception whose vector is not mapped repeats in slices that end", () => {
  const test = TestMachine.withCode([UDF], ["guest_errors"]);
  cpuOf(test).sys.VBAR_EL2 = 0x7f_0000_0000n;
  assertSlicesEnd(test);
  assert.equal(cpuOf(test).sys.ELR_EL2, 0x7f_0000_0200n);
  assert.equal(Number(cpuOf(test).sys.ESR_EL2 >> 26n), 0x21, "Instruction Abort without a change of level");
  assert.match(test.trace[0]!, /guest_errors.*nothing there/);
});

Deno.test("an exception whose vector is undefined repeats in slices that end", () => {
  const test = TestMachine.withCode([UDF]);
  cpuOf(test).sys.VBAR_EL2 = BigInt(CODE_BASE + VECTORS);
  assertSlicesEnd(test);
  assert.equal(cpuOf(test).sys.ELR_EL2, BigInt(CODE_BASE + VECTORS + SYNC_SAME_LEVEL));
});

Deno.test("an empty loop runs in slices that end", () => assertSlicesEnd(TestMachine.withCode([BRANCH_TO_SELF])));

Deno.test("WFI with everything off waits for the outside alone", () => {
  const test = TestMachine.withCode([
    0xd5034fdf, // msr daifset, #15
    0xd503207f, // wfi
    0x17ffffff, // b .-4
  ]);
  test.machine.runSlice();
  assert.equal(test.machine.runSlice(), false);
  assert.equal(test.machine.nextWakeUp(), Infinity);
});

Deno.test("accesses to nowhere are external aborts, which the trace names", () => {
  const accesses = [
    0xb9000080, // str w0, [x4]
    0xf9400480, // ldr x0, [x4, #8]
    0x390000a0, // strb w0, [x5]
    0x794000a0, // ldrh w0, [x5]
    0xa9000480, // stp x0, x1, [x4]
  ];
  const test = TestMachine.withCode([...accesses, SMC], ["guest_errors"]), { state, sys } = cpuOf(test);
  test.put(VECTORS + SYNC_SAME_LEVEL, SKIP_HANDLER);
  sys.VBAR_EL2 = BigInt(CODE_BASE + VECTORS);
  state.x[4] = 0x3000_0000n;
  state.x[5] = 0xff_0000_0000n;
  const log = CODE_BASE + 0x2_0000;
  state.x[10] = BigInt(log);
  state.x[0] = SYSTEM_OFF;
  // Loads that fail leave X0 alone, so PSCI gets it.
  test.runToEnd(10_000);
  const words = new DataView(test.machine.bus.readBytes(log, 8 * accesses.length)!.buffer);
  const syndromes = accesses.map((_, n) => words.getUint32(8 * n, true).toString(16));
  // EC 0x25, IL, synchronous external abort; WnR for stores.
  assert.deepEqual(syndromes, ["96000050", "96000010", "96000050", "96000010", "96000050"]);
  assert.match(test.trace[0]!, /^guest_errors\.unmapped.*: write of 4 bytes at 0x30000000: nothing there$/);
  assert.match(test.trace[1]!, /^guest_errors\.unmapped.*: read of 4 bytes at 0x30000008: nothing there$/);
});

for (const gic of [2, 3]) {
  Deno.test(`device registers take accesses of every kind and size: GICv${gic}`, async () => {
    const board = `virt,gic-version=${gic},virtualization=on`;
    const test = await TestMachine.from(["-M", board, "-m", "16", ...START, "-d", "guest_errors"]);
    const { bus } = test.machine, random = new Random(1), words = new Uint32Array(4);
    for (const region of bus.regions) {
      const interesting = Math.min(region.size, 0x1_0000);
      for (let n = 0; n < 3000; n++) {
        const bytes = random.pick([1, 2, 4, 8, 16]);
        const offset = random.once(3) ? random.below(interesting) : random.below(interesting) & -bytes;
        words.set([random.u32(), random.u32(), random.u32(), random.u32()]);
        if (random.once(2)) bus.readInto(region.base + offset, bytes, words, 0);
        else bus.writeFrom(region.base + offset, bytes, words, 0);
      }
      test.machine.runSlice();
    }
    assert(test.trace.length > 100);
    assert(test.trace.every((line) => line.startsWith("guest_errors.")));
    // The same machine is whole after a reset.
    test.machine.reset();
    test.put(0, [SMC]);
    cpuOf(test).state.x[0] = SYSTEM_OFF;
    test.runToEnd(10_000);
  });
}

Deno.test("code that rewrites itself all the time is executed as written", () => {
  const test = TestMachine.withCode([
    0xb9400001, // ldr w1, [x0]        the instruction at `patched`
    0x11008021, // add w1, w1, #32         the next immediate: it begins at bit 5
    0xb9000001, // str w1, [x0]
    0xd50b7520, // ic ivau, x0
    0xd5033fdf, // isb
    0xd2800002, // patched: mov x2, #0
    0x8b020063, // add x3, x3, x2
    0xf1000484, // subs x4, x4, #1
    0x54ffff01, // b.ne .-32
    SMC,
  ]);
  const { state } = cpuOf(test);
  state.x[0] = BigInt(CODE_BASE + 20);
  state.x[4] = 1000n;
  test.runUntil(() => state.x[4] === 0n, 20_000);
  assert.equal(state.x[3], 500_500n);
});

Deno.test("a guest may execute more pages than are kept predecoded", async () => {
  const megabytes = 126, pages = megabytes * 256 - 1;
  const test = await TestMachine.from([...START, "-m", "128"]), { state } = cpuOf(test);
  for (let n = 0; n < pages; n++) {
    test.put(n * PAGE_BYTES, [
      0x91000421, // add x1, x1, #1
      0x140003ff, // b to the next page
    ]);
  }
  test.put(pages * PAGE_BYTES, [
    0xd1000442, // sub x2, x2, #1
    0xb4000042, // cbz x2, .+8
    0xd61f0060, // br x3
    SMC,
  ]);
  state.x[0] = SYSTEM_OFF;
  state.x[2] = 2n;
  state.x[3] = BigInt(CODE_BASE);
  test.runToEnd(60_000);
  assert.equal(state.x[1], BigInt(2 * pages));
});

Deno.test("a guest that resets itself for ever starts afresh each time", () => {
  const test = TestMachine.withCode([SMC]);
  for (let n = 0; n < 20; n++) {
    cpuOf(test).state.x[0] = SYSTEM_RESET;
    test.machine.runSlice();
    assert.equal(test.machine.power, "reset");
    test.machine.reset();
    assert.equal(cpuOf(test).state.pc, BigInt(CODE_BASE));
  }
});

for (const cpu of ["cortex-a57", "cortex-a76"]) {
  Deno.test(`random instructions, registers and tables never stop the machine: two CPUs, ${cpu}`, async () => {
    const test = await TestMachine.from(["-cpu", cpu, "-smp", "2", "-m", "16", ...START]), { machine } = test;
    for (let seed = 1; seed <= 25; seed++) {
      const random = new Random(seed);
      machine.reset();
      confuse(test, random);
      for (let slice = 0; slice < 40 && machine.power === "on"; slice++) {
        machine.runSlice();
        jolt(test, random);
      }
    }
  });
}

/** A line for every instruction or block, so a few slices of them do. */
const DENSE_GROUPS = new Set<string>(["in_asm", "exec", "cpu"] satisfies TraceGroup[]);
const sparse = Object.keys(TRACE_GROUPS).filter((name) => !DENSE_GROUPS.has(name));

for (
  const { gic, groups, slices, atLeast } of [
    { gic: 2, groups: sparse, slices: 10, atLeast: 8 },
    { gic: 3, groups: sparse, slices: 10, atLeast: 8 },
    { gic: 3, groups: [...DENSE_GROUPS], slices: 1, atLeast: 3 },
  ]
) {
  Deno.test(`trace points have words for what a confused guest does: GICv${gic}, ${groups}`, async () => {
    const board = `virt,gic-version=${gic},virtualization=on`;
    const test = await TestMachine.from(["-M", board, "-cpu", "max", "-m", "16", ...START, "-d", groups.join(",")]);
    const points = new Set<string>();
    for (let seed = 1; seed <= 4; seed++) {
      const random = new Random(seed);
      test.machine.reset();
      confuse(test, random);
      for (let slice = 0; slice < slices && test.machine.power === "on"; slice++) {
        test.machine.runSlice();
        jolt(test, random);
        for (const line of test.trace.splice(0)) points.add(/^[\w.]+/.exec(line)![0]);
      }
    }
    assert(points.size >= atLeast, `only ${[...points]}`);
  });
}

/** Runs the command on a guest that never ends, sends a signal when `ready`, and returns the exit code. */
async function interrupted(options: readonly string[], signal: Deno.Signal): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", MAIN, ...options],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
  await new Promise((resolve) => setTimeout(resolve, 1500));
  child.kill(signal);
  const timer = setTimeout(() => child.kill("SIGKILL"), 20_000);
  const { code } = await child.status;
  clearTimeout(timer);
  await child.stdin.close();
  return code;
}

const datum = (offset: number, word: number) => [
  "-device",
  `loader,addr=0x${(CODE_BASE + offset).toString(16)},data=0x${word.toString(16)},data-len=4`,
];

Deno.test("SIGINT ends an empty loop with 130", async () => {
  assert.equal(await interrupted([...datum(0, BRANCH_TO_SELF), ...START], "SIGINT"), 130);
});

Deno.test("SIGTERM ends a loop of exceptions with 143, traced or not", async () => {
  // RAM is zero, and so is VBAR_EL2: the flash at 0 is empty.
  const log = await Deno.makeTempFile();
  assert.equal(await interrupted([...START, "-d", "int,guest_errors", "-D", log], "SIGTERM"), 143);
  assert.match(await Deno.readTextFile(log), /^int\.taken/);
  assert.equal(await interrupted(START, "SIGTERM"), 143);
  await Deno.remove(log);
});
