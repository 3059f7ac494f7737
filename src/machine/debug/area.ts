// What the debugger keeps in shared memory, so that the daemon thread reads it without a message: the contexts, and for each
// of their threads the registers it had when it last left its vCPU. Written by the machine's thread, read by both.

import { SYSREGS_OFFSET, SYSTEM_REGISTERS, type SystemRegisters } from "../../arch/sysregs.ts";
import { assert } from "../../base/errors.ts";
import { struct, type View } from "../../base/struct.ts";
import { VCPU, type VcpuState } from "../../cpu/vcpu.ts";
import { HOST_MAP, vcpuBase } from "../../memory/host_map.ts";

/** The most contexts, and threads of one. */
export const MAX_CONTEXTS = 64, MAX_THREADS = 16;
export const NO_TABLE = -1;
/** Exits are counted by exception class, and by kind for interrupts. */
export const EXIT_REASONS = 64 + 3;
/** Kinds of exceptions, in the order of the vector table; 1 to 3 count as reasons 64 to 66. */
export const EXIT_KIND = { SYNC: 0, IRQ: 1, FIQ: 2, SERROR: 3 } as const;

const HEADER = struct("debug header", {
  /** Contexts that have ever been; those that are gone leave their place free. */
  contexts: "u32",
  worlds: "u32",
  /** Changes with every appearance and disappearance. */
  changes: "u32",
  /** 1 while the daemon sleeps for an answer and needs no bell, and what it sleeps on. */
  looking: "i32[2]",
  hasEl2: "u32",
});

/** One context. */
const CONTEXT = struct("debug context", {
  /** gdb's number, 0 for a free place. */
  id: "u32",
  vmid: "u32",
  /** Address of its stage 2 table, NO_TABLE when it has not been entered since the reset. */
  table: "f64",
  threads: "u32",
  /** Whether its table has been seen with something in it. */
  mapped: "u32",
  /** World numbers of its threads. */
  worlds: `u32[${MAX_THREADS}]`,
  entries: "f64",
  reasons: `f64[${EXIT_REASONS}]`,
});

/** One thread of a context, and how it last left. */
const WORLD = struct("debug world", {
  /** Place of its context. */
  context: "u32",
  /** gdb's number. */
  thread: "u32",
  /** The vCPU that it is on, -1 for none. */
  cpu: "i32",
  /** Whether registers have been saved. */
  saved: "u32",
  /** Low word of VMPIDR_EL2, by which a virtual machine's vCPUs are told apart. */
  mpidr: "u32",
  exitKind: "u32",
  exitSyndrome: "u32",
  exitEl: "u32",
  exitPc: "u64",
  exits: "f64",
});
export type ContextView = View<typeof CONTEXT.spec>;
export type WorldView = View<typeof WORLD.spec>;

/** Registers of a vCPU, live or saved. */
export interface Bank {
  readonly state: VcpuState;
  readonly sys: SystemRegisters;
}

const AT = { contexts: 0x1000, commands: 0x4_0000, replies: 0x8_0000, banks: 0x10_0000 } as const;
const COMMAND_BYTES = 0x2_1000, REPLY_BYTES = 0x4_1000;
/** Of a saved bank: as in a vCPU's block, then the world. */
const BANK_BYTES = 0x3000, WORLD_AT = 0x2000;
const MAX_WORLDS = MAX_CONTEXTS * MAX_THREADS;
assert(VCPU.size <= SYSREGS_OFFSET && SYSREGS_OFFSET + SYSTEM_REGISTERS.size <= WORLD_AT, "a bank fits its place");
assert(AT.contexts + MAX_CONTEXTS * CONTEXT.size <= AT.commands, "the contexts fit their place");
assert(
  AT.banks + (MAX_WORLDS + HOST_MAP.vcpus.count) * BANK_BYTES <= HOST_MAP.debug.size,
  "the saved registers fit their place",
);

/** Where the words `looking` lie. */
export const LOOKING: number = HOST_MAP.debug.base + HEADER.offset.looking;
/** Ranges of the rings for messages. */
export const COMMAND_RING = { base: HOST_MAP.debug.base + AT.commands, size: COMMAND_BYTES } as const;
export const REPLY_RING = { base: HOST_MAP.debug.base + AT.replies, size: REPLY_BYTES } as const;

/** Byte address of a world's saved bank, and of what is kept of the host's EL1 on a vCPU. */
export const bankBase = (number: number): number => HOST_MAP.debug.base + AT.banks + number * BANK_BYTES;
export const hostBankBase = (cpu: number): number => bankBase(MAX_WORLDS + cpu);

export class DebugArea {
  readonly header: View<typeof HEADER.spec>;
  readonly contexts: readonly ContextView[];
  /** The vCPUs' own registers. */
  readonly live: readonly Bank[];
  /** By vCPU: the EL1 registers that the hypervisor's own EL1 had when it last went to EL2. */
  readonly host: readonly Bank[];
  readonly #worlds: (WorldView | undefined)[] = [];
  readonly #banks: (Bank | undefined)[] = [];

  constructor(readonly buffer: ArrayBufferLike, readonly cpus: number) {
    const { base } = HOST_MAP.debug;
    this.header = HEADER.at(buffer, base);
    this.contexts = Array.from(
      { length: MAX_CONTEXTS },
      (_, n) => CONTEXT.at(buffer, base + AT.contexts + n * CONTEXT.size),
    );
    const numbers = Array.from({ length: cpus }, (_, n) => n);
    this.live = numbers.map((n) => this.#bankAt(vcpuBase(n)));
    this.host = numbers.map((n) => this.#bankAt(hostBankBase(n)));
  }
  #bankAt(base: number): Bank {
    return {
      state: VCPU.at(this.buffer, base),
      sys: SYSTEM_REGISTERS.at(this.buffer, base + SYSREGS_OFFSET) as SystemRegisters,
    };
  }
  /** Worlds 0 to cpus - 1 are the hypervisor's, one for each vCPU. */
  world(number: number): WorldView {
    return this.#worlds[number] ??= WORLD.at(
      this.buffer,
      HOST_MAP.debug.base + AT.banks + number * BANK_BYTES + WORLD_AT,
    );
  }
  /** What was saved when the world last left its vCPU. */
  saved(number: number): Bank {
    return this.#banks[number] ??= this.#bankAt(bankBase(number));
  }
  /** Forgets all but which contexts and threads there are in these places. */
  clear(kept: readonly number[] = []): void {
    const names = kept.map((place) => {
      const { id, vmid, threads, worlds } = this.contexts[place]!;
      const all = [...worlds.subarray(0, threads)].map((number) => {
        const { thread, mpidr } = this.world(number);
        return { number, thread, mpidr };
      });
      return { place, id, vmid, all };
    });
    for (const { bytes } of this.contexts) bytes.fill(0);
    for (let n = 0; n < MAX_WORLDS; n++) {
      if (n < this.cpus || this.#worlds[n] !== undefined) this.world(n).bytes.fill(0);
    }
    for (const { sys } of this.host) sys.bytes.fill(0);
    for (const { place, id, vmid, all } of names) {
      const context = this.contexts[place]!;
      Object.assign(context, { id, vmid, table: NO_TABLE, threads: all.length });
      all.forEach(({ number, thread, mpidr }, n) => {
        context.worlds[n] = number;
        new Uint8Array(this.buffer, bankBase(number), WORLD_AT).fill(0);
        Object.assign(this.world(number), { context: place, thread, mpidr, cpu: -1 });
      });
    }
  }
  get maxWorlds(): number {
    return MAX_WORLDS;
  }

  /** Places of the contexts that are there, ids ascending. */
  places(): number[] {
    const { header, contexts } = this, found: number[] = [];
    for (let n = 0; n < header.contexts; n++) if (contexts[n]!.id !== 0) found.push(n);
    return found.sort((a, b) => contexts[a]!.id - contexts[b]!.id);
  }
  /** The context with gdb's number `id`. */
  context(id: number): ContextView | undefined {
    if (id === 0) return undefined;
    const { header, contexts } = this;
    for (let n = 0; n < header.contexts; n++) if (contexts[n]!.id === id) return contexts[n];
    return undefined;
  }
  /** The world of a thread, -1 when there is none. */
  worldOf(id: number, thread: number): number {
    const context = this.context(id);
    if (context === undefined) return -1;
    for (let n = 0; n < context.threads; n++) {
      const number = context.worlds[n]!;
      if (this.world(number).thread === thread) return number;
    }
    return -1;
  }
}
