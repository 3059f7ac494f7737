// What network tests stand on: a port with a gate that lets everything in, and frames.

import type { InputGate } from "../../devices/net/input.ts";
import { NET_HEADER_BYTES } from "../../devices/net/offload.ts";
import { createPortMemory, NetPort, PortBackend } from "../../devices/net/port.ts";

export const openGate: InputGate = {
  replaying: false,
  frame: (_port, host) => host(),
  frameTaken: (_port, host) => host(),
};

/** Both sides of a port, and how often the machine's side rang. */
export function portPair() {
  const port = new NetPort(createPortMemory()), count = { rung: 0, nowMs: 0 };
  const backend = new PortBackend({
    port,
    index: 0,
    gate: openGate,
    ring: () => count.rung++,
    nowMs: () => count.nowMs,
    waitForRoom: null,
  });
  return { port, backend, count };
}

/** A frame behind a header that asks for nothing, or for what `header` says. */
export function record(frame: Uint8Array, header: readonly number[] = []): Uint8Array {
  const out = new Uint8Array(NET_HEADER_BYTES + frame.length);
  out.set(header);
  out.set(frame, NET_HEADER_BYTES);
  return out;
}

export const MAC = Uint8Array.of(0x52, 0x54, 0, 0x12, 0x34, 0x56);
export const BROADCAST = new Uint8Array(6).fill(255);

export function ethernet(to: Uint8Array, type: number, payload: Uint8Array, from = MAC): Uint8Array {
  return Uint8Array.of(...to, ...from, type >>> 8, type & 255, ...payload);
}
