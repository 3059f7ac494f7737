// Z and z: breakpoints and watchpoints of the selected thread's context, with conditions and commands as bytecode.

import { parseAgentExpression } from "../agent_expression.ts";
import { MalformedPacket, type PacketReader } from "../packet.ts";
import type { Reply, Session } from "../session.ts";
import { type Breakpoint, ERRNO, Refusal, type Watchpoint } from "../target.ts";
import type { PacketCommand } from "./command.ts";

const KINDS = ["software", "hardware", "write", "read", "access"] as const;
/** Bounds what a debugger can make us hold. */
const MAX_POINTS = 100_000;
const MAX_EXPRESSIONS = 64;
/** A watched range is at most this long. */
const MAX_WATCH_BYTES = 1 << 30;

interface Head {
  readonly kind: (typeof KINDS)[number];
  readonly address: bigint;
  readonly length: number;
}

function head(packet: PacketReader): Head {
  const type = packet.number(), address = packet.expect(",").wide(), length = packet.expect(",").number();
  const kind = KINDS[type];
  if (kind === undefined) throw new MalformedPacket("the kind of breakpoint");
  return { kind, address, length };
}

const keyOf = (context: number, { kind, address, length }: Head): string =>
  `${context} ${kind} ${address.toString(16)} ${length}`;

/** `X len,expr` any number of times. */
function expressions(packet: PacketReader): Uint8Array<ArrayBuffer>[] {
  const found: Uint8Array<ArrayBuffer>[] = [];
  while (packet.accept("X")) {
    if (found.length >= MAX_EXPRESSIONS) throw new MalformedPacket("too many expressions");
    const length = packet.number();
    const code = packet.expect(",").hex(length);
    const checked = parseAgentExpression(code);
    if (checked instanceof Refusal) throw new MalformedPacket(checked.text);
    found.push(code);
  }
  return found;
}

function options(packet: PacketReader): Pick<Breakpoint, "conditions" | "commands"> {
  let conditions: Uint8Array<ArrayBuffer>[] = [], commands: Uint8Array<ArrayBuffer>[] = [];
  while (packet.accept(";")) {
    if (packet.accept("cmds:")) {
      // Whether they should outlive the debugger; nothing does.
      packet.number();
      packet.expect(",");
      commands = expressions(packet);
    } else if (!packet.atEnd) {
      conditions = [...conditions, ...expressions(packet)];
    }
  }
  if (!packet.atEnd) throw new MalformedPacket("an option of a breakpoint is not known");
  return { conditions, commands };
}

const same = (a: readonly Uint8Array[], b: readonly Uint8Array[]): boolean =>
  a.length === b.length && a.every((code, i) => code.length === b[i]!.length && code.every((x, at) => x === b[i]![at]));

function unchanged(old: Breakpoint | Watchpoint | undefined, point: Breakpoint | Watchpoint): boolean {
  if (old === undefined || old.space !== point.space) return false;
  if (!("conditions" in old) || !("conditions" in point)) return true;
  return same(old.conditions, point.conditions) && same(old.commands, point.commands);
}

async function insert(session: Session, packet: PacketReader): Promise<Reply> {
  const { context } = session.place, at = head(packet), key = keyOf(context, at);
  const old = session.points.get(key);
  if (old === undefined && session.points.size >= MAX_POINTS) return new Refusal("too many breakpoints", ERRNO.EINVAL);
  const { kind, address, length } = at;
  const common = { id: old?.id ?? session.newId(), context, space: session.spaceOf(context), address };
  let point: Breakpoint | Watchpoint;
  if (kind === "software" || kind === "hardware") point = { ...common, kind, ...options(packet) };
  else {
    if (length < 1 || length > MAX_WATCH_BYTES) return new Refusal(`cannot watch ${length} bytes`, ERRNO.EINVAL);
    point = { ...common, kind, length };
  }
  if (unchanged(old, point)) return "OK";
  const refusal = await session.target.insert(point);
  if (refusal !== undefined) return refusal;
  session.points.set(key, point);
  return "OK";
}

async function remove(session: Session, packet: PacketReader): Promise<Reply> {
  const key = keyOf(session.place.context, head(packet)), point = session.points.get(key);
  session.points.delete(key);
  // Removing what is not there is no error: the context may have gone and come back.
  if (point !== undefined) await session.target.remove(point.id);
  return "OK";
}

export const BREAKPOINTS: readonly PacketCommand[] = [
  { name: "Z", supports: ["ConditionalBreakpoints+", "BreakpointCommands+"], run: insert },
  { name: "z", run: remove },
];
