// The semihosting calls as a table: Arm's "Semihosting for AArch32 and AArch64" with its extensions. X0 is the number, X1
// points at the arguments, 64 bits each, or is the argument; the result goes to X0. Left out: SYS_SYSTEM natively, since a
// guest must not run programs of the host.

import { TICK_NS } from "../../base/clock.ts";
import { ConsoleHandle } from "./console.ts";
import { DebuggerHandle, FeaturesHandle, type Handle } from "./handles.ts";
import type { CallMemory } from "./memory.ts";
import { at, ERROR, type Progress, resultOf } from "./progress.ts";
import type { Semihosting } from "./semihosting.ts";

/** One call of one vCPU. */
export interface Call {
  readonly host: Semihosting;
  readonly memory: CallMemory;
  /** X1. */
  readonly pointer: bigint;
  /** The words that it points at, as many as the call has. */
  readonly args: readonly bigint[];
  /** 128 bytes below the stack, for answers of the debugger's host. */
  readonly scratch: bigint;
}

export interface CallRow {
  readonly number: number;
  readonly name: string;
  readonly words: number;
  /** The result for X0; a negative one is an error, and X0 becomes -1. */
  readonly run: (call: Call) => Progress<number>;
}

/** Bytes that one SYS_READ or SYS_WRITE moves at most: the machine does nothing else meanwhile, and less is allowed. */
const MOST_BYTES = 1 << 24;
const LONGEST_STRING = 1 << 20, LONGEST_NAME = 4096;
/** ADP_Stopped_ApplicationExit: the only reason that has an exit code; others count as failures. */
const APPLICATION_EXIT = 0x20026n, FAILURE = 1;
/** gdb's flags of `open` by SYS_OPEN's mode, "Open Flags". */
const GDB_FLAGS = [0, 2, 0x601, 0x602, 0x209, 0x20a] as const, GDB_MODE = 0o644n;
const TICKS_PER_SECOND = 1e9, MODES = 12, LAST_READ_MODE = 3, LAST_WRITE_MODE = 7;

const isString = (bytes: Uint8Array, text: string): boolean => new TextDecoder().decode(bytes) === text;

/** A string that is given with its length. */
function named(memory: CallMemory, address: bigint, length: bigint): Uint8Array | number {
  if (length > BigInt(LONGEST_NAME)) return -ERROR.ENAMETOOLONG;
  const bytes = memory.read(address, Number(length));
  return BigInt(bytes.length) < length ? -ERROR.EFAULT : bytes;
}

/** The string with its end mark, as gdb wants it. */
const debuggerString = (address: bigint, length: bigint) => ({ address, length: Number(length) + 1 });

function* open({ host, memory, args }: Call): Progress<number> {
  const [address, wide, length] = args as [bigint, bigint, bigint], name = named(memory, address, length);
  if (wide >= BigInt(MODES)) return -ERROR.EINVAL;
  if (typeof name === "number") return name;
  if (!host.hasRoom) return -ERROR.EMFILE;
  const mode = Number(wide);
  if (isString(name, ":semihosting-features")) return mode > 1 ? -ERROR.EACCES : host.add(new FeaturesHandle());
  if (isString(name, ":tt")) {
    const stream = mode <= LAST_READ_MODE ? 0 : mode <= LAST_WRITE_MODE ? 1 : 2;
    if (host.asksDebugger) return host.add(new DebuggerHandle(stream));
    const console = stream === 1 ? host.output : host.console;
    return host.add(new ConsoleHandle(console, stream === 0 ? "in" : "out"));
  }
  if (host.asksDebugger) {
    const flags = BigInt(GDB_FLAGS[mode >> 1]!);
    const opened = resultOf(yield { call: "open", args: [debuggerString(address, length), flags, GDB_MODE] });
    return opened < 0 ? opened : host.add(new DebuggerHandle(opened));
  }
  const file = host.files.open(name, mode);
  return typeof file === "number" ? file : host.add(file);
}

const length = (wide: bigint): number => wide > BigInt(MOST_BYTES) ? MOST_BYTES : Number(wide);

/** SYS_READ and SYS_WRITE answer how many bytes were not moved. */
function moving(how: (handle: Handle) => Handle["read"]) {
  return function* ({ host, memory, args }: Call): Progress<number> {
    const [number, address, wide] = args as [bigint, bigint, bigint], handle = host.handle(number);
    if (wide > BigInt(Number.MAX_SAFE_INTEGER)) return -ERROR.EINVAL;
    const moved = handle === undefined ? -ERROR.EBADF : yield* how(handle).call(handle, memory, address, length(wide));
    if (moved < 0) host.errno = -moved;
    return Number(wide - BigInt(Math.max(0, moved)));
  };
}

/** A call on a handle. */
function on(does: (handle: Handle, call: Call) => Progress<number>) {
  return function* (call: Call): Progress<number> {
    const handle = call.host.handle(call.args[0]!);
    return handle === undefined ? -ERROR.EBADF : yield* does(handle, call);
  };
}

function* seek(handle: Handle, { args }: Call): Progress<number> {
  const offset = args[1]!;
  if (offset > BigInt(Number.MAX_SAFE_INTEGER)) return -ERROR.EINVAL;
  const result = yield* handle.seek(Number(offset));
  return result < 0 ? result : 0;
}

function* close(handle: Handle, { host, args }: Call): Progress<number> {
  host.drop(args[0]!);
  return yield* handle.close();
}

function* write(call: Call, address: bigint, count: number): Progress<number> {
  const { host, memory } = call;
  const handle = host.asksDebugger ? new DebuggerHandle(1) : new ConsoleHandle(host.console, "out");
  return yield* handle.write(memory, address, count);
}

function* writeString(call: Call): Progress<number> {
  const { memory, pointer } = call;
  for (let done = 0; done < LONGEST_STRING;) {
    const from = BigInt.asUintN(64, pointer + BigInt(done)), piece = memory.read(from, 1024), end = piece.indexOf(0);
    const count = end < 0 ? piece.length : end;
    if (count > 0) yield* write(call, from, count);
    if (end >= 0 || piece.length === 0) break;
    done += count;
  }
  return 0;
}

function* readCharacter({ host, memory, scratch }: Call): Progress<number> {
  if (!host.asksDebugger) {
    const [byte] = yield* host.console.read(1);
    return byte ?? -ERROR.EIO;
  }
  const before = memory.read(scratch, 1);
  const count = yield* new DebuggerHandle(0).read(memory, scratch, 1), [byte] = memory.read(scratch, 1);
  memory.write(scratch, before);
  return count < 0 ? count : count === 0 || byte === undefined ? -ERROR.EIO : byte;
}

function* remove({ host, memory, args }: Call): Progress<number> {
  const [address, length] = args as [bigint, bigint], name = named(memory, address, length);
  if (typeof name === "number") return name;
  if (!host.asksDebugger) return host.files.remove(name);
  return resultOf(yield { call: "unlink", args: [debuggerString(address, length)] });
}

function* rename({ host, memory, args }: Call): Progress<number> {
  const [address, length, newAddress, newLength] = args as [bigint, bigint, bigint, bigint];
  const name = named(memory, address, length), made = named(memory, newAddress, newLength);
  if (typeof name === "number") return name;
  if (typeof made === "number") return made;
  if (!host.asksDebugger) return host.files.rename(name, made);
  return resultOf(
    yield { call: "rename", args: [debuggerString(address, length), debuggerString(newAddress, newLength)] },
  );
}

function* system({ host, args }: Call): Progress<number> {
  const [address, length] = args as [bigint, bigint];
  if (!host.asksDebugger || length >= BigInt(LONGEST_NAME)) return -ERROR.ENOSYS;
  return resultOf(yield { call: "system", args: [debuggerString(address, length)] });
}

/** A name that no other call of this run was given: beneath the directory, where names without one lie. */
function temporaryName({ memory, args }: Call): number {
  const [address, number, room] = args as [bigint, bigint, bigint];
  const name = new TextEncoder().encode(`vitrine-${(number & 255n).toString(16).padStart(2, "0")}.tmp\0`);
  if (room < BigInt(name.length)) return -ERROR.EINVAL;
  return memory.write(address, name) < name.length ? -ERROR.EFAULT : 0;
}

function commandLine({ host, memory, pointer, args }: Call): number {
  const [address, room] = args as [bigint, bigint], line = new TextEncoder().encode(host.commandLine);
  if (room < BigInt(line.length + 1)) return -ERROR.E2BIG;
  if (memory.write(address, Uint8Array.of(...line, 0)) <= line.length) return -ERROR.EFAULT;
  return memory.words(pointer + 8n, [BigInt(line.length)]) ? 0 : -ERROR.EFAULT;
}

function heap({ host, memory, args }: Call): number {
  const { base, end } = host.heap;
  return memory.words(args[0]!, [base, end, end, base].map(BigInt)) ? 0 : -ERROR.EFAULT;
}

function elapsed({ host, memory, pointer }: Call): number {
  return memory.words(pointer, [BigInt(host.ticks) * BigInt(TICK_NS)]) ? 0 : -ERROR.EFAULT;
}

function exit({ host, args }: Call): number {
  const [why, code] = args as [bigint, bigint];
  host.exit(why === APPLICATION_EXIT ? Number(code & 0xffn) : FAILURE);
  return 0;
}

/** A call that is done at once. */
const now = (does: (call: Call) => number) => (call: Call): Progress<number> => at(does(call));

export const CALLS: readonly CallRow[] = [
  { number: 0x01, name: "SYS_OPEN", words: 3, run: open },
  { number: 0x02, name: "SYS_CLOSE", words: 1, run: on(close) },
  { number: 0x03, name: "SYS_WRITEC", words: 0, run: (call) => write(call, call.pointer, 1) },
  { number: 0x04, name: "SYS_WRITE0", words: 0, run: writeString },
  { number: 0x05, name: "SYS_WRITE", words: 3, run: moving((handle) => handle.write) },
  { number: 0x06, name: "SYS_READ", words: 3, run: moving((handle) => handle.read) },
  { number: 0x07, name: "SYS_READC", words: 0, run: readCharacter },
  { number: 0x08, name: "SYS_ISERROR", words: 1, run: now(({ args }) => BigInt.asIntN(64, args[0]!) < 0n ? 1 : 0) },
  { number: 0x09, name: "SYS_ISTTY", words: 1, run: on((handle) => handle.isTerminal()) },
  { number: 0x0a, name: "SYS_SEEK", words: 2, run: on(seek) },
  {
    number: 0x0c,
    name: "SYS_FLEN",
    words: 1,
    run: on((handle, { memory, scratch }) => handle.length(memory, scratch)),
  },
  { number: 0x0d, name: "SYS_TMPNAM", words: 3, run: now(temporaryName) },
  { number: 0x0e, name: "SYS_REMOVE", words: 2, run: remove },
  { number: 0x0f, name: "SYS_RENAME", words: 4, run: rename },
  { number: 0x10, name: "SYS_CLOCK", words: 0, run: now(({ host }) => Math.floor(host.ticks * TICK_NS / 1e7)) },
  { number: 0x11, name: "SYS_TIME", words: 0, run: now(({ host }) => Math.floor(host.wallSeconds)) },
  { number: 0x12, name: "SYS_SYSTEM", words: 2, run: system },
  { number: 0x13, name: "SYS_ERRNO", words: 0, run: now(({ host }) => host.errno) },
  { number: 0x15, name: "SYS_GET_CMDLINE", words: 2, run: now(commandLine) },
  { number: 0x16, name: "SYS_HEAPINFO", words: 1, run: now(heap) },
  { number: 0x18, name: "SYS_EXIT", words: 2, run: now(exit) },
  { number: 0x19, name: "SYS_SYNCCACHE", words: 0, run: now(() => 0) },
  { number: 0x20, name: "SYS_EXIT_EXTENDED", words: 2, run: now(exit) },
  { number: 0x30, name: "SYS_ELAPSED", words: 0, run: now(elapsed) },
  { number: 0x31, name: "SYS_TICKFREQ", words: 0, run: now(() => TICKS_PER_SECOND) },
];
