// What a user-mode network asks of its surroundings: the host's sockets, a clock, and a way to the guest. Tests have their
// own.

import type { SocketAddress } from "../../host/socket.ts";

/** A connected stream of the host. */
export interface HostTcp {
  /** Reads into `into`; null at the end of the stream. Rejects when the connection broke. */
  read(into: Uint8Array): Promise<number | null>;
  write(data: Uint8Array): Promise<number>;
  /** Ends our direction. */
  closeWrite(): Promise<void>;
  close(): void;
}

/** A socket for datagrams. */
export interface HostUdp {
  send(data: Uint8Array, ip: number, port: number): void;
  close(): void;
}

export interface HostSockets {
  /** Rejects when nobody answers. */
  connectTcp(address: SocketAddress): Promise<HostTcp>;
  /** A socket on the loopback, or on any address of the host. `receive` is told of what comes, until it is closed. */
  openUdp(loopback: boolean, receive: (data: Uint8Array, ip: number, port: number) => void): HostUdp;
  /** The name server that the host asks; null when there is none that we can. */
  readonly resolver: number | null;
}

/** The way to the guest. */
export interface GuestSide {
  /** A place for a net header and a frame, cleared as far as the header; null when there is no room now. */
  reserve(bytes: number): Uint8Array | null;
  commit(bytes: number): void;
  /** Whether the guest completes checksums, and takes large segments. */
  readonly takesChecksums: boolean;
  readonly takesSegments: boolean;
  /** Whether everything that was sent has been taken. */
  readonly drained: boolean;
}

export interface Surroundings {
  readonly sockets: HostSockets;
  readonly guest: GuestSide;
  nowMs(): number;
  random32(): number;
  /** Something happened outside that left work: `UserNet.work` is to be called soon. */
  poke(): void;
}
