// The short ways of isa/float.ts: fused multiply-add, division and square root where rounding is hardest, against exact
// software; and that everyday operands need no software at all.

import assert from "node:assert/strict";
import { DOUBLE, FLAGS, type Format, SINGLE, SoftFloat } from "../../src/isa/softfloat.ts";
import { A64 } from "../../src/isa/a64/a64.ts";
import { ALL_FEATURES, Engine, type Result } from "./engine.ts";
import { Batch, PAGE_BYTES } from "./oracle.ts";
import { Random } from "./random.ts";

const CASES = Number(Deno.env.get("FLOAT_CASES") ?? 4000);
const SEED = Number(Deno.env.get("SEED") ?? 1);
const IMAGE = new Uint8Array(PAGE_BYTES);

/** One instruction at a time on registers that are given as lanes: V0 is the result, V1 to V3 are operands. */
class Machine {
  readonly #test = new Batch().add(0);
  readonly engine = new Engine(A64, ALL_FEATURES);
  run(word: number, fpsr: number, operands: readonly (readonly bigint[])[], width: number, x1 = 0n): Result {
    const test = this.#test;
    test.words[0] = word;
    test.fpsr = fpsr;
    test.x[1] = x1;
    test.v.fill(0n);
    operands.forEach((lanes, n) => {
      let all = 0n;
      lanes.forEach((lane, i) => all |= lane << BigInt(i * width));
      test.v[2 * n + 2] = BigInt.asUintN(64, all);
      test.v[2 * n + 3] = all >> 64n;
    });
    return this.engine.run(test, IMAGE);
  }
}
const lanesOf = (r: Result, width: number): bigint[] => {
  const all = r.v[0]! | r.v[1]! << 64n;
  return Array.from({ length: 128 / width }, (_, i) => (all >> BigInt(i * width)) & ((1n << BigInt(width)) - 1n));
};

/** Addend and factors whose sum lies next to the middle of two numbers, or nearly vanishes. */
function hardSum(random: Random, format: Format): [bigint, bigint, bigint] {
  const { shift, fractionMask } = format,
    bias = Number(format.one >> shift),
    sign = () => random.below(2) ? format.signBit : 0n;
  const number = (exponent: number, fraction: bigint) =>
    sign() | BigInt(Math.min(Math.max(exponent + bias, 0), format.maxExponent - 1)) << shift |
    (fraction & fractionMask);
  const little = () => random.pick([0n, 1n, -1n, 2n, 3n]);
  const range = random.once(4) ? bias : 40,
    e = random.below(range) - (range >> 1),
    f = random.below(range) - (range >> 1);
  switch (random.below(4)) {
    case 0:
      return [random.float(format), random.float(format), random.float(format)];
    case 1:
      // The product is about half a unit in the last place of the addend.
      return [
        number(e + f + format.fractionBits + 1, random.bits(format.fractionBits) ^ little()),
        number(e, little()),
        number(f, little()),
      ];
    case 2: {
      // Few bits, so that ties are exact.
      const few = () =>
        random.bits(format.fractionBits) & ~((1n << BigInt(format.fractionBits - random.below(14))) - 1n);
      return [number(e + f + random.below(format.fractionBits + 3), few()), number(e, few()), number(f, few())];
    }
    default: {
      const f2 = new SoftFloat(),
        a = number(e, random.bits(format.fractionBits)),
        b = number(f, random.bits(format.fractionBits));
      const product = f2.mul(format, a, b) ^ format.signBit;
      return [product + BigInt(random.below(3)) * BigInt(random.below(2)), a, b];
    }
  }
}

Deno.test("fused multiply-add rounds once", () => {
  const machine = new Machine(), random = new Random(SEED), f = new SoftFloat();
  // (word, format, lanes): FMADD takes Ra from V3; FMLA accumulates into V0.
  const FMADD = 0x1f000000 | 2 << 16 | 3 << 10 | 1 << 5, FMLA = 0x0e20cc00 | 3 << 16 | 2 << 5 | 1;
  for (const format of [SINGLE, DOUBLE]) {
    const sz = format === DOUBLE ? 1 << 22 : 0, lanes = 128 / format.width;
    for (let i = 0; i < CASES; i++) {
      const fpsr = random.pick([0, FLAGS.IXC]);
      const cases = Array.from({ length: lanes }, () => hardSum(random, format));
      const expect = (count: number) => {
        f.flags = 0;
        return cases.slice(0, count).map(([c, a, b]) => f.mulAdd(format, c, a, b));
      };
      const [c, a, b] = cases[0]!, scalar = machine.run(FMADD | sz, fpsr, [[a], [b], [c]], format.width);
      const text = cases.map((x) => x.map((y) => y.toString(16)).join(" ")).join(", ");
      assert.deepEqual(lanesOf(scalar, format.width)[0], expect(1)[0], `${format.width}: ${text}`);
      assert.equal(scalar.fpsr, f.flags | fpsr, `${format.width}: flags of ${text}`);
      const operands = [0, 1, 2].map((n) => cases.map((x) => x[n]!));
      const vector = machine.run((1 << 30 | FMLA | sz) >>> 0, fpsr, operands, format.width);
      const result = { ...vector, v: vector.v.slice(2, 4) };
      assert.deepEqual(lanesOf(result, format.width), expect(lanes), `${lanes} × ${format.width}: ${text}`);
      assert.equal(vector.fpsr, f.flags | fpsr, `${lanes} × ${format.width}: flags of ${text}`);
    }
  }
});

Deno.test("quotients, roots and sums near exactness flag what is inexact", () => {
  const machine = new Machine(), random = new Random(SEED), f = new SoftFloat();
  const OPERATIONS = [
    [0x1e620820, "mul"],
    [0x1e621820, "div"],
    [0x1e622820, "add"],
    [0x1e623820, "sub"],
    [0x1e61c020, "sqrt"],
  ] as const;
  for (const format of [SINGLE, DOUBLE]) {
    for (const [word, name] of OPERATIONS) {
      for (let i = 0; i < CASES; i++) {
        let [a, b] = hardSum(random, format);
        if (random.once(2)) {
          // Results that are nearly or just exact.
          if (name === "div") a = f.mul(format, a, b) + BigInt(random.below(2));
          if (name === "sqrt") a = f.mul(format, b, b) + BigInt(random.below(2));
        }
        f.flags = 0;
        const fpsr = random.pick([0, FLAGS.IXC]), expected = f[name](format, a, b);
        const ours = machine.run(format === DOUBLE ? word : word & ~(1 << 22), fpsr, [[a], [b]], format.width);
        const text = `${name} ${a.toString(16)} ${b.toString(16)}`;
        assert.equal(lanesOf(ours, format.width)[0], expected, text);
        assert.equal(ours.fpsr, f.flags | fpsr, `flags of ${text}`);
      }
    }
  }
});

Deno.test("everyday operands need no software", () => {
  const machine = new Machine(), random = new Random(SEED);
  const EXACT = {
    "fadd d0, d1, d2": 0x1e622820,
    "fsub d0, d1, d2": 0x1e623820,
    "fmul d0, d1, d2": 0x1e620820,
    "fmadd d0, d1, d2, d3": 0x1f420c20,
    "fmax d0, d1, d2": 0x1e624820,
    "fcmp d1, d2": 0x1e622020,
    "fcmpe d1, d2": 0x1e622030,
    "fcvt s0, d1": 0x1e624020,
    "frintm d0, d1": 0x1e654020,
    "fcvtzs x0, d1": 0x9e780020,
    "scvtf d0, x1": 0x9e620020,
    "fadd v0.2d, v1.2d, v2.2d": 0x4e62d420,
    "fmul v0.2d, v1.2d, v2.2d": 0x6e62dc20,
    "fmla v0.2d, v1.2d, v2.2d": 0x4e62cc20,
    "fcmgt v0.2d, v1.2d, v2.2d": 0x6ee2e420,
    "fcvtzs v0.2d, v1.2d": 0x4ee1b820,
  };
  const INEXACT = {
    ...EXACT,
    "fdiv d0, d1, d2": 0x1e621820,
    "fsqrt d0, d1": 0x1e61c020,
    "fdiv v0.2d, v1.2d, v2.2d": 0x6e62fc20,
    "frintx d0, d1": 0x1e674020,
  };
  const bits = (x: number) => new BigUint64Array(Float64Array.of(x).buffer)[0]!;
  const check = (words: Record<string, number>, fpsr: number, number: () => number) => {
    for (const [text, word] of Object.entries(words)) {
      for (let i = 0; i < 50; i++) {
        const before = machine.engine.softFloatCalls, operands = [1, 2, 3].map(() => [bits(number()), bits(number())]);
        machine.run(word, fpsr, operands, 64, random.bits(40));
        const values = operands.flat().map((x) => x.toString(16)).join(" ");
        assert.equal(machine.engine.softFloatCalls, before, `${text} of ${values}, FPSR 0x${fpsr.toString(16)}`);
      }
    }
  };
  check(INEXACT, FLAGS.IXC, () => 0.5 + random.u32() / 2 ** 30);
  check(EXACT, FLAGS.IXC, () => random.below(5) - 2);
  check(EXACT, 0, () => random.below(2000) - 1000);
});
