// A directory of the host that a guest shares through 9P. The guest's places are gone to one name after the other, each
// opened in the directory before it without following a link (O_PATH, O_NOFOLLOW), so that no link and no race with
// whoever changes the directory leads out of it; only what has then been seen to be a file or a directory is opened for
// more, by its descriptor and not by its name, so that no FIFO waits and no device notices. Everything is done at once, in
// the thread that asks, as for disk images. Linux only.

import { assert, HostError } from "../../src/base/errors.ts";
import { fromBytes } from "../virtio/p9_codec.ts";
import {
  type AttributeChanges,
  ERRNO,
  type FileStat,
  type ListEntry,
  MODE,
  type OpenFlags,
  type Owner,
  type Path,
  type Result,
  type SharedDirectory,
  type ShareSpace,
  type Time,
} from "../virtio/p9_share.ts";
import { AT, cName, NO_NAME, O, procName, ShareLibc, Statx } from "./share_libc.ts";
import { MAPPED_BITS, Owners, type SecurityModel } from "./share_owners.ts";

export interface ShareOptions {
  readonly path: string;
  readonly readOnly: boolean;
  readonly securityModel: SecurityModel;
}

/** What leads to something without opening it. */
const PLACE = O.PATH | O.NOFOLLOW;
/** Opening returns at once. */
const PROMPT = O.NONBLOCK | O.NOCTTY;
const MOST_LINK_BYTES = 4096;
/** A listing's buffer: room for one entry at least. */
const LEAST_LIST_BYTES = 512, MOST_LIST_BYTES = 32768;
/** In a directory entry of getdents64. */
const DIRENT = { ino: 0, next: 8, length: 16, type: 18, name: 19 } as const;
/** In a `struct statfs` of a 64-bit host. */
const STATFS = { bsize: 8, blocks: 16, bfree: 24, bavail: 32, files: 40, ffree: 48, namelen: 64, bytes: 256 } as const;
/** Nanoseconds that mean something else to utimensat. */
const UTIME = { NOW: 0x3fff_ffffn, OMIT: 0x3fff_fffen } as const;
/** The host's files have no bytes beyond. */
const MOST_OFFSET = 2n ** 63n;
/** How often a name may come and go while it is created. */
const CREATE_TRIES = 8;

export class HostShare implements SharedDirectory {
  readonly readOnly: boolean;
  readonly #libc: ShareLibc;
  readonly #owners: Owners;
  readonly #root: number;
  readonly #statx: Statx;
  readonly #open = new Set<number>();
  readonly #link = new Uint8Array(MOST_LINK_BYTES);
  readonly #entries = new Uint8Array(MOST_LIST_BYTES);

  /** Throws HostError when the directory cannot be opened. */
  constructor({ path, readOnly, securityModel }: ShareOptions) {
    const action = `cannot share ${path}`, libc = ShareLibc.load(action);
    this.readOnly = readOnly;
    this.#libc = libc;
    this.#owners = new Owners(libc, securityModel);
    this.#statx = new Statx(libc);
    const bytes = new TextEncoder().encode(path);
    this.#root = libc.open(AT.FDCWD, cName(fromBytes(bytes)), O.PATH | O.DIRECTORY);
    const stat = this.#root < 0 ? this.#root : this.#statx.of(this.#root);
    if (typeof stat !== "number") return;
    libc.unload();
    throw new HostError(`${action}: ${WORDS[-stat] ?? `the host refuses (error ${-stat})`}`);
  }

  stat(path: Path): FileStat | Result {
    return this.#at(path, (fd) => this.#see(fd));
  }

  walk(path: Path, names: readonly string[]): { found: FileStat[]; error: Result } {
    const found: FileStat[] = [];
    const error = this.#at(path, (start) => {
      let at = start;
      for (const name of names) {
        const next = this.#step(at, name), stat = next < 0 ? next : this.#see(next);
        if (at !== start) this.#libc.close(at);
        at = next;
        if (typeof stat === "number") {
          if (next >= 0) this.#libc.close(next);
          return stat;
        }
        found.push(stat);
      }
      if (at !== start) this.#libc.close(at);
      return 0;
    });
    return { found, error };
  }

  readLink(path: Path): string | Result {
    return this.#at(path, (fd) => {
      const stat = this.#see(fd);
      if (typeof stat === "number") return stat;
      if ((stat.mode & MODE.TYPE) !== MODE.LINK) return -ERRNO.EINVAL;
      const { c } = this.#libc, size = BigInt(this.#link.length);
      const count = this.#isMappedLink(stat, fd)
        ? this.#opened(fd, O.RDONLY, (file) => this.#libc.result(c.pread(file, this.#link, size, 0n)))
        : this.#libc.result(c.readlinkat(fd, NO_NAME, this.#link, size));
      return count < 0 ? count : fromBytes(this.#link.subarray(0, count));
    });
  }

  space(path: Path): ShareSpace | Result {
    return this.#at(path, (fd) => {
      const bytes = new Uint8Array(STATFS.bytes), view = new DataView(bytes.buffer);
      const error = this.#libc.result(this.#libc.c.fstatfs(fd, bytes));
      if (error < 0) return error;
      const u64 = (at: number) => view.getBigUint64(at, true);
      return {
        blockBytes: view.getUint32(STATFS.bsize, true),
        blocks: u64(STATFS.blocks),
        freeBlocks: u64(STATFS.bfree),
        availableBlocks: u64(STATFS.bavail),
        files: u64(STATFS.files),
        freeFiles: u64(STATFS.ffree),
        nameBytes: view.getUint32(STATFS.namelen, true),
      };
    });
  }

  open(path: Path, flags: OpenFlags): Result {
    return this.#at(path, (fd) => this.#reopen(fd, flags));
  }

  create(directory: Path, name: string, flags: OpenFlags, mode: number, owner: Owner): Result {
    return this.#at(directory, (fd) => {
      for (let tries = 0; tries < CREATE_TRIES; tries++) {
        const made = this.#libc.open(
          fd,
          this.#name(name),
          hostFlags(flags) | O.CREAT | O.EXCL | O.NOFOLLOW | PROMPT,
          MAPPED_BITS.file,
        );
        if (made >= 0) {
          this.#open.add(made);
          const error = this.#owners.adopt(made, mode & MODE.BITS | MODE.REGULAR, owner);
          if (error >= 0) return made;
          this.close(made);
          this.#libc.c.unlinkat(fd, this.#name(name), 0);
          return error;
        }
        if (made !== -ERRNO.EEXIST || flags.exclusive) return made;
        const place = this.#step(fd, name);
        if (place === -ERRNO.ENOENT) continue;
        if (place < 0) return place;
        const opened = this.#reopen(place, flags);
        this.#libc.close(place);
        return opened;
      }
      return -ERRNO.EBUSY;
    });
  }

  close(handle: number): void {
    assert(this.#open.delete(handle), "a handle is closed once");
    this.#libc.close(handle);
  }
  closeAll(): void {
    for (const handle of [...this.#open]) this.close(handle);
  }

  statHandle(handle: number): FileStat | Result {
    return this.#see(handle);
  }

  read(handle: number, offset: bigint, pieces: readonly Uint8Array[]): Result {
    const { libc, c } = { libc: this.#libc, c: this.#libc.c };
    return eachPiece(offset, pieces, (bytes, at) => libc.result(c.pread(handle, bytes, BigInt(bytes.length), at)));
  }
  write(handle: number, offset: bigint, pieces: readonly Uint8Array[]): Result {
    const { libc, c } = { libc: this.#libc, c: this.#libc.c };
    return eachPiece(offset, pieces, (bytes, at) => libc.result(c.pwrite(handle, bytes, BigInt(bytes.length), at)));
  }
  sync(handle: number, dataOnly: boolean): Result {
    return this.#libc.result(dataOnly ? this.#libc.c.fdatasync(handle) : this.#libc.c.fsync(handle));
  }

  list(handle: number, offset: bigint, mostBytes: number): readonly ListEntry[] | Result {
    if (offset >= MOST_OFFSET) return -ERRNO.EINVAL;
    const size = Math.min(MOST_LIST_BYTES, Math.max(LEAST_LIST_BYTES, mostBytes));
    const error = this.#libc.result(this.#libc.c.lseek(handle, offset, 0) < 0n ? -1 : 0);
    if (error < 0) return error;
    const count = this.#libc.result(this.#libc.c.getdents64(handle, this.#entries, BigInt(size)));
    if (count < 0) return count;
    const entries: ListEntry[] = [], view = new DataView(this.#entries.buffer);
    for (let at = 0; at < count;) {
      const end = at + view.getUint16(at + DIRENT.length, true), start = at + DIRENT.name;
      // Whether a file stands for a link is in its attributes.
      const type = this.#owners.areMapped ? 0 : view.getUint8(at + DIRENT.type);
      entries.push({
        inode: view.getBigUint64(at + DIRENT.ino, true),
        type,
        next: view.getBigUint64(at + DIRENT.next, true),
        name: fromBytes(this.#entries.subarray(start, this.#entries.indexOf(0, start))),
      });
      at = end;
    }
    return entries;
  }

  makeDirectory(directory: Path, name: string, mode: number, owner: Owner): Result {
    return this.#at(directory, (fd) => {
      const made = this.#libc.result(this.#libc.c.mkdirat(fd, this.#name(name), MAPPED_BITS.directory));
      return made < 0 ? made : this.#adopt(fd, name, mode & MODE.BITS | MODE.DIRECTORY, owner);
    });
  }

  symlink(directory: Path, name: string, target: string, owner: Owner): Result {
    const mode = MODE.LINK | 0o777, { c } = this.#libc;
    return this.#at(directory, (fd) => {
      if (!this.#owners.areMapped) {
        const made = this.#libc.result(c.symlinkat(cName(target), fd, this.#name(name)));
        return made < 0 ? made : this.#adopt(fd, name, mode, owner);
      }
      const flags = O.WRONLY | O.CREAT | O.EXCL | O.NOFOLLOW;
      const file = this.#libc.open(fd, this.#name(name), flags, MAPPED_BITS.file);
      if (file < 0) return file;
      const text = cName(target).subarray(0, -1);
      const put = this.#libc.result(c.pwrite(file, text, BigInt(text.length), 0n));
      const error = put < 0 ? put : this.#owners.adopt(file, mode, owner);
      this.#libc.close(file);
      if (error < 0) this.#libc.c.unlinkat(fd, this.#name(name), 0);
      return error;
    });
  }

  link(directory: Path, name: string, existing: Path): Result {
    assert(existing.length > 0, "the shared directory has no other name");
    return this.#at(existing.slice(0, -1), (from) =>
      this.#at(directory, (to) => {
        const old = this.#name(existing.at(-1)!);
        return this.#libc.result(this.#libc.c.linkat(from, old, to, this.#name(name), 0));
      }));
  }

  rename(directory: Path, name: string, newDirectory: Path, newName: string): Result {
    return this.#at(
      directory,
      (from) =>
        this.#at(
          newDirectory,
          (to) => this.#libc.result(this.#libc.c.renameat(from, this.#name(name), to, this.#name(newName))),
        ),
    );
  }

  remove(directory: Path, name: string, isDirectory: boolean): Result {
    const flags = isDirectory ? AT.REMOVEDIR : 0;
    return this.#at(directory, (fd) => this.#libc.result(this.#libc.c.unlinkat(fd, this.#name(name), flags)));
  }

  change(path: Path, handle: number | null, changes: AttributeChanges): Result {
    return handle === null ? this.#at(path, (fd) => this.#change(fd, changes)) : this.#change(handle, changes);
  }

  /** Everything, the directory itself too. */
  dispose(): void {
    this.closeAll();
    this.#libc.close(this.#root);
    this.#libc.unload();
  }

  /** A name, which the server has looked at. */
  #name(name: string): Uint8Array<ArrayBuffer> {
    assert(name !== "" && name !== "." && name !== ".." && !/[/\0]/.test(name), "a name is one in a directory");
    return cName(name);
  }

  #step(directory: number, name: string): number {
    return this.#libc.open(directory, this.#name(name), PLACE);
  }

  /** Goes to a place, and does something with what is there. */
  #at<T>(path: Path, use: (fd: number) => T): T | Result {
    let fd = this.#root;
    for (const name of path) {
      const next = this.#step(fd, name);
      if (fd !== this.#root) this.#libc.close(fd);
      if (next < 0) return next;
      fd = next;
    }
    const result = use(fd);
    if (fd !== this.#root) this.#libc.close(fd);
    return result;
  }

  #see(fd: number): FileStat | Result {
    const stat = this.#statx.of(fd);
    return typeof stat === "number" ? stat : this.#owners.seen(fd, stat);
  }

  #isMappedLink({ mode }: FileStat, fd: number): boolean {
    const real = this.#owners.areMapped ? this.#statx.of(fd) : 0;
    return typeof real !== "number" && (real.mode & MODE.TYPE) !== (mode & MODE.TYPE);
  }

  /** Opens what is at `place` for more, if it is a file or a directory; a handle. */
  #reopen(place: number, flags: OpenFlags): Result {
    const stat = this.#see(place);
    if (typeof stat === "number") return stat;
    const type = stat.mode & MODE.TYPE;
    if (type === MODE.LINK) return -ERRNO.ELOOP;
    if (type !== MODE.REGULAR && type !== MODE.DIRECTORY) return -ERRNO.ENXIO;
    const directory = type === MODE.DIRECTORY ? O.DIRECTORY : 0;
    const handle = this.#libc.open(AT.FDCWD, procName(place), hostFlags(flags) | directory | PROMPT);
    if (handle >= 0) this.#open.add(handle);
    return handle;
  }

  /** Opens the regular file at `place` for one thing to be done with it. */
  #opened(place: number, flags: number, use: (fd: number) => Result): Result {
    const stat = this.#statx.of(place);
    if (typeof stat === "number") return stat;
    if ((stat.mode & MODE.TYPE) === MODE.DIRECTORY) return -ERRNO.EISDIR;
    if ((stat.mode & MODE.TYPE) !== MODE.REGULAR) return -ERRNO.EINVAL;
    const fd = this.#libc.open(AT.FDCWD, procName(place), flags | PROMPT);
    if (fd < 0) return fd;
    const result = use(fd);
    this.#libc.close(fd);
    return result;
  }

  /** What was just made: its owner and mode, or it goes again. What somebody has put there meanwhile is left alone. */
  #adopt(directory: number, name: string, mode: number, owner: Owner): Result {
    const fd = this.#step(directory, name);
    if (fd < 0) return fd;
    const stat = this.#statx.of(fd);
    const same = typeof stat !== "number" && (stat.mode & MODE.TYPE) === (mode & MODE.TYPE);
    const error = typeof stat === "number" ? stat : same ? this.#owners.adopt(fd, mode, owner) : 0;
    this.#libc.close(fd);
    const flags = (mode & MODE.TYPE) === MODE.DIRECTORY ? AT.REMOVEDIR : 0;
    if (error < 0) this.#libc.c.unlinkat(directory, this.#name(name), flags);
    return error;
  }

  #change(fd: number, { mode, uid, gid, size, atime, mtime }: AttributeChanges): Result {
    const stat = this.#statx.of(fd), { c } = this.#libc;
    if (typeof stat === "number") return stat;
    let error = 0;
    if (mode !== undefined || uid !== undefined || gid !== undefined) {
      const owner = { ...(mode === undefined ? {} : { mode }), ...(uid === undefined ? {} : { uid }) };
      error = this.#owners.change(fd, stat, { ...owner, ...(gid === undefined ? {} : { gid }) });
    }
    if (error >= 0 && size !== undefined) {
      error = this.#opened(fd, O.WRONLY, (file) => this.#libc.result(c.ftruncate(file, size)));
    }
    if (error >= 0 && (atime !== undefined || mtime !== undefined)) {
      const times = new BigInt64Array([...hostTime(atime), ...hostTime(mtime)]), bytes = new Uint8Array(times.buffer);
      const isLink = (stat.mode & MODE.TYPE) === MODE.LINK;
      error = this.#libc.result(
        isLink
          ? c.utimensat(fd, NO_NAME, bytes, AT.EMPTY_PATH | AT.SYMLINK_NOFOLLOW)
          : c.utimensat(AT.FDCWD, procName(fd), bytes, 0),
      );
    }
    return error;
  }
}

function hostFlags({ read, write, truncate, append, sync }: OpenFlags): number {
  const access = write ? read ? O.RDWR : O.WRONLY : O.RDONLY;
  return access | (truncate ? O.TRUNC : 0) | (append ? O.APPEND : 0) | (sync ? O.DSYNC : 0);
}

function hostTime(time: Time | "now" | undefined): [bigint, bigint] {
  return time === undefined ? [0n, UTIME.OMIT] : time === "now" ? [0n, UTIME.NOW] : [time.sec, time.nsec];
}

/** Reads or writes piece after piece, as far as it goes. */
function eachPiece(
  offset: bigint,
  pieces: readonly Uint8Array[],
  move: (bytes: Uint8Array<ArrayBuffer>, at: bigint) => Result,
): Result {
  let done = 0;
  for (const piece of pieces) {
    const at = offset + BigInt(done);
    if (at + BigInt(piece.length) > MOST_OFFSET) return done > 0 ? done : -ERRNO.EINVAL;
    // Deno takes shared memory, too, which its types do not say.
    const count = piece.length === 0 ? 0 : move(piece as Uint8Array<ArrayBuffer>, at);
    if (count < 0) return done > 0 ? done : count;
    done += count;
    if (count < piece.length) break;
  }
  return done;
}

/** What the user is told. */
const WORDS: Readonly<Record<number, string>> = {
  [ERRNO.ENOENT]: "there is no such directory",
  [ERRNO.ENOTDIR]: "it is not a directory",
  [ERRNO.EACCES]: "permission denied",
  [ERRNO.ELOOP]: "too many links",
};
