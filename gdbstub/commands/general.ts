// Packets about the session itself: negotiation, threads, attaching and letting go ("General Query Packets").

import { PACKET_BYTES } from "../framing.ts";
import { MalformedPacket, type PacketReader } from "../packet.ts";
import type { Reply, Session } from "../session.ts";
import { ERRNO, type Place, Refusal } from "../target.ts";
import { textToHex } from "../bytes.ts";
import type { PacketCommand } from "./command.ts";

/** Features of gdb's own qSupported, and what each lets us do. */
const CLIENT_FEATURES: Readonly<Record<string, (session: Session) => void>> = {
  "multiprocess+": (session) => session.multiprocess = true,
  "swbreak+": (session) => session.reportsBreakpointKind.swbreak = true,
  "hwbreak+": (session) => session.reportsBreakpointKind.hwbreak = true,
  "exec-events+": (session) => session.execEvents = true,
  "error-message+": (session) => session.errorMessages = true,
};

/** Our answer to qSupported: what is always there, and what the commands of the table announce. */
export function supported(commands: readonly PacketCommand[]): string {
  return [
    `PacketSize=${PACKET_BYTES.toString(16)}`,
    "multiprocess+",
    "swbreak+",
    "hwbreak+",
    "exec-events+",
    "error-message+",
    ...commands.flatMap(({ supports }) => supports ?? []),
  ].join(";");
}

/** Reads gdb's qSupported. */
export function negotiate(session: Session, packet: PacketReader): void {
  if (!packet.accept(":")) return;
  for (const feature of packet.until("").split(";")) {
    if (Object.hasOwn(CLIENT_FEATURES, feature)) CLIENT_FEATURES[feature]!(session);
  }
}

function threadList(session: Session): string {
  const names = session.places().map((place) => session.threadName(place));
  return names.length === 0 ? "l" : `m${names.join(",")}`;
}

/** `name, state` of a thread, for debuggers that do not read qXfer:threads. */
function threadText(session: Session, place: Place): string {
  const thread = session.threads(place.context).find(({ id }) => id === place.thread);
  return thread === undefined ? "" : `${thread.name}, ${thread.state}`;
}

const onOff = (text: string): boolean => {
  if (text !== "0" && text !== "1") throw new MalformedPacket("0 or 1 is missing");
  return text === "1";
};

async function detach(session: Session, context: number | null): Promise<Reply> {
  if (session.running) return new Refusal("the machine is running", ERRNO.EINVAL);
  // One that has ended in the meantime needs no more.
  const wanted = session.contexts().map(({ id }) => id).filter((id) => context === null || id === context);
  for (const id of wanted) await session.detach(id);
  return "OK";
}

export const GENERAL: readonly PacketCommand[] = [
  {
    name: "QStartNoAckMode",
    supports: ["QStartNoAckMode+"],
    run(session) {
      session.noAck = true;
      return "OK";
    },
  },
  {
    name: "!",
    run(session) {
      session.extended = true;
      return "OK";
    },
  },
  { name: "?", run: (session) => session.status() },
  {
    name: "H",
    run(session, packet) {
      const use = packet.accept("g") ? "g" : packet.accept("c") ? "c" : null;
      if (use === null) throw new MalformedPacket("Hg or Hc");
      return session.setThread(use, packet.thread()) ? "OK" : new Refusal("there is no such thread", ERRNO.ENOENT);
    },
  },
  {
    name: "T",
    run: (session, packet) =>
      session.matching(packet.thread()).length > 0 ? "OK" : new Refusal("there is no such thread", ERRNO.ENOENT),
  },
  { name: "qC", run: (session) => `QC${session.threadName(session.place)}` },
  { name: "qfThreadInfo", run: threadList },
  { name: "qsThreadInfo", run: () => "l" },
  {
    name: "qThreadExtraInfo",
    plainErrors: true,
    run(session, packet) {
      const [place] = session.matching(packet.expect(",").thread());
      return place === undefined
        ? new Refusal("there is no such thread", ERRNO.ENOENT)
        : textToHex(threadText(session, place));
    },
  },
  // Attached, not started: gdb then offers to detach when it quits, instead of killing.
  { name: "qAttached", run: () => "1" },
  {
    name: "QNonStop",
    supports: ["QNonStop+"],
    run: (session, packet) => session.setNonStop(onOff(packet.expect(":").until(""))),
  },
  {
    name: "QThreadEvents",
    supports: ["QThreadEvents+"],
    run(session, packet) {
      session.threadEvents = onOff(packet.expect(":").until(""));
      return "OK";
    },
  },
  {
    name: "D",
    run: (session, packet) => detach(session, packet.accept(";") ? packet.number() : null),
  },
  {
    name: "vAttach",
    async run(session, packet) {
      const context = packet.expect(";").number();
      await session.attach();
      session.detached.delete(context);
      return session.nonStop ? "OK" : await session.statusOf(context);
    },
  },
  { name: "vKill", run: (session, packet) => session.kill(packet.expect(";").number()) },
  {
    name: "k",
    async run(session) {
      await session.kill(1);
      return null;
    },
  },
  // The machine starts what it was given on its command line: a file name and arguments mean nothing here.
  { name: "vRun", run: (session) => session.restart() },
  {
    name: "R",
    async run(session) {
      const reply = await session.restart();
      return reply instanceof Refusal ? reply : null;
    },
  },
];
