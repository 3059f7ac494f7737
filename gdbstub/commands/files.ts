// vFile: the debugger reads the contexts' ELF files through us ("Host I/O Packets"). These files are all there is: names are
// looked up in a list, so that no file of the host can be read, and nothing can be written.

import type { PacketReader } from "../packet.ts";
import type { Reply, Session } from "../session.ts";
import { ERRNO, execPath } from "../target.ts";
import type { PacketCommand } from "./command.ts";

const MAX_OPEN = 64;
const EMFILE = 24, EROFS = 30;
/** Bits of `open`'s flags that want more than reading: write, read-write, append, create, truncate. */
const WRITING = 0x1 | 0x2 | 0x8 | 0x200 | 0x400;
/** `struct stat` of the protocol, big-endian: mode at 8, size at 28, block size and blocks after it. */
const STAT_BYTES = 64, REGULAR_READ_ONLY = 0o100444;

const failed = (errno: number): Reply => `F-1,${errno.toString(16)}`;

async function named(session: Session, path: string): Promise<Uint8Array | null> {
  const context = session.target.contexts().find((one) => execPath(one) === path);
  return context === undefined ? null : await session.target.execFile(context.id);
}

function stat(size: number): Uint8Array {
  const data = new Uint8Array(STAT_BYTES), view = new DataView(data.buffer);
  view.setUint32(8, REGULAR_READ_ONLY);
  view.setUint32(12, 1);
  view.setBigUint64(28, BigInt(size));
  view.setBigUint64(36, 4096n);
  view.setBigUint64(44, BigInt(Math.ceil(size / 512)));
  return data;
}

async function statByName(session: Session, packet: PacketReader): Promise<Reply> {
  const data = await named(session, packet.hexText());
  return data === null
    ? failed(ERRNO.ENOENT)
    : session.escaped(`F${STAT_BYTES.toString(16)};`, stat(data.length)).reply;
}

const OPERATIONS: Readonly<Record<string, (session: Session, packet: PacketReader) => Reply | Promise<Reply>>> = {
  /** Every context's files are in one tree. */
  setfs: () => "F0",
  async open(session, packet) {
    const path = packet.hexText(","), flags = packet.expect(",").number();
    const data = await named(session, path);
    if (data === null) return failed(ERRNO.ENOENT);
    if ((flags & WRITING) !== 0) return failed(EROFS);
    if (session.files.size >= MAX_OPEN) return failed(EMFILE);
    const fd = session.newId();
    session.files.set(fd, data);
    return `F${fd.toString(16)}`;
  },
  pread(session, packet) {
    const data = session.files.get(packet.number());
    const count = packet.expect(",").number(), offset = packet.expect(",").number();
    if (data === undefined) return failed(ERRNO.EBADF);
    const piece = data.subarray(offset, offset + count);
    // The count stands before the data that it counts: find out how much fits first.
    const { taken } = session.escaped("F0000000;", piece);
    return session.escaped(`F${taken.toString(16)};`, piece.subarray(0, taken)).reply;
  },
  fstat(session, packet) {
    const data = session.files.get(packet.number());
    return data === undefined
      ? failed(ERRNO.EBADF)
      : session.escaped(`F${STAT_BYTES.toString(16)};`, stat(data.length)).reply;
  },
  stat: statByName,
  lstat: statByName,
  close: (session, packet) => session.files.delete(packet.number()) ? "F0" : failed(ERRNO.EBADF),
  readlink: () => failed(ERRNO.EINVAL),
  pwrite: () => failed(EROFS),
  unlink: () => failed(EROFS),
};

export const FILES: readonly PacketCommand[] = [{
  name: "vFile",
  run(session, packet) {
    const operation = packet.expect(":").until(":");
    if (!Object.hasOwn(OPERATIONS, operation)) return "";
    return OPERATIONS[operation]!(session, packet.expect(":"));
  },
}];
