// The table of all packets, by name. A packet that is not in it gets the empty reply, which tells the debugger so.

import { BREAKPOINTS } from "./commands/breakpoints.ts";
import { commandName, type PacketCommand } from "./commands/command.ts";
import { FILES } from "./commands/files.ts";
import { GENERAL, negotiate, supported } from "./commands/general.ts";
import { MEMORY } from "./commands/memory.ts";
import { MONITOR } from "./commands/monitor.ts";
import { REGISTERS } from "./commands/registers.ts";
import { RESUME } from "./commands/resume.ts";
import { TRANSFER } from "./commands/transfer.ts";

const FEATURES = [...GENERAL, ...REGISTERS, ...MEMORY, ...BREAKPOINTS, ...RESUME, ...TRANSFER, ...FILES, ...MONITOR];

export const PACKETS: readonly PacketCommand[] = [
  ...FEATURES,
  {
    name: "qSupported",
    run(session, packet) {
      negotiate(session, packet);
      return supported(FEATURES);
    },
  },
];

const BY_NAME: ReadonlyMap<string, PacketCommand> = new Map(PACKETS.map((command) => [command.name, command]));

/** The command of a packet, and where its arguments start; undefined for an unknown one. */
export function findPacket(data: Uint8Array): { readonly command: PacketCommand; readonly args: number } | undefined {
  const name = commandName(data), command = BY_NAME.get(name);
  return command === undefined ? undefined : { command, args: name.length };
}
