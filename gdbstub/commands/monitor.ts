// qRcmd: `monitor …`. The target's commands, and the few that belong to the session, are rows of one table.

import { ascii, toHex } from "../bytes.ts";
import { PACKET_BYTES } from "../framing.ts";
import type { PacketReader } from "../packet.ts";
import type { Reply, Session } from "../session.ts";
import { ADDRESS_SPACES, CATCH_KINDS, type CommandCall, type MonitorCommand, Refusal } from "../target.ts";
import type { PacketCommand } from "./command.ts";

/** Text that fits into the final reply; more goes before it. */
const MAX_REPLY_BYTES = PACKET_BYTES / 4;

const bad = (text: string) => new Refusal(text);

function space(session: Session): MonitorCommand {
  return {
    name: "space",
    args: `[${ADDRESS_SPACES.join("|")}]`,
    help: "through what addresses of this inferior are understood",
    run(args, { place }) {
      if (args === "") return session.spaceOf(place.context);
      const wanted = ADDRESS_SPACES.find((name) => name === args);
      if (wanted === undefined) return bad(`"${args}" is not one of ${ADDRESS_SPACES.join(", ")}`);
      session.spaces.set(place.context, wanted);
      return `addresses of inferior ${place.context} are understood as ${wanted}`;
    },
  };
}

function stepIntoExceptions(session: Session): MonitorCommand {
  return {
    name: "step-into-exceptions",
    args: "[on|off]",
    help: "whether a step shows an exception or interrupt that is taken meanwhile",
    run(args) {
      if (args === "on" || args === "off") session.stepIntoExceptions = args === "on";
      else if (args !== "") return bad(`"${args}" is not on or off`);
      return `steps ${session.stepIntoExceptions ? "show exceptions" : "run through exceptions"}`;
    },
  };
}

/** `catch exit [CLASS]`, `catch enter`, `catch exception [EL] [CLASS]`, `catch eret`, `catch delete [ID]`, `catch`. */
function catching(session: Session): MonitorCommand {
  const { target } = session;
  const list = () => {
    const lines = [...session.catches.values()].map(({ id, kind, el, class: name }) =>
      [`${id}`, kind, el === null ? "" : `EL${el}`, name ?? ""].filter((word) => word !== "").join(" ")
    );
    return lines.length === 0 ? "nothing is caught" : lines.join("\n");
  };
  const remove = async (id: string) => {
    const ids = id === "" ? [...session.catches.keys()] : [Number(id)];
    for (const one of ids) {
      if (!session.catches.delete(one)) return bad(`there is no catchpoint ${id}`);
      await target.removeCatch(one);
    }
    return list();
  };
  return {
    name: "catch",
    args: "[exit [CLASS]|enter|exception [EL] [CLASS]|eret|delete [ID]]",
    help: "stop at world switches and exceptions",
    async run(args) {
      const [word = "", ...rest] = args.split(/\s+/);
      if (word === "") return list();
      if (word === "delete") return await remove(rest.join(" "));
      const kind = CATCH_KINDS.find((name) => name === word);
      if (kind === undefined) return bad(`"${word}" is not one of ${CATCH_KINDS.join(", ")}, delete`);
      const level = kind === "exception" ? /^(?:el)?([0-3])$/i.exec(rest[0] ?? "") : null;
      if (level !== null) rest.shift();
      const classes = target.catchClasses[kind], [name = null, ...more] = rest;
      if (more.length > 0 || (name !== null && !classes.includes(name))) {
        return bad(classes.length === 0 ? `catch ${kind} takes no class` : `classes are ${classes.join(", ")}`);
      }
      const point = { id: session.newId(), kind, el: level === null ? null : Number(level[1]), class: name };
      const refusal = await target.insertCatch(point);
      if (refusal !== undefined) return refusal;
      session.catches.set(point.id, point);
      return list();
    },
  };
}

function help(commands: readonly MonitorCommand[]): MonitorCommand {
  return {
    name: "help",
    args: "",
    help: "this list",
    run() {
      const lines = commands.map(({ name, args, help }) => [`${name} ${args}`.trim(), help] as const);
      const width = Math.min(Math.max(...lines.map(([usage]) => usage.length)), 40);
      return lines.map(([usage, text]) => `${usage.padEnd(width)}  ${text}`).join("\n");
    },
  };
}

export function monitorCommands(session: Session): readonly MonitorCommand[] {
  const commands = [...session.target.commands, catching(session), space(session), stepIntoExceptions(session)];
  commands.unshift(help(commands));
  return commands;
}

/** The command that a line names, by its words or unambiguous beginnings of them, and what follows. */
export function findCommand(
  commands: readonly MonitorCommand[],
  line: string,
): { readonly command: MonitorCommand; readonly args: string } | Refusal {
  const words = line.trim().split(/\s+/);
  const fits = (name: string, exact: boolean) =>
    name.split(" ").every((word, i) => exact ? words[i] === word : words[i] !== "" && word.startsWith(words[i] ?? "?"));
  const exact = commands.filter(({ name }) => fits(name, true));
  const found = exact.length > 0
    ? exact.sort((a, b) => b.name.length - a.name.length).slice(0, 1)
    : commands.filter(({ name }) => fits(name, false));
  const [command] = found;
  if (found.length > 1) return bad(`"${line.trim()}" could be ${found.map(({ name }) => name).join(", ")}`);
  if (command === undefined) return bad(`"${line.trim()}" is not known: try monitor help`);
  let args = line.trim();
  for (let i = command.name.split(" ").length; i > 0; i--) args = args.replace(/^\S+\s*/, "");
  return { command, args };
}

async function perform(session: Session, line: string): Promise<string | Refusal> {
  const found = findCommand(monitorCommands(session), line.trim() === "" ? "help" : line);
  if (found instanceof Refusal) return found;
  // The selected thread may have gone with its virtual machine; the machine is there all the same.
  const place = session.selected ?? { context: 1, thread: 1 };
  const call: CommandCall = {
    place,
    space: session.spaceOf(place.context),
    write: (text) => session.output(text),
    get cancelled() {
      return session.cancelled;
    },
  };
  session.inMonitor = true;
  try {
    return await found.command.run(found.args, call);
  } finally {
    session.inMonitor = false;
  }
}

async function monitor(session: Session, packet: PacketReader): Promise<Reply> {
  const result = await perform(session, packet.expect(",").hexText());
  // gdb before error-message+ shows no error's text here, but any output.
  if (result instanceof Refusal && session.errorMessages) return result;
  const text = result instanceof Refusal ? result.text : result;
  if (text === "") return "OK";
  const data = ascii(text.endsWith("\n") ? text : `${text}\n`);
  if (data.length <= MAX_REPLY_BYTES) return toHex(data);
  session.inMonitor = true;
  session.output(text.endsWith("\n") ? text : `${text}\n`);
  session.inMonitor = false;
  return "OK";
}

export const MONITOR: readonly PacketCommand[] = [{ name: "qRcmd", run: monitor }];
