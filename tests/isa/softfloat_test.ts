// Software floating point against qemu-aarch64: each operation as its scalar instruction, on random and special operands,
// under random FPCR, comparing result and FPSR. SOFTFLOAT_CASES sets the number of cases per operation and format.

import assert from "node:assert/strict";
import { CONTROL, DOUBLE, FLAGS, type Format, HALF, ROUNDING, type Rounding, SINGLE } from "../../src/isa/softfloat.ts";
import { SoftFloat } from "../../src/isa/softfloat.ts";
import { unsignedRecipEstimate, unsignedRecipSqrtEstimate } from "../../src/isa/softfloat/estimate.ts";
import { Batch, isOracleAvailable, runOracle } from "./oracle.ts";
import { Random } from "./random.ts";

const CASES = Number(Deno.env.get("SOFTFLOAT_CASES") ?? 500);

/** One instruction in one format. Operands come from V1, V2, V3 (or X1), the result goes to V0, X0 or NZCV. */
interface Operation {
  name: string;
  word: number;
  from: Format;
  /** Bits of the result, in `place`. */
  width: number;
  place: "v" | "x" | "nzcv";
  /** X1 rather than V1 to V3 is the operand. */
  integer?: boolean;
  /** A vector instruction, of which lane 0 is looked at. */
  vector?: boolean;
  run: (f: SoftFloat, a: bigint, b: bigint, c: bigint) => bigint;
}

const ONES = (1n << 64n) - 1n;
const truth = (format: Format, value: boolean): bigint => value ? ONES >> BigInt(64 - format.width) : 0n;

function operations(): Operation[] {
  const list: Operation[] = [];
  const RN = 1 << 5, RM = 2 << 16, RA = 3 << 10;
  for (const format of [HALF, SINGLE, DOUBLE]) {
    const h = format === HALF, type = { 16: 3, 32: 0, 64: 1 }[format.width] << 22, sz = format === DOUBLE ? 1 << 22 : 0;
    const size = { 16: "h", 32: "s", 64: "d" }[format.width], sign = format.signBit;
    const add = (
      name: string,
      word: number,
      run: Operation["run"],
      place: "v" | "x" | "nzcv" = "v",
      width: number = format.width,
      integer = false,
    ) => list.push({ name: `${name} ${size}`, word: (word | RN) >>> 0, from: format, width, place, integer, run });

    // Two sources.
    const two = (name: string, opcode: number, run: Operation["run"]) =>
      add(name, 0x1e200800 | type | opcode << 12 | RM, run);
    two("fmul", 0, (f, a, b) => f.mul(format, a, b));
    two("fdiv", 1, (f, a, b) => f.div(format, a, b));
    two("fadd", 2, (f, a, b) => f.add(format, a, b));
    two("fsub", 3, (f, a, b) => f.sub(format, a, b));
    two("fmax", 4, (f, a, b) => f.max(format, a, b));
    two("fmin", 5, (f, a, b) => f.min(format, a, b));
    two("fmaxnm", 6, (f, a, b) => f.maxNum(format, a, b));
    two("fminnm", 7, (f, a, b) => f.minNum(format, a, b));
    two("fnmul", 8, (f, a, b) => f.mul(format, a, b) ^ sign);

    // Three sources.
    const three = (name: string, o1: number, o0: number, run: Operation["run"]) =>
      add(name, 0x1f000000 | type | o1 << 21 | o0 << 15 | RM | RA, run);
    three("fmadd", 0, 0, (f, a, b, c) => f.mulAdd(format, c, a, b));
    three("fmsub", 0, 1, (f, a, b, c) => f.mulAdd(format, c, a ^ sign, b));
    three("fnmadd", 1, 0, (f, a, b, c) => f.mulAdd(format, c ^ sign, a ^ sign, b));
    three("fnmsub", 1, 1, (f, a, b, c) => f.mulAdd(format, c ^ sign, a, b));

    // One source.
    const one = (name: string, opcode: number, run: Operation["run"], width: number = format.width) =>
      add(name, 0x1e204000 | type | opcode << 15, run, "v", width);
    one("fsqrt", 3, (f, a) => f.sqrt(format, a));
    const rounded = (suffix: string, opcode: number, rounding: Rounding | undefined, exact: boolean) =>
      one(`frint${suffix}`, opcode, (f, a) => f.roundInt(format, a, rounding ?? f.rounding, exact));
    rounded("n", 8, ROUNDING.TIEEVEN, false);
    rounded("p", 9, ROUNDING.POSINF, false);
    rounded("m", 10, ROUNDING.NEGINF, false);
    rounded("z", 11, ROUNDING.ZERO, false);
    rounded("a", 12, ROUNDING.TIEAWAY, false);
    rounded("x", 14, undefined, true);
    rounded("i", 15, undefined, false);
    for (const [to, opcode] of [[SINGLE, 4], [DOUBLE, 5], [HALF, 7]] as const) {
      if (to !== format) one(`fcvt to ${to.width}`, opcode, (f, a) => f.convert(format, to, a), to.width);
    }
    if (format === DOUBLE) {
      add("fcvtxn", 0x7e616800, (f, a) => f.convert(DOUBLE, SINGLE, a, ROUNDING.ODD), "v", 32);
    }

    // Comparisons.
    for (const signalling of [false, true]) {
      const word = 0x1e202000 | type | RM | (signalling ? 0x10 : 0);
      add(signalling ? "fcmpe" : "fcmp", word, (f, a, b) => BigInt(f.compare(format, a, b, signalling)), "nzcv", 4);
    }
    const scalar = (name: string, word: number, half: number, run: Operation["run"]) =>
      add(name, h ? half | RM : word | sz | RM, run);
    scalar("fcmeq", 0x5e20e400, 0x5e402400, (f, a, b) => truth(format, f.compareEQ(format, a, b)));
    scalar("fcmge", 0x7e20e400, 0x7e402400, (f, a, b) => truth(format, f.compareGE(format, a, b)));
    scalar("fcmgt", 0x7ea0e400, 0x7ec02400, (f, a, b) => truth(format, f.compareGT(format, a, b)));
    scalar("facge", 0x7e20ec00, 0x7e402c00, (f, a, b) => truth(format, f.absoluteGE(format, a, b)));
    scalar("facgt", 0x7ea0ec00, 0x7ec02c00, (f, a, b) => truth(format, f.absoluteGT(format, a, b)));

    // Newton steps and estimates.
    scalar("fmulx", 0x5e20dc00, 0x5e401c00, (f, a, b) => f.mulX(format, a, b));
    scalar("frecps", 0x5e20fc00, 0x5e403c00, (f, a, b) => f.recipStep(format, a, b));
    scalar("frsqrts", 0x5ea0fc00, 0x5ec03c00, (f, a, b) => f.recipSqrtStep(format, a, b));
    add("frecpe", h ? 0x5ef9d800 : 0x5ea1d800 | sz, (f, a) => f.recipEstimate(format, a));
    add("frecpx", h ? 0x5ef9f800 : 0x5ea1f800 | sz, (f, a) => f.recipExponent(format, a));
    add("frsqrte", h ? 0x7ef9d800 : 0x7ea1d800 | sz, (f, a) => f.recipSqrtEstimate(format, a));

    // Integers and fixed point.
    for (const width of [32, 64]) {
      const sf = width === 64 ? 1 << 31 : 0, x = width === 64 ? "x" : "w";
      for (
        const [letter, rmode, opcode, rounding] of [
          ["n", 0, 0, ROUNDING.TIEEVEN],
          ["a", 0, 4, ROUNDING.TIEAWAY],
          ["p", 1, 0, ROUNDING.POSINF],
          ["m", 2, 0, ROUNDING.NEGINF],
          ["z", 3, 0, ROUNDING.ZERO],
        ] as const
      ) {
        for (const u of [0, 1]) {
          const word = 0x1e200000 | sf | type | rmode << 19 | (opcode | u) << 16;
          const run: Operation["run"] = (f, a) => f.toFixed(format, a, width, 0, u === 1, rounding);
          add(`fcvt${letter}${u ? "u" : "s"} ${x}`, word, run, "x", width);
        }
      }
      for (const u of [0, 1]) {
        const run: Operation["run"] = (f, a) => f.fromFixed(format, a, width, 0, u === 1);
        add(`${u ? "u" : "s"}cvtf ${x}`, 0x1e220000 | sf | type | u << 16, run, "v", format.width, true);
        for (const fraction of [1, 7, 31, width]) {
          const scale = (64 - fraction) << 10;
          const to: Operation["run"] = (f, a) => f.toFixed(format, a, width, fraction, u === 1, ROUNDING.ZERO);
          const from: Operation["run"] = (f, a) => f.fromFixed(format, a, width, fraction, u === 1);
          add(`fcvtz${u ? "u" : "s"} ${x} #${fraction}`, 0x1e180000 | sf | type | u << 16 | scale, to, "x", width);
          const word = 0x1e020000 | sf | type | u << 16 | scale;
          add(`${u ? "u" : "s"}cvtf ${x} #${fraction}`, word, from, "v", format.width, true);
        }
      }
    }
  }
  list.push({
    name: "urecpe",
    word: 0x0ea1c820,
    from: SINGLE,
    width: 32,
    place: "v",
    vector: true,
    run: (_, a) => BigInt(unsignedRecipEstimate(Number(a))),
  });
  list.push({
    name: "ursqrte",
    word: 0x2ea1c820,
    from: SINGLE,
    width: 32,
    place: "v",
    vector: true,
    run: (_, a) => BigInt(unsignedRecipSqrtEstimate(Number(a))),
  });
  return list;
}

function randomFpcr(random: Random): number {
  let fpcr = random.below(4) << CONTROL.RMODE;
  for (const bit of [CONTROL.FZ, CONTROL.FZ16, CONTROL.DN, CONTROL.AHP]) if (random.once(3)) fpcr |= bit;
  return fpcr;
}

/** Operands that make the operation interesting more often than chance does. */
function operands(random: Random, format: Format): [bigint, bigint, bigint] {
  const a = random.float(format);
  let b = random.float(format), c = random.float(format);
  if (random.once(4)) b = BigInt.asUintN(format.width, a + BigInt(random.below(5)) - 2n);
  if (random.once(8)) b ^= format.signBit;
  if (random.once(3)) {
    // An addend close to the product: cancellation.
    const f = new SoftFloat();
    c = f.mul(format, a, b) ^ (random.once(4) ? 0n : format.signBit);
    if (random.once(2)) c = BigInt.asUintN(format.width, c + BigInt(random.below(5)) - 2n);
  }
  return [a, b, c];
}

const hex = (value: bigint): string => "0x" + value.toString(16);

Deno.test({
  name: "software floating point agrees with qemu-aarch64",
  ignore: !isOracleAvailable(),
  async fn(t) {
    const random = new Random(Number(Deno.env.get("SEED") ?? 1));
    const f = new SoftFloat();
    let total = 0;
    for (const operation of operations()) {
      await t.step(operation.name, async () => {
        const batch = new Batch(), inputs: [bigint, bigint, bigint][] = [];
        for (let i = 0; i < CASES; i++) {
          const test = batch.add(operation.word), input = operands(random, operation.from);
          if (operation.integer) input[0] = test.x[1] = random.integer(64);
          inputs.push(input);
          // What lies above the operand must not matter.
          const above = operation.from.width === 64 ? 0n : random.u64() << BigInt(operation.from.width);
          input.forEach((value, n) => test.v[2 + 2 * n] = BigInt.asUintN(64, value | above));
          test.fpcr = randomFpcr(random);
        }
        const outcomes = await runOracle(batch, { cpu: "max" });
        outcomes.forEach((outcome, i) => {
          assert.equal(outcome.signal, 5, `${operation.name}: ${hex(BigInt(operation.word))} is not an instruction`);
          const expected = operation.place === "v"
            ? outcome.v[0]! & (operation.vector ? 0xffff_ffffn : ONES)
            : operation.place === "x"
            ? outcome.x[0]!
            : outcome.pstate >> 28n;
          const [a, b, c] = inputs[i]!, fpcr = batch.at(i).fpcr;
          f.fpcr = fpcr;
          f.flags = 0;
          const result = operation.run(f, a, b, c);
          if (result === expected && f.flags === (outcome.fpsr & 0x9f)) return;
          const names = (flags: number) =>
            Object.entries(FLAGS).filter(([, bit]) => flags & bit).map(([name]) => name).join(" ") || "no flags";
          assert.fail(
            `${operation.name} (${hex(BigInt(operation.word))}) fpcr ${hex(BigInt(fpcr))}: ${hex(a)} ${hex(b)} ${
              hex(c)
            } gives ` +
              `${hex(result)} ${names(f.flags)}, QEMU ${hex(expected)} ${names(outcome.fpsr)}`,
          );
        });
        total += outcomes.length;
      });
    }
    assert.ok(total > 0);
  },
});
