// What the debugger stub needs to know of a machine, and nothing else: contexts (gdb's inferiors), threads (vCPUs),
// registers, memory, breakpoints, resuming and stopping. The machine implements it; the stub calls it from the daemon
// thread while the machine may live in another one, so every operation may answer later. What a debugger asks for and
// cannot have is a Refusal, returned as a value; an exception out of a Target is a bug of the Target.
//
// Numbers: addresses and register values are 64-bit (bigint, or little-endian bytes); context ids are gdb's process
// numbers, thread ids gdb's thread numbers, both at least 1.

export type Awaitable<T> = T | Promise<T>;

/** Error numbers of gdb's protocol ("Errno Values"). */
export const ERRNO = { EPERM: 1, ENOENT: 2, EINTR: 4, EIO: 5, EBADF: 9, EACCES: 13, EFAULT: 14, EINVAL: 22 } as const;

/** Why something asked for cannot be had: one line for the user, and a number for debuggers that take only that. */
export class Refusal {
  constructor(readonly text: string, readonly errno: number = ERRNO.EFAULT) {}
}

/** What can be refused and has nothing to return. */
export type Outcome = Refusal | undefined;

// --- Contexts and threads ---------------------------------------------------------------------------------------------

/** One inferior: the hypervisor (id 1, always there), or a virtual machine that it runs. */
export interface Context {
  /** Never given to another context while a debugger is attached. */
  readonly id: number;
  /** `hypervisor`, `vm 3`. */
  readonly name: string;
  /**
   * Name of the ELF file that holds the context's symbols, without directories (`guest_b.elf`); null when there is none.
   * The bytes come from Target.execFile.
   */
  readonly execFile: string | null;
}

/** Where vFile has the ELF file of a context; null when it has none. Not a path of the host. */
export const execPath = ({ id, execFile }: Context): string | null =>
  execFile === null ? null : `/context${id}/${execFile}`;

/** One vCPU as a context sees it. */
export interface Thread {
  /** 1 + the vCPU's number. */
  readonly id: number;
  /** `vm 3 vcpu 0`. */
  readonly name: string;
  /** `running at EL1`, `descheduled, exit WFx at EL1`. */
  readonly state: string;
  /** The host CPU that it is on, for gdb's `core`. */
  readonly core: number;
}

/** A vCPU in a context. */
export interface Place {
  readonly context: number;
  readonly thread: number;
}

// --- Registers ----------------------------------------------------------------------------------------------------------

/** A field of a register, bits `lsb` to `lsb + width - 1`; `values` names some or all of its values. */
export interface RegisterField {
  readonly name: string;
  readonly lsb: number;
  readonly width: number;
  readonly values?: Readonly<Record<string, number>>;
}

export type RegisterType =
  /** An unsigned number. */
  | { readonly kind: "int" }
  /** An address of data or of code, which gdb shows with its symbol. */
  | { readonly kind: "data_ptr" | "code_ptr" }
  /** A SIMD and FP register, in all of its shapes. */
  | { readonly kind: "vector" }
  /** Bits and fields; `[ VM FMO IMO ]`. Fields may not overlap. */
  | { readonly kind: "fields"; readonly fields: readonly RegisterField[] };

export interface RegisterDescription {
  /** gdb's number. The same register has the same number in every context. */
  readonly number: number;
  /** As gdb shows it: `x0`, `HCR_EL2`. */
  readonly name: string;
  readonly bits: 32 | 64 | 128;
  /** `org.gnu.gdb.aarch64.core`, or a name of our own (`vitrine.system`). */
  readonly feature: string;
  /** What `info registers GROUP` takes; null for gdb's own choice (core and fpu). */
  readonly group: string | null;
  readonly type: RegisterType;
  readonly writable: boolean;
  /** Part of `g`: exactly the core and fpu registers, numbers 0 to 67 (aarch64_registers.ts has them). */
  readonly general: boolean;
}

// --- Memory -------------------------------------------------------------------------------------------------------------

/**
 * Through what an address of a context is understood. `auto`: the regime that the vCPU is in, and where that maps nothing
 * the context's other regimes; `el0`, `el1`, `el2`: that level's stage 1 (with stage 2 where it applies); `ipa`: stage 2
 * alone; `pa`: physical.
 */
export const ADDRESS_SPACES = ["auto", "el0", "el1", "el2", "ipa", "pa"] as const;
export type AddressSpace = (typeof ADDRESS_SPACES)[number];

/** A piece of the memory map. What it does not name is RAM for gdb, since addresses are virtual. */
export interface MemoryRegion {
  readonly kind: "ram" | "rom";
  readonly start: bigint;
  readonly length: bigint;
}

// --- Breakpoints --------------------------------------------------------------------------------------------------------

/** What all kinds have. Plain data: it can be posted to another thread. */
interface Point {
  /** Names it from now on; inserting one with a known id replaces that one. */
  readonly id: number;
  readonly context: number;
  readonly space: AddressSpace;
  readonly address: bigint;
}

/**
 * Stops before the instruction at `address` when any of `conditions` is true or fails, or there are none. With `commands`
 * it then evaluates those instead of stopping, and goes on. Both are bytecode for agent_expression.ts, already checked by
 * `parseAgentExpression`; evaluate them where the vCPU runs, without a trip to the stub.
 */
export interface Breakpoint extends Point {
  readonly kind: "software" | "hardware";
  readonly conditions: readonly Uint8Array<ArrayBuffer>[];
  readonly commands: readonly Uint8Array<ArrayBuffer>[];
}

/** Stops after an access to any of `length` bytes at `address`. */
export interface Watchpoint extends Point {
  readonly kind: "write" | "read" | "access";
  readonly length: number;
}

// --- Catching exceptions and world switches -----------------------------------------------------------------------------

/**
 * `exit`: a virtual machine is left for EL2; `enter`: one is entered; `exception`: an exception is taken to EL `el`
 * (any level when null); `eret`: an exception return. In any context.
 */
export const CATCH_KINDS = ["exit", "enter", "exception", "eret"] as const;
export type CatchKind = (typeof CATCH_KINDS)[number];

export interface Catchpoint {
  readonly id: number;
  readonly kind: CatchKind;
  readonly el: number | null;
  /** One of Target.catchClasses (`hvc`, `wfx`, `dabt`); null for all. */
  readonly class: string | null;
}

// --- Resuming and stopping ----------------------------------------------------------------------------------------------

export type Action =
  | { readonly kind: "continue" }
  /**
   * Retires one instruction of the vCPU in that context, whatever else has to run for it. `intoExceptions`: an exception
   * or interrupt taken meanwhile ends the step at its vector; otherwise it is run through.
   */
  | { readonly kind: "step"; readonly intoExceptions: boolean }
  /** Steps while start <= pc < end. */
  | { readonly kind: "range"; readonly start: bigint; readonly end: bigint; readonly intoExceptions: boolean }
  /** Non-stop mode only: stops, with signal 0. */
  | { readonly kind: "stop" };

/** An action and whom it is for; null means every context, or every thread. */
export interface Resumption {
  readonly context: number | null;
  readonly thread: number | null;
  readonly action: Action;
}

/** The action that applies to a thread: the first that names it. */
export function actionFor(resumptions: readonly Resumption[], place: Place): Action | undefined {
  return resumptions.find(({ context, thread }) =>
    (context === null || context === place.context) && (thread === null || thread === place.thread)
  )?.action;
}

/** Signal numbers of gdb's protocol. */
export const SIGNAL = { NONE: 0, INT: 2, ILL: 4, TRAP: 5, ABRT: 6, SEGV: 11 } as const;

export type StopReason =
  | { readonly kind: "swbreak" | "hwbreak" }
  /** A virtual machine was entered for the first time; see resume(). */
  | { readonly kind: "appeared" }
  /** `address` is the first byte of the watched range that was accessed. */
  | { readonly kind: "watch" | "rwatch" | "awatch"; readonly address: bigint }
  /** A step is done (SIGNAL.TRAP), interrupt() was called (SIGNAL.INT), the machine was reset or is new (SIGNAL.TRAP)… */
  | { readonly kind: "signal"; readonly signal: number };

export interface StopEvent extends Place {
  readonly reason: StopReason;
  /** What the user should read: `vm 3: exit HVC #4 at EL1, pc 0x…`. Without a line end. */
  readonly text?: string;
}

/** What a target tells its debugger, from the daemon thread's event loop. */
export interface TargetListener {
  /**
   * All-stop: every vCPU stands still now. Non-stop: this one does. Once for each resume(), or for each thread of it in
   * non-stop mode; interrupt() on a machine that has stopped in the meantime adds nothing.
   */
  stopped(event: StopEvent): void;
  /** A virtual machine was entered for the first time. The machine runs on. */
  contextAppeared(context: Context): void;
  /** A virtual machine is no more. The machine runs on. */
  contextGone(context: number): void;
  /** The guest powered the machine off; the process is about to end. */
  ended(exitCode: number): void;
  /** Text for the debugger's console (breakpoint commands' printf, trace lines). */
  output(text: string): void;
  /**
   * A guest's semihosting call that the debugger's host should perform. False if it cannot; otherwise the vCPU waits until
   * Target.fileReply. The call does not count as a stop.
   */
  fileRequest(place: Place, request: FileRequest): boolean;
}

// --- Semihosting ("File-I/O Remote Protocol Extension") -----------------------------------------------------------------

export type FileCall =
  | "open"
  | "close"
  | "read"
  | "write"
  | "lseek"
  | "rename"
  | "unlink"
  | "stat"
  | "fstat"
  | "gettimeofday"
  | "isatty"
  | "system";

/** A number, or a string in the guest's memory (`length` includes its end mark). */
export type FileArgument = bigint | { readonly address: bigint; readonly length: number };

export interface FileRequest {
  readonly call: FileCall;
  readonly args: readonly FileArgument[];
}

export interface FileReply {
  /** -1 on failure. */
  readonly result: number;
  /** gdb's protocol errno; 0 on success. */
  readonly errno: number;
  /** The user pressed Ctrl-C during the call: a stop with SIGNAL.INT should follow. */
  readonly interrupted: boolean;
}

// --- Monitor commands and tables ----------------------------------------------------------------------------------------

/** Where a monitor command is given, and how it can write before it ends. */
export interface CommandCall {
  readonly place: Place;
  readonly space: AddressSpace;
  /** Text to show at once. */
  write(text: string): void;
  /** True once the user pressed Ctrl-C or went away: stop working. */
  readonly cancelled: boolean;
}

export interface MonitorCommand {
  /** One or more words: `walk`, `info registers`. */
  readonly name: string;
  /** `[CONTEXT] VA`; empty without. */
  readonly args: string;
  /** One line. */
  readonly help: string;
  /** `args` is what follows the name, trimmed. The text that it returns needs no line end. */
  run(args: string, call: CommandCall): Awaitable<string | Refusal>;
}

/** A table for `info os NAME`. */
export interface OsTable {
  /** `contexts`. */
  readonly name: string;
  /** `Contexts`. */
  readonly title: string;
  readonly description: string;
  readonly columns: readonly string[];
  /** Each as long as `columns`. */
  rows(): Awaitable<readonly (readonly string[])[]>;
}

// --- The whole ----------------------------------------------------------------------------------------------------------

export interface Target {
  // Session. One debugger at a time.

  /** A debugger has come: stops every vCPU, and says who stopped where (all-stop). Breakpoints are none. */
  attach(listener: TargetListener): Awaitable<StopEvent>;
  /** The debugger lets go of one context: its breakpoints go, its threads run on without it. */
  detach(context: number): Awaitable<void>;
  /**
   * The debugger has gone, with or without saying so. Every breakpoint and catchpoint goes, non-stop mode ends, the machine
   * runs on. The listener is not called again.
   */
  release(): Awaitable<void>;
  /** Resets the machine, which stays stopped before its first instruction. Breakpoints stay, other contexts are gone. */
  restart(): Awaitable<StopEvent | Refusal>;
  /** Ends a context: the hypervisor's is the machine, which is reset and stays stopped; a virtual machine's is refused. */
  kill(context: number): Awaitable<Outcome>;

  // Contexts, ids ascending. These must be cheap, and are right while the machine runs.

  contexts(): readonly Context[];
  /** Threads of a living context, ids ascending; empty for an unknown one. */
  threads(context: number): readonly Thread[];
  /** The bytes of the context's ELF file. */
  execFile(context: number): Awaitable<Uint8Array | null>;

  // Registers of a stopped vCPU; while it runs, a Refusal. Reading never has side effects.

  /** Numbers ascending; constant for a context. */
  registers(context: number): readonly RegisterDescription[];
  /** Little-endian, bits / 8 bytes. */
  readRegister(place: Place, number: number): Awaitable<Uint8Array | Refusal>;
  writeRegister(place: Place, number: number, value: Uint8Array): Awaitable<Outcome>;
  /** All registers with `general`, one after the other: 788 bytes. May be a buffer that is used again. */
  readGeneral(place: Place): Awaitable<Uint8Array | Refusal>;
  writeGeneral(place: Place, values: Uint8Array): Awaitable<Outcome>;

  // Memory, through the place's own translation. RAM may be asked for while the machine runs. Addresses wrap at 2^64.

  /** Fills `into` from `address` on; returns how many bytes could be read, at least one. */
  readMemory(place: Place, space: AddressSpace, address: bigint, into: Uint8Array): Awaitable<number | Refusal>;
  /** All or nothing. */
  writeMemory(place: Place, space: AddressSpace, address: bigint, data: Uint8Array): Awaitable<Outcome>;
  memoryMap(): readonly MemoryRegion[];

  // Breakpoints. Allowed while the machine runs.

  insert(point: Breakpoint | Watchpoint): Awaitable<Outcome>;
  /** Forgets the point with that id, if there is one. */
  remove(id: number): Awaitable<void>;
  /** What `class` of a catchpoint can be, for each kind. */
  readonly catchClasses: Readonly<Record<CatchKind, readonly string[]>>;
  insertCatch(point: Catchpoint): Awaitable<Outcome>;
  removeCatch(id: number): Awaitable<void>;

  // Running.

  /**
   * Lets the machine run until TargetListener.stopped. All-stop: threads that no resumption names run if the machine needs
   * them to, and stop at their breakpoints, but are not stepped. With `stopsAtNew` the machine stops (`appeared`) before the
   * first instruction of each new virtual machine; steps of other contexts then wait for the next resume(), and go on with
   * it unless it says something else of them.
   */
  resume(resumptions: readonly Resumption[], stopsAtNew?: boolean): Awaitable<Outcome>;
  /** Stops the machine (a thread of `place`'s context in non-stop mode) with SIGNAL.INT; nothing when it is stopped. */
  interrupt(place: Place | null): Awaitable<void>;
  /** Whether each thread stops alone. Refused where that is not possible. */
  setNonStop(on: boolean): Awaitable<Outcome>;
  /** Ends a file request; the vCPU goes on. */
  fileReply(place: Place, reply: FileReply): Awaitable<void>;

  // Tables.

  /** In the order of `monitor help`. `help`, `space`, `catch`, `step-into-exceptions` are the stub's own. */
  readonly commands: readonly MonitorCommand[];
  readonly osTables: readonly OsTable[];
}
