// The translation table walk: stage 1, every descriptor of which is read through stage 2, and stage 2 itself. DDI 0487
// "The AArch64 Virtual Memory System Architecture", AArch64.FullTranslate(), S1Walk(), S2Walk(). The outcome is left in the
// Walker's fields; nothing is allocated. Faults are values. The debugger and AT use the same walk, without its effects.
// Left out: what follows Armv8.2, and caching of descriptors (the TLB does that).

import type { PhysicalBus } from "../memory/bus.ts";
import { type Controls, type Range, REGIME } from "./controls.ts";
import { ACCESS, type Access, FAULT, NO_FAULT } from "./fault.ts";

/** Options of a translation, OR-ed. */
export const WALK = {
  /** Update the Access flag and dirty state in memory where the registers ask for it. */
  UPDATE: 1,
  /** The access is not aligned to its size: Device memory refuses it. */
  UNALIGNED: 2,
  /** Do not check permissions (the debugger). */
  UNCHECKED: 4,
  /** PSTATE.PAN does not apply (cache maintenance, AT). */
  IGNORE_PAN: 8,
  /** Stop at the intermediate physical address (AT S1…). */
  STAGE1_ONLY: 16,
} as const;

/** Permission bits. */
export const PERMIT = { READ: 1, WRITE: 2, EXECUTE: 4 } as const;
const PERMIT_OF_ACCESS = [PERMIT.READ, PERMIT.WRITE, PERMIT.EXECUTE] as const;

/** Is told every descriptor that a walk reads: stage, level, its physical address (stage 1: IPA), its value. */
export type DescriptorTrace = (stage: 1 | 2, level: number, address: number, lo: number, hi: number) => void;

/** Descriptor bits, low and high word. */
const VALID = 1, TABLE = 2, AP_EL0 = 1 << 6, AP_RO = 1 << 7, AF = 1 << 10;
const S2AP_READ = 1 << 6, S2AP_WRITE = 1 << 7;
const DBM_HI = 1 << 19, PXN_HI = 1 << 21, XN_HI = 1 << 22;
const PXN_TABLE_HI = 1 << 27, XN_TABLE_HI = 1 << 28, AP_TABLE_NO_EL0_HI = 1 << 29, AP_TABLE_RO_HI = 1 << 30;

/** MAIR encodings. */
export const ATTR_DEVICE_NGNRNE = 0x00, ATTR_NORMAL_NC = 0x44, ATTR_NORMAL_WB = 0xff;

const HIGH = 2 ** 32;
const swap = (x: number): number => ((x & 0xff) << 24) | ((x & 0xff00) << 8) | ((x >>> 8) & 0xff00) | (x >>> 24);

/** `width` bits at `shift` (at most 47) of the 64-bit number hi:lo; width is at most 17. */
function bits(hi: number, lo: number, shift: number, width: number): number {
  const mask = (1 << width) - 1;
  if (shift >= 32) return (hi >>> (shift - 32)) & mask;
  return ((lo >>> shift) | (shift === 0 ? 0 : hi << (32 - shift))) & mask;
}

/** Whether hi:lo is below 2 ** count. */
const fits = (hi: number, lo: number, count: number): boolean =>
  count >= 32 ? (hi >>> (count - 32)) === 0 : hi === 0 && (lo >>> count) === 0;

/** Whether a descriptor that is not a table may stand at `level`. */
const blockAllowed = (granuleBits: number, level: number): boolean =>
  level === 2 || (level === 1 && granuleBits === 12);

export class Walker {
  /** Fault status code with its level, or NO_FAULT. What follows is valid with or without a fault, as said. */
  fault: number = NO_FAULT;
  /** With a fault: its stage and level, whether stage 2 faulted on behalf of a stage 1 walk, whether on an update. */
  stage: 1 | 2 = 1;
  level = 0;
  s1ptw = false;
  updating = false;
  /** The intermediate physical address; with a stage 2 fault, the one that faulted. */
  ipa = 0;
  /** Without a fault: the physical address. */
  pa = 0;
  /** What both stages permit, and which of those permissions hold without another look at the descriptors. */
  permit = 0;
  lasting = 0;
  /** Device memory, by either stage. */
  device = false;
  /** Stage 1: MAIR encoding, shareability, log2 of the page or block size. */
  attributes = 0;
  shareability = 0;
  sizeBits = 12;
  /** Stage 2: MemAttr, shareability, permissions, page or block size. */
  attributes2 = 0;
  shareability2 = 0;
  permit2 = 0;
  sizeBits2 = 12;

  trace: DescriptorTrace | undefined;

  readonly #bus: PhysicalBus;
  readonly #words: Int32Array;
  /** The descriptor just read, and where. */
  #lo = 0;
  #hi = 0;
  #host = 0;
  /** Physical address and memory type that stage 2 found. */
  #pa2 = 0;
  #device2 = false;
  #retry = false;

  constructor(bus: PhysicalBus, memory: ArrayBufferLike) {
    this.#bus = bus;
    this.#words = new Int32Array(memory);
  }

  /** Translates virtual address hi:lo. False means a fault. */
  translate(c: Controls, lo: number, hi: number, access: Access, options: number): boolean {
    // A descriptor that changed between its read and its update is read again.
    for (;;) {
      this.#retry = false;
      const done = this.#attempt(c, lo, hi, access, options);
      if (!this.#retry) return done;
    }
  }

  /** Translates an intermediate physical address by stage 2 alone. False means a fault. */
  translateIpa(c: Controls, ipa: number, access: Access, options: number): boolean {
    for (;;) {
      this.#retry = false;
      this.#clear();
      this.ipa = ipa;
      const done = !c.stage2 || this.#stage2(c, ipa, access, options);
      this.pa = c.stage2 ? this.#pa2 : ipa;
      this.device = c.stage2 && this.#device2;
      if (!this.#retry) return done;
    }
  }

  #clear(): void {
    this.fault = NO_FAULT;
    this.stage = 1;
    this.level = 0;
    this.s1ptw = false;
    this.updating = false;
    this.sizeBits = 12;
    this.sizeBits2 = 12;
    this.attributes2 = 0;
    this.shareability2 = 0;
    this.permit2 = 7;
  }

  #attempt(c: Controls, lo: number, hi: number, access: Access, options: number): boolean {
    this.#clear();
    if (!(c.stage1 ? this.#stage1(c, lo, hi, access, options) : this.#flat(c, lo, hi, access, options))) return false;
    if (!c.stage2 || (options & WALK.STAGE1_ONLY) !== 0) {
      this.pa = this.ipa;
      return true;
    }
    // A fault leaves `ipa` as it is: this address.
    const ipa = this.ipa, permit = this.permit, lasting = this.lasting;
    if (!this.#stage2(c, ipa, access, options)) return false;
    this.pa = this.#pa2;
    this.permit = permit & this.permit2;
    this.lasting &= lasting;
    this.device ||= this.#device2;
    return true;
  }

  #fail(stage: 1 | 2, status: number, level: number): false {
    this.fault = status === FAULT.ALIGNMENT ? status : status | level;
    this.stage = stage;
    this.level = level;
    return false;
  }

  /** Stage 1 switched off: addresses pass unchanged. AArch64.S1DisabledOutput(). */
  #flat(c: Controls, lo: number, hi: number, access: Access, options: number): boolean {
    const ignored = (hi & 0x80_0000) !== 0 && c.regime !== REGIME.EL2 ? c.high.topByteIgnored : c.low.topByteIgnored;
    const top = ignored ? hi & 0xff_ffff : hi;
    this.ipa = (top & 0xffff) * HIGH + (lo >>> 0);
    this.permit = 7;
    this.lasting = 7;
    if (!fits(top, lo, c.physicalBits)) return this.#fail(1, FAULT.ADDRESS_SIZE, 0);
    if (c.defaultCacheable) {
      this.attributes = ATTR_NORMAL_WB;
      this.shareability = 0;
      this.device = false;
    } else {
      // Data accesses are to Device memory; instruction fetches are not, but the answer may serve a data access later.
      this.device = true;
      this.attributes = access !== ACCESS.FETCH ? ATTR_DEVICE_NGNRNE : c.instructionCache ? 0xaa : ATTR_NORMAL_NC;
      this.shareability = 2;
    }
    if (this.device && (options & WALK.UNALIGNED) !== 0) return this.#fail(1, FAULT.ALIGNMENT, 0);
    return true;
  }

  #stage1(c: Controls, lo: number, hi: number, access: Access, options: number): boolean {
    const upper = (hi & 0x80_0000) !== 0 && c.regime !== REGIME.EL2;
    const range = upper ? c.high : c.low;
    if (!range.valid || !inRange(range, upper ? ~lo : lo, upper ? ~hi : hi)) {
      return this.#fail(1, FAULT.TRANSLATION, 0);
    }
    if (range.tableBeyond) return this.#fail(1, FAULT.ADDRESS_SIZE, 0);
    const granule = range.granuleBits, stride = granule - 3;
    let level = range.startLevel, shift = granule + (3 - level) * stride, width = range.inputBits - shift;
    let address = range.table, hierarchy = 0;
    for (;;) {
      const at = address + bits(hi, lo, shift, width) * 8;
      if (!this.#read1(c, at, level, options)) return false;
      const low = this.#lo, high = this.#hi & 0xffff;
      const leaf = level === 3 || (low & TABLE) === 0;
      if ((low & VALID) === 0 || (level === 3 ? (low & TABLE) === 0 : leaf && !blockAllowed(granule, level))) {
        return this.#fail(1, FAULT.TRANSLATION, level);
      }
      const offset = (1 << (leaf ? shift : granule)) - 1, base = low & ~offset;
      if (!fits(high, base, c.outputBits)) return this.#fail(1, FAULT.ADDRESS_SIZE, level);
      if (leaf) {
        this.ipa = high * HIGH + ((base | (lo & offset)) >>> 0);
        this.sizeBits = shift;
        return this.#leaf1(c, at, level, range.hierarchyDisabled ? 0 : hierarchy, access, options);
      }
      address = high * HIGH + (base >>> 0);
      hierarchy |= this.#hi;
      level++;
      shift -= stride;
      width = stride;
    }
  }

  /** Checks the leaf descriptor of stage 1 that was just read at `at`, and brings it up to date. */
  #leaf1(c: Controls, at: number, level: number, hierarchy: number, access: Access, options: number): boolean {
    const lo = this.#lo, hi = this.#hi;
    const noAccessFlag = (lo & AF) === 0;
    if (noAccessFlag && !c.accessFlagUpdate) return this.#fail(1, FAULT.ACCESS_FLAG, level);
    const index = (lo >>> 2) & 7;
    this.attributes = ((index < 4 ? c.mairLo : c.mairHi) >>> ((index & 3) * 8)) & 0xff;
    this.shareability = (lo >>> 8) & 3;
    this.device = (this.attributes & 0xf0) === 0;
    if (this.device && (options & WALK.UNALIGNED) !== 0) return this.#fail(1, FAULT.ALIGNMENT, level);

    const dirtyManaged = c.dirtyUpdate && (hi & DBM_HI) !== 0;
    const readOnly = (hierarchy & AP_TABLE_RO_HI) !== 0 || ((lo & AP_RO) !== 0 && !dirtyManaged);
    const permit = stage1Permissions(c, lo, hi, hierarchy, readOnly, (options & WALK.IGNORE_PAN) !== 0);
    this.permit = permit;
    if ((permit & PERMIT_OF_ACCESS[access]!) === 0 && (options & WALK.UNCHECKED) === 0) {
      return this.#fail(1, FAULT.PERMISSION, level);
    }
    const clean = (permit & PERMIT.WRITE) !== 0 && (lo & AP_RO) !== 0;
    const dirty = clean && access === ACCESS.WRITE;
    this.lasting = clean && !dirty ? permit & ~PERMIT.WRITE : permit;
    if (!(noAccessFlag || dirty) || (options & WALK.UPDATE) === 0) return true;
    return this.#update1(c, at, level, (lo | AF) & (dirty ? ~AP_RO : -1), options);
  }

  /** Writes the low word of the stage 1 descriptor at `at`, if memory still has what was read. */
  #update1(c: Controls, at: number, level: number, value: number, options: number): boolean {
    const old = this.#lo;
    let pa = at;
    if (c.stage2) {
      const ipa = this.ipa, lasting = this.lasting;
      if (!this.#stage2(c, at, ACCESS.WRITE, options & WALK.UPDATE)) {
        this.s1ptw = true;
        this.updating = true;
        this.ipa = at;
        return false;
      }
      this.ipa = ipa;
      this.lasting = lasting;
      pa = this.#pa2;
    }
    if (!this.#bus.isWritablePage(pa)) return this.#fail(1, FAULT.EXTERNAL_WALK, level);
    this.#host = this.#bus.hostPage(pa) + pa % 4096;
    this.#exchange(old, value, c.bigEndian);
    return !this.#retry;
  }

  #exchange(old: number, value: number, bigEndian: boolean): void {
    const word = (this.#host >>> 2) + (bigEndian ? 1 : 0);
    const from = bigEndian ? swap(old) : old, to = bigEndian ? swap(value) : value;
    this.#retry = Atomics.compareExchange(this.#words, word, from | 0, to | 0) !== (from | 0);
  }

  /** Reads the stage 1 descriptor at `address`, an IPA while stage 2 is on. */
  #read1(c: Controls, address: number, level: number, options: number): boolean {
    let pa = address;
    if (c.stage2) {
      let passed = this.#stage2(c, address, ACCESS.READ, options & (WALK.UPDATE | WALK.UNCHECKED));
      if (passed && c.protectedWalk && this.#device2) passed = this.#fail(2, FAULT.PERMISSION, this.level);
      if (!passed) {
        this.s1ptw = true;
        this.ipa = address;
        return false;
      }
      pa = this.#pa2;
    }
    return this.#read(1, level, pa, address, c.bigEndian);
  }

  #read(stage: 1 | 2, level: number, pa: number, address: number, bigEndian: boolean): boolean {
    const page = this.#bus.hostPage(pa);
    // Tables in device memory are not supported: the walk gets an external abort.
    if (page === 0) return this.#fail(stage, FAULT.EXTERNAL_WALK, level);
    const host = page + (pa & 4095), word = host >>> 2;
    const first = this.#words[word]!, second = this.#words[word + 1]!;
    this.#host = host;
    this.#lo = bigEndian ? swap(second) : first;
    this.#hi = bigEndian ? swap(first) : second;
    if (this.trace !== undefined) this.trace(stage, level, address, this.#lo >>> 0, this.#hi >>> 0);
    return true;
  }

  /** Stage 2: sets pa2, device2 and the public stage 2 fields. `level` is left at the leaf's. */
  #stage2(c: Controls, ipa: number, access: Access, options: number): boolean {
    const range = c.second, lo = ipa >>> 0, hi = Math.floor(ipa / HIGH);
    if (!range.valid || !fits(hi, lo, range.inputBits)) return this.#fail(2, FAULT.TRANSLATION, 0);
    if (range.tableBeyond) return this.#fail(2, FAULT.ADDRESS_SIZE, 0);
    const granule = range.granuleBits, stride = granule - 3;
    let level = range.startLevel, shift = granule + (3 - level) * stride, width = range.inputBits - shift;
    let address = range.table;
    for (;;) {
      const at = address + bits(hi, lo, shift, width) * 8;
      if (!this.#read(2, level, at, at, c.stage2BigEndian)) return false;
      const low = this.#lo, high = this.#hi & 0xffff;
      const leaf = level === 3 || (low & TABLE) === 0;
      if ((low & VALID) === 0 || (level === 3 ? (low & TABLE) === 0 : leaf && !blockAllowed(granule, level))) {
        return this.#fail(2, FAULT.TRANSLATION, level);
      }
      const offset = (1 << (leaf ? shift : granule)) - 1, base = low & ~offset;
      if (!fits(high, base, c.stage2OutputBits)) return this.#fail(2, FAULT.ADDRESS_SIZE, level);
      if (leaf) {
        this.#pa2 = high * HIGH + ((base | (lo & offset)) >>> 0);
        this.sizeBits2 = shift;
        this.level = level;
        return this.#leaf2(c, level, access, options);
      }
      address = high * HIGH + (base >>> 0);
      level++;
      shift -= stride;
      width = stride;
    }
  }

  #leaf2(c: Controls, level: number, access: Access, options: number): boolean {
    const lo = this.#lo, hi = this.#hi;
    const noAccessFlag = (lo & AF) === 0;
    if (noAccessFlag && !c.stage2AccessFlagUpdate) return this.#fail(2, FAULT.ACCESS_FLAG, level);
    this.attributes2 = (lo >>> 2) & 15;
    this.shareability2 = (lo >>> 8) & 3;
    this.#device2 = (this.attributes2 & 12) === 0;
    if (this.#device2 && (options & WALK.UNALIGNED) !== 0) return this.#fail(2, FAULT.ALIGNMENT, level);
    const dirtyManaged = c.stage2DirtyUpdate && (hi & DBM_HI) !== 0;
    let permit = 0;
    if ((lo & S2AP_READ) !== 0) permit |= PERMIT.READ;
    if ((lo & S2AP_WRITE) !== 0 || dirtyManaged) permit |= PERMIT.WRITE;
    if (stage2Executable(c, (hi >>> 21) & 3)) permit |= PERMIT.EXECUTE;
    this.permit2 = permit;
    if ((permit & PERMIT_OF_ACCESS[access]!) === 0 && (options & WALK.UNCHECKED) === 0) {
      return this.#fail(2, FAULT.PERMISSION, level);
    }
    const clean = (permit & PERMIT.WRITE) !== 0 && (lo & S2AP_WRITE) === 0;
    const dirty = clean && access === ACCESS.WRITE;
    this.lasting = clean && !dirty ? permit & ~PERMIT.WRITE : permit;
    if ((noAccessFlag || dirty) && (options & WALK.UPDATE) !== 0) {
      this.#exchange(lo, lo | AF | (dirty ? S2AP_WRITE : 0), c.stage2BigEndian);
    }
    return !this.#retry;
  }
}

/** Whether the (for the upper range: inverted) address lies inside the range. */
function inRange(range: Range, lo: number, hi: number): boolean {
  return fits(range.topByteIgnored ? hi & 0xff_ffff : hi, lo, range.inputBits);
}

/** AArch64.S1DirectBasePermissions() and what PAN and WXN take away. */
function stage1Permissions(
  c: Controls,
  lo: number,
  hi: number,
  hierarchy: number,
  readOnly: boolean,
  ignorePan: boolean,
): number {
  const noExecute = (hi & XN_HI) !== 0 || (hierarchy & XN_TABLE_HI) !== 0;
  if (c.regime === REGIME.EL2) {
    if (readOnly) return noExecute ? PERMIT.READ : PERMIT.READ | PERMIT.EXECUTE;
    return noExecute || c.writeExecuteNever ? PERMIT.READ | PERMIT.WRITE : 7;
  }
  const el0 = (lo & AP_EL0) !== 0 && (hierarchy & AP_TABLE_NO_EL0_HI) === 0, el0Writes = el0 && !readOnly;
  let permit = 0, execute = false;
  if (c.el0) {
    if (el0) permit = readOnly ? PERMIT.READ : PERMIT.READ | PERMIT.WRITE;
    execute = !noExecute && !(c.writeExecuteNever && el0Writes);
  } else {
    const pxn = (hi & PXN_HI) !== 0 || (hierarchy & PXN_TABLE_HI) !== 0;
    execute = !pxn && !el0Writes && !(c.writeExecuteNever && !readOnly);
    if (!(c.pan && el0) || ignorePan) permit = readOnly ? PERMIT.READ : PERMIT.READ | PERMIT.WRITE;
  }
  return execute ? permit | PERMIT.EXECUTE : permit;
}

/** XN[1:0] of a stage 2 descriptor; bit 0 means something with FEAT_XNX only. */
function stage2Executable(c: Controls, xn: number): boolean {
  if (!c.xnx) return (xn & 2) === 0;
  return xn === 0 || (xn === 1 ? c.el0 : xn === 3 ? !c.el0 : false);
}
