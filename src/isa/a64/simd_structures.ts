// Loads and stores of structures of SIMD registers (DDI 0487 "Advanced SIMD load/store multiple structures", "single
// structure", both also post-indexed): elements of up to four registers, interleaved in memory.

import { type Definition, insn, xName } from "../define.ts";
import type { AccessOptions, Builder, Int, Reg, VReg } from "../ir.ts";
import { put, splat, take, Vec } from "../vector.ts";
import { LETTERS, vText } from "./simd_shared.ts";

/** Registers, and elements of a structure, by opcode of the multiple-structure class. */
const MULTIPLE: Readonly<Record<number, { readonly registers: number; readonly elements: number }>> = {
  0: { registers: 4, elements: 4 },
  2: { registers: 4, elements: 1 },
  4: { registers: 3, elements: 3 },
  6: { registers: 3, elements: 1 },
  7: { registers: 1, elements: 1 },
  8: { registers: 2, elements: 2 },
  10: { registers: 2, elements: 1 },
};
interface MultipleFields {
  readonly Q: number;
  readonly L: number;
  readonly opcode: number;
  readonly size: number;
}
const isMultiple = (f: MultipleFields): boolean => {
  const kind = MULTIPLE[f.opcode];
  return kind !== undefined && (f.size < 3 || f.Q === 1 || kind.elements === 1);
};

/** A vector of lanes out of several: `from(i)` is the source and the lane of lane i. */
function gather(sources: readonly Vec[], from: (i: number) => readonly [number, number]): Vec {
  const { lanes } = sources[0]!, wanted = Array.from({ length: lanes }, (_, i) => from(i));
  return sources.slice(1).reduce((gathered, source, n) =>
    gathered.shuffle(
      source,
      wanted.map(([k, lane], i) => k === n + 1 ? lanes + lane : n === 0 && k === 0 ? lane : i),
    ), sources[0]!);
}

/** Moves all registers; memory is accessed in pieces of a register's size. */
function transferMultiple(e: Builder, f: MultipleFields, Vt: VReg, address: Int) {
  const { Q, L, size } = f, { registers, elements } = MULTIPLE[f.opcode]!, bytes = Q ? 16 : 8, n = bytes >> size;
  const options: AccessOptions = { element: (1 << size) as 1 | 2 | 4 | 8 };
  const each = <T>(make: (i: number) => T): T[] => Array.from({ length: registers }, (_, i) => make(i));
  if (L) {
    const pieces = each((i) => {
      const at = address.add(i * bytes);
      return Q ? new Vec(e.load128(at, options), size) : splat(3, e.load(at, 8, options)).as(size);
    });
    for (let r = 0; r < registers; r++) {
      const deinterleaved = (i: number) => [Math.floor((i % n * elements + r) / n), (i * elements + r) % n] as const;
      put(e, Vt.next(r), elements > 1 ? gather(pieces, deinterleaved) : pieces[r]!, Q ? 128 : 64);
    }
  } else {
    const sources = each((i) => take(e, Vt.next(i), size));
    for (let k = 0; k < registers; k++) {
      const interleaved = (i: number) => {
        const at = k * n + i % n;
        return [at % elements, Math.floor(at / elements)] as const;
      };
      const piece = elements > 1 ? gather(sources, interleaved) : sources[k]!;
      e.store(address.add(k * bytes), bytes, Q ? piece.x : piece.as(3).lane(0), options);
    }
  }
}
const multipleBytes = (f: MultipleFields): number => MULTIPLE[f.opcode]!.registers * (f.Q ? 16 : 8);

/** What a single-structure encoding accesses, undefined where it is reserved. */
function singleOf(f: { L: number; elements0: number; Q: number; opcode: number; S: number; size: number }) {
  const { Q, S, size } = f, elements = ((f.opcode & 1) << 1 | f.elements0) + 1;
  switch (f.opcode >> 1) {
    case 0:
      return { elements, log: 0, index: Q << 3 | S << 2 | size };
    case 1:
      return size & 1 ? undefined : { elements, log: 1, index: Q << 2 | S << 1 | size >> 1 };
    case 2:
      if (size === 0) return { elements, log: 2, index: Q << 1 | S };
      return size === 1 && S === 0 ? { elements, log: 3, index: Q } : undefined;
    default:
      return f.L && !S ? { elements, log: size, index: undefined } : undefined;
  }
}
type SingleFields = Parameters<typeof singleOf>[0];
const singleBytes = (f: SingleFields): number => singleOf(f)!.elements << singleOf(f)!.log;

/** Moves one element of each register; loads without an index fill whole registers. */
function transferSingle(e: Builder, f: SingleFields, Vt: VReg, address: Int) {
  const { elements, log, index } = singleOf(f)!, numbers = Array.from({ length: elements }, (_, i) => i);
  const at = (i: number) => address.add(i << log);
  if (!f.L) {
    return numbers.forEach((i) => e.store(at(i), 1 << log, take(e, Vt.next(i), log).lane(index!).u64()));
  }
  const loaded = numbers.map((i) => e.load(at(i), 1 << log));
  loaded.forEach((value, i) => {
    const register = Vt.next(i);
    if (index === undefined) put(e, register, splat(log, value), f.Q ? 128 : 64);
    else put(e, register, take(e, register, log).withLane(index, value));
  });
}

/** Post-index by the number of bytes (Rm = 31) or by a register. */
function advance(e: Builder, Rn: Reg, start: Int, Rm: Reg, bytes: number) {
  e.set(Rn, start.add(e.is31(Rm) ? bytes : e.get(Rm, 1)));
}
const list = (first: number, count: number, name: (n: number) => string): string =>
  `{${Array.from({ length: count }, (_, i) => name((first + i) % 32)).join(", ")}}`;
const address = (Rn: number): string => `[${xName(Rn, 1, true)}]`;
const step = (Rm: number, bytes: number): string => Rm === 31 ? `#${bytes}` : xName(Rm, 1);

function multipleText(f: MultipleFields & { Rn: number; Vt: number }): string {
  const { registers, elements } = MULTIPLE[f.opcode]!;
  return `${f.L ? "ld" : "st"}${elements} ${list(f.Vt, registers, (n) => vText(n, f.size, f.Q))}, ${address(f.Rn)}`;
}
function singleText(f: SingleFields & { Rn: number; Vt: number }): string {
  const { elements, log, index } = singleOf(f)!, all = index === undefined;
  const registers = list(f.Vt, elements, (n) => all ? vText(n, log, f.Q) : `v${n}.${LETTERS[log]}`);
  return `${f.L ? "ld" : "st"}${elements}${all ? "r" : ""} ${registers}${all ? "" : `[${index}]`}, ${address(f.Rn)}`;
}

export const SIMD_STRUCTURES: readonly Definition[] = [
  insn({
    name: "LD1, LD2, LD3, LD4, ST1, ST2, ST3, ST4 (multiple structures)",
    bits: "0 Q:1 0011000 L:1 000000 opcode:4 size:2 Rn|SP:5 Vt:5",
    asm: multipleText,
    when: isMultiple,
    exec: (e, f) => transferMultiple(e, f, f.Vt, e.base(f.Rn)),
  }),
  insn({
    name: "LD1, LD2, LD3, LD4, ST1, ST2, ST3, ST4 (multiple structures, post-index)",
    bits: "0 Q:1 0011001 L:1 0 Rm:5 opcode:4 size:2 Rn|SP:5 Vt:5",
    asm: (f) => `${multipleText(f)}, ${step(f.Rm, multipleBytes(f))}`,
    when: isMultiple,
    exec(e, f) {
      const start = e.base(f.Rn);
      transferMultiple(e, f, f.Vt, start);
      advance(e, f.Rn, start, f.Rm, multipleBytes(f));
    },
  }),
  insn({
    name: "LD1, LD2, LD3, LD4, ST1, ST2, ST3, ST4 (single structure), LD1R, LD2R, LD3R, LD4R",
    bits: "0 Q:1 0011010 L:1 elements0:1 00000 opcode:3 S:1 size:2 Rn|SP:5 Vt:5",
    asm: singleText,
    when: (f) => singleOf(f) !== undefined,
    exec: (e, f) => transferSingle(e, f, f.Vt, e.base(f.Rn)),
  }),
  insn({
    name: "LD1, LD2, LD3, LD4, ST1, ST2, ST3, ST4 (single structure, post-index), LD1R, LD2R, LD3R, LD4R (post-index)",
    bits: "0 Q:1 0011011 L:1 elements0:1 Rm:5 opcode:3 S:1 size:2 Rn|SP:5 Vt:5",
    asm: (f) => `${singleText(f)}, ${step(f.Rm, singleBytes(f))}`,
    when: (f) => singleOf(f) !== undefined,
    exec(e, f) {
      const start = e.base(f.Rn);
      transferSingle(e, f, f.Vt, start);
      advance(e, f.Rn, start, f.Rm, singleBytes(f));
    },
  }),
];
