// A second opinion on address translation, for random tests: the pseudocode of DDI 0487 (AArch64.FullTranslate and what it
// calls, as of Armv8.2) on bigints, as plainly as possible and without a line in common with src/mmu. Descriptors come from
// a function, so that a test can invent them as they are read.

import type { Features } from "../../src/mmu/controls.ts";

export type Registers = Readonly<Record<string, bigint>>;
export interface ModelAccess {
  readonly va: bigint;
  readonly regime: "EL1&0" | "EL2" | "EL2&0";
  readonly el0: boolean;
  readonly pan: boolean;
  readonly kind: "read" | "write" | "fetch";
  readonly aligned: boolean;
}
export interface Memory {
  /** Undefined: an external abort. */
  read(address: bigint, stage: 1 | 2, level: number): bigint | undefined;
  write(address: bigint, value: bigint): void;
}
export type Outcome =
  | { pa: bigint; device: boolean }
  | { fault: string; stage: number; level: number; walk: boolean; ipa: bigint };

class Fault extends Error {
  constructor(readonly fault: string, readonly stage: number, readonly level: number, readonly ipa = 0n) {
    super(fault);
  }
  walk = false;
}

const field = (x: bigint, high: number, low: number) => (x >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);
const bit = (x: bigint, n: number) => field(x, n, n) === 1n;
const PS = [32, 36, 40, 42, 44, 48, 48, 48];
const TG0 = [12, 16, 14, 12], TG1 = [12, 14, 12, 16];

/** Everything one stage's walk needs. */
interface Parameters {
  stage: 1 | 2;
  granule: number;
  inputBits: number;
  start: number;
  base: bigint;
  outputBits: number;
  bigEndian: boolean;
}
interface Leaf {
  address: bigint;
  descriptor: bigint;
  where: bigint;
  level: number;
  tables: bigint;
}

export function modelTranslate(r: Registers, f: Features, access: ModelAccess, memory: Memory): Outcome {
  try {
    return full(r, f, access, memory);
  } catch (error) {
    if (!(error instanceof Fault)) throw error;
    const { fault, stage, level, walk, ipa } = error;
    return { fault, stage, level, walk, ipa: stage === 2 ? ipa : 0n };
  }
}

function granuleOf(f: Features, bits: number): number {
  const has = { 12: f.granule4K, 14: f.granule16K, 16: f.granule64K }[bits];
  return has ? bits : f.granule4K ? 12 : f.granule64K ? 16 : 14;
}

function full(r: Registers, f: Features, access: ModelAccess, memory: Memory): Outcome {
  const hcr = access.regime === "EL1&0" && f.el2 ? r["HCR_EL2"]! : 0n;
  const host = bit(hcr, 34) && bit(hcr, 27);
  const stage2 = !host && (bit(hcr, 0) || bit(hcr, 12));
  const first = stage1(r, f, access, memory, hcr, stage2);
  if (!stage2) return { pa: first.ipa, device: first.device };
  const { pa, device } = secondStage(r, f, access, memory, first.ipa, access.kind, access.aligned);
  return { pa, device: first.device || device };
}

function stage1(r: Registers, f: Features, a: ModelAccess, memory: Memory, hcr: bigint, stage2: boolean) {
  const el = a.regime === "EL1&0" ? "EL1" : "EL2";
  const sctlr = r[`SCTLR_${el}`]!, tcr = r[`TCR_${el}`]!, upper = bit(a.va, 55) && a.regime !== "EL2";
  const tbi = a.regime === "EL2" ? bit(tcr, 20) : bit(tcr, upper ? 38 : 37);
  const top = tbi ? 55 : 63;
  const on = bit(sctlr, 0) && !(bit(hcr, 12) || bit(hcr, 27));
  if (!on) {
    if (field(a.va, top, f.paBits) !== 0n) throw new Fault("address size", 1, 0);
    // HCR_EL2.DC behaves as 0 while {E2H,TGE} is {1,1}.
    const device = !bit(hcr, 12) || (bit(hcr, 34) && bit(hcr, 27));
    if (device && !a.aligned) throw new Fault("alignment", 1, 0);
    return { ipa: field(a.va, 47, 0), device };
  }
  const size = Number(upper ? field(tcr, 21, 16) : field(tcr, 5, 0));
  const granule = granuleOf(f, upper ? TG1[Number(field(tcr, 31, 30))]! : TG0[Number(field(tcr, 15, 14))]!);
  if (size < 16 || size > 39) throw new Fault("translation", 1, 0);
  const inputBits = 64 - size, rest = field(a.va, top, inputBits);
  if (rest !== (upper ? (1n << BigInt(top - inputBits + 1)) - 1n : 0n)) throw new Fault("translation", 1, 0);
  if (a.regime !== "EL2" && bit(tcr, upper ? 23 : 7)) throw new Fault("translation", 1, 0);
  const ps = Number(a.regime === "EL2" ? field(tcr, 18, 16) : field(tcr, 34, 32));
  let start = 3;
  while (inputBits > granule + (4 - start) * (granule - 3)) start--;
  const leaf = walk(
    {
      stage: 1,
      granule,
      inputBits,
      start,
      base: field(r[`TTBR${upper ? 1 : 0}_${el}`]!, 47, 0),
      outputBits: Math.min(PS[ps]!, f.paBits),
      bigEndian: bit(sctlr, 25),
    },
    a.va,
    memory,
    (address) => stage2 ? descriptorAddress(r, f, a, memory, address, "read") : address,
  );
  const d = leaf.descriptor, { level } = leaf, two = a.regime !== "EL2";
  const [haBit, hdBit, hpdBit] = two ? [39, 40, upper ? 42 : 41] : [21, 22, 24];
  const ha = f.accessFlagUpdate && bit(tcr, haBit), hd = ha && f.dirtyUpdate && bit(tcr, hdBit);
  if (!bit(d, 10) && !ha) throw new Fault("access flag", 1, level);
  const tables = f.hpd && bit(tcr, hpdBit) ? 0n : leaf.tables;
  const attribute = field(r[`MAIR_${el}`]!, Number(field(d, 4, 2)) * 8 + 7, Number(field(d, 4, 2)) * 8);
  const device = attribute >> 4n === 0n;
  if (device && !a.aligned) throw new Fault("alignment", 1, level);
  const dirty = hd && bit(d, 51), wxn = bit(sctlr, 19);
  const writable = (!bit(d, 7) || dirty) && !bit(tables, 62);
  let read: boolean, write: boolean, execute: boolean;
  if (!two) {
    read = true;
    write = writable;
    execute = !bit(d, 54) && !bit(tables, 60) && !(wxn && write);
  } else {
    const el0 = bit(d, 6) && !bit(tables, 61);
    if (a.el0) {
      read = el0;
      write = el0 && writable;
      execute = !bit(d, 54) && !bit(tables, 60) && !(wxn && write);
    } else {
      read = true;
      write = writable;
      execute = !bit(d, 53) && !bit(tables, 59) && !(el0 && writable) && !(wxn && write);
      if (a.pan && f.pan && el0) read = write = false;
    }
  }
  if (!{ read, write, fetch: execute }[a.kind]) throw new Fault("permission", 1, level);
  let updated = d | 1n << 10n;
  if (a.kind === "write" && bit(d, 7)) updated &= ~(1n << 7n);
  if (updated !== d) {
    const where = stage2 ? descriptorAddress(r, f, a, memory, leaf.where, "write") : leaf.where;
    memory.write(where, bit(sctlr, 25) ? reverse(updated) : updated);
  }
  return { ipa: leaf.address, device };
}

/** Stage 2 of an access of stage 1's walk. */
function descriptorAddress(r: Registers, f: Features, a: ModelAccess, m: Memory, ipa: bigint, kind: "read" | "write") {
  try {
    const { pa, device, level } = secondStage(r, f, a, m, ipa, kind, true);
    if (kind === "read" && device && bit(r["HCR_EL2"]!, 2)) throw new Fault("permission", 2, level, ipa);
    return pa;
  } catch (error) {
    if (error instanceof Fault) error.walk = true;
    throw error;
  }
}

function secondStage(
  r: Registers,
  f: Features,
  a: ModelAccess,
  memory: Memory,
  ipa: bigint,
  kind: "read" | "write" | "fetch",
  aligned: boolean,
) {
  const vtcr = r["VTCR_EL2"]!, granule = granuleOf(f, TG0[Number(field(vtcr, 15, 14))]!);
  const inputBits = 64 - Number(field(vtcr, 5, 0)), sl0 = Number(field(vtcr, 7, 6));
  const start = granule === 12 ? 2 - sl0 : 3 - sl0, stride = granule - 3;
  const least = (3 - start) * stride + granule + 1, most = least + stride - 1 + 4;
  const needed = sl0 === 2 ? (granule === 14 ? 42 : 44) : 0;
  const bad = sl0 === 3 || inputBits > 48 || inputBits < 25 || inputBits > f.paBits || inputBits < least ||
    inputBits > most || f.paBits < needed;
  if (bad || ipa >> BigInt(inputBits) !== 0n) throw new Fault("translation", 2, 0, ipa);
  let leaf: Leaf;
  try {
    leaf = walk(
      {
        stage: 2,
        granule,
        inputBits,
        start,
        base: field(r["VTTBR_EL2"]!, 47, 0),
        outputBits: Math.min(PS[Number(field(vtcr, 18, 16))]!, f.paBits),
        bigEndian: bit(r["SCTLR_EL2"]!, 25),
      },
      ipa,
      memory,
      (address) => address,
    );
  } catch (error) {
    if (error instanceof Fault) throw new Fault(error.fault, 2, error.level, ipa);
    throw error;
  }
  const d = leaf.descriptor, { level } = leaf, ha = f.accessFlagUpdate && bit(vtcr, 21);
  const hd = ha && f.dirtyUpdate && bit(vtcr, 22);
  if (!bit(d, 10) && !ha) throw new Fault("access flag", 2, level, ipa);
  const device = field(d, 5, 4) === 0n;
  if (device && !aligned) throw new Fault("alignment", 2, level, ipa);
  const xn = field(d, 54, 53);
  const execute = f.xnx ? xn === 0n || (xn === 1n && a.el0) || (xn === 3n && !a.el0) : !bit(d, 54);
  const write = bit(d, 7) || (hd && bit(d, 51));
  if (!{ read: bit(d, 6), write, fetch: execute }[kind]) throw new Fault("permission", 2, level, ipa);
  let updated = d | 1n << 10n;
  if (kind === "write") updated |= 1n << 7n;
  if (updated !== d) memory.write(leaf.where, bit(r["SCTLR_EL2"]!, 25) ? reverse(updated) : updated);
  return { pa: leaf.address, device, level };
}

function walk(p: Parameters, input: bigint, memory: Memory, locate: (address: bigint) => bigint): Leaf {
  const stride = p.granule - 3;
  let tables = 0n, base = p.base;
  for (let level = p.start;; level++) {
    const low = p.granule + (3 - level) * stride;
    const high = level === p.start ? p.inputBits - 1 : low + stride - 1;
    if (level === p.start) {
      const align = BigInt(Math.max(6, high - low + 1 + 3));
      base = base >> align << align;
      if (base >> BigInt(p.outputBits) !== 0n) throw new Fault("address size", p.stage, 0);
    }
    const where = base + field(input, high, low) * 8n;
    const raw = memory.read(locate(where), p.stage, level);
    if (raw === undefined) throw new Fault("external", p.stage, level);
    const d = p.bigEndian ? reverse(raw) : raw;
    const isTable = level < 3 && bit(d, 1), valid = bit(d, 0) && (level < 3 || bit(d, 1));
    const block = level === 2 || (level === 1 && p.granule === 12);
    if (!valid || (level < 3 && !isTable && !block)) throw new Fault("translation", p.stage, level);
    const from = isTable ? p.granule : low, address = field(d, 47, from) << BigInt(from);
    if (address >> BigInt(p.outputBits) !== 0n) throw new Fault("address size", p.stage, level);
    if (!isTable) return { address: address | field(input, low - 1, 0), descriptor: d, where, level, tables };
    tables |= d;
    base = address;
  }
}

function reverse(x: bigint): bigint {
  let out = 0n;
  for (let i = 0; i < 8; i++) out = out << 8n | field(x, i * 8 + 7, i * 8);
  return out;
}
