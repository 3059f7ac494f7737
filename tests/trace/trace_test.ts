// Trace points: lines as text and JSON, filters, and what each group of -d tells of a small program.

import assert from "node:assert/strict";
import { TRACE_GROUPS, type TraceOptions, type TracePlace, tracePoint, Tracer } from "../../src/base/trace.ts";
import { TraceFilter } from "../../src/base/trace_filter.ts";
import { program, traced } from "./program.ts";

const POINT = tracePoint("int", "point", ({ value }: { cpu?: number; value: bigint }) => `value ${value}`);
const PLACE: TracePlace = { cpu: 1, el: 2, pc: 0xffff_8000_0000_1000n, vmid: 3, asid: 0, retired: 7 };

function lines(options: TraceOptions, place: TracePlace | undefined = PLACE): string[] {
  const seen: string[] = [], tracer = new Tracer(["int"], (line) => void seen.push(line), options);
  tracer.place = () => place;
  tracer.emit(POINT, { value: 5n });
  return seen;
}

Deno.test("a line says which CPU was where", () => {
  assert.deepEqual(lines({}), ["int.point CPU 1 EL2 0xffff800000001000: value 5"]);
  assert.deepEqual(lines({}, { ...PLACE, vmid: undefined }).length, 1);
  const seen: string[] = [], tracer = new Tracer(["int"], (line) => void seen.push(line));
  tracer.emit(POINT, { value: 5n });
  tracer.emit(POINT, { cpu: 3, value: 6n });
  assert.deepEqual(seen, ["int.point: value 5", "int.point CPU 3: value 6"]);
});

Deno.test("a line can be a JSON object, 64-bit values as hexadecimal digits", () => {
  assert.deepEqual(JSON.parse(lines({ format: "json" })[0]!), {
    group: "int",
    point: "point",
    cpu: 1,
    el: 2,
    pc: "0xffff800000001000",
    vmid: 3,
    asid: 0,
    retired: 7,
    value: "0x5",
  });
});

Deno.test("a group that is off says nothing, and its words are not made", () => {
  const silent = tracePoint("gic", "silent", (_: { value: number }) => assert.fail("it is off"));
  const tracer = new Tracer(["int"], () => assert.fail("it is off"));
  tracer.emit(silent, { value: 1 });
  assert(!tracer.on("gic") && tracer.on("int"));
});

const passes = (filter: string, place: Partial<TracePlace>, to?: number) => new TraceFilter(filter).passes(place, to);

Deno.test("filters are QEMU's ranges and conditions on the context", () => {
  for (
    const [filter, first, last] of [["0x1000+0x20", 0x1000n, 0x101fn], ["0x101f-0x20", 0x1000n, 0x101fn], [
      "4096..4127",
      0x1000n,
      0x101fn,
    ]] as const
  ) {
    const at = (pc: bigint) => passes(filter, { ...PLACE, pc });
    assert.deepEqual([at(first - 1n), at(first), at(last), at(last + 1n)], [false, true, true, false], filter);
  }
  assert(passes("0x0+4,0xffff800000001000+4", PLACE), "one of the ranges");
  assert(passes("cpu=1,el=2,vmid=3,asid=0", PLACE) && passes("el=1,el=2", PLACE));
  assert(!passes("cpu=0", PLACE) && !passes("vmid=4", PLACE) && !passes("0xffff800000001000+4,el=1", PLACE));
  assert(passes("el=1", PLACE, 1), "the level that an exception goes to counts too");
  assert(!passes("vmid=0", { ...PLACE, vmid: undefined }), "no stage 2");
  assert(!passes("0x0+4", {}), "what happens nowhere");
});

Deno.test("a filter that is not understood is an error", () => {
  for (const text of ["", "0x1000", "0x1000+0", "1..0", "0-2", "el=two", "level=1", "0x10000000000000000+1", "1+-1"]) {
    assert.throws(() => new TraceFilter(text), { name: "UsageError" }, text);
  }
});

/** Lines of these groups, without what comes before the first colon and space. */
async function told(groups: string, ...options: string[]): Promise<string[]> {
  return (await traced("-d", groups, ...options)).map((line) =>
    `${line.split(/[ :]/)[0]}: ${/: (.*)/s.exec(line)![1]}`
  );
}

Deno.test("int tells the class in words, the registers, and both levels", async () => {
  const all = await traced("-d", "int");
  assert.equal(
    all[0],
    "int.taken CPU 0 EL2 0x4000000c: to EL2: SVC #0x5, ESR 0x56000005, ELR 0x4000000c, SPSR 0x3c9, vector 0x40000a00",
  );
  assert.equal(all[1], "int.returned CPU 0 EL2 0x40000a1c: to EL2 at 0x4000000c, SPSR 0x3c9");
  const kinds = (await told("int")).flatMap((line) => /^int.taken: to EL2: (.*?), ESR/.exec(line)?.[1] ?? []);
  const unknown = "unknown reason (undefined instruction)";
  assert.deepEqual(kinds, ["SVC #0x5", unknown, unknown, "data abort: external abort; read"]);
  assert(all.some((line) => line.includes("FAR 0x50000000")));
});

Deno.test("unimp tells instructions, registers and firmware calls that do not exist here", async () => {
  assert.deepEqual(await told("unimp"), [
    "unimp.instruction: instruction 0x0 is not allocated",
    "unimp.sysreg: read of S3_0_C15_C15_7: undefined",
    "unimp.psci: firmware call 0x84000099 is not implemented",
  ]);
});

Deno.test("guest_errors, sysreg, psci and device tell what was asked", async () => {
  assert.deepEqual(await told("guest_errors,sysreg,psci,device"), [
    "sysreg.refused: read of S3_0_C15_C15_7: undefined",
    "guest_errors.unmapped: read of 4 bytes at 0x50000000: nothing there",
    "psci.call: 0x84000099(0x25, 0x4000001c, 0x0) -> -1",
    "device.access: pl011 write of 4 bytes at 0x0: 0x21",
    "guest_errors.device: pl011: data written while the UART or its transmitter is disabled (told once)",
    "psci.call: SYSTEM_OFF(0x25, 0x4000001c, 0x0) -> does not return",
  ]);
});

Deno.test("mmu, gic and timer tell walks, TLB maintenance, SGIs and timers", async () => {
  const all = await told("mmu,gic,timer");
  for (
    const line of [
      "mmu.walk: 0x9000000 is PA 0x9000000, rwx, device memory",
      "mmu.fault: read of 0x50000000, stage 1: external abort",
      "mmu.tlbi: TLBI ALLE1, 0x0",
      "gic.sgi: SGI 0 to CPU 0",
    ]
  ) assert(all.includes(line), `${line} in\n${all.join("\n")}`);
  assert(all.some((line) => /^timer\.programmed: CNTHP enabled, at 0x/.test(line)), all.join("\n"));
});

Deno.test("in_asm tells instructions once, with names and targets", async () => {
  assert.deepEqual((await traced("-d", "in_asm", "-dfilter", "0x40000a00+0x20")).map((line) => line.slice(17)), [
    " CPU 0 EL2 0x40000a00: d53c5201  mrs x1, esr_el2",
    " CPU 0 EL2 0x40000a04: d35afc21  ubfm x1, x1, #26, #63",
    " CPU 0 EL2 0x40000a08: f100543f  subs xzr, x1, #21",
    " CPU 0 EL2 0x40000a0c: 54000080  b.eq 0x40000a1c",
    " CPU 0 EL2 0x40000a10: d53c4022  mrs x2, elr_el2",
    " CPU 0 EL2 0x40000a14: 91001042  add x2, x2, #4",
    " CPU 0 EL2 0x40000a18: d51c4022  msr elr_el2, x2",
    " CPU 0 EL2 0x40000a1c: d69f03e0  eret",
  ]);
});

Deno.test("exec tells every taken branch, exception and return, and cpu the registers there", async () => {
  const all = await traced("-d", "exec,cpu", "-dfilter", "0x40000a00+0x20");
  const blocks = all.filter((line) => line.startsWith("exec.")).map((line) => line.split(" ")[4]);
  // The SVC's handler branches over what steps over the instruction.
  assert.deepEqual(blocks, ["0x40000a00:", "0x40000a1c:", "0x40000a00:", "0x40000a00:", "0x40000a00:"]);
  assert.match(all[0]!, /^cpu\.registers CPU 0 EL2 0x40000a00: \n +x0=0000000040000800 .*pstate=00000000000003c9$/s);
});

Deno.test("a run that is traced block by block is the same run", async () => {
  const [plain, blocks] = await Promise.all([program(), program("-d", "exec")]);
  for (const test of [plain, blocks]) test.runToEnd(10_000);
  assert.equal(blocks.machine.vcpus[0]!.state.retired, plain.machine.vcpus[0]!.state.retired);
  assert.equal(blocks.machine.vcpus[0]!.state.pc, plain.machine.vcpus[0]!.state.pc);
});

Deno.test("every group has help", () => {
  for (const [group, help] of Object.entries(TRACE_GROUPS)) assert(help.length > 5, group);
});
