// Which context each vCPU is in: the hypervisor (EL2, its host's EL0, EL1 without stage 2), or a virtual machine, known by
// its stage 2 table. Every exception to EL2 and every return from it passes here. What leaves its vCPU is saved as it was;
// a virtual machine's threads are its own vCPUs, told apart by VMPIDR_EL2, wherever they run.

import { type SysregName, SYSREGS_OFFSET, SYSTEM_REGISTERS } from "../../arch/sysregs.ts";
import { IDENTIFICATION } from "../../arch/sysregs/identification.ts";
import { assert } from "../../base/errors.ts";
import type { Vcpu } from "../../cpu/core.ts";
import { isHost } from "../../cpu/pstate.ts";
import { VCPU } from "../../cpu/vcpu.ts";
import { memoryCopier } from "../../wasm/copy.ts";
import {
  bankBase,
  type ContextView,
  type DebugArea,
  EXIT_KIND,
  hostBankBase,
  MAX_CONTEXTS,
  MAX_THREADS,
  NO_TABLE,
} from "./area.ts";

/** What the rest of the debugger wants to know. */
export interface WorldListener {
  /** An exception was taken from level `from`; `left` is the world that a virtual machine's vCPU left for EL2, else -1. */
  taken(vcpu: Vcpu, from: number, left: number): void;
  /** An exception return from level `from`; `entered` is the world of a virtual machine that was entered, else -1. */
  returned(vcpu: Vcpu, from: number, entered: number): void;
  appeared(id: number): void;
  gone(id: number): void;
}

/** What the first table of a stage 2 looks like. */
export type Table = "used" | "empty" | "nonsense";

/** System registers up to here differ from one virtual machine to the other; after them come the CPU's constants. */
const SAVED_BYTES = SYSTEM_REGISTERS.offset[Object.keys(IDENTIFICATION)[0] as SysregName];
/** HCR_EL2 bits that switch stage 2 on. */
const STAGE2 = 1 | 1 << 12;
const PSR = { IL: 20, PAN: 22, UAO: 23 } as const;

export class Worlds {
  listener: WorldListener | undefined;
  /** By vCPU: its world. */
  readonly current: Int32Array;
  /** By vCPU: what it last entered, and with which registers. */
  readonly #entered: Int32Array;
  readonly #keys: Uint32Array;
  readonly #wideVmid: boolean;
  readonly #copy: (to: number, from: number, bytes: number) => void;
  #nextId = 2;

  constructor(readonly area: DebugArea, readonly vcpus: readonly Vcpu[], memory: WebAssembly.Memory) {
    this.#copy = memoryCopier(memory);
    this.current = new Int32Array(vcpus.length);
    this.#entered = new Int32Array(vcpus.length).fill(-1);
    this.#keys = new Uint32Array(vcpus.length * 3);
    this.#wideVmid = vcpus[0]!.model.has("FEAT_VMID16");
    this.reset();
  }

  /**
   * The machine was reset: only the hypervisor is there. With `keeps`, for a debugger that knows them, virtual machines
   * are awaited: one with the same VMID is the same. Otherwise ids are not given again.
   */
  reset(keeps = false): void {
    const { area, vcpus } = this, known = area.places().filter((place) => place > 0);
    const gone = keeps ? [] : known.map((place) => area.contexts[place]!.id);
    area.clear(keeps ? known : []);
    area.header.contexts = keeps ? Math.max(0, ...known) + 1 : 1;
    area.header.changes++;
    area.header.worlds = vcpus.length;
    area.header.hasEl2 = vcpus[0]!.hasEl2 ? 1 : 0;
    const own = area.contexts[0]!;
    own.id = 1;
    own.threads = vcpus.length;
    vcpus.forEach((_, n) => {
      own.worlds[n] = n;
      const world = area.world(n);
      world.thread = n + 1;
      world.cpu = n;
      this.current[n] = n;
    });
    this.#entered.fill(-1);
    for (const id of gone) this.listener?.gone(id);
  }

  /** The id of the context that a vCPU is in. */
  contextOf(cpu: number): number {
    return this.area.contexts[this.area.world(this.current[cpu]!).context]!.id;
  }
  threadOf(cpu: number): number {
    return this.area.world(this.current[cpu]!).thread;
  }

  /** An exception was taken from level `from`; the vCPU is at its vector. */
  taken(vcpu: Vcpu, from: number): void {
    const { state, index } = vcpu;
    let left = -1;
    if (state.el === 2 && from < 2) {
      const world = this.current[index]!;
      if (world >= this.vcpus.length) {
        this.#leave(vcpu, world, from);
        left = world;
      } else if (from === 1 || !isHost(vcpu)) {
        this.#copy(hostBankBase(index) + SYSREGS_OFFSET, vcpu.base + SYSREGS_OFFSET, SAVED_BYTES);
      }
    }
    this.listener?.taken(vcpu, from, left);
  }

  /** An exception return from level `from`, by the instruction at pc. */
  returned(vcpu: Vcpu, from: number, pcLo: number, pcHi: number): void {
    const { state, sys, index } = vcpu;
    let entered = -1;
    if (from === 2 && state.el < 2 && (sys.HCR_EL2Lo & STAGE2) !== 0 && !isHost(vcpu)) {
      entered = this.#find(vcpu);
      this.#saveHypervisor(vcpu, pcLo, pcHi);
      this.area.world(index).cpu = -1;
      const world = this.area.world(entered);
      world.cpu = index;
      this.area.contexts[world.context]!.entries++;
      this.current[index] = entered;
    }
    this.listener?.returned(vcpu, from, entered);
  }

  /** A virtual machine's vCPU has left for EL2. */
  #leave(vcpu: Vcpu, number: number, from: number): void {
    const { state, sys, index } = vcpu, { area } = this;
    const world = area.world(number), saved = area.saved(number).state, psr = sys.SPSR_EL2Lo, base = bankBase(number);
    this.#copy(base, vcpu.base, VCPU.size);
    this.#copy(base + SYSREGS_OFFSET, vcpu.base + SYSREGS_OFFSET, SAVED_BYTES);
    saved.pcLo = sys.ELR_EL2Lo;
    saved.pcHi = sys.ELR_EL2Hi;
    saved.el = from;
    saved.spsel = psr & 1;
    saved.daif = (psr >>> 6) & 15;
    saved.il = (psr >>> PSR.IL) & 1;
    saved.pan = (psr >>> PSR.PAN) & 1;
    saved.uao = (psr >>> PSR.UAO) & 1;
    const sp = (psr & 1) === 0;
    saved.xWords[64] = sp ? sys.SP_EL0Lo : sys.SP_EL1Lo;
    saved.xWords[65] = sp ? sys.SP_EL0Hi : sys.SP_EL1Hi;
    const kind = (state.pcLo & 0x180) >>> 7, esr = sys.ESR_EL2Lo;
    world.cpu = -1;
    world.saved = 1;
    world.exitKind = kind;
    world.exitSyndrome = esr;
    world.exitEl = from;
    world.exitPcLo = sys.ELR_EL2Lo;
    world.exitPcHi = sys.ELR_EL2Hi;
    world.exits++;
    area.contexts[world.context]!.reasons[kind === EXIT_KIND.SYNC ? esr >>> 26 : 63 + kind]!++;
    this.current[index] = index;
    area.world(index).cpu = index;
  }

  /** The hypervisor's vCPU is about to run a virtual machine: its registers, as of its ERET. */
  #saveHypervisor({ sys, index, base }: Vcpu, pcLo: number, pcHi: number): void {
    const { state: saved } = this.area.saved(index), world = this.area.world(index);
    this.#copy(bankBase(index), base, VCPU.size);
    saved.pcLo = pcLo;
    saved.pcHi = pcHi;
    saved.el = 2;
    saved.spsel = 1;
    saved.xWords[64] = sys.SP_EL2Lo;
    saved.xWords[65] = sys.SP_EL2Hi;
    world.saved = 1;
  }

  /** The world of the virtual machine that the vCPU's registers say, made if there is none. */
  #find(vcpu: Vcpu): number {
    const { sys, index } = vcpu, keys = this.#keys, at = index * 3, known = this.#entered[index]!;
    const lo = sys.VTTBR_EL2Lo, hi = sys.VTTBR_EL2Hi, mpidr = sys.VMPIDR_EL2Lo;
    if (known >= 0 && keys[at] === lo && keys[at + 1] === hi && keys[at + 2] === mpidr && this.#free(known)) {
      return known;
    }
    const table = (hi & 0xffff) * 2 ** 32 + ((lo & ~1) >>> 0);
    const vmid = this.#wideVmid && (sys.VTCR_EL2Lo & 1 << 19) !== 0 ? hi >>> 16 : (hi >>> 16) & 0xff;
    const found = this.#worldIn(this.#contextOf(table, vmid), mpidr);
    keys[at] = lo;
    keys[at + 1] = hi;
    keys[at + 2] = mpidr;
    return this.#entered[index] = found;
  }
  #free(number: number): boolean {
    const world = this.area.world(number);
    return world.cpu < 0 && this.area.contexts[world.context]!.id !== 0;
  }

  /** The place of the context with this stage 2 table. */
  #contextOf(table: number, vmid: number): number {
    const { area } = this, { header, contexts } = area;
    let free = -1;
    for (let n = 1; n < header.contexts; n++) {
      const context = contexts[n]!;
      if (context.id === 0) free = free < 0 ? n : free;
      else if (context.table === table) {
        if (context.vmid !== vmid) this.#rename(context, vmid);
        return n;
      }
    }
    const awaited = area.places().find((n) => contexts[n]!.table === NO_TABLE && contexts[n]!.vmid === vmid);
    if (awaited !== undefined) {
      contexts[awaited]!.table = table;
      return awaited;
    }
    this.#retire(vmid);
    if (free < 0) free = header.contexts < MAX_CONTEXTS ? header.contexts++ : this.#oldest();
    const context = contexts[free]!;
    context.bytes.fill(0);
    context.table = table;
    context.vmid = vmid;
    context.id = this.#nextId++;
    header.changes++;
    this.listener?.appeared(context.id);
    return free;
  }
  #rename(context: ContextView, vmid: number): void {
    this.#retire(vmid);
    context.vmid = vmid;
    this.area.header.changes++;
  }
  /** A VMID that is given to another table: the virtual machine that had it is gone. */
  #retire(vmid: number): void {
    const { header, contexts } = this.area;
    for (let n = 1; n < header.contexts; n++) if (contexts[n]!.id !== 0 && contexts[n]!.vmid === vmid) this.#remove(n);
  }
  #remove(place: number): void {
    const context = this.area.contexts[place]!, { id } = context;
    for (let n = 0; n < context.threads; n++) if (this.area.world(context.worlds[n]!).cpu >= 0) return;
    context.id = 0;
    this.area.header.changes++;
    this.listener?.gone(id);
  }
  #oldest(): number {
    const places = this.area.places().filter((n) => n > 0 && !this.#runs(n));
    assert(places.length > 0, "more contexts than vCPUs can run");
    this.#remove(places[0]!);
    return places[0]!;
  }
  /**
   * Removes virtual machines that have been destroyed: one whose table had contents and now has none, or has what no table
   * has. That they run no more does not tell: they may wait.
   */
  sweep(tableOf: (world: number) => Table): void {
    for (const place of this.area.places()) {
      if (place === 0 || this.#runs(place)) continue;
      const context = this.area.contexts[place]!;
      if (context.table === NO_TABLE) continue;
      const table = tableOf(context.worlds[0]!);
      if (table === "used") context.mapped = 1;
      else if (context.mapped !== 0) this.#remove(place);
    }
  }
  /** Virtual machines that a reset has ended are not awaited any more. */
  dropAwaited(): void {
    for (const place of this.area.places()) if (this.area.contexts[place]!.table === NO_TABLE) this.#remove(place);
  }
  #runs(place: number): boolean {
    const { threads, worlds } = this.area.contexts[place]!;
    return worlds.subarray(0, threads).some((n) => this.area.world(n).cpu >= 0);
  }

  /** The thread of a context whose vCPU says `mpidr`, and which is not running elsewhere. */
  #worldIn(place: number, mpidr: number): number {
    const { area } = this, context = area.contexts[place]!;
    for (let n = 0; n < context.threads; n++) {
      const number = context.worlds[n]!, world = area.world(number);
      if (world.mpidr === mpidr && world.cpu < 0) return number;
    }
    if (context.threads === MAX_THREADS) return this.#share(context, mpidr);
    // Each place of a context has its own range of worlds, after those of the hypervisor.
    const number = place * MAX_THREADS + context.threads, wished = (mpidr & 0xff) + 1;
    const taken = [...context.worlds.subarray(0, context.threads)].map((n) => area.world(n).thread);
    const world = area.world(number);
    world.bytes.fill(0);
    world.context = place;
    world.thread = taken.includes(wished) ? Math.max(...taken) + 1 : wished;
    world.mpidr = mpidr;
    world.cpu = -1;
    context.worlds[context.threads++] = number;
    area.header.changes++;
    return number;
  }
  /** More vCPUs than a context has room for take turns in one place. */
  #share(context: ContextView, mpidr: number): number {
    const number = context.worlds.findLast((n) => this.area.world(n).cpu < 0);
    assert(number !== undefined, "fewer vCPUs than threads of a context");
    this.area.world(number).mpidr = mpidr;
    return number;
  }
}
