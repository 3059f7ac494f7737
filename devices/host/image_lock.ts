// Locks on images that QEMU's programs understand, on Linux: qemu-img does not touch an image that is written to here, and
// an image that QEMU writes to is not opened. The scheme (QEMU's "Image locking"): every permission has two bytes of the
// file; a lock on the first says "I use it", one on the second "nobody else may". Locks are shared and belong to the open
// file; whoever takes them looks afterwards at what others have, so that of two at once at most one succeeds.

import type { FileLibc } from "./image_libc.ts";

const USED_BYTE = 100, DENIED_BYTE = 200;
/** Permissions by their numbers: bits of QEMU's BLK_PERM. */
const PERMISSION = { READ: 0, WRITE: 1, RESIZE: 3 } as const;
const COMMAND = { OFD_GETLK: 36, OFD_SETLK: 37 } as const;
/** l_type of struct flock. */
const TYPE = { READ: 0, WRITE: 1, NONE: 2 } as const;
/** struct flock with 64-bit offsets: type, whence, start at 8, length at 16, process at 24. */
const FLOCK_BYTES = 32, START_AT = 8, LENGTH_AT = 16;

/** Locks the open file for as long as it is open; "unknown" where the host cannot. */
export function lockAsQemu(libc: FileLibc["symbols"], fd: number, readOnly: boolean): "locked" | "refused" | "unknown" {
  const lock = new Uint8Array(FLOCK_BYTES), view = new DataView(lock.buffer);
  const ask = (command: number, type: number, byte: number): boolean => {
    lock.fill(0);
    view.setInt16(0, type, true);
    view.setBigInt64(START_AT, BigInt(byte), true);
    view.setBigInt64(LENGTH_AT, 1n, true);
    return libc.fcntl(fd, command, lock) === 0;
  };
  const { READ, WRITE, RESIZE } = PERMISSION,
    used = readOnly ? [READ] : [READ, WRITE, RESIZE],
    denied = [WRITE, RESIZE];
  if (!ask(COMMAND.OFD_GETLK, TYPE.READ, USED_BYTE)) return "unknown";
  const mine = [...used.map((n) => USED_BYTE + n), ...denied.map((n) => DENIED_BYTE + n)];
  if (!mine.every((byte) => ask(COMMAND.OFD_SETLK, TYPE.READ, byte))) return "refused";
  // A lock for writing would not go together with any lock of another's.
  const isFree = (byte: number) => ask(COMMAND.OFD_GETLK, TYPE.WRITE, byte) && view.getInt16(0, true) === TYPE.NONE;
  const theirs = [...used.map((n) => DENIED_BYTE + n), ...denied.map((n) => USED_BYTE + n)];
  return theirs.every(isFree) ? "locked" : "refused";
}
