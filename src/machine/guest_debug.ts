// The guest's own breakpoints, watchpoints and steps (src/cpu/self_hosted_debug.ts judges them) on this engine: predecoded
// records at their addresses are marked, accesses are compared with watched ranges, and what cannot be had that way is
// executed one instruction at a time. The debugger (src/machine/debug) uses the same means at the same time: marks are
// made whenever a page is fetched from, for both, and each has watched ranges of its own. While a guest has enabled
// nothing, a write to a register of its debug costs a look at two words.

import type { Vcpu } from "../cpu/core.ts";
import { breakpointException, watchpointException } from "../cpu/exceptions.ts";
import {
  breakpointAddress,
  breakpointMatches,
  BREAKPOINTS,
  debugOn,
  hasContextBreakpoint,
  isLoadExclusive,
  stepActive,
  watchedRange,
  watchpointMatches,
  WATCHPOINTS,
} from "../cpu/self_hosted_debug.ts";
import { CONTINUE, REFETCH } from "../cpu/status.ts";
import { HALT } from "../cpu/vcpu.ts";
import { RECORD_BYTES } from "../jit/frames.ts";
import {
  DEBUGGER_WATCHES,
  HOST_MAP,
  NO_WATCH_WORDS,
  VCPU_BLOCK,
  vcpuBase,
  WATCH_AREA,
  WATCH_BYTES,
  watchWords,
} from "../memory/host_map.ts";
import { type GuestWatcher, WATCH_MAINTENANCE, WATCH_READ, WATCH_UNPRIVILEGED, WATCH_WRITE } from "../mmu/access.ts";
import type { Machine } from "./machine.ts";

/** What is set up for a vCPU. */
interface Armed {
  on: boolean;
  /** Every instruction may match a breakpoint. */
  everywhere: boolean;
  /** Pages with breakpoints, and the offsets in them: all that were there since the marks were made. */
  readonly places: Map<number, Set<number>>;
  /** The watched ranges, as watchWords. */
  readonly ranges: BigUint64Array;
  watches: number;
}

/** So many times a mark may stop the machine for nothing, before all are made anew. */
const IN_VAIN = 64;
/** Number of the page of an address: exact, since 52 bits. */
const pageOf = (lo: number, hi: number): number => (hi >>> 0) * 2 ** 20 + (lo >>> 12);

export class GuestDebug implements GuestWatcher {
  readonly #armed: readonly Armed[];
  readonly #machine: Machine;
  #inVain = 0;

  constructor(machine: Machine) {
    this.#machine = machine;
    const { buffer } = machine.around.memory, at = WATCH_AREA + DEBUGGER_WATCHES * WATCH_BYTES;
    this.#armed = machine.vcpus.map((_, n) => ({
      on: false,
      everywhere: false,
      places: new Map(),
      ranges: new BigUint64Array(buffer, vcpuBase(n) + at, (WATCHPOINTS * WATCH_BYTES) / 8),
      watches: 0,
    }));
    // Until there is a debugger, who has marks of its own.
    machine.interpreter.onMarked = (_, record) => machine.code.handlerOf(record);
  }

  /** Registers were written: answers whether what is executed next may be another thing now. */
  changed(vcpu: Vcpu): boolean {
    const armed = this.#armed[vcpu.index]!, on = debugOn(vcpu);
    if (!on && !armed.on) return false;
    armed.on = on;
    armed.everywhere = on && hasContextBreakpoint(vcpu);
    const marked = this.#armBreakpoints(vcpu, armed), watched = this.#armWatchpoints(vcpu, armed);
    if (!marked && !watched && !armed.everywhere) return false;
    this.#machine.kick(vcpu);
    return true;
  }

  #armBreakpoints(vcpu: Vcpu, { on, places }: Armed): boolean {
    let added = false;
    for (let n = 0; on && n < BREAKPOINTS; n++) {
      const address = breakpointAddress(vcpu, n);
      if (address === undefined) continue;
      const page = pageOf(address.lo, address.hi), offset = address.lo & 4095, known = places.get(page);
      if (known?.has(offset)) continue;
      if (known === undefined) places.set(page, new Set([offset]));
      else known.add(offset);
      added = true;
    }
    if (!added) return false;
    const { interpreter, mmus } = this.#machine, mmu = mmus[vcpu.index]!;
    interpreter.onMarkedByGuest = this.#marked;
    mmu.guestFetched = this.#fetched;
    mmu.flushFetchTlb();
    return true;
  }

  /** A page is about to be executed from. */
  readonly #fetched = (cpu: number, lo: number, hi: number, records: number): void => {
    const offsets = this.#armed[cpu]!.places.get(pageOf(lo, hi));
    for (const offset of offsets ?? []) this.#machine.code.mark(records + (offset >>> 2) * RECORD_BYTES);
  };

  /** A marked instruction is about to be executed. */
  readonly #marked = (base: number, record: number): number => {
    const vcpu = this.#machine.vcpus[(base - HOST_MAP.vcpus.base) / VCPU_BLOCK.size]!;
    if (breakpointMatches(vcpu)) return breakpointException(vcpu);
    if (!this.#wanted(vcpu.state.pcLo, vcpu.state.pcHi) && ++this.#inVain >= IN_VAIN) {
      this.#disarm();
      // Execution may stay in this page, and the record of this instruction was emptied with the others.
      if (this.#machine.mmus[vcpu.index]!.fetch() === 0) return REFETCH;
      this.#machine.code.handlerOf(record);
    }
    return CONTINUE;
  };
  #wanted(lo: number, hi: number): boolean {
    return this.#machine.vcpus.some((vcpu) => {
      if (!this.#armed[vcpu.index]!.on) return false;
      for (let n = 0; n < BREAKPOINTS; n++) {
        const address = breakpointAddress(vcpu, n);
        if (address?.lo === lo && address.hi === hi >>> 0) return true;
      }
      return false;
    });
  }
  /** Removes all marks; those that are wanted, and the debugger's, are made when their pages are fetched from. */
  #disarm(): void {
    this.#inVain = 0;
    const { code, interpreter, mmus, vcpus } = this.#machine;
    interpreter.onMarkedByGuest = undefined;
    code.unmark();
    for (const mmu of mmus) {
      mmu.guestFetched = undefined;
      mmu.flushFetchTlb();
    }
    for (const vcpu of vcpus) {
      const armed = this.#armed[vcpu.index]!;
      armed.places.clear();
      this.#armBreakpoints(vcpu, armed);
    }
  }

  #armWatchpoints(vcpu: Vcpu, armed: Armed): boolean {
    const { ranges } = armed;
    let count = 0, changed = false;
    const set = (n: number, words: readonly bigint[]) => {
      const at = n * words.length;
      changed ||= words.some((word, size) => ranges[at + size] !== word);
      ranges.set(words, at);
    };
    for (let n = 0; armed.on && n < WATCHPOINTS; n++) {
      const range = watchedRange(vcpu, n);
      if (range !== undefined) set(count++, watchWords(BigInt(range.lo), BigInt(range.bytes)));
    }
    for (let n = count; n < WATCHPOINTS; n++) set(n, NO_WATCH_WORDS);
    if (!changed) return false;
    armed.watches = count;
    const { interpreter, mmus } = this.#machine, most = Math.max(...this.#armed.map(({ watches }) => watches));
    interpreter.watchForGuest(most <= 1 ? most : WATCHPOINTS);
    mmus[vcpu.index]!.guestWatcher = count > 0 ? this : undefined;
    return true;
  }

  matches(cpu: number, lo: number, hi: number, bytes: number, kind: number, options: number): boolean {
    const vcpu = this.#machine.vcpus[cpu]!, maintenance = (options & WATCH_MAINTENANCE) !== 0;
    const both = kind === (WATCH_READ | WATCH_WRITE);
    const access = {
      lo,
      hi,
      bytes,
      read: both ? !isStoreExclusive(this.#machine.mmus[cpu]!.instruction()) : kind === WATCH_READ,
      write: (kind & WATCH_WRITE) !== 0,
      unprivileged: (options & WATCH_UNPRIVILEGED) !== 0,
    };
    const match = watchpointMatches(vcpu, access);
    if (match === undefined) return false;
    const at = (lo >>> 0) + match.at;
    watchpointException(
      vcpu,
      at >>> 0,
      at >= 2 ** 32 ? hi + 1 >>> 0 : hi >>> 0,
      match.write || maintenance,
      maintenance,
    );
    return true;
  }

  // --- One instruction at a time

  /** Whether the next instruction of a vCPU must be executed alone. */
  singly(vcpu: Vcpu): boolean {
    return stepActive(vcpu) || this.#armed[vcpu.index]!.everywhere;
  }
  /** Before an instruction that is executed alone: takes the exception of a breakpoint there. */
  breakpoint(vcpu: Vcpu): boolean {
    if (!this.#armed[vcpu.index]!.on || !breakpointMatches(vcpu)) return false;
    // That the instruction cannot be fetched comes first.
    if (this.#machine.mmus[vcpu.index]!.fetch() !== 0) breakpointException(vcpu);
    return true;
  }
  atLoadExclusive(vcpu: Vcpu): boolean {
    return isLoadExclusive(this.#machine.mmus[vcpu.index]!.instruction());
  }

  /** Executes the instruction at a vCPU's pc, or takes the exception that it causes. */
  execute(vcpu: Vcpu): void {
    const { scheduler, mmus, interpreter, code } = this.#machine, { state } = vcpu;
    scheduler.single(vcpu, (begin) => {
      const record = mmus[vcpu.index]!.fetch();
      if (record === 0) return true;
      const inPage = (state.pcLo & 0xffc) << 2;
      const page = BigInt(state.pcHi) << 32n | BigInt((state.pcLo & ~0xfff) >>> 0);
      state.pcDelta = BigInt.asUintN(64, page - BigInt((record - inPage) >>> 2));
      begin();
      const handler = code.isMarked(record) ? interpreter.marked : interpreter.handler(code.handlerOf(record));
      if (handler(vcpu.base, record) !== CONTINUE) return true;
      const lo = (state.pcLo + 4) >>> 0;
      if (lo === 0) state.pcHi = state.pcHi + 1;
      state.pcLo = lo;
      return true;
    });
    // A step through WFI or WFE ends at once.
    if (state.halt !== HALT.OFF && stepActive(vcpu)) state.halt = HALT.RUNNING;
  }
}

/** STXR, STXP and their kind are read-modify-writes here, to compare; to the guest they only write. */
const isStoreExclusive = (word: number): boolean =>
  (word & 0x3fc0_0000) === 0x0800_0000 && ((word & 0x0020_0000) === 0 || word >>> 31 === 1);
