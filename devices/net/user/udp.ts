// UDP between the guest and the world. For each port of the guest's there is a socket of the host; answers come in only
// from where the guest has sent to. Ports of the host that are forwarded have flows of their own. All of it is forgotten
// when it has not been used for a while, and the oldest goes when there are too many.

import { LOOPBACK_IP } from "./address.ts";
import type { HostUdp, Surroundings } from "./host.ts";

const MOST_FLOWS = 256, MOST_PEERS = 256;
const IDLE_MS = 60_000;

/** Where the guest sends to, as it sees it. */
export interface UdpEnds {
  readonly guestIp: number;
  readonly guestPort: number;
  readonly ip: number;
  readonly port: number;
}

interface Flow {
  readonly socket: HostUdp;
  /** Who may answer, and as whom the guest knows them. */
  readonly peers: Map<string, { readonly ip: number; readonly port: number }>;
  usedMs: number;
}
interface ForwardedFlow {
  readonly reply: (data: Uint8Array) => void;
  usedMs: number;
}

export interface UdpOwner {
  toGuest(from: number, fromPort: number, to: number, toPort: number, data: Uint8Array): void;
  readonly gateway: number;
}

const key = (...parts: number[]): string => parts.join();

export class UdpFlows {
  readonly #flows = new Map<string, Flow>();
  readonly #forwarded = new Map<string, ForwardedFlow>();

  constructor(private readonly around: Surroundings, private readonly owner: UdpOwner) {}

  /** The guest sends to `ends`, which really is at `real`. */
  send(ends: UdpEnds, real: number, data: Uint8Array): void {
    const { guestIp, guestPort, ip, port } = ends, loopback = real >>> 24 === LOOPBACK_IP >>> 24;
    const name = key(guestIp, guestPort, loopback ? 1 : 0),
      flow = this.#flows.get(name) ?? this.#open(guestIp, guestPort, loopback);
    // Used last, so that it stands at the end.
    this.#flows.delete(name);
    this.#flows.set(name, flow);
    flow.usedMs = this.around.nowMs();
    const peer = key(real, port);
    flow.peers.delete(peer);
    flow.peers.set(peer, { ip, port });
    if (flow.peers.size > MOST_PEERS) flow.peers.delete(flow.peers.keys().next().value!);
    flow.socket.send(data, real, port);
  }

  #open(guestIp: number, guestPort: number, loopback: boolean): Flow {
    if (this.#flows.size >= MOST_FLOWS) {
      const [name, oldest] = this.#flows.entries().next().value!;
      this.#flows.delete(name);
      oldest.socket.close();
    }
    const peers: Flow["peers"] = new Map();
    const socket = this.around.sockets.openUdp(loopback, (data, fromIp, fromPort) => {
      const peer = peers.get(key(fromIp, fromPort));
      if (peer !== undefined) this.owner.toGuest(peer.ip, peer.port, guestIp, guestPort, data);
    });
    return { socket, peers, usedMs: 0 };
  }

  /** A datagram came to a forwarded port. */
  forwarded(
    guestIp: number,
    guestPort: number,
    data: Uint8Array,
    ip: number,
    port: number,
    reply: (data: Uint8Array, ip: number, port: number) => void,
  ): void {
    const seenIp = ip >>> 24 === LOOPBACK_IP >>> 24 ? this.owner.gateway : ip;
    const name = key(guestIp, guestPort, seenIp, port);
    this.#forwarded.delete(name);
    this.#forwarded.set(name, { reply: (answer) => reply(answer, ip, port), usedMs: this.around.nowMs() });
    if (this.#forwarded.size > MOST_FLOWS) this.#forwarded.delete(this.#forwarded.keys().next().value!);
    this.owner.toGuest(seenIp, port, guestIp, guestPort, data);
  }

  /** Whether what the guest sends is an answer to a forwarded datagram; then it was sent. */
  answered(guestIp: number, guestPort: number, ip: number, port: number, data: Uint8Array): boolean {
    const flow = this.#forwarded.get(key(guestIp, guestPort, ip, port));
    if (flow === undefined) return false;
    flow.usedMs = this.around.nowMs();
    flow.reply(data);
    return true;
  }

  get deadlineMs(): number {
    const first = this.#flows.values().next().value;
    return first === undefined ? Infinity : first.usedMs + IDLE_MS;
  }
  tick(now: number): void {
    for (const [name, { usedMs, socket }] of this.#flows) {
      if (usedMs + IDLE_MS > now) break;
      this.#flows.delete(name);
      socket.close();
    }
    for (const [name, { usedMs }] of this.#forwarded) if (usedMs + IDLE_MS <= now) this.#forwarded.delete(name);
  }

  close(): void {
    for (const { socket } of this.#flows.values()) socket.close();
    this.#flows.clear();
  }
}
