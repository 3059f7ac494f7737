// A packet as a row of data: its name, what qSupported announces for it, and what it does.

import type { PacketReader } from "../packet.ts";
import type { Reply, Session } from "../session.ts";
import type { Awaitable } from "../target.ts";

export interface PacketCommand {
  /** Letters after `q`, `Q` or `v`, else one character: `m`, `qSupported`, `vCont`. */
  readonly name: string;
  /** Features of qSupported's reply. */
  readonly supports?: readonly string[];
  /** gdb before 16 takes a refusal's text for data here: it gets a number. */
  readonly plainErrors?: true;
  /** `packet` stands after the name. */
  readonly run: (session: Session, packet: PacketReader) => Awaitable<Reply>;
}

/** The name of the command in a packet: `qC`, `qCRC`, `vFile`, `m`. */
export function commandName(data: Uint8Array): string {
  const first = String.fromCharCode(data[0] ?? 0);
  if (first !== "q" && first !== "Q" && first !== "v") return first;
  let end = 1;
  while (end < data.length && end < 32 && isLetter(data[end]!)) end++;
  return String.fromCharCode(...data.subarray(0, end));
}

const isLetter = (code: number): boolean => (code | 0x20) >= 0x61 && (code | 0x20) <= 0x7a;
