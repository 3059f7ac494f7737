// What a user-mode network is made of, as plain data.

import type { SocketAddress } from "../../host/socket.ts";

/** `hostfwd`: what comes to the host's address goes to the guest's. */
export interface Forward {
  readonly protocol: "tcp" | "udp";
  readonly hostAddress: string;
  /** 0 takes any. */
  readonly hostPort: number;
  /** Null: the first guest. */
  readonly guestAddress: string | null;
  readonly guestPort: number;
}

/** `guestfwd`: what the guest sends to an address of the network goes to a socket of the host. */
export interface GuestForward {
  readonly address: string;
  readonly port: number;
  readonly to: SocketAddress;
}

export interface UserNetConfig {
  /** The network's address and the bits of its mask. */
  readonly net: string;
  readonly bits: number;
  /** The gateway, which stands for the host. */
  readonly host: string;
  readonly dns: string;
  readonly dhcpStart: string;
  readonly hostname: string | null;
  readonly domainName: string | null;
  /** Nothing but the forwards gets through. */
  readonly restrict: boolean;
  readonly forwards: readonly Forward[];
  readonly guestForwards: readonly GuestForward[];
}
