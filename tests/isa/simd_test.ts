// SIMD instructions on published values, where no oracle is needed, and their texts read back by an assembler.

import assert from "node:assert/strict";
import { SIMD_CRYPTO } from "../../src/isa/a64/simd_crypto.ts";
import { SIMD_LOADS_STORES } from "../../src/isa/a64/simd_loads_stores.ts";
import { SIMD_PERMUTE } from "../../src/isa/a64/simd_permute.ts";
import { SIMD_SHIFT } from "../../src/isa/a64/simd_shift.ts";
import { SIMD_STRUCTURES } from "../../src/isa/a64/simd_structures.ts";
import { SIMD_THREE_DIFFERENT } from "../../src/isa/a64/simd_three_different.ts";
import { SIMD_THREE_SAME } from "../../src/isa/a64/simd_three_same.ts";
import { SIMD_TWO_REGISTER } from "../../src/isa/a64/simd_two_register.ts";
import { disassemble } from "../../src/isa/define.ts";
import { ALL_FEATURES, Engine } from "./engine.ts";
import { randomWord } from "./generate.ts";
import { Batch, PAGE_BYTES, SIGNAL } from "./oracle.ts";
import { Random } from "./random.ts";

const SIMD = [
  ...SIMD_CRYPTO,
  ...SIMD_LOADS_STORES,
  ...SIMD_PERMUTE,
  ...SIMD_SHIFT,
  ...SIMD_STRUCTURES,
  ...SIMD_THREE_DIFFERENT,
  ...SIMD_THREE_SAME,
  ...SIMD_TWO_REGISTER,
];
const bytes = (hex: string): bigint => BigInt("0x" + hex.match(/../g)!.reverse().join(""));
const halves = (x: bigint): [bigint, bigint] => [BigInt.asUintN(64, x), x >> 64n];

/** V0 after `words`, from V0 and V1. */
function run(words: number[], v0: bigint, v1: bigint): { v0: bigint; fpsr: number } {
  const test = new Batch().add(...words);
  test.v.set([...halves(v0), ...halves(v1)]);
  const result = new Engine(SIMD, ALL_FEATURES).run(test, new Uint8Array(PAGE_BYTES));
  assert.equal(result.signal, SIGNAL.TRAP);
  return { v0: result.v[0]! | result.v[1]! << 64n, fpsr: result.fpsr };
}

// FIPS 197, appendix B: input, cipher key, and the state after the first round's MixColumns.
const AES = {
  input: bytes("3243f6a8885a308d313198a2e0370734"),
  key: bytes("2b7e151628aed2a6abf7158809cf4f3c"),
  mixed: bytes("046681e5e0cb199a48f8d37a2806264c"),
};

Deno.test("AESE and AESMC are a round of FIPS 197", () => {
  const { v0 } = run([0x4e284820, 0x4e286800], AES.input, AES.key);
  assert.equal(v0, AES.mixed);
});

Deno.test("AESIMC and AESD undo it", () => {
  const { v0 } = run([0x4e287800, 0x4e285820], AES.mixed, 0n);
  assert.equal(v0, AES.input ^ AES.key);
});

Deno.test("PMULL multiplies 64-bit polynomials", () => {
  let expected = 0n;
  const a = 0x8765_4321_ffff_0001n, b = 0xdead_beef_0123_4567n;
  for (let i = 0n; i < 64n; i++) if ((b >> i) & 1n) expected ^= a << i;
  const { v0 } = run([0x0ee1e000], a, b);
  assert.equal(v0, expected);
});

Deno.test("a saturated element below the register's upper half sets FPSR.QC, one in it does not", () => {
  const sqadd8b = 0x0e210c00;
  assert.deepEqual(run([sqadd8b], 0x7fn, 1n), { v0: 0x7fn, fpsr: 1 << 27 });
  assert.deepEqual(run([sqadd8b], 0x7fn << 64n, 1n << 64n), { v0: 0n, fpsr: 0 });
});

const AS = "aarch64-linux-gnu-as", OBJCOPY = "aarch64-linux-gnu-objcopy";
function isInstalled(program: string): boolean {
  try {
    return new Deno.Command(program, { args: ["--version"], stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

/** Bits that change nothing and that an assembler clears. */
const IGNORED: Readonly<Record<string, (word: number) => number>> = {
  "DUP (general)": (word) => 0x1e_0000 & ~((((word >> 16) & -(word >> 16)) * 2 - 1) << 16),
  "INS (element)": (word) => (((word >> 16) & -(word >> 16) & 15) - 1) << 11,
};

Deno.test({
  name: "an assembler reads the texts of SIMD instructions",
  ignore: !isInstalled(AS) || !isInstalled(OBJCOPY),
  fn() {
    const random = new Random(1), lines: { word: number; text: string; name: string }[] = [];
    for (const definition of SIMD) {
      const { name } = definition;
      // Literals are printed as distances.
      if (name === "LDR (SIMD, literal)") continue;
      for (let i = 0; i < 30; i++) {
        const word = randomWord(random, definition);
        assert.ok(word !== undefined, name);
        lines.push({ word, text: disassemble(definition, word), name });
      }
    }
    const folder = Deno.makeTempDirSync(), source = `${folder}/texts.s`, object = `${folder}/texts.o`;
    try {
      Deno.writeTextFileSync(
        source,
        ".arch armv8.2-a+crypto+fp16+dotprod\n" + lines.map((l) => l.text + "\n").join(""),
      );
      const { success, stderr } = new Deno.Command(AS, { args: [source, "-o", object] }).outputSync();
      assert.ok(success, new TextDecoder().decode(stderr).split("\n").filter((l) => l.includes("Error"))[0]);
      new Deno.Command(OBJCOPY, { args: ["-O", "binary", "-j", ".text", object, `${folder}/texts`] }).outputSync();
      const words = new Uint32Array(Deno.readFileSync(`${folder}/texts`).buffer);
      lines.forEach(({ word, text, name }, i) => {
        const ignored = IGNORED[name]?.(word) ?? 0;
        assert.equal(
          (words[i]! & ~ignored) >>> 0,
          (word & ~ignored) >>> 0,
          `${name}: 0x${word.toString(16)} is ${text}`,
        );
      });
    } finally {
      Deno.removeSync(folder, { recursive: true });
    }
  },
});
