// The daemon's side of a network: what takes frames off a port's ring and puts others there.

import { clearHeader, NET_HEADER_BYTES } from "./offload.ts";
import type { NetPort } from "./port.ts";

export interface NetworkEnd {
  /** As messages call it: `stream:tcp:127.0.0.1:1234`. */
  readonly name: string;
  /** What can be said about its state now, for the monitor; "" for nothing. */
  readonly state: string;
  /** Whether `service` would find nothing to do now. */
  readonly idle: boolean;
  /** There may be frames from the guest, or room for frames to it. */
  service(): void;
  close(): void;
}

/** What an end is handed: the port, and how the machine is woken. */
export interface PortSide {
  readonly port: NetPort;
  /** Records were put: wakes the machine. */
  readonly wake: () => void;
}

/** Records were taken off the ring from the guest: wakes the machine if it waits for that. */
export function tookRecords({ port, wake }: PortSide): void {
  if (port.machineWantsRoom) wake();
}

/** Puts a plain frame on the ring to the guest; false when there is no room. The caller wakes the machine. */
export function giveFrame(port: NetPort, frame: Uint8Array): boolean {
  const place = port.toGuest.reserve(NET_HEADER_BYTES + frame.length);
  if (place === null) return false;
  clearHeader(place);
  place.set(frame, NET_HEADER_BYTES);
  port.toGuest.commit(place.length);
  return true;
}

/** Tells the guest whether its link is up, LINK bits; false when there is no room. */
export const giveLink = (port: NetPort, bits: number): boolean => port.toGuest.push(Uint8Array.of(bits));
