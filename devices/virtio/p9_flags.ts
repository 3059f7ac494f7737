// Linux's numbers in 9P2000.L, and what they mean to a shared directory: flags of an open, attributes that change, names.

import type { Request } from "./p9_messages.ts";
import { type AttributeChanges, ERRNO, MODE, type OpenFlags, type Time } from "./p9_share.ts";

/** Flags of lopen and lcreate: Linux's generic ones. */
export const OPEN = {
  ACCESS: 3,
  WRITE_ONLY: 1,
  READ_WRITE: 2,
  EXCLUSIVE: 0o200,
  TRUNCATE: 0o1000,
  APPEND: 0o2000,
  DSYNC: 0o10000,
  DIRECTORY: 0o200000,
  SYNC: 0o4000000,
} as const;
export const UNLINK_DIRECTORY = 0x200;
/** What setattr changes, and what getattr says. */
export const SETATTR = {
  MODE: 1,
  UID: 2,
  GID: 4,
  SIZE: 8,
  ATIME: 16,
  MTIME: 32,
  CTIME: 64,
  ATIME_SET: 128,
  MTIME_SET: 256,
} as const;
export const GETATTR = { BASIC: 0x7ffn, BTIME: 0x800n } as const;
export const LOCK = { SUCCESS: 0, UNLOCKED: 2 } as const;
/** A listing's types, as readdir's d_type. */
export const DIRENT = { DIRECTORY: 4, LINK: 10 } as const;

const MOST_NAME_BYTES = 255;

/** The error of a name that is not one of something in a directory; 0 when it may be one. */
export function wrongName(name: string): number {
  if (name === "" || name.includes("/") || name.includes("\0")) return -ERRNO.ENOENT;
  if (name === "." || name === "..") return -ERRNO.EEXIST;
  return name.length > MOST_NAME_BYTES ? -ERRNO.ENAMETOOLONG : 0;
}

export function openFlags(flags: number): OpenFlags {
  const access = flags & OPEN.ACCESS;
  return {
    read: access !== OPEN.WRITE_ONLY,
    write: access === OPEN.WRITE_ONLY || access === OPEN.READ_WRITE,
    truncate: (flags & OPEN.TRUNCATE) !== 0,
    append: (flags & OPEN.APPEND) !== 0,
    exclusive: (flags & OPEN.EXCLUSIVE) !== 0,
    sync: (flags & (OPEN.DSYNC | OPEN.SYNC)) !== 0,
  };
}

const BILLION = 1_000_000_000n;

export function changesOf(request: Request<"setattr">): AttributeChanges | number {
  const { valid, mode, uid, gid, size } = request, has = (bit: number) => (valid & bit) !== 0;
  const time = (bit: number, setBit: number, sec: bigint, nsec: bigint): Time | "now" | undefined =>
    !has(bit) ? undefined : has(setBit) ? { sec: BigInt.asIntN(64, sec), nsec } : "now";
  const atime = time(SETATTR.ATIME, SETATTR.ATIME_SET, request.atimeSec, request.atimeNsec);
  const mtime = time(SETATTR.MTIME, SETATTR.MTIME_SET, request.mtimeSec, request.mtimeNsec);
  if ([atime, mtime].some((time) => typeof time === "object" && time.nsec >= BILLION)) return -ERRNO.EINVAL;
  if (has(SETATTR.SIZE) && size >= 1n << 63n) return -ERRNO.EINVAL;
  return {
    ...(has(SETATTR.MODE) ? { mode: mode & MODE.BITS } : {}),
    ...(has(SETATTR.UID) ? { uid } : {}),
    ...(has(SETATTR.GID) ? { gid } : {}),
    ...(has(SETATTR.SIZE) ? { size } : {}),
    ...(atime === undefined ? {} : { atime }),
    ...(mtime === undefined ? {} : { mtime }),
  };
}
