// Serial input as it crosses to the machine in a ring of bytes, breaks among them: 0xff stands twice for itself, and
// before 0 for a break, as terminals with PARMRK have it. The input log holds the same bytes.

import { RECEIVED_BREAK } from "../../devices/pl011.ts";
import { BREAK, type Input } from "../../devices/host/character.ts";

const MARK = 0xff, BREAK_CODE = 0;

/** Daemon: input as bytes. */
export function encodeInput(input: Input): Uint8Array {
  if (input === BREAK) return Uint8Array.of(MARK, BREAK_CODE);
  if (!input.includes(MARK)) return input;
  return Uint8Array.from([...input].flatMap((byte) => byte === MARK ? [MARK, MARK] : [byte]));
}

/** Machine: wraps what takes the next byte (-1 for none) so that it gives what a UART receives. */
export function decodeInput(take: () => number): () => number {
  let marked = false;
  return () => {
    for (let byte = take(); byte >= 0; byte = take()) {
      if (byte === MARK && !marked) {
        marked = true;
        continue;
      }
      if (!marked) return byte;
      marked = false;
      return byte === BREAK_CODE ? RECEIVED_BREAK : byte;
    }
    return -1;
  };
}
