// Where the console of semihosting leads on the daemon's side: a character device, or the standard streams.

import type { CharacterBackend } from "../../../devices/host/character.ts";
import type { CharacterDevices } from "../chardevs.ts";
import type { MachineConfig } from "../config.ts";
import { StandardStream } from "./console.ts";

/** The console, and where that is standard error the standard output beside it. */
export type SemihostingStream = "console" | "output";

/** The streams of a configuration, in the order of their ports. */
export function semihostingStreams({ semihosting }: MachineConfig): SemihostingStream[] {
  if (semihosting === null || semihosting.target === "gdb") return [];
  return semihosting.chardev === null ? ["console", "output"] : ["console"];
}

/** What is at the other end of one. */
export function semihostingBackend(
  { semihosting, chardevs }: MachineConfig,
  devices: CharacterDevices,
  stream: SemihostingStream,
): CharacterBackend {
  const id = semihosting?.chardev ?? null;
  if (id !== null) return devices.attach(id, "semihosting");
  // Who has standard input on a character device does not share it.
  const reads = stream === "console" && !chardevs.some(({ backend }) => backend.kind === "stdio");
  return new StandardStream(stream === "console" ? "stderr" : "stdout", reads);
}
