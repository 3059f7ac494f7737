// What the control queue of a network device sets, VIRTIO 1.2 §5.1.6.5: filters by mode, address and VLAN for what is
// received, the address, and the offloads that the driver takes. Left out: announcements, queue pairs, receive-side scaling.

import { struct, type View } from "../../src/base/struct.ts";
import { NET_HEADER_BYTES, OFFLOAD } from "../net/offload.ts";
import type { VirtioTransport } from "./device.ts";
import { NET_F } from "./net_features.ts";

/** Classes and commands of the control queue, §5.1.6.5. */
export const CTRL_CLASS = { RX: 0, MAC: 1, VLAN: 2, GUEST_OFFLOADS: 5 } as const;
export const CTRL_MAC = { TABLE_SET: 0, ADDR_SET: 1 } as const;
const VLAN_ADD = 0, VLAN_DEL = 1, OFFLOADS_SET = 0;
export const ACK = { OK: 0, ERR: 1 } as const;
/** RX commands, in their order. */
const RX_MODES = ["promisc", "allMulti", "allUni", "noMulti", "noUni", "noBroadcast"] as const;
/** Addresses that are kept; with more, all of their kind are let in. */
const MOST_ADDRESSES = 64;

export const VIRTIO_NET_STATE = struct("virtioNet", {
  promisc: "u32",
  allMulti: "u32",
  allUni: "u32",
  noMulti: "u32",
  noUni: "u32",
  noBroadcast: "u32",
  /** Addresses in the table: unicast ones come first. All of a kind are let in when there were too many. */
  unicasts: "u32",
  multicasts: "u32",
  unicastOverflow: "u32",
  multicastOverflow: "u32",
  addresses: `u8[384]`,
  /** One bit per VLAN. */
  vlans: "u32[128]",
});

export class NetFilter {
  readonly #transport: VirtioTransport;
  readonly #state: View<typeof VIRTIO_NET_STATE.spec>;

  /** `macAt` is where the address lies in the transport's configuration; `setOffloads` takes OFFLOAD bits. */
  constructor(
    transport: VirtioTransport,
    private readonly macAt: number,
    private readonly setOffloads: (bits: number) => void,
  ) {
    this.#transport = transport;
    this.#state = VIRTIO_NET_STATE.at(transport.deviceState.buffer, transport.deviceState.base);
  }

  /** The state is all zeros: everything is let in until the driver says otherwise. */
  reset(): void {
    this.#state.promisc = 1;
    this.setOffloads(0);
  }

  /** The driver has chosen its features. */
  started(): void {
    const has = (feature: bigint) => this.#transport.has(feature);
    this.setOffloads(
      (has(NET_F.GUEST_CSUM) ? OFFLOAD.CSUM : 0) | (has(NET_F.GUEST_TSO4) ? OFFLOAD.TSO4 : 0) |
        (has(NET_F.GUEST_TSO6) ? OFFLOAD.TSO6 : 0),
    );
    // A driver that does not filter by VLAN gets all of them.
    if (!has(NET_F.CTRL_VLAN)) this.#state.vlans.fill(0xffff_ffff);
  }

  /** Whether the filters let a frame in. */
  passes(record: Uint8Array): boolean {
    const state = this.#state, at = NET_HEADER_BYTES;
    if (state.promisc !== 0) return true;
    if (record[at + 12] === 0x81 && record[at + 13] === 0) {
      const vlan = (record[at + 14]! & 15) << 8 | record[at + 15]!;
      if ((state.vlans[vlan >>> 5]! & 1 << (vlan & 31)) === 0) return false;
    }
    if ((record[at]! & 1) !== 0) {
      let broadcast = true;
      for (let i = 0; i < 6; i++) broadcast &&= record[at + i] === 255;
      if (broadcast) return state.noBroadcast === 0;
      if (state.noMulti !== 0) return false;
      if (state.allMulti !== 0 || state.multicastOverflow !== 0) return true;
      return this.#isListed(record, state.unicasts, state.unicasts + state.multicasts);
    }
    if (state.noUni !== 0) return false;
    if (state.allUni !== 0 || state.unicastOverflow !== 0) return true;
    if (sameAddress(record, at, this.#transport.config, this.macAt)) return true;
    return this.#isListed(record, 0, state.unicasts);
  }

  #isListed(record: Uint8Array, first: number, end: number): boolean {
    for (let n = first; n < end; n++) {
      if (sameAddress(record, NET_HEADER_BYTES, this.#state.addresses, 6 * n)) return true;
    }
    return false;
  }

  /** Whether the command was one that is known and made sense. */
  obey(kind: number, command: number, data: Uint8Array): boolean {
    const state = this.#state, has = (feature: bigint) => this.#transport.has(feature);
    const view = new DataView(data.buffer, data.byteOffset, data.length);
    switch (kind) {
      case CTRL_CLASS.RX: {
        const mode = RX_MODES[command];
        if (mode === undefined || data.length !== 1 || data[0]! > 1) return false;
        if (!has(command < 2 ? NET_F.CTRL_RX : NET_F.CTRL_RX_EXTRA)) return false;
        state[mode] = data[0]!;
        return true;
      }
      case CTRL_CLASS.MAC:
        if (command === CTRL_MAC.ADDR_SET && has(NET_F.CTRL_MAC_ADDR) && data.length === 6) {
          this.#transport.config.set(data, this.macAt);
          return true;
        }
        return command === CTRL_MAC.TABLE_SET && has(NET_F.CTRL_RX) && this.#setTable(data, view);
      case CTRL_CLASS.VLAN: {
        if (!has(NET_F.CTRL_VLAN) || data.length !== 2) return false;
        const vlan = view.getUint16(0, true), bit = 1 << (vlan & 31);
        if (vlan >= 4096 || (command !== VLAN_ADD && command !== VLAN_DEL)) return false;
        if (command === VLAN_ADD) state.vlans[vlan >>> 5]! |= bit;
        else state.vlans[vlan >>> 5]! &= ~bit;
        return true;
      }
      case CTRL_CLASS.GUEST_OFFLOADS: {
        if (!has(NET_F.CTRL_GUEST_OFFLOADS) || command !== OFFLOADS_SET || data.length !== 8) return false;
        const bits = view.getBigUint64(0, true);
        const known = [NET_F.GUEST_CSUM, NET_F.GUEST_TSO4, NET_F.GUEST_TSO6, NET_F.GUEST_ECN].filter(has);
        if ((bits & ~known.reduce((all, bit) => all | bit, 0n)) !== 0n) return false;
        const on = (feature: bigint, bit: number) => (bits & feature) !== 0n ? bit : 0;
        this.setOffloads(
          on(NET_F.GUEST_CSUM, OFFLOAD.CSUM) | on(NET_F.GUEST_TSO4, OFFLOAD.TSO4) | on(NET_F.GUEST_TSO6, OFFLOAD.TSO6),
        );
        return true;
      }
    }
    return false;
  }

  /** Two tables, each with its number of addresses: unicast, then multicast. */
  #setTable(data: Uint8Array, view: DataView): boolean {
    const tables: Uint8Array[] = [];
    let at = 0;
    for (let n = 0; n < 2; n++) {
      if (at + 4 > data.length) return false;
      const bytes = view.getUint32(at, true) * 6;
      if (at + 4 + bytes > data.length) return false;
      tables.push(data.subarray(at + 4, at + 4 + bytes));
      at += 4 + bytes;
    }
    if (at !== data.length) return false;
    const state = this.#state, [unicast, multicast] = tables as [Uint8Array, Uint8Array];
    const fits = (bytes: number) => bytes <= 6 * MOST_ADDRESSES;
    const unicastBytes = fits(unicast.length) ? unicast.length : 0;
    state.unicastOverflow = unicastBytes === unicast.length ? 0 : 1;
    const multicastBytes = fits(unicastBytes + multicast.length) ? multicast.length : 0;
    state.multicastOverflow = multicastBytes === multicast.length ? 0 : 1;
    state.addresses.set(unicast.subarray(0, unicastBytes));
    state.addresses.set(multicast.subarray(0, multicastBytes), unicastBytes);
    state.unicasts = unicastBytes / 6;
    state.multicasts = multicastBytes / 6;
    return true;
  }
}

function sameAddress(a: Uint8Array, aAt: number, b: Uint8Array, bAt: number): boolean {
  for (let i = 0; i < 6; i++) if (a[aAt + i] !== b[bAt + i]) return false;
  return true;
}
