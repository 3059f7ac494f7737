// Character devices on the command line: -chardev, and -serial, whose older spellings stand for the same. What a
// sub-option belongs to and what it may be is checked here; that sockets and files can be opened, when they are.

import { UsageError } from "../../base/errors.ts";
import { RING_BUFFER_BYTES } from "../../../devices/host/ring_buffer.ts";
import type { SocketAddress } from "../../../devices/host/socket.ts";
import type { ChardevBackend, ChardevConfig } from "../config.ts";
import { field, fieldsOption, flag, type Given, type Option, option, readFields, within } from "./declare.ts";
import { choice, count, FILE, onOff, text, type ValueKind } from "./values.ts";

const LOOPBACK = "127.0.0.1", LOOPBACK_6 = "::1";
const PORT = count("PORT", 0, 65535);
const HOST: ValueKind<string> = { form: "HOST", parse: (value) => value.replace(/^\[(.*)\]$/, "$1") };
/** A few days: what a timer can hold. */
const LONGEST_RECONNECT_S = 1e6;

const POWER_OF_TWO: ValueKind<number> = {
  form: "BYTES",
  parse(value) {
    const size = count("BYTES", 1, 2 ** 26).parse(value);
    if (!Number.isInteger(Math.log2(size))) throw new UsageError(`"${value}" is not a power of two`);
    return size;
  },
};

const BACKENDS = ["stdio", "null", "file", "pipe", "pty", "socket", "udp", "ringbuf"] as const;
type Kind = (typeof BACKENDS)[number];

/** Sub-options of every backend. */
const COMMON_FIELDS = {
  id: field(text("ID"), "its name, for -serial chardev:ID"),
  mux: field(onOff, "escape keys, and room for several users (off)"),
  logfile: field(FILE, "keep a copy of the output"),
  logappend: field(onOff, "add to logfile (off)"),
};

/** Of sockets, which -serial tcp: and its like take too. */
const SOCKET_FIELDS = {
  server: field(onOff, "socket: listen; otherwise connect (off)"),
  wait: field(onOff, "socket: start when the first client is there (on)"),
  reconnect: field(count("SECONDS", 0, LONGEST_RECONNECT_S), "socket: a client tries again after so long (0: never)"),
  "reconnect-ms": field(count("MS", 0, LONGEST_RECONNECT_S * 1000), "socket: the same in milliseconds"),
  telnet: field(onOff, "socket: speak the telnet protocol (off)"),
  nodelay: field(onOff, "socket: send small packets at once (on)"),
  delay: field(onOff, "socket: the opposite of nodelay"),
  ipv4: field(onOff, "socket, udp: accepted"),
  ipv6: field(onOff, "socket, udp: without host, the loopback of IPv6"),
};

const CHARDEV_FIELDS = {
  backend: field(choice(...BACKENDS), "where it leads"),
  ...COMMON_FIELDS,
  host: field(HOST, `socket, udp: a name or an address (${LOOPBACK})`),
  port: field(PORT, "socket, udp: a TCP or UDP port"),
  path: field(FILE, "socket: a Unix socket; file, pipe: the file"),
  ...SOCKET_FIELDS,
  localaddr: field(HOST, `udp: where input is received (${LOOPBACK})`),
  localport: field(PORT, "udp: the port there (any)"),
  append: field(onOff, "file: add to it (off)"),
  "input-path": field(FILE, "file: input comes from this file"),
  signal: field(onOff, "stdio: Ctrl-C on the terminal ends the run (off)"),
  size: field(POWER_OF_TWO, `ringbuf: how much is kept, a power of two (${RING_BUFFER_BYTES})`),
};
type GivenChardev = Given<typeof CHARDEV_FIELDS>;
type FieldName = keyof typeof CHARDEV_FIELDS;

const OWN_FIELDS: Readonly<Record<Kind, readonly FieldName[]>> = {
  stdio: ["signal"],
  null: [],
  file: ["path", "append", "input-path"],
  pipe: ["path"],
  pty: [],
  socket: ["host", "port", "path", ...Object.keys(SOCKET_FIELDS) as FieldName[]],
  udp: ["host", "port", "localaddr", "localport", "ipv4", "ipv6"],
  ringbuf: ["size"],
};

function needed<T>(value: T | undefined, name: string): T {
  if (value === undefined) throw new UsageError(`needs ${name}`);
  return value;
}

function backendOf(kind: Kind, given: GivenChardev): ChardevBackend {
  switch (kind) {
    case "null":
    case "pty":
      return { kind };
    case "stdio":
      return { kind, signal: given.signal === true };
    case "file":
      return {
        kind,
        path: needed(given.path, "path"),
        append: given.append === true,
        inputPath: given["input-path"] ?? null,
      };
    case "pipe":
      return { kind, path: needed(given.path, "path") };
    case "ringbuf":
      return { kind, sizeBytes: given.size ?? RING_BUFFER_BYTES };
    case "udp":
      return {
        kind,
        host: given.host || loopback(given),
        port: needed(given.port, "port"),
        localHost: given.localaddr || loopback(given, given.host),
        localPort: given.localport ?? 0,
      };
    case "socket":
      return socketOf(given);
  }
}

/** The loopback address of the family that is asked for, or that `peer` has. */
function loopback(given: GivenChardev, peer = ""): string {
  return peer.includes(":") || (given.ipv6 === true && given.ipv4 !== true) ? LOOPBACK_6 : LOOPBACK;
}

function addressOf(given: GivenChardev): SocketAddress {
  const { path, port, host } = given;
  if (path !== undefined) {
    if (port !== undefined || host !== undefined) throw new UsageError("path and host or port exclude each other");
    return { kind: "unix", path };
  }
  if (port === undefined) throw new UsageError("needs path, or port");
  return { kind: "tcp", host: host || loopback(given), port };
}

function socketOf(given: GivenChardev): ChardevBackend {
  const address = addressOf(given), server = given.server === true;
  const reconnectMs = given["reconnect-ms"] ?? (given.reconnect ?? 0) * 1000;
  if (given["reconnect-ms"] !== undefined && given.reconnect !== undefined) {
    throw new UsageError("reconnect and reconnect-ms exclude each other");
  }
  if (given.wait !== undefined && !server) throw new UsageError('"wait" needs server=on');
  if (reconnectMs > 0 && server) throw new UsageError('"reconnect" and server=on exclude each other');
  if (address.kind === "tcp" && address.port === 0 && !server) throw new UsageError("port 0 needs server=on");
  return {
    kind: "socket",
    address,
    server,
    wait: server && given.wait !== false,
    telnet: given.telnet === true,
    noDelay: given.nodelay ?? !(given.delay ?? false),
    reconnectMs: reconnectMs > 0 ? reconnectMs : null,
  };
}

/** The configuration that the sub-options make; `id` is the one that they do not name. */
function chardevOf(kind: Kind, id: string, given: GivenChardev): ChardevConfig {
  for (const name of Object.keys(given) as FieldName[]) {
    if (name === "backend" || name in COMMON_FIELDS || OWN_FIELDS[kind].includes(name)) continue;
    throw new UsageError(`sub-option "${name}" does not belong to ${kind}`);
  }
  const { mux, logfile, logappend } = given;
  if (logappend !== undefined && logfile === undefined) throw new UsageError('"logappend" needs logfile');
  return {
    id,
    backend: backendOf(kind, given),
    mux: mux === undefined ? (kind === "stdio" ? "auto" : "off") : mux ? "on" : "off",
    log: logfile === undefined ? null : { path: logfile, append: logappend === true },
  };
}

/** What the options say. */
export interface ChardevDraft {
  chardevs: ChardevConfig[];
  /** The serial port: a device of its own, or one of `chardevs`. */
  serial: ChardevConfig | { readonly chardev: string } | null;
  nographic: boolean;
  escapeKey: number | null;
}

export const newChardevDraft = (): ChardevDraft => ({ chardevs: [], serial: null, nographic: false, escapeKey: null });

function addChardev(draft: ChardevDraft, given: GivenChardev): void {
  const { backend, id } = given;
  if (backend === undefined) throw new UsageError(`needs a backend: one of ${BACKENDS.join(", ")}`);
  if (id === undefined) throw new UsageError(`${backend}: needs id`);
  draft.chardevs.push(within(backend, () => chardevOf(backend, id, given)));
}

/** The only serial port's device, unless -chardev made it. */
const SERIAL_ID = "serial0";

/** `HOST:PORT` before a comma; the host may be empty. */
function hostPort(kind: string, words: string): { host: string; port: number } {
  const match = /^(\[[^\]]*\]|[^:]*):(\d+)$/.exec(words);
  if (!match) throw new UsageError(`"${kind}:${words}" is not ${kind}:[HOST]:PORT`);
  const port = Number(match[2]);
  if (port > 65535) throw new UsageError(`port ${match[2]} is not from 0 to 65535`);
  return { host: HOST.parse(match[1]!), port };
}

/** `[HOST]:PORT[@[LOCAL HOST]:LOCAL PORT]`. */
function udpGiven(words: string): GivenChardev {
  const [remote = "", local] = words.split("@", 2);
  const to = hostPort("udp", remote), from = local === undefined ? null : hostPort("udp", local);
  return { ...to, ...(from === null ? {} : { localaddr: from.host, localport: from.port }) };
}

/** One of the older spellings. */
function legacy(value: string): ChardevConfig {
  const plain = ["stdio", "null", "pty"] as const, simple = plain.find((kind) => kind === value);
  if (simple !== undefined) return chardevOf(simple, SERIAL_ID, {});
  if (value === "none") return chardevOf("null", SERIAL_ID, {});
  const colon = value.indexOf(":"), kind = colon < 0 ? value : value.slice(0, colon), rest = value.slice(colon + 1);
  switch (colon < 0 ? "" : kind) {
    // As in QEMU the rest is the path, commas and all.
    case "file":
    case "pipe":
      if (rest === "") throw new UsageError(`"${value}" names no path`);
      return chardevOf(kind as Kind, SERIAL_ID, { path: rest });
    case "udp":
      return chardevOf("udp", SERIAL_ID, udpGiven(rest));
    case "unix":
    case "tcp":
    case "telnet": {
      const comma = /^(?:[^,]|,,)*/.exec(rest)![0].length, address = rest.slice(0, comma).replaceAll(",,", ",");
      if (kind === "unix" && address === "") throw new UsageError(`"${value}" names no path`);
      const at: GivenChardev = kind === "unix" ? { path: address } : hostPort(kind, address);
      const fields = { ...COMMON_FIELDS, ...SOCKET_FIELDS };
      const given = comma < rest.length
        ? within(kind, () => readFields(fields, null, rest.slice(comma + 1), true))
        : {};
      return within(
        kind,
        () => chardevOf("socket", SERIAL_ID, { ...given, ...at, ...(kind === "telnet" ? { telnet: true } : {}) }),
      );
    }
  }
  throw new UsageError(`"${value}" is not one of ${SERIAL.choices!.join(", ")}`);
}

/** What -serial takes. */
const SERIAL: ValueKind<NonNullable<ChardevDraft["serial"]>> = {
  form: "BACKEND",
  choices: ["stdio", "null", "none", "pty", "file:", "pipe:", "tcp:", "telnet:", "unix:", "udp:", "chardev:", "mon:"],
  parse(value) {
    if (value.startsWith("mon:")) return { ...legacy(value.slice(4)), mux: "on" };
    if (!value.startsWith("chardev:")) return legacy(value);
    const chardev = value.slice("chardev:".length);
    if (chardev === "") throw new UsageError(`"${value}" names no device`);
    return { chardev };
  },
};

export function chardevOptions<D extends ChardevDraft>(): readonly Option<D>[] {
  return [
    fieldsOption("chardev", "backend", CHARDEV_FIELDS, "a character device", addChardev, true),
    option(
      "serial",
      SERIAL,
      `the host's end of the serial port (stdio): ${SERIAL.choices!.join(" ")}`,
      (draft: D, serial) => {
        if (draft.serial) throw new UsageError("the board has one serial port: given twice");
        draft.serial = serial;
      },
    ),
    flag("nographic", "the serial port is on standard input and output, with escape keys", (draft: D) => {
      draft.nographic = true;
    }),
    option("echr", count("BYTE", 0, 255), "the escape key (1, Ctrl-A); 0 for none", (draft: D, key) => {
      draft.escapeKey = key;
    }),
    option("display", choice("none"), "accepted: there is no display", () => {}),
    option("monitor", choice("none", "null"), "accepted: there is no monitor", () => {}),
    option("parallel", choice("none", "null"), "accepted: there is no parallel port", () => {}),
  ];
}

/** Their part of the configuration, with the serial port on the terminal unless the options say otherwise. */
export function chardevConfig(
  { chardevs, serial, nographic, escapeKey }: ChardevDraft,
): { chardevs: ChardevConfig[]; serial: string; escapeKey: number } {
  const terminal = (): ChardevConfig => ({
    id: SERIAL_ID,
    backend: { kind: "stdio", signal: false },
    mux: nographic ? "on" : "auto",
    log: null,
  });
  const port = serial ?? terminal(), all = "chardev" in port ? chardevs : [...chardevs, port];
  const id = "chardev" in port ? port.chardev : port.id;
  if (!all.some((device) => device.id === id)) {
    throw new UsageError(`option -serial: there is no -chardev with id=${id}`);
  }
  const twice = all.find((device, n) => all.findIndex((other) => other.id === device.id) < n);
  if (twice) throw new UsageError(`option -chardev: there are two devices with id=${twice.id}`);
  if (all.filter(({ backend }) => backend.kind === "stdio").length > 1) {
    throw new UsageError("only one character device can have stdio");
  }
  return { chardevs: all, serial: id, escapeKey: escapeKey ?? 1 };
}
