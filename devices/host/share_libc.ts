// The functions of the host's C library by which a directory is shared. Deno's own file functions take paths and follow
// links in them; these take a directory that is open already, and one name in it.

import type { FileStat } from "../virtio/p9_share.ts";
import { loadSymbols } from "./libc.ts";

const at = "i32", name = "buffer", flags = "i32", mode = "u32", bytes = "buffer", count = "usize", offset = "i64";
const SYMBOLS = {
  __errno_location: { parameters: [], result: "pointer" },
  openat: { parameters: [at, name, flags, mode], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  pread: { parameters: ["i32", bytes, count, offset], result: "isize" },
  pwrite: { parameters: ["i32", bytes, count, offset], result: "isize" },
  lseek: { parameters: ["i32", offset, "i32"], result: "i64" },
  getdents64: { parameters: ["i32", bytes, count], result: "isize" },
  fsync: { parameters: ["i32"], result: "i32" },
  fdatasync: { parameters: ["i32"], result: "i32" },
  ftruncate: { parameters: ["i32", offset], result: "i32" },
  statx: { parameters: [at, name, flags, "u32", bytes], result: "i32" },
  fstatfs: { parameters: ["i32", bytes], result: "i32" },
  readlinkat: { parameters: [at, name, bytes, count], result: "isize" },
  mkdirat: { parameters: [at, name, mode], result: "i32" },
  symlinkat: { parameters: [name, at, name], result: "i32" },
  linkat: { parameters: [at, name, at, name, flags], result: "i32" },
  renameat: { parameters: [at, name, at, name], result: "i32" },
  unlinkat: { parameters: [at, name, flags], result: "i32" },
  fchmodat: { parameters: [at, name, mode, flags], result: "i32" },
  fchownat: { parameters: [at, name, "u32", "u32", flags], result: "i32" },
  utimensat: { parameters: [at, name, bytes, flags], result: "i32" },
  getxattr: { parameters: [name, name, bytes, count], result: "isize" },
  setxattr: { parameters: [name, name, bytes, count, flags], result: "i32" },
} as const;

type Symbols = Deno.DynamicLibrary<typeof SYMBOLS>["symbols"];

/** Flags of open. Those that differ are the same on the two architectures' own terms. */
const isArm = Deno.build.arch === "aarch64";
export const O = {
  RDONLY: 0,
  WRONLY: 1,
  RDWR: 2,
  CREAT: 0o100,
  EXCL: 0o200,
  NOCTTY: 0o400,
  TRUNC: 0o1000,
  APPEND: 0o2000,
  NONBLOCK: 0o4000,
  DSYNC: 0o10000,
  DIRECTORY: isArm ? 0o40000 : 0o200000,
  NOFOLLOW: isArm ? 0o100000 : 0o400000,
  CLOEXEC: 0o2000000,
  PATH: 0o10000000,
} as const;
export const AT = { FDCWD: -100, SYMLINK_NOFOLLOW: 0x100, REMOVEDIR: 0x200, EMPTY_PATH: 0x1000 } as const;

/** The functions, with failures as negative error numbers, as the kernel has them. */
export class ShareLibc {
  readonly #errno: Deno.UnsafePointerView;

  private constructor(readonly c: Symbols, readonly unload: () => void) {
    // Of this thread, which the machine stays on.
    this.#errno = new Deno.UnsafePointerView(c.__errno_location()!);
  }

  /** Throws a HostError that begins with `action`. */
  static load(action: string): ShareLibc {
    const library = loadSymbols(action, SYMBOLS);
    return new ShareLibc(library.symbols, () => library.close());
  }

  /** What a function returned, or the reason why it failed. Nothing is called in between, so that errno is its own. */
  result(returned: number | bigint): number {
    return returned < 0 ? -this.#errno.getInt32() : Number(returned);
  }

  open(directory: number, name: Uint8Array<ArrayBuffer>, flags: number, mode = 0): number {
    return this.result(this.c.openat(directory, name, flags | O.CLOEXEC, mode));
  }
  close(fd: number): void {
    this.c.close(fd);
  }
}

/** A name as C has it. Each character is a byte. */
export function cName(name: string): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(name.length + 1);
  for (let i = 0; i < name.length; i++) bytes[i] = name.charCodeAt(i);
  return bytes;
}

/** A path that leads to what is open, whatever has become of its name. */
export const procName = (fd: number): Uint8Array<ArrayBuffer> => cName(`/proc/self/fd/${fd}`);
export const NO_NAME = cName("");

const STATX = {
  ALL: 0xfff,
  bytes: 256,
  blksize: 4,
  nlink: 16,
  uid: 20,
  gid: 24,
  mode: 28,
  ino: 32,
  size: 40,
  blocks: 48,
  atime: 64,
  btime: 80,
  ctime: 96,
  mtime: 112,
  rdevMajor: 128,
  rdevMinor: 132,
  devMajor: 136,
  devMinor: 140,
} as const;

/** What statx says of what is open. */
export class Statx {
  readonly #bytes = new Uint8Array(STATX.bytes);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(private readonly libc: ShareLibc) {}

  of(fd: number): FileStat | number {
    const { libc } = this, flags = AT.EMPTY_PATH | AT.SYMLINK_NOFOLLOW;
    const error = libc.result(libc.c.statx(fd, NO_NAME, flags, STATX.ALL, this.#bytes));
    if (error < 0) return error;
    const u32 = (at: number) => this.#view.getUint32(at, true), u64 = (at: number) => this.#view.getBigUint64(at, true);
    const time = (at: number) => ({ sec: this.#view.getBigInt64(at, true), nsec: BigInt(u32(at + 8)) });
    return {
      device: BigInt(u32(STATX.devMajor)) << 32n | BigInt(u32(STATX.devMinor)),
      inode: u64(STATX.ino),
      mode: this.#view.getUint16(STATX.mode, true),
      uid: u32(STATX.uid),
      gid: u32(STATX.gid),
      links: u32(STATX.nlink),
      rdev: deviceNumber(u32(STATX.rdevMajor), u32(STATX.rdevMinor)),
      size: u64(STATX.size),
      blockBytes: u32(STATX.blksize),
      blocks: u64(STATX.blocks),
      atime: time(STATX.atime),
      mtime: time(STATX.mtime),
      ctime: time(STATX.ctime),
      btime: time(STATX.btime),
    };
  }
}

/** A device's number as Linux hands it to programs. */
const deviceNumber = (major: number, minor: number): bigint =>
  BigInt(minor & 0xff) | BigInt(major & 0xfff) << 8n | BigInt(minor & ~0xff) << 12n;
