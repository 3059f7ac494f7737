// Cryptographic instructions (DDI 0487 "Cryptographic AES", "three-register SHA", "two-register SHA"). PMULL is in
// simd_three_different.ts.

import { type Definition, insn } from "../define.ts";
import type { Int } from "../ir.ts";
import { byteVector, put, take, Vec } from "../vector.ts";

// ---- AES: the state's bytes are in column order, row r of column c in byte 4c + r

/** The S-box, computed: inversion in GF(2^8), then the affine map of FIPS 197. */
function sBox(): Uint8Array {
  const box = new Uint8Array(256), rotl8 = (x: number, n: number) => (x << n) | (x >> (8 - n));
  // p runs through all powers of 3, q through those of 1/3.
  let p = 1, q = 1;
  do {
    p = (p ^ (p << 1) ^ (p & 0x80 ? 0x11b : 0)) & 0xff;
    q ^= q << 1;
    q ^= q << 2;
    q ^= q << 4;
    q = (q ^ (q & 0x80 ? 0x09 : 0)) & 0xff;
    box[p] = 0x63 ^ (q ^ rotl8(q, 1) ^ rotl8(q, 2) ^ rotl8(q, 3) ^ rotl8(q, 4)) & 0xff;
  } while (p !== 1);
  box[0] = 0x63;
  return box;
}
const S_BOX = sBox();
const INVERSE_S_BOX = S_BOX.reduce((inverse, y, x) => inverse.fill(x, y, y + 1), new Uint8Array(256));

/** Looks every byte up in a table of 256, sixteen at a time: indices outside a row of the table give 0. */
function substitute(x: Vec, table: Uint8Array): Vec {
  let result = byteVector(table.subarray(0, 16)).lookUp(x);
  for (let n = 16; n < 256; n += 16) {
    result = result.or(byteVector(table.subarray(n, n + 16)).lookUp(x.sub(x.every(n))));
  }
  return result;
}
/** Row r of every column comes from r columns to the right, or to the left for the inverse. */
function shiftRows(x: Vec, direction: 1 | -1): Vec {
  return x.shuffle(x, Array.from({ length: 16 }, (_, i) => (i + 4 * direction * (i & 3)) & 15));
}
/** Product with x in GF(2^8), of every byte. */
const double = (x: Vec): Vec => x.shl(1).xor(x.negative().and(x.every(0x1b)));
/** Every column turned by `n` rows. */
const turn = (x: Vec, n: number): Vec => x.shuffle(x, Array.from({ length: 16 }, (_, i) => (i & ~3) | ((i + n) & 3)));
/** 2a + 3b + c + d for every column a, b, c, d = 2(a + b) + b + (c + d). */
function mixColumns(x: Vec): Vec {
  const sum = x.xor(turn(x, 1));
  return double(sum).xor(turn(x, 1)).xor(turn(sum, 2));
}
/** The inverse matrix is that of mixColumns times 5 + 4y², y being a turn by one row. */
function inverseMixColumns(x: Vec): Vec {
  return mixColumns(x.xor(double(double(x.xor(turn(x, 2))))));
}

const AES: readonly Definition[] = [
  insn({
    name: "AESE, AESD",
    bits: "01001110 00 10100 0010 D:1 10 Vn:5 Vd:5",
    asm: (f) => `aes${"ed"[f.D]} v${f.Vd}.16b, v${f.Vn}.16b`,
    feature: "FEAT_AES",
    exec(e, { D, Vn, Vd }) {
      const state = take(e, Vd, 0).xor(take(e, Vn, 0));
      put(e, Vd, substitute(shiftRows(state, D ? -1 : 1), D ? INVERSE_S_BOX : S_BOX));
    },
  }),
  insn({
    name: "AESMC, AESIMC",
    bits: "01001110 00 10100 0011 D:1 10 Vn:5 Vd:5",
    asm: (f) => `aes${f.D ? "i" : ""}mc v${f.Vd}.16b, v${f.Vn}.16b`,
    feature: "FEAT_AES",
    exec: (e, { D, Vn, Vd }) => put(e, Vd, (D ? inverseMixColumns : mixColumns)(take(e, Vn, 0))),
  }),
];

// ---- SHA: words in 32-bit lanes

const words = (v: Vec): Int[] => [0, 1, 2, 3].map((i) => v.lane(i));
const rotl = (x: Int, n: number): Int => x.rotr(32 - n);
const choose = (x: Int, y: Int, z: Int): Int => y.xor(z).and(x).xor(z);
const majority = (x: Int, y: Int, z: Int): Int => x.and(y).or(x.or(y).and(z));
function join(list: readonly Int[]): Vec {
  return list.reduce((v, word, i) => v.withLane(i, word), byteVector(new Uint8Array(16)).as(2));
}

/** SHA1 rounds by opcode. */
const SHA1_ROUNDS = [
  ["c", choose],
  ["p", (x: Int, y: Int, z: Int) => x.xor(y).xor(z)],
  ["m", majority],
] as const;

const SHA1: readonly Definition[] = [
  insn({
    name: "SHA1C, SHA1P, SHA1M",
    bits: "01011110 00 0 Vm:5 0 opcode:3 00 Vn:5 Vd:5",
    asm: (f) => `sha1${SHA1_ROUNDS[f.opcode]![0]} q${f.Vd}, s${f.Vn}, v${f.Vm}.4s`,
    when: (f) => f.opcode < 3,
    feature: "FEAT_SHA1",
    exec(e, { opcode, Vm, Vn, Vd }) {
      const w = words(take(e, Vm, 2)), f = SHA1_ROUNDS[opcode]![1];
      let [a, b, c, d] = words(take(e, Vd, 2)) as [Int, Int, Int, Int], y = take(e, Vn, 2).lane(0);
      for (const word of w) {
        const next = e.let(y.add(rotl(a, 5)).add(f(b, c, d)).add(word));
        [a, b, c, d, y] = [next, a, e.let(rotl(b, 30)), c, d];
      }
      put(e, Vd, join([a, b, c, d]));
    },
  }),
  insn({
    name: "SHA1SU0",
    bits: "01011110 00 0 Vm:5 0 011 00 Vn:5 Vd:5",
    asm: "sha1su0 {v:Vd}.4s, {v:Vn}.4s, {v:Vm}.4s",
    feature: "FEAT_SHA1",
    exec(e, { Vm, Vn, Vd }) {
      const d = take(e, Vd, 3);
      put(e, Vd, d.shuffle(take(e, Vn, 3), [1, 2]).xor(d).xor(take(e, Vm, 3)));
    },
  }),
  insn({
    name: "SHA1H",
    bits: "01011110 00 10100 00000 10 Vn:5 Vd:5",
    asm: "sha1h {s:Vd}, {s:Vn}",
    feature: "FEAT_SHA1",
    exec: (e, { Vn, Vd }) => e.setD(Vd, rotl(take(e, Vn, 2).lane(0), 30)),
  }),
  insn({
    name: "SHA1SU1",
    bits: "01011110 00 10100 00001 10 Vn:5 Vd:5",
    asm: "sha1su1 {v:Vd}.4s, {v:Vn}.4s",
    feature: "FEAT_SHA1",
    exec(e, { Vn, Vd }) {
      const w = words(take(e, Vn, 2)), [a, b, c, d] = words(take(e, Vd, 2)) as [Int, Int, Int, Int];
      const sum = [a.xor(w[1]!), b.xor(w[2]!), c.xor(w[3]!), d].map((x) => rotl(x, 1));
      put(e, Vd, join([sum[0]!, sum[1]!, sum[2]!, sum[3]!.xor(rotl(sum[0]!, 1))]));
    },
  }),
];

const sigma = (x: Int, a: number, b: number, c: number): Int => x.rotr(a).xor(x.rotr(b)).xor(x.rotr(c));

const SHA256: readonly Definition[] = [
  insn({
    name: "SHA256H, SHA256H2",
    bits: "01011110 00 0 Vm:5 0 10 second:1 00 Vn:5 Vd:5",
    asm: (f) => `sha256h${f.second ? "2" : ""} q${f.Vd}, q${f.Vn}, v${f.Vm}.4s`,
    feature: "FEAT_SHA256",
    // The first takes a..d from Vd and e..h from Vn, the second the other way round; each writes its own half.
    exec(e, { second, Vm, Vn, Vd }) {
      const own = words(take(e, Vd, 2)), other = words(take(e, Vn, 2));
      let x = second ? other : own, y = second ? own : other;
      for (const word of words(take(e, Vm, 2))) {
        const [a, b, c, d] = x as [Int, Int, Int, Int], [f, g, h, last] = y as [Int, Int, Int, Int];
        const sum = e.let(last.add(sigma(f, 6, 11, 25)).add(choose(f, g, h)).add(word));
        const next = e.let(sum.add(sigma(a, 2, 13, 22)).add(majority(a, b, c)));
        x = [next, a, b, c];
        y = [e.let(sum.add(d)), f, g, h];
      }
      put(e, Vd, join(second ? y : x));
    },
  }),
  insn({
    name: "SHA256SU0",
    bits: "01011110 00 10100 00010 10 Vn:5 Vd:5",
    asm: "sha256su0 {v:Vd}.4s, {v:Vn}.4s",
    feature: "FEAT_SHA256",
    exec(e, { Vn, Vd }) {
      const d = take(e, Vd, 2), next = d.shuffle(take(e, Vn, 2), [1, 2, 3, 4]);
      put(e, Vd, d.add(turnWords(next, 7).xor(turnWords(next, 18)).xor(next.shr(1, 3))));
    },
  }),
  insn({
    name: "SHA256SU1",
    bits: "01011110 00 0 Vm:5 0 110 00 Vn:5 Vd:5",
    asm: "sha256su1 {v:Vd}.4s, {v:Vn}.4s, {v:Vm}.4s",
    feature: "FEAT_SHA256",
    exec(e, { Vm, Vn, Vd }) {
      const m = take(e, Vm, 2), sums = words(take(e, Vd, 2).add(take(e, Vn, 2).shuffle(m, [1, 2, 3, 4])));
      const mixed = (x: Int) => x.rotr(17).xor(x.rotr(19)).xor(x.shrU(10));
      // The upper two words need the lower two.
      const first = e.let(sums[0]!.add(mixed(m.lane(2)))), second = e.let(sums[1]!.add(mixed(m.lane(3))));
      put(e, Vd, join([first, second, sums[2]!.add(mixed(first)), sums[3]!.add(mixed(second))]));
    },
  }),
];
/** Every 32-bit lane rotated right. */
const turnWords = (x: Vec, n: number): Vec => x.shr(1, n).or(x.shl(32 - n));

export const SIMD_CRYPTO: readonly Definition[] = [...AES, ...SHA1, ...SHA256];
