// Running: vCont with all its actions, the older c, C, s and S, vStopped, vCtrlC, and the end of a file request (F).
// Signals mean nothing to a machine: `continue with signal` continues.

import { MalformedPacket, type PacketReader, type ThreadId } from "../packet.ts";
import type { Reply, Session } from "../session.ts";
import { type Action, actionFor, ERRNO, type Place, Refusal, type Resumption } from "../target.ts";
import type { PacketCommand } from "./command.ts";

/** gdb's number of the pc, for `c ADDRESS`. */
const PC = 32;
const MAX_ACTIONS = 1024;

function action(session: Session, packet: PacketReader): Action {
  const { stepIntoExceptions: intoExceptions } = session;
  if (packet.accept("c")) return { kind: "continue" };
  if (packet.accept("C")) {
    packet.number();
    return { kind: "continue" };
  }
  if (packet.accept("s")) return { kind: "step", intoExceptions };
  if (packet.accept("S")) {
    packet.number();
    return { kind: "step", intoExceptions };
  }
  if (packet.accept("t")) return { kind: "stop" };
  if (packet.accept("r")) {
    const start = packet.wide();
    return { kind: "range", start, end: packet.expect(",").wide(), intoExceptions };
  }
  throw new MalformedPacket("an action is not known");
}

/** Whom an id names; nobody when it is a thread that does not exist. */
function resumption(session: Session, id: ThreadId, action: Action): Resumption[] {
  if (id.thread > 0) return session.matching(id).map((place) => ({ ...place, action }));
  return [{ context: id.context !== null && id.context > 0 ? id.context : null, thread: null, action }];
}

async function vCont(session: Session, packet: PacketReader): Promise<Reply> {
  if (packet.accept("?")) return "vCont;c;C;s;S;t;r";
  const resumptions: Resumption[] = [];
  let actions = 0;
  while (packet.accept(";")) {
    actions++;
    const what = action(session, packet);
    const id = packet.accept(":") ? packet.thread() : { context: -1, thread: -1 };
    resumptions.push(...resumption(session, id, what));
    if (resumptions.length > MAX_ACTIONS) throw new MalformedPacket("too many actions");
  }
  if (!packet.atEnd || actions === 0) throw new MalformedPacket("an action is missing");
  // The thread may have gone with its virtual machine, of which the debugger is told now.
  if (resumptions.length === 0 && !session.hasReports) return new Refusal("there is no such thread", ERRNO.ENOENT);
  return await (session.nonStop ? resumeNonStop(session, resumptions) : session.resume(resumptions));
}

/** Threads that already do what is asked are left alone, so that each gets exactly one stop reply. */
async function resumeNonStop(session: Session, resumptions: readonly Resumption[]): Promise<Reply> {
  const wanted: (Place & { action: Action })[] = [];
  for (const place of session.places()) {
    const what = actionFor(resumptions, place);
    if (what !== undefined && (what.kind === "stop") !== session.isStopped(place)) {
      wanted.push({ ...place, action: what });
    }
  }
  session.markRunning(wanted.filter(({ action }) => action.kind !== "stop"));
  return wanted.length === 0 ? "OK" : await session.resume(wanted);
}

/** `c [ADDRESS]`, `s [ADDRESS]`, `C SIGNAL[;ADDRESS]`, `S …`, of the thread that Hc selected. */
async function resumeOne(
  session: Session,
  packet: PacketReader,
  what: Action,
  withSignal: boolean,
): Promise<Reply> {
  if (withSignal) packet.number();
  if (!packet.atEnd && (!withSignal || packet.accept(";"))) {
    const pc = new Uint8Array(8);
    new DataView(pc.buffer).setBigUint64(0, packet.wide(), true);
    const refusal = await session.target.writeRegister(session.place, PC, pc);
    if (refusal !== undefined) return refusal;
  }
  const id = session.resumedThread;
  // A step is one thread's; with no thread named it is the current one's.
  const ids = what.kind === "step" && id.thread <= 0 ? [session.place] : [id];
  const resumptions = ids.flatMap((one) => resumption(session, one, what));
  const others: Resumption = { context: null, thread: null, action: { kind: "continue" } };
  return await session.resume(what.kind === "step" ? [...resumptions, others] : resumptions);
}

/** `F RESULT[,ERRNO[,C]]`: the debugger's host has performed the call; what was running runs on. */
async function endFileCall(session: Session, packet: PacketReader): Promise<Reply> {
  if (session.fileCall === null) return null;
  const negative = packet.accept("-"), size = packet.number();
  const errno = packet.accept(",") && !packet.accept("C") ? packet.number() : 0;
  const interrupted = packet.until(";").includes("C");
  await session.endFileCall({ result: negative ? -size : size, errno, interrupted });
  return null;
}

export const RESUME: readonly PacketCommand[] = [
  { name: "vCont", supports: ["vContSupported+"], run: vCont },
  { name: "c", run: (session, packet) => resumeOne(session, packet, { kind: "continue" }, false) },
  { name: "C", run: (session, packet) => resumeOne(session, packet, { kind: "continue" }, true) },
  {
    name: "s",
    run: (session, packet) =>
      resumeOne(session, packet, { kind: "step", intoExceptions: session.stepIntoExceptions }, false),
  },
  {
    name: "S",
    run: (session, packet) =>
      resumeOne(session, packet, { kind: "step", intoExceptions: session.stepIntoExceptions }, true),
  },
  { name: "vStopped", run: (session) => session.nextNotification() },
  {
    name: "vCtrlC",
    async run(session) {
      await session.interrupt();
      return "OK";
    },
  },
  { name: "F", run: endFileCall },
];
