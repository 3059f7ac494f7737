// Semihosting in the machine: HLT #0xF000 is a call (calls.ts), which is finished at once or keeps its vCPU waiting until input
// comes or the debugger's host has answered. The host is the console, files beneath one directory, and the machine's own
// time; or the debugger's, by its File-I/O packets. What is open is forgotten at a reset.

import type { FileReply, FileRequest } from "../../../gdbstub/target.ts";
import type { PortBackend } from "../../../devices/virtio/console_backend.ts";
import type { Clock } from "../../base/clock.ts";
import type { Vcpu } from "../../cpu/core.ts";
import { advance } from "../../cpu/exceptions.ts";
import { CONTINUE, LEAVE, type Status } from "../../cpu/status.ts";
import type { PhysicalBus } from "../../memory/bus.ts";
import type { Mmu } from "../../mmu/access.ts";
import type { SemihostingConfig } from "../config.ts";
import type { Load } from "../loaders/load.ts";
import type { Power } from "../machine.ts";
import type { Scheduler } from "../scheduler.ts";
import { type Call, type CallRow, CALLS } from "./calls.ts";
import { SemihostingConsole } from "./console.ts";
import { type HostFiles, NO_FILES } from "./files.ts";
import type { Handle } from "./handles.ts";
import { CallMemory } from "./memory.ts";
import { ERROR, type Progress, type Wait } from "./progress.ts";

const MOST_HANDLES = 64;
/** Room below the stack, and where it begins: a multiple of this. */
const SCRATCH_BYTES = 128n;
const STACK_POINTER = 32;
const BY_NUMBER: ReadonlyMap<bigint, CallRow> = new Map(CALLS.map((row) => [BigInt(row.number), row]));

/** What stands behind the calls on the host. */
export interface SemihostingHost {
  /** Null: output goes nowhere. The output of `:tt` goes to the console where there is no other. */
  readonly console: PortBackend | null;
  readonly output: PortBackend | null;
  readonly files: HostFiles;
}
export const NO_HOST: SemihostingHost = { console: null, output: null, files: NO_FILES };

/** The debugger whose host may be asked. */
export interface FileDebugger {
  readonly attached: boolean;
  /** Asks for a vCPU; false when nobody will answer. Otherwise Semihosting.replied follows. */
  request(cpu: number, request: FileRequest): boolean;
}

/** The machine, parts of which may be made later. */
export interface SemihostingParts {
  readonly mmus: readonly Mmu[];
  readonly bus: PhysicalBus;
  readonly scheduler: Scheduler;
  readonly plan: { readonly loads: readonly Load[] };
  readonly around: { readonly clock: Clock; readonly wallSeconds: () => number };
  readonly power: Power;
  exit(code: number): void;
}

/** A vCPU's call that is not finished. */
interface Pending {
  readonly vcpu: Vcpu;
  readonly progress: Progress<number>;
  wait: Wait;
}

/** Where a program can have its heap and stack: the largest part of RAM that nothing was loaded to. */
function largestGap(loads: readonly Load[], ram: { base: number; size: number }): { base: number; end: number } {
  const end = ram.base + ram.size, inside = loads.filter(({ address }) => address >= ram.base && address < end);
  let best = { base: ram.base, end: ram.base }, at = ram.base;
  const gap = (to: number) => {
    if (to - at > best.end - best.base) best = { base: at, end: to };
  };
  for (const { address, memoryBytes } of inside.toSorted((a, b) => a.address - b.address)) {
    gap(address);
    at = Math.max(at, Math.ceil((address + memoryBytes) / 16) * 16);
  }
  gap(end);
  return best;
}

export class Semihosting {
  /** What SYS_ERRNO tells: Linux's number. */
  errno = 0;
  debugger: FileDebugger | null = null;
  readonly console: SemihostingConsole;
  readonly output: SemihostingConsole;
  readonly #handles = new Map<bigint, Handle>();
  readonly #pending = new Map<number, Pending>();
  /** The vCPU whose request the debugger's host performs; others wait for their turn. */
  #asking: number | null = null;
  readonly #heap: { base: number; end: number };

  constructor(
    readonly machine: SemihostingParts,
    readonly config: SemihostingConfig,
    readonly host: SemihostingHost,
    readonly complain: (message: string) => void,
  ) {
    this.console = new SemihostingConsole(host.console);
    this.output = host.output === null ? this.console : new SemihostingConsole(host.output);
    const ram = machine.bus.ranges.find(({ name }) => name === "ram")!;
    this.#heap = largestGap(machine.plan.loads, ram);
  }

  // What the calls stand on.

  get files(): HostFiles {
    return this.host.files;
  }
  get commandLine(): string {
    return this.config.commandLine;
  }
  get ticks(): number {
    return this.machine.around.clock.ticks();
  }
  get wallSeconds(): number {
    return this.machine.around.wallSeconds();
  }
  get heap(): { readonly base: number; readonly end: number } {
    return this.#heap;
  }
  /** Whether the debugger's host is meant. */
  get asksDebugger(): boolean {
    const { target } = this.config;
    return target === "gdb" || (target === "auto" && this.debugger?.attached === true);
  }
  get hasRoom(): boolean {
    return this.#handles.size < MOST_HANDLES;
  }
  /** Its number, the lowest that is free; 0 is none. */
  add(handle: Handle): number {
    let number = 1;
    while (this.#handles.has(BigInt(number))) number++;
    this.#handles.set(BigInt(number), handle);
    return number;
  }
  handle(number: bigint): Handle | undefined {
    return this.#handles.get(number);
  }
  drop(number: bigint): void {
    this.#handles.delete(number);
  }
  exit(code: number): void {
    if (this.machine.power === "on") this.machine.exit(code);
  }

  // What the machine sees.

  /** HLT #0xF000 at state.pc; undefined when it is not for this level. */
  call(vcpu: Vcpu): Status | undefined {
    const { state, index } = vcpu;
    if (state.el === 0 && !this.config.userspace) return undefined;
    const pending: Pending = { vcpu, progress: this.#start(vcpu), wait: () => true };
    this.#pending.set(index, pending);
    this.#advance(pending, undefined);
    const { power } = this.machine, waits = this.#pending.has(index);
    if (!waits && power === "on") return CONTINUE;
    if (waits) this.machine.scheduler.blocked |= 1 << index;
    advance(vcpu);
    return LEAVE;
  }

  *#start(vcpu: Vcpu): Progress<number> {
    const { state, index } = vcpu, number = state.x[0]! & 0xffff_ffffn, pointer = state.x[1]!;
    const row = BY_NUMBER.get(number), memory = new CallMemory(this.machine.mmus[index]!, this.machine.bus);
    if (row === undefined) {
      this.complain(`semihosting call 0x${number.toString(16)} is not known`);
      return -ERROR.ENOSYS;
    }
    const args: bigint[] = [];
    for (let n = 0; n < row.words; n++) {
      const word = memory.word(BigInt.asUintN(64, pointer + BigInt(8 * n)));
      if (word === undefined) return -ERROR.EFAULT;
      args.push(word);
    }
    const scratch = BigInt.asUintN(64, state.x[STACK_POINTER]! / SCRATCH_BYTES * SCRATCH_BYTES - SCRATCH_BYTES);
    const call: Call = { host: this, memory, pointer, args, scratch };
    return yield* row.run(call);
  }

  /** Goes on with a call, until it is finished or must wait again. */
  #advance(pending: Pending, reply: FileReply | null | undefined): void {
    const { vcpu, progress } = pending, { done, value } = progress.next(reply);
    if (!done) {
      pending.wait = value;
      this.#ask();
      return;
    }
    this.#pending.delete(vcpu.index);
    this.machine.scheduler.blocked &= ~(1 << vcpu.index);
    if (value < 0) this.errno = -value;
    vcpu.state.x[0] = BigInt.asUintN(64, BigInt(Math.max(-1, value)));
  }

  /** Passes the next request on to the debugger. */
  #ask(): void {
    if (this.#asking !== null) return;
    const next = [...this.#pending.values()].find(({ wait }) => typeof wait !== "function");
    if (next === undefined) return;
    const { vcpu: { index }, wait } = next;
    this.#asking = index;
    if (!(this.debugger?.request(index, wait as FileRequest) ?? false)) this.replied(null);
  }
  /** The debugger's host has answered; null: it will not. */
  replied(reply: FileReply | null): void {
    const pending = this.#asking === null ? undefined : this.#pending.get(this.#asking);
    this.#asking = null;
    if (pending !== undefined) this.#advance(pending, reply);
    this.#ask();
  }

  /** Between slices: goes on with what can. */
  pump(): void {
    for (const pending of [...this.#pending.values()]) {
      if (typeof pending.wait === "function") this.#advance(pending, undefined);
    }
  }
  get hasInput(): boolean {
    if (this.#pending.size === 0) return false;
    return [...this.#pending.values()].some(({ wait }) => typeof wait === "function" && wait());
  }

  reset(): void {
    for (const handle of this.#handles.values()) {
      // Files are closed; what the debugger's host has open is the debugger's to close.
      handle.close().next();
    }
    this.#handles.clear();
    this.#pending.clear();
    this.#asking = null;
    this.errno = 0;
    this.machine.scheduler.blocked = 0;
  }
}
