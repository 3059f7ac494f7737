// The network on the command line: -netdev, and -nic, which is a -netdev with its device. What the fields say is checked
// here; that sockets can be opened, when they are.

import { UsageError } from "../../base/errors.ts";
import type { SocketAddress } from "../../../devices/host/socket.ts";
import { formatIp, parseIp } from "../../../devices/net/user/address.ts";
import type { Forward, GuestForward, UserNetConfig } from "../../../devices/net/user/config.ts";
import type { FrameDumpConfig, NetdevBackend, NetdevConfig, VirtioConfig } from "../config.ts";
import { field, type Fields, type Given, type Option, repeatedField, type Variant, variant } from "./declare.ts";
import { variantsOption } from "./declare.ts";
import { choice, count, FILE, onOff, text, type ValueKind } from "./values.ts";

export type NetDeviceConfig = Extract<VirtioConfig, { kind: "net" }>;

export interface NetDraft {
  netdevs: { readonly id: string; readonly backend: NetdevBackend }[];
  dumps: FrameDumpConfig[];
  /** Devices that -nic asked for, behind those that are named. */
  nics: NetDeviceConfig[];
  /** `-nic none` was said. */
  noNet: boolean;
}
export const newNetDraft = (): NetDraft => ({ netdevs: [], dumps: [], nics: [], noNet: false });

const LOOPBACK = "127.0.0.1";
const PORT = count("PORT", 0, 65535);

/** Six bytes; the first one's lowest bit is for groups. */
export const MAC_ADDRESS: ValueKind<readonly number[]> = {
  form: "MAC",
  parse(value) {
    if (!/^([0-9a-f]{2}[:-]){5}[0-9a-f]{2}$/i.test(value)) throw new UsageError(`"${value}" is not a MAC address`);
    const bytes = value.split(/[:-]/).map((byte) => parseInt(byte, 16));
    if ((bytes[0]! & 1) !== 0) throw new UsageError(`${value} is a group's address`);
    return bytes;
  },
};

const IP: ValueKind<string> = {
  form: "ADDRESS",
  parse(value) {
    if (parseIp(value) === null) throw new UsageError(`"${value}" is not an IPv4 address`);
    return value;
  },
};

/** `ADDRESS[/BITS]` or `ADDRESS/MASK`. */
const NET: ValueKind<{ readonly address: string; readonly bits: number }> = {
  form: "ADDRESS[/BITS]",
  parse(value) {
    const [address = "", length] = value.split("/"), ip = parseIp(address), mask = parseIp(length ?? "");
    const bits = length === undefined ? 24 : mask === null ? Number(length) : Math.clz32(~mask);
    const whole = mask === null || bits === 32 || (mask << bits) === 0;
    if (ip === null || !whole || !/^\d+$|\./.test(length ?? "24") || !(bits >= 8 && bits <= 29)) {
      throw new UsageError(`"${value}" is not an IPv4 network of 8 to 29 bits`);
    }
    return { address: formatIp((ip & (-1 << (32 - bits))) >>> 0), bits };
  },
};

const ipOr = (value: string, otherwise: string): string => value === "" ? otherwise : IP.parse(value);
const port = (value: string): number => {
  const number = PORT.parse(value);
  if (number === 0) throw new UsageError("port 0 is none");
  return number;
};

/** `[tcp|udp]:[HOST]:PORT-[GUEST]:PORT`; host port 0 takes any. */
const HOSTFWD: ValueKind<Forward> = {
  form: "tcp|udp:[HOST]:PORT-[GUEST]:PORT",
  parse(value) {
    const match = /^(tcp|udp|):([^:]*):(\d+)-([^:]*):(\d+)$/.exec(value);
    if (match === null) throw new UsageError(`"${value}" is not ${this.form}`);
    const [, protocol, host, hostPort, guest, guestPort] = match as unknown as string[];
    return {
      protocol: protocol === "udp" ? "udp" : "tcp",
      hostAddress: ipOr(host!, LOOPBACK),
      hostPort: PORT.parse(hostPort!),
      guestAddress: guest === "" ? null : IP.parse(guest!),
      guestPort: port(guestPort!),
    };
  },
};

/** `[tcp]:ADDRESS:PORT-tcp:HOST:PORT` or `…-unix:PATH`. */
const GUESTFWD: ValueKind<GuestForward> = {
  form: "tcp:ADDRESS:PORT-tcp:HOST:PORT|unix:PATH",
  parse(value) {
    const match = /^(?:tcp|):([^:]+):(\d+)-(?:tcp:([^:]+):(\d+)|unix:(.+))$/.exec(value);
    if (match === null) throw new UsageError(`"${value}" is not ${this.form}`);
    const [, address, at, host, hostPort, path] = match;
    const to: SocketAddress = path === undefined
      ? { kind: "tcp", host: host!, port: port(hostPort!) }
      : { kind: "unix", path };
    return { address: IP.parse(address!), port: port(at!), to };
  },
};

const LONGEST_RECONNECT_S = 1e6;
const STREAM_FIELDS = {
  server: field(onOff, "listen; otherwise connect (off)"),
  "addr.type": field(choice("inet", "unix"), "what the other addr fields name (inet)"),
  "addr.host": field(text("HOST"), `a name or an address (${LOOPBACK})`),
  "addr.port": field(PORT, "a TCP port"),
  "addr.path": field(FILE, "a Unix socket"),
  "addr.ipv4": field(onOff, "accepted"),
  reconnect: field(count("SECONDS", 0, LONGEST_RECONNECT_S), "a client tries again after so long (0: never)"),
  "reconnect-ms": field(count("MS", 0, LONGEST_RECONNECT_S * 1000), "the same in milliseconds"),
};

function streamOf(given: Given<typeof STREAM_FIELDS>): NetdevBackend {
  const { "addr.type": type, "addr.host": host, "addr.port": at, "addr.path": path } = given;
  const unix = type === "unix";
  if (unix ? path === undefined : at === undefined) throw new UsageError(`needs ${unix ? "addr.path" : "addr.port"}`);
  if (unix ? host !== undefined || at !== undefined : path !== undefined) {
    throw new UsageError(
      `addr.type=${unix ? "unix" : "inet"} has no ${unix ? "addr.host and addr.port" : "addr.path"}`,
    );
  }
  const server = given.server ?? false, ms = given["reconnect-ms"] ?? 1000 * (given.reconnect ?? 0);
  if (server && ms > 0) throw new UsageError("a server does not reconnect");
  const address: SocketAddress = unix
    ? { kind: "unix", path: path! }
    : { kind: "tcp", host: host ?? LOOPBACK, port: at! };
  return { kind: "stream", address, server, reconnectMs: ms > 0 ? ms : null };
}

const HOST_PORT: ValueKind<SocketAddress> = {
  form: "[HOST]:PORT",
  parse(value) {
    const match = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(value);
    if (match === null) throw new UsageError(`"${value}" is not [HOST]:PORT`);
    return { kind: "tcp", host: match[1]!.replace(/^\[(.*)\]$/, "$1") || LOOPBACK, port: PORT.parse(match[2]!) };
  },
};
const SOCKET_FIELDS = {
  listen: field(HOST_PORT, "wait for another machine here"),
  connect: field(HOST_PORT, "connect to another machine"),
};

function socketOf({ listen, connect }: Given<typeof SOCKET_FIELDS>): NetdevBackend {
  if ((listen === undefined) === (connect === undefined)) throw new UsageError("needs one of listen and connect");
  return { kind: "stream", address: (listen ?? connect)!, server: listen !== undefined, reconnectMs: null };
}

const USER_FIELDS = {
  net: field(NET, "the guest's network (10.0.2.0/24)"),
  host: field(IP, "the gateway, which stands for this host (.2 of net)"),
  dns: field(IP, "the name server (.3 of net)"),
  dhcpstart: field(IP, "the first address that is given to guests (.15 of net)"),
  hostname: field(text("NAME"), "the guest's name, by DHCP"),
  domainname: field(text("NAME"), "its domain, by DHCP"),
  restrict: field(onOff, "nothing but hostfwd and guestfwd gets through (off)"),
  hostfwd: repeatedField(HOSTFWD, `a port of the host (${LOOPBACK}) leads to one of the guest's`),
  guestfwd: repeatedField(GUESTFWD, "a connection of the guest's to ADDRESS leads there"),
  ipv4: field(onOff, "accepted: on"),
  ipv6: field(choice("off"), "accepted: there is no IPv6"),
};

function userOf(given: Given<typeof USER_FIELDS>): NetdevBackend {
  if (given.ipv4 === false) throw new UsageError("without IPv4 nothing is left");
  const net = given.net ?? { address: "10.0.2.0", bits: 24 }, base = parseIp(net.address)!;
  const size = 2 ** (32 - net.bits), at = (n: number) => formatIp((base + n) >>> 0);
  const config: UserNetConfig = {
    net: net.address,
    bits: net.bits,
    host: given.host ?? at(2),
    dns: given.dns ?? at(3),
    dhcpStart: given.dhcpstart ?? at(Math.min(15, size - 2)),
    hostname: given.hostname ?? null,
    domainName: given.domainname ?? null,
    restrict: given.restrict ?? false,
    forwards: given.hostfwd ?? [],
    guestForwards: given.guestfwd ?? [],
  };
  const inside = (name: string, address: string) => {
    const offset = parseIp(address)! - base;
    if (offset < 1 || offset > size - 2) throw new UsageError(`${name}: ${address} is not a host of the network`);
  };
  inside("host", config.host);
  inside("dns", config.dns);
  inside("dhcpstart", config.dhcpStart);
  if (new Set([config.host, config.dns, config.dhcpStart]).size < 3) {
    throw new UsageError("host, dns and dhcpstart must differ");
  }
  for (const { address } of config.guestForwards) {
    inside("guestfwd", address);
    if (address === config.host || address === config.dns) throw new UsageError(`guestfwd: ${address} is taken`);
  }
  return { kind: "user", ...config };
}

const DGRAM_FIELDS = {
  "local.type": field(choice("inet"), "accepted"),
  "local.host": field(text("HOST"), `where frames are received (${LOOPBACK})`),
  "local.port": field(PORT, "the UDP port there"),
  "remote.type": field(choice("inet"), "accepted"),
  "remote.host": field(text("HOST"), `where frames are sent to (${LOOPBACK})`),
  "remote.port": field(PORT, "the UDP port there"),
};

function dgramOf(given: Given<typeof DGRAM_FIELDS>): NetdevBackend {
  const { "local.port": localPort, "remote.port": remotePort } = given;
  if (localPort === undefined || remotePort === undefined) throw new UsageError("needs local.port and remote.port");
  return {
    kind: "dgram",
    localHost: given["local.host"] ?? LOOPBACK,
    localPort,
    host: given["remote.host"] ?? LOOPBACK,
    port: remotePort,
  };
}

const HUB_FIELDS = {
  hubid: field(count("N", 0, 2 ** 31), "the hub"),
  netdev: field(text("ID"), "the -netdev that is at this port (the network device)"),
};
const hubOf = ({ hubid, netdev }: Given<typeof HUB_FIELDS>): NetdevBackend => {
  if (hubid === undefined) throw new UsageError("needs hubid");
  return { kind: "hub", hub: hubid, netdev: netdev ?? null };
};

/** One kind of backend: its sub-options and what they make. */
interface Kind {
  readonly name: string;
  readonly help: string;
  readonly fields: Fields;
  readonly make: (given: Given<Fields>) => NetdevBackend;
}
const kind = <const F extends Fields>(
  name: string,
  help: string,
  fields: F,
  make: (given: Given<F>) => NetdevBackend,
) => ({ name, help, fields, make: make as Kind["make"] }) satisfies Kind;
const KINDS: readonly Kind[] = [
  kind("user", "a network of its own behind this host's sockets", USER_FIELDS, userOf),
  kind("stream", "frames over a TCP or Unix socket", STREAM_FIELDS, streamOf),
  kind("socket", "the same in older words", SOCKET_FIELDS, socketOf),
  kind("dgram", "a frame in each UDP datagram", DGRAM_FIELDS, dgramOf),
  kind("hubport", "a port of a hub inside this process", HUB_FIELDS, hubOf),
];

const ID_FIELD = { id: field(text("ID"), "its name, for netdev=ID") };
const NIC_FIELDS = {
  ...ID_FIELD,
  model: field(choice("virtio-net-device", "virtio", "virtio-net"), "the device (virtio-net-device)"),
  mac: field(MAC_ADDRESS, "the guest's address"),
};

function addNetdev(draft: NetDraft, id: string, backend: NetdevBackend): void {
  if (draft.netdevs.some((other) => other.id === id)) throw new UsageError(`there are two with id=${id}`);
  draft.netdevs.push({ id, backend });
}

const DUMP_FIELDS = {
  id: field(text("ID"), "its name"),
  netdev: field(text("ID"), "its -netdev"),
  file: field(FILE, "a pcap file that is written"),
  maxlen: field(count("BYTES", 14, 65536), "how much of each frame is kept (65536)"),
};
function addDump(draft: NetDraft, { id, netdev, file, maxlen }: Given<typeof DUMP_FIELDS>): void {
  if (id === undefined || netdev === undefined || file === undefined) {
    throw new UsageError("needs id, netdev and file");
  }
  draft.dumps.push({ netdev, file, mostBytes: maxlen ?? 65536 });
}
export const netObjects = <D extends NetDraft>(): readonly Variant<D>[] => [
  variant("filter-dump", DUMP_FIELDS, "writes a network's frames to a file", addDump),
];

const noNet = (draft: NetDraft) => void (draft.noNet = true);

/** The draft with user-mode networking if nothing is said of a network; null when something is. */
export function withDefaultNic<D extends NetDraft>(draft: D): D | null {
  if (draft.noNet || draft.netdevs.length > 0) return null;
  const id = "nic0";
  return {
    ...draft,
    netdevs: [{ id, backend: userOf({}) }],
    nics: [netDevice({ netdev: id })],
  };
}

export function netOptions<D extends NetDraft>(): readonly Option<D>[] {
  return [
    variantsOption(
      "netdev",
      "type",
      "the other end of a network device",
      KINDS.map(({ name, help, fields, make }) =>
        variant<D, Fields>(name, { ...ID_FIELD, ...fields }, help, (draft, given) => {
          if (typeof given.id !== "string") throw new UsageError("needs id");
          addNetdev(draft, given.id, make(given));
        })
      ),
    ),
    variantsOption("nic", "type", "a network device with its other end", [
      ...KINDS.map(({ name, help, fields, make }) =>
        variant<D, Fields>(name, { ...NIC_FIELDS, ...fields }, help, (draft, given) => {
          const { id, mac } = given as Given<typeof NIC_FIELDS>, netdev = id ?? `nic${draft.nics.length}`;
          addNetdev(draft, netdev, make(given));
          draft.nics.push(netDevice({ netdev, mac }));
        })
      ),
      variant("none", {}, "no network", noNet),
    ]),
    variantsOption("net", "type", "accepted", [variant("none", {}, "no network", noNet)]),
  ];
}

export const NET_FIELDS = {
  netdev: field(text("ID"), "its -netdev"),
  mac: field(MAC_ADDRESS, "the guest's address (52:54:00:12:34:56, and on)"),
  host_mtu: field(count("BYTES", 68, 65535), "what the guest is told (nothing)"),
};

export function netDevice(
  given: { netdev?: string | undefined; mac?: readonly number[] | undefined; host_mtu?: number | undefined },
  common: { id: string; slot: number | null } = { id: "", slot: null },
): NetDeviceConfig {
  if (given.netdev === undefined) throw new UsageError("needs netdev");
  return { ...common, kind: "net", netdev: given.netdev, mac: given.mac ?? [], mtu: given.host_mtu ?? 0 };
}

/** All back ends. Each has one device at most, or is at a hub. */
export function netConfig(draft: NetDraft, devices: readonly VirtioConfig[]): NetdevConfig[] {
  const used = new Set<string>();
  for (const device of devices) {
    if (device.kind !== "net") continue;
    if (!draft.netdevs.some(({ id }) => id === device.netdev)) {
      throw new UsageError(`option -device: virtio-net-device: there is no -netdev with id=${device.netdev}`);
    }
    if (used.has(device.netdev)) throw new UsageError(`option -device: netdev ${device.netdev} has two devices`);
    used.add(device.netdev);
  }
  // Ports of hubs that are other networks'.
  for (const { id, backend } of draft.netdevs) {
    if (backend.kind !== "hub" || backend.netdev === null) continue;
    const { netdev } = backend, other = draft.netdevs.find((each) => each.id === netdev);
    const mistake = used.has(id)
      ? `${id} has a device and a netdev`
      : other === undefined || other.backend.kind === "hub"
      ? `there is no -netdev with id=${netdev} for it`
      : used.has(netdev)
      ? `netdev ${netdev} has two uses`
      : null;
    if (mistake !== null) throw new UsageError(`option -netdev: hubport: ${mistake}`);
    used.add(netdev);
  }
  for (const { netdev } of draft.dumps) {
    if (!used.has(netdev)) throw new UsageError(`option -object: filter-dump: netdev ${netdev} is not in use`);
  }
  return draft.netdevs.map((netdev) => ({ ...netdev, dumps: draft.dumps.filter((dump) => dump.netdev === netdev.id) }));
}

const FIRST_MAC = [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
/** Devices without an address of their own get QEMU's, one after the other. */
export function withAddresses(devices: readonly VirtioConfig[]): VirtioConfig[] {
  const taken = new Set(devices.flatMap((device) => device.kind === "net" ? [device.mac.join()] : []));
  let next = FIRST_MAC[5]!;
  return devices.map((device) => {
    if (device.kind !== "net" || device.mac.length > 0) return device;
    let mac: number[];
    do mac = [...FIRST_MAC.slice(0, 5), next++ & 255]; while (taken.has(mac.join()));
    return { ...device, mac };
  });
}
