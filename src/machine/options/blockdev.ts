// `-blockdev`: disks as nodes, QEMU's newer way to say what -drive says. A format node (raw, qcow2) stands on a protocol node
// (file, host_device, nbd), named or nested with dots (`file.driver=file,file.filename=PATH`), or the whole is JSON.

import { UsageError } from "../../base/errors.ts";
import type { DriveConfig, DriveSource } from "../config.ts";
import { type Option, within } from "./declare.ts";
import { RECONNECT_DELAY_S } from "./drive.ts";
import { count, onOff, splitFields } from "./values.ts";

/** A node as it was said. */
interface Node {
  readonly [key: string]: string | Node;
}

export interface BlockdevDraft {
  /** By node-name, in order. */
  blockdevs: Map<string, Node>;
}
export const newBlockdevDraft = (): BlockdevDraft => ({ blockdevs: new Map() });

/** The keys that a node of each driver may have. */
const PROTOCOLS = {
  file: ["filename", "aio", "locking"],
  host_device: ["filename", "aio", "locking"],
  nbd: ["server", "export", "reconnect-delay"],
} as const;
const FORMATS = ["raw", "qcow2"] as const;
const COMMON = ["driver", "node-name", "read-only", "auto-read-only", "discard", "cache", "detect-zeroes"];

function parse(argument: string): Node {
  if (argument.startsWith("{")) {
    try {
      return plain(JSON.parse(argument));
    } catch {
      throw new UsageError("is not JSON");
    }
  }
  const node: Record<string, string | Node> = {};
  for (const { key, value } of splitFields(argument, "driver")) {
    if (value === null) throw new UsageError(`sub-option "${key}" needs a value`);
    const path = key.split("."), last = path.pop()!;
    let at = node;
    for (const step of path) {
      const next = Object.hasOwn(at, step) ? at[step] : at[step] = {};
      if (typeof next === "string") throw new UsageError(`sub-option "${step}" is a value and has parts`);
      at = next as Record<string, string | Node>;
    }
    at[last] = value;
  }
  return node;
}

/** JSON with its leaves as the command line has them. */
function plain(value: Record<string, unknown>): Node {
  return Object.fromEntries(
    Object.entries(value).map(([key, part]) => {
      if (typeof part === "boolean") return [key, part ? "on" : "off"];
      return [key, typeof part === "object" && part !== null ? plain(part as Record<string, unknown>) : String(part)];
    }),
  );
}

const words = (node: Node, key: string): string | undefined => {
  const value = node[key];
  if (typeof value === "object") throw new UsageError(`sub-option "${key}" is a value`);
  return value;
};
const flag = (node: Node, key: string): boolean | undefined => {
  const value = words(node, key);
  return value === undefined ? undefined : within(key, () => onOff.parse(value));
};

function known(node: Node, keys: readonly string[]): void {
  const other = Object.keys(node).find((key) => !keys.includes(key) && !COMMON.includes(key));
  if (other !== undefined) throw new UsageError(`sub-option "${other}" is not known`);
}

function sourceOf(node: Node): DriveSource & { readonly reconnectDelayS?: number } {
  const driver = words(node, "driver");
  if (driver !== "file" && driver !== "host_device" && driver !== "nbd") {
    throw new UsageError(`driver "${driver ?? ""}" is not one of ${Object.keys(PROTOCOLS).join(", ")}`);
  }
  known(node, PROTOCOLS[driver]);
  if (driver !== "nbd") {
    const path = words(node, "filename");
    if (path === undefined) throw new UsageError(`${driver} needs filename`);
    return { kind: "file", path };
  }
  const { server } = node, delay = words(node, "reconnect-delay");
  if (typeof server !== "object") throw new UsageError("nbd needs server.type and what belongs to it");
  const type = words(server, "type"), path = words(server, "path"), port = words(server, "port");
  const exportName = words(node, "export") ?? "";
  const reconnectDelayS = delay === undefined ? RECONNECT_DELAY_S : count("SECONDS", 0, 1e6).parse(delay);
  if (type === "unix" && path !== undefined) {
    return { kind: "nbd", address: { kind: "unix", path }, exportName, reconnectDelayS };
  }
  if (type !== "inet" || port === undefined) {
    throw new UsageError("server needs type=unix and path, or type=inet and port");
  }
  const address = {
    kind: "tcp",
    host: words(server, "host") ?? "127.0.0.1",
    port: count("PORT", 1, 65535).parse(port),
  } as const;
  return { kind: "nbd", address, exportName, reconnectDelayS };
}

/** The disk that a node is. */
function driveOf(draft: BlockdevDraft, id: string, node: Node): DriveConfig {
  const driver = words(node, "driver"), format = FORMATS.find((name) => name === driver);
  if (format !== undefined) known(node, ["file"]);
  const file = format === undefined ? node : node["file"];
  const protocol = typeof file === "string" ? draft.blockdevs.get(file) : file;
  if (protocol === undefined) {
    throw new UsageError(typeof file === "string" ? `there is no node ${file}` : `${format} needs file`);
  }
  const { reconnectDelayS = RECONNECT_DELAY_S, ...source } = sourceOf(protocol);
  if (source.kind === "nbd" && format === "qcow2") throw new UsageError("an NBD server's image is raw");
  const discards = [node, protocol].every((part) => ["unmap", "on"].includes(words(part, "discard") ?? "ignore"));
  const cache = node["cache"], unsafe = typeof cache === "object" && flag(cache, "no-flush") === true;
  return {
    id,
    source,
    format: format ?? "raw",
    readOnly: flag(node, "read-only") ?? false,
    snapshot: false,
    discard: discards,
    writeBack: true,
    unsafe,
    reconnectDelayMs: 1000 * reconnectDelayS,
  };
}

/** The disks among the nodes: those that no other stands on. */
export function blockdevDrives(draft: BlockdevDraft): DriveConfig[] {
  const under = new Set([...draft.blockdevs.values()].map((node) => node["file"]));
  return [...draft.blockdevs].filter(([name]) => !under.has(name)).map(([name, node]) =>
    within(`option -blockdev: ${name}`, () => driveOf(draft, name, node))
  );
}

export function blockdevOption<D extends BlockdevDraft>(): Option<D> {
  return {
    names: ["blockdev"],
    form: "DRIVER,node-name=ID[,NAME=VALUE…]",
    help: "a disk as nodes: raw or qcow2 with file=ID, or file.driver=file|host_device|nbd, file.filename=FILE, …",
    fields: {},
    choices: [...FORMATS, ...Object.keys(PROTOCOLS)],
    apply(draft, argument) {
      const node = parse(argument), name = words(node, "node-name");
      if (name === undefined) throw new UsageError("needs node-name");
      if (draft.blockdevs.has(name)) throw new UsageError(`there are two nodes with node-name=${name}`);
      draft.blockdevs.set(name, node);
    },
  };
}
