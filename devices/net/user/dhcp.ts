// The DHCP server, RFC 2131 and 2132: gives each Ethernet address an IP address of its own for as long as the network is
// there.

import { BROADCAST_IP, parseIp } from "./address.ts";
import type { UserNetConfig } from "./config.ts";
import { get16, get32, put16, put32 } from "./packet.ts";

const MAGIC = 0x6382_5363, OPTIONS_AT = 240, HARDWARE_BYTES = 6;
const MESSAGE = { DISCOVER: 1, OFFER: 2, REQUEST: 3, ACK: 5, NAK: 6, INFORM: 8 } as const;
const OPTION = {
  MASK: 1,
  ROUTER: 3,
  DNS: 6,
  HOSTNAME: 12,
  DOMAIN: 15,
  REQUESTED: 50,
  LEASE_TIME: 51,
  MESSAGE: 53,
  SERVER: 54,
  END: 255,
} as const;
const LEASE_SECONDS = 86400, BROADCAST_FLAG = 0x8000;
/** A server that has more to give away is of no use to a machine. */
const MOST_LEASES = 64;
/** Some clients want a reply to be as long as BOOTP's. */
const SHORTEST = 300;

export interface DhcpAnswer {
  readonly data: Uint8Array;
  readonly to: number;
  /** The address that is offered or given; 0 for none. */
  readonly leased: number;
}

export class DhcpServer {
  /** The address of the first guest. */
  readonly first: number;
  readonly #leases: string[] = [];

  constructor(private readonly config: UserNetConfig) {
    this.first = parseIp(config.dhcpStart)!;
  }

  /** What is to be sent in answer to a message; null for nothing. */
  answer(request: Uint8Array): DhcpAnswer | null {
    if (request.length < OPTIONS_AT || request[0] !== 1 || get32(request, 236) !== MAGIC) return null;
    // Ethernet.
    if (request[1] !== 1 || request[2] !== HARDWARE_BYTES) return null;
    const options = readOptions(request), kind = options.get(OPTION.MESSAGE)?.[0];
    const client = get32(request, 12), server = parseIp(this.config.host)!, named = ipOf(options.get(OPTION.SERVER));
    if (named !== null && named !== server) return null;
    const address = this.#addressOf(request.subarray(28, 28 + HARDWARE_BYTES));
    switch (kind) {
      case MESSAGE.DISCOVER:
        return address === null ? null : this.#reply(request, MESSAGE.OFFER, address);
      case MESSAGE.REQUEST: {
        const wanted = ipOf(options.get(OPTION.REQUESTED)) ?? client;
        return this.#reply(request, wanted === address ? MESSAGE.ACK : MESSAGE.NAK, address ?? 0);
      }
      case MESSAGE.INFORM:
        return this.#reply(request, MESSAGE.ACK, 0);
    }
    return null;
  }

  #addressOf(mac: Uint8Array): number | null {
    const name = mac.join(), known = this.#leases.indexOf(name);
    const n = known >= 0 ? known : this.#leases.length;
    const base = parseIp(this.config.net)!, last = (base + 2 ** (32 - this.config.bits) - 2) >>> 0;
    const taken = [this.config.host, this.config.dns, ...this.config.guestForwards.map(({ address }) => address)];
    let ip = this.first;
    for (let skipped = 0; skipped <= n || taken.some((address) => parseIp(address) === ip); ip++) {
      if (taken.some((address) => parseIp(address) === ip)) continue;
      if (skipped++ === n) break;
    }
    if (ip > last || n >= MOST_LEASES) return null;
    if (known < 0) this.#leases.push(name);
    return ip;
  }

  #reply(request: Uint8Array, kind: number, address: number): DhcpAnswer {
    const { host, dns, bits, restrict, hostname, domainName } = this.config, client = get32(request, 12);
    const server = parseIp(host)!, options: number[] = [OPTION.MESSAGE, 1, kind];
    const put = (option: number, ...bytes: number[]) => options.push(option, bytes.length, ...bytes);
    const word = (value: number) => [value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255];
    const name = (option: number, text: string | null) =>
      text !== null && put(option, ...new TextEncoder().encode(text).subarray(0, 255));
    put(OPTION.SERVER, ...word(server));
    const good = kind !== MESSAGE.NAK;
    if (good) {
      if (address !== 0) put(OPTION.LEASE_TIME, ...word(LEASE_SECONDS));
      put(OPTION.MASK, ...word((-1 << (32 - bits)) >>> 0));
      if (!restrict) {
        put(OPTION.ROUTER, ...word(server));
        put(OPTION.DNS, ...word(parseIp(dns)!));
      }
      name(OPTION.HOSTNAME, hostname);
      name(OPTION.DOMAIN, domainName);
    }
    options.push(OPTION.END);
    const data = new Uint8Array(Math.max(SHORTEST, OPTIONS_AT + options.length));
    data.set(request.subarray(0, 44));
    data[0] = 2;
    data[3] = 0;
    put32(data, 8, 0);
    put32(data, 12, good ? client : 0);
    put32(data, 16, good ? address : 0);
    put32(data, 20, server);
    put32(data, 236, MAGIC);
    data.set(options, OPTIONS_AT);
    // A client without an address hears what is sent to all.
    const broadcast = !good || client === 0 || (get16(request, 10) & BROADCAST_FLAG) !== 0;
    put16(data, 10, get16(request, 10));
    return { data, to: broadcast ? BROADCAST_IP : client, leased: good ? address : 0 };
  }
}

const ipOf = (option: Uint8Array | undefined): number | null =>
  option === undefined || option.length !== 4 ? null : get32(option, 0);

function readOptions(message: Uint8Array): Map<number, Uint8Array> {
  const options = new Map<number, Uint8Array>();
  for (let at = OPTIONS_AT; at < message.length && message[at] !== OPTION.END;) {
    if (message[at] === 0) {
      at++;
      continue;
    }
    const length = message[at + 1] ?? 0;
    if (at + 2 + length > message.length) break;
    options.set(message[at]!, message.subarray(at + 2, at + 2 + length));
    at += 2 + length;
  }
  return options;
}
