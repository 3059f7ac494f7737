// Disks on the command line: -drive with QEMU's fields. What the fields say is checked here; that files and servers can
// be opened, when they are.

import { UsageError } from "../../base/errors.ts";
import type { DriveConfig, DriveSource } from "../config.ts";
import { field, fieldsOption, type Given, type Option } from "./declare.ts";
import { choice, count, onOff, text, type ValueKind } from "./values.ts";

export interface DriveDraft {
  drives: DriveConfig[];
  /** Drives that get a device of their own, behind all devices that are named. */
  boardDrives: { readonly drive: string; readonly serial: string }[];
}
export const newDriveDraft = (): DriveDraft => ({ drives: [], boardDrives: [] });

const NBD_PORT = 10809;
/** How long requests wait for a server that is gone. */
export const RECONNECT_DELAY_S = 10;
const wrong = (text: string, form: string) => new UsageError(`"${text}" is not ${form}`);

/** `nbd:HOST:PORT[:exportname=NAME]`, `nbd:unix:PATH[:exportname=NAME]`. */
function oldNbd(name: string): DriveSource {
  const match = /^nbd:(?:unix:(?<path>[^:]+)|(?<host>\[[^\]]*\]|[^:]*):(?<port>\d+))(?::exportname=(?<name>.*))?$/.exec(
    name,
  );
  if (match === null) throw wrong(name, "nbd:HOST:PORT or nbd:unix:PATH");
  const { path, host, port, name: exportName = "" } = match.groups!;
  if (path !== undefined) return { kind: "nbd", address: { kind: "unix", path }, exportName };
  return { kind: "nbd", address: tcp(host!, port!), exportName };
}

const tcp = (host: string, port: string) => {
  if (Number(port) > 65535) throw new UsageError(`port ${port} is not from 0 to 65535`);
  return { kind: "tcp", host: host.replace(/^\[(.*)\]$/, "$1") || "127.0.0.1", port: Number(port) } as const;
};

/** `nbd://HOST[:PORT]/[NAME]`, `nbd+unix:///[NAME]?socket=PATH`. */
function nbdUri(name: string): DriveSource {
  const unix = /^nbd\+unix:\/\/\/([^?]*)\?socket=(.+)$/.exec(name);
  const plain = /^nbd(?:\+tcp)?:\/\/(\[[^\]]*\]|[^:/]*)(?::(\d+))?(?:\/(.*))?$/.exec(name);
  const decoded = (part: string) => {
    try {
      return decodeURIComponent(part);
    } catch {
      throw wrong(name, "a URI");
    }
  };
  if (unix !== null) {
    return { kind: "nbd", address: { kind: "unix", path: decoded(unix[2]!) }, exportName: decoded(unix[1]!) };
  }
  if (plain === null) throw wrong(name, "nbd://HOST[:PORT]/[NAME] or nbd+unix:///[NAME]?socket=PATH");
  return { kind: "nbd", address: tcp(plain[1]!, plain[2] ?? String(NBD_PORT)), exportName: decoded(plain[3] ?? "") };
}

const SOURCE: ValueKind<DriveSource> = {
  form: "FILE|nbd:…|nbd://…|nbd+unix://…",
  parse(value) {
    if (value === "") throw new UsageError("names no file");
    if (/^nbd(\+\w+)?:\/\//.test(value)) return nbdUri(value);
    if (value.startsWith("nbd:")) return oldNbd(value);
    return { kind: "file", path: value.startsWith("file:") ? value.slice(5) : value };
  },
};

/** QEMU's cache modes: whether writes wait for the disk, and whether flushes do anything. Pages are always cached. */
const CACHE = {
  writeback: { writeBack: true, unsafe: false },
  none: { writeBack: true, unsafe: false },
  writethrough: { writeBack: false, unsafe: false },
  directsync: { writeBack: false, unsafe: false },
  unsafe: { writeBack: true, unsafe: true },
} as const;

const DRIVE_FIELDS = {
  file: field(SOURCE, "the image, or the NBD server that has it"),
  format: field(choice("raw", "qcow2"), "of the image (found out)"),
  if: field(choice("virtio", "none"), "virtio: make a virtio-blk-device for it (virtio)"),
  id: field(text("ID"), "its name, for drive=ID"),
  readonly: field(onOff, "the guest cannot write (off)"),
  snapshot: field(onOff, "what is written goes away with the machine (off)"),
  discard: field(choice("ignore", "unmap", "on", "off"), "whether discards reach the image (ignore)"),
  cache: field(
    choice(...Object.keys(CACHE) as (keyof typeof CACHE)[]),
    "writeback or none: as asked for; writethrough or directsync: every write is flushed; unsafe: no flushes (writeback)",
  ),
  "file.reconnect-delay": field(
    count("SECONDS", 0, 1e6),
    `how long requests wait when the connection to a server is lost (${RECONNECT_DELAY_S})`,
  ),
  serial: field(text("TEXT"), "serial number, with if=virtio"),
  media: field(choice("disk", "cdrom"), "cdrom: readonly (disk)"),
  index: field(count("N", 0, 255), "accepted"),
  aio: field(choice("threads", "native", "io_uring"), "accepted"),
  "detect-zeroes": field(choice("off"), "accepted"),
  werror: field(choice("report"), "accepted: errors are reported to the guest"),
  rerror: field(choice("report"), "accepted"),
};

function addDrive(draft: DriveDraft, given: Given<typeof DRIVE_FIELDS>): void {
  if (given.file === undefined) throw new UsageError("needs file");
  if (given.if === "none" && given.serial !== undefined) throw new UsageError("serial belongs to if=virtio");
  if (given.file.kind === "nbd" && given.format === "qcow2") throw new UsageError("an NBD server's image is raw");
  if (given.file.kind === "nbd" && given.snapshot === true) throw new UsageError("snapshot needs a file");
  const id = given.id ?? `${given.if ?? "virtio"}${draft.drives.length}`;
  if (draft.drives.some((drive) => drive.id === id)) throw new UsageError(`there are two drives with id=${id}`);
  draft.drives.push({
    id,
    source: given.file,
    format: given.file.kind === "nbd" ? "raw" : given.format ?? null,
    readOnly: given.readonly ?? given.media === "cdrom",
    snapshot: given.snapshot ?? false,
    discard: given.discard === "unmap" || given.discard === "on",
    ...CACHE[given.cache ?? "writeback"],
    reconnectDelayMs: 1000 * (given["file.reconnect-delay"] ?? RECONNECT_DELAY_S),
  });
  if (given.if !== "none") draft.boardDrives.push({ drive: id, serial: given.serial ?? "" });
}

export function driveOptions<D extends DriveDraft>(): readonly Option<D>[] {
  return [fieldsOption("drive", "file", DRIVE_FIELDS, "a disk", addDrive)];
}
