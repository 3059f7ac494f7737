// The memory accesses of one vCPU that generated code cannot do alone: TLB misses, faults, device memory, page crossings,
// alignment checks, pages with predecoded code. What a page may be used for without coming here is put into the TLBs.
// DDI 0487 "AArch64.MemSingle", "Alignment of data accesses".
//
// With stage 1 off, data accesses are to Device-nGnRnE memory and fault when unaligned, as SCTLR_ELx.A = 1 makes all
// accesses. Such pages are not put into the data TLBs, since a TLB hit knows nothing of alignment inside a page.

import { faultStatusWords } from "../arch/esr_text.ts";
import { hex, tracePoint, Tracer, wide } from "../base/trace.ts";
import { type Counters, countersAt } from "../cpu/counters.ts";
import type { VcpuState } from "../cpu/vcpu.ts";
import type { PhysicalBus } from "../memory/bus.ts";
import { ACCESS as DESC } from "./access_flags.ts";
import { Contexts } from "./context.ts";
import { type Controls, type Features, REGIME, type TranslationRegisters } from "./controls.ts";
import { ACCESS, type Access, FAULT, type Fault, type FaultSink, newFault } from "./fault.ts";
import { instructionSyndrome } from "./syndrome.ts";
import { CACHED, CACHED_DEVICE, Tlb } from "./tlb.ts";
import { PERMIT, WALK, Walker } from "./walk.ts";

/** Predecoded code, by the host address of its page. */
export interface CodeCache {
  isCodePage(hostPage: number): boolean;
  /** The guest writes to these bytes. */
  invalidate(hostAddress: number, bytes: number): void;
  /** Address of the page's records, which are made if there are none. */
  recordsFor(hostPage: number): number;
}

/** What a debugger watches. */
export interface Watcher {
  /** Whether the access must not happen yet: the vCPU stops before the instruction. Bits of `kind`: 1 read, 2 write. */
  accessed(cpu: number, lo: number, hi: number, bytes: number, kind: number): boolean;
}
export const WATCH_READ = 1, WATCH_WRITE = 2;

/** The guest's own watchpoints. */
export interface GuestWatcher {
  /** Whether a Watchpoint exception was taken instead of the access, which is permitted. `kind` as above. */
  matches(cpu: number, lo: number, hi: number, bytes: number, kind: number, options: number): boolean;
}
/** Options: LDTR or STTR, cache maintenance. */
export const WATCH_UNPRIVILEGED = 1, WATCH_MAINTENANCE = 2;

interface FaultEvent {
  readonly cpu: number;
  readonly access: string;
  readonly va: bigint;
  readonly stage: 1 | 2;
  /** Of stage 2. */
  readonly ipa: bigint | undefined;
  /** Stage 2 faulted on the walk of stage 1. */
  readonly walk: boolean;
  readonly status: string;
}
const FAULTS = tracePoint("mmu", "fault", ({ access, va, stage, ipa, walk, status }: Readonly<FaultEvent>) => {
  const where = ipa === undefined ? "" : `, IPA ${hex(ipa)}`;
  return `${access} ${hex(va)}${where}, stage ${stage}${walk ? " of the walk" : ""}: ${status}`;
});
interface FillEvent {
  readonly cpu: number;
  readonly va: bigint;
  readonly ipa: bigint;
  readonly pa: bigint;
  /** What both stages permit: r, w, x. */
  readonly permit: string;
  readonly device: boolean;
}
const FILLED = tracePoint("mmu", "walk", ({ va, ipa, pa, permit, device }: Readonly<FillEvent>) => {
  const through = ipa === pa ? "" : `IPA ${hex(ipa)}, `;
  return `${hex(va)} is ${through}PA ${hex(pa)}, ${permit}, ${device ? "device" : "normal"} memory`;
});
const MMU = Tracer.bit("mmu");

/** Results of dataRead and dataWrite below any host address. */
export const FAULTED = 0, DONE = 1;

export interface MmuParts {
  /** Number of the vCPU, for devices. */
  readonly cpu: number;
  /** Byte address of the vCPU's block in the shared memory. */
  readonly base: number;
  readonly memory: ArrayBufferLike;
  readonly state: VcpuState;
  readonly registers: TranslationRegisters;
  readonly features: Features;
  readonly bus: PhysicalBus;
  readonly code: CodeCache;
  readonly faults: FaultSink;
  readonly trace: Tracer;
}

export class Mmu {
  readonly tlb: Tlb;
  readonly contexts: Contexts;
  readonly walker: Walker;
  readonly features: Features;
  readonly registers: TranslationRegisters;
  readonly state: VcpuState;
  readonly faults: FaultSink;
  /** The fault that was reported last. */
  readonly fault: Fault = newFault();
  /** Number of the vCPU. */
  readonly cpu: number;
  readonly trace: Tracer;
  /** Told of every page that instructions come from, when the fetch TLB is filled: its first record. */
  fetched: ((cpu: number, lo: number, hi: number, records: number) => void) | undefined;
  /** Asked before every access that comes here. */
  watcher: Watcher | undefined;
  /** The same two for the guest's own breakpoints and watchpoints. */
  guestFetched: ((cpu: number, lo: number, hi: number, records: number) => void) | undefined;
  guestWatcher: GuestWatcher | undefined;
  readonly counters: Counters;
  readonly #bus: PhysicalBus;
  readonly #code: CodeCache;
  readonly #doubles: Float64Array;
  readonly #transfer: Uint32Array;
  readonly #transferBytes: Uint8Array;

  constructor(parts: MmuParts) {
    this.cpu = parts.cpu;
    this.trace = parts.trace;
    this.counters = countersAt(parts.memory, parts.base);
    this.#bus = parts.bus;
    this.#code = parts.code;
    this.state = parts.state;
    this.registers = parts.registers;
    this.features = parts.features;
    this.faults = parts.faults;
    this.tlb = new Tlb(parts.memory, parts.base);
    this.contexts = new Contexts(parts.state, parts.registers, parts.features, () => this.tlb.flush());
    this.walker = new Walker(parts.bus, parts.memory);
    this.#doubles = new Float64Array(parts.memory);
    const transfer = this.#transfer = parts.state.transferWords;
    this.#transferBytes = new Uint8Array(transfer.buffer, transfer.byteOffset, transfer.byteLength);
  }

  /** The exception level, PSTATE.PAN or PSTATE.UAO changed. */
  contextSwitched(): void {
    this.contexts.switched();
  }
  /** A register that translation depends on (TTBRn, TCR, MAIR, SCTLR, HCR, VTCR, VTTBR) changed. */
  registersChanged(): void {
    this.contexts.changed();
  }
  /** State and registers were replaced as a whole (reset, snapshot): nothing that was cached counts. */
  flush(): void {
    this.contexts.flush();
  }
  /** Predecoded code was dropped: no record address may be used any more. */
  flushFetchTlb(): void {
    this.tlb.flushFetch();
  }
  /** The page at this host address holds code from now on: stores to it come here. */
  protectPage(hostPage: number): void {
    this.tlb.protect(hostPage);
  }

  /** Host address of the datum after refilling the TLB, or DONE (the value is in state.transfer), or FAULTED. */
  dataRead(lo: number, hi: number, desc: number): number {
    const bytes = desc & DESC.SIZE, context = this.contexts.current((desc & DESC.UNPRIVILEGED) !== 0);
    const c = this.contexts.controls(context >>> 2), unaligned = misaligned(lo, desc);
    if (unaligned && (c.alignmentCheck || (desc & DESC.ALIGNED) !== 0)) return this.#alignmentFault(lo, hi, false);
    if (this.watcher?.accessed(this.cpu, lo, hi, bytes, WATCH_READ)) return FAULTED;
    if ((lo & 4095) + bytes > 4096) return this.#readAcross(context, c, lo, hi, desc, unaligned);
    const at = this.#translate(context, c, lo, hi, ACCESS.READ, unaligned);
    if (at < 0 || this.#watched(lo, hi, desc, WATCH_READ)) return FAULTED;
    const { cache } = this.tlb, host = cache[at + CACHED.HOST]!;
    if (host === 0) {
      this.counters.deviceReads++;
      if (this.#bus.readInto(this.tlb.physical(at, lo), bytes, this.#transfer, this.cpu)) return DONE;
      return this.#abort(FAULT.EXTERNAL, lo, hi, false);
    }
    if ((cache[at + CACHED.FLAGS]! & CACHED_DEVICE) === 0 && !c.alignmentCheck) {
      this.tlb.fillRead(context, lo, hi, host);
    }
    return (host >>> 0) + (lo & 4095);
  }

  /** As dataRead; on DONE the value in state.transfer has been stored. RMW and exclusives never get DONE. */
  dataWrite(lo: number, hi: number, desc: number): number {
    const bytes = desc & DESC.SIZE, context = this.contexts.current((desc & DESC.UNPRIVILEGED) !== 0);
    const c = this.contexts.controls(context >>> 2), unaligned = misaligned(lo, desc);
    const rmw = (desc & DESC.RMW) !== 0;
    if (unaligned && (c.alignmentCheck || (desc & DESC.ALIGNED) !== 0)) return this.#alignmentFault(lo, hi, !rmw);
    if (this.watcher?.accessed(this.cpu, lo, hi, bytes, rmw ? WATCH_READ | WATCH_WRITE : WATCH_WRITE)) return FAULTED;
    if ((lo & 4095) + bytes > 4096) return this.#writeAcross(context, c, lo, hi, desc, unaligned);
    // WnR of a read-modify-write is 0 when a read would have faulted too, so the read comes first.
    if (rmw && this.#translate(context, c, lo, hi, ACCESS.READ, unaligned) < 0) return FAULTED;
    const at = this.#translate(context, c, lo, hi, ACCESS.WRITE, unaligned);
    if (at < 0 || this.#watched(lo, hi, desc, rmw ? WATCH_READ | WATCH_WRITE : WATCH_WRITE)) return FAULTED;
    const { cache } = this.tlb, host = cache[at + CACHED.HOST]!, flags = cache[at + CACHED.FLAGS]!;
    const pa = this.tlb.physical(at, lo);
    if (host === 0 || !this.#bus.isWritablePage(pa)) {
      if (rmw) return this.#abort(FAULT.UNSUPPORTED_ATOMIC, lo, hi, false);
      this.counters.deviceWrites++;
      if (this.#bus.writeFrom(pa, bytes, this.#transfer, this.cpu)) return DONE;
      return this.#abort(FAULT.EXTERNAL, lo, hi, true);
    }
    const address = (host >>> 0) + (lo & 4095);
    if (this.#code.isCodePage(host >>> 0)) {
      this.counters.codeWrites++;
      this.#code.invalidate(address, bytes);
    } else if ((flags & (CACHED_DEVICE | PERMIT.READ)) === PERMIT.READ && !c.alignmentCheck) {
      // An entry of the write TLB also serves read-modify-writes: the page must be readable.
      this.tlb.fillWrite(context, lo, hi, host);
    }
    return address;
  }

  /** Record address for state.pc after refilling the fetch TLB, or FAULTED. */
  fetch(): number {
    const context = this.contexts.current(false), c = this.contexts.controls(context >>> 2), lo = this.state.pcLo;
    const hi = this.#untag(c);
    if ((lo & 3) !== 0) {
      this.faults.pcAlignmentFault();
      return FAULTED;
    }
    const at = this.#translate(context, c, lo, hi, ACCESS.FETCH, false);
    if (at < 0) return FAULTED;
    const host = this.tlb.cache[at + CACHED.HOST]! >>> 0;
    if (host === 0) {
      this.#bus.refuseFetch(this.tlb.physical(at, lo));
      return this.#abort(FAULT.EXTERNAL, lo, hi, false, true);
    }
    // Making room for new records may drop all fetch TLBs, so this comes before the fill.
    const records = this.#code.recordsFor(host);
    this.tlb.fillFetch(context, lo, hi, records);
    this.fetched?.(this.cpu, lo, hi, records);
    this.guestFetched?.(this.cpu, lo, hi, records);
    return records + ((lo & 0xffc) << 2);
  }

  /**
   * Replaces an ignored top byte of state.pc, as branches do (AArch64.BranchAddr()), and answers its high word. Generated
   * code leaves that to the fetch: the fetch TLB never has a tagged address.
   */
  #untag(c: Controls): number {
    const { state } = this, hi = state.pcHi, upper = (hi & 0x80_0000) !== 0;
    if (hi >>> 24 === (upper ? 0xff : 0)) return hi;
    if (c.regime === REGIME.EL2) return c.low.topByteIgnored ? state.pcHi = hi & 0xff_ffff : hi;
    if (!(upper ? c.high : c.low).topByteIgnored) return hi;
    return state.pcHi = upper ? (hi | 0xff00_0000) >>> 0 : hi & 0xff_ffff;
  }

  /** Finds or makes the cached translation that permits `access`; -1 after a fault was taken. */
  #translate(context: number, c: Controls, lo: number, hi: number, access: Access, unaligned: boolean): number {
    const found = this.tlb.find(context, lo, hi);
    if (found >= 0) {
      const flags = this.tlb.cache[found + CACHED.FLAGS]!;
      if ((flags & (1 << access)) !== 0 && !(unaligned && (flags & CACHED_DEVICE) !== 0)) return found;
    }
    this.counters.walks++;
    const walker = this.walker, options = WALK.UPDATE | (unaligned ? WALK.UNALIGNED : 0);
    if (!walker.translate(c, lo, hi, access, options)) {
      this.reportWalk(lo, hi, access, false);
      return -1;
    }
    if ((this.trace.mask & MMU) !== 0) this.#traceWalk(lo, hi);
    const flags = walker.lasting | (walker.device ? CACHED_DEVICE : 0);
    return this.tlb.insert(context, lo, hi, walker.pa, this.#bus.hostPage(walker.pa), flags, walker.sizeBits);
  }

  /** A read that crosses a page, byte by byte. FAR_ELx for the second page is that page's first byte. */
  #readAcross(context: number, c: Controls, lo: number, hi: number, desc: number, unaligned: boolean): number {
    const bytes = desc & DESC.SIZE;
    const first = this.#translate(context, c, lo, hi, ACCESS.READ, unaligned);
    if (first < 0) return FAULTED;
    const pa = this.tlb.physical(first, lo), count = 4096 - (lo & 4095);
    const nextLo = (lo & ~4095) + 4096 | 0, nextHi = nextLo === 0 ? hi + 1 | 0 : hi;
    const second = this.#translate(context, c, nextLo, nextHi, ACCESS.READ, unaligned);
    if (second < 0 || this.#watched(lo, hi, desc, WATCH_READ)) return FAULTED;
    const next = this.tlb.physical(second, nextLo), out = this.#transferBytes;
    out.fill(0);
    for (let i = 0; i < bytes; i++) {
      const value = this.#bus.read(i < count ? pa + i : next + i - count, 1, this.cpu);
      if (value < 0) return this.#abort(FAULT.EXTERNAL, lo, hi, false);
      out[i] = value;
    }
    return DONE;
  }

  /** Both pages are translated before either is written. */
  #writeAcross(context: number, c: Controls, lo: number, hi: number, desc: number, unaligned: boolean): number {
    const bytes = desc & DESC.SIZE;
    const first = this.#translate(context, c, lo, hi, ACCESS.WRITE, unaligned);
    if (first < 0) return FAULTED;
    const pa = this.tlb.physical(first, lo), count = 4096 - (lo & 4095);
    const nextLo = (lo & ~4095) + 4096 | 0, nextHi = nextLo === 0 ? hi + 1 | 0 : hi;
    const second = this.#translate(context, c, nextLo, nextHi, ACCESS.WRITE, unaligned);
    if (second < 0 || this.#watched(lo, hi, desc, WATCH_WRITE)) return FAULTED;
    const next = this.tlb.physical(second, nextLo), data = this.#transferBytes;
    for (let i = 0; i < bytes; i++) {
      // The bus tells predecoded code.
      if (!this.#bus.write(i < count ? pa + i : next + i - count, 1, data[i]!, this.cpu)) {
        return this.#abort(FAULT.EXTERNAL, lo, hi, true);
      }
    }
    return DONE;
  }

  #watched(lo: number, hi: number, desc: number, kind: number): boolean {
    if (this.guestWatcher === undefined) return false;
    const options = (desc & DESC.UNPRIVILEGED) !== 0 ? WATCH_UNPRIVILEGED : 0;
    return this.guestWatcher.matches(this.cpu, lo, hi, desc & DESC.SIZE, kind, options);
  }

  /** DC ZVA: zeroes the 64-byte block around hi:lo. False after a fault was taken. */
  zeroBlock(lo: number, hi: number): boolean {
    const context = this.contexts.current(false), c = this.contexts.controls(context >>> 2), block = lo & ~63;
    if (this.watcher?.accessed(this.cpu, block, hi, 64, WATCH_WRITE)) return false;
    // On Device memory this is an Alignment fault.
    const at = this.#translate(context, c, lo, hi, ACCESS.WRITE, true);
    if (at < 0 || this.guestWatcher?.matches(this.cpu, block, hi, 64, WATCH_WRITE, 0)) return false;
    const host = this.tlb.cache[at + CACHED.HOST]! >>> 0, pa = this.tlb.physical(at, block);
    if (host === 0) {
      for (let i = 0; i < 64; i += 4) {
        if (this.#bus.write(pa + i, 4, 0, this.cpu)) continue;
        this.#abort(FAULT.EXTERNAL, lo, hi, true);
        return false;
      }
      return true;
    }
    if (!this.#bus.isWritablePage(pa)) return true;
    const address = host + (block & 4095);
    if (this.#code.isCodePage(host)) this.#code.invalidate(address, 64);
    // Faster than fill(), which is a call into the host's library.
    for (let word = address >>> 3, end = word + 8; word < end; word++) this.#doubles[word] = 0;
    return true;
  }

  /** Takes the exception for the walker's fault. */
  reportWalk(lo: number, hi: number, access: Access, maintenance: boolean): void {
    const { fault, walker } = this;
    fault.fsc = walker.fault;
    fault.stage = walker.stage;
    fault.level = walker.level;
    fault.s1ptw = walker.s1ptw;
    fault.fetch = access === ACCESS.FETCH;
    // A fault of stage 2 on behalf of stage 1's walk reports what the walk did; maintenance always counts as a write.
    fault.write = maintenance || (walker.s1ptw ? walker.updating : access === ACCESS.WRITE);
    fault.maintenance = maintenance;
    fault.ipa = walker.ipa;
    const described = walker.stage === 2 && !walker.s1ptw && access !== ACCESS.FETCH && !maintenance;
    fault.syndrome = described ? instructionSyndrome(this.instruction()) : 0;
    this.#take(lo, hi);
  }

  /** The instruction at state.pc, or 0 (which decodes as no load or store) if it cannot be read. */
  instruction(): number {
    const { pcLo, pcHi } = this.state, c = this.contexts.controls(this.contexts.current(false) >>> 2);
    const fetched = this.walker.translate(c, pcLo, pcHi, ACCESS.FETCH, WALK.UNCHECKED);
    return fetched ? Math.max(0, this.#bus.peek(this.walker.pa)) : 0;
  }

  #alignmentFault(lo: number, hi: number, write: boolean): typeof FAULTED {
    return this.#abort(FAULT.ALIGNMENT, lo, hi, write);
  }

  /** Takes a stage 1 fault that the walk did not find. */
  #abort(fsc: number, lo: number, hi: number, write: boolean, fetch = false): typeof FAULTED {
    const { fault } = this;
    fault.fsc = fsc;
    fault.stage = 1;
    fault.level = 0;
    fault.s1ptw = false;
    fault.fetch = fetch;
    fault.write = write;
    fault.maintenance = false;
    fault.ipa = 0;
    fault.syndrome = 0;
    this.#take(lo, hi);
    return FAULTED;
  }

  #traceWalk(lo: number, hi: number): void {
    const { ipa, pa, permit, device } = this.walker;
    this.trace.emit(FILLED, {
      cpu: this.cpu,
      va: wide(hi, lo),
      ipa: BigInt(ipa),
      pa: BigInt(pa),
      permit: [..."rwx"].map((letter, n) => (permit >> n & 1) !== 0 ? letter : "-").join(""),
      device,
    });
  }

  #traceFault(): void {
    const { fsc, stage, s1ptw, fetch, write, maintenance, vaLo, vaHi, ipa } = this.fault;
    this.trace.emit(FAULTS, {
      cpu: this.cpu,
      access: fetch ? "fetch from" : maintenance ? "maintenance of" : write ? "write to" : "read of",
      va: wide(vaHi, vaLo),
      stage,
      ipa: stage === 2 ? BigInt(ipa) : undefined,
      walk: s1ptw,
      status: faultStatusWords(fsc),
    });
  }

  #take(lo: number, hi: number): void {
    const { fault } = this;
    fault.vaLo = lo >>> 0;
    fault.vaHi = hi >>> 0;
    this.counters.faults++;
    if ((this.trace.mask & MMU) !== 0) this.#traceFault();
    if (fault.fetch) this.faults.instructionAbort(fault);
    else this.faults.dataAbort(fault);
  }
}

/** Whether an access is unaligned: several elements (pairs, SIMD structures) need the alignment of one of them. */
function misaligned(lo: number, desc: number): boolean {
  return (lo & (((desc >>> DESC.ELEMENT_SHIFT) || (desc & DESC.SIZE)) - 1)) !== 0;
}
