// What a 9P server needs of the directory that it shares. Places are given as names from the shared directory down, none of
// which is "", "." or "..", or has a "/" in it. An error is a negative number, as Linux has them, and never an exception.

/** Linux's error numbers, which are the protocol's. */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  EIO: 5,
  ENXIO: 6,
  EBADF: 9,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  EXDEV: 18,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  ENFILE: 23,
  EFBIG: 27,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ELOOP: 40,
  EPROTO: 71,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  ENOBUFS: 105,
} as const;

/** A negative error number, or a result that is not negative. */
export type Result = number;
export type Path = readonly string[];

/** The file types of a mode, and its permissions. */
export const MODE = { TYPE: 0o170000, REGULAR: 0o100000, DIRECTORY: 0o040000, LINK: 0o120000, BITS: 0o7777 } as const;

export interface Time {
  readonly sec: bigint;
  readonly nsec: bigint;
}

export interface FileStat {
  /** By which the device is known that the file is on. */
  readonly device: bigint;
  readonly inode: bigint;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly links: number;
  readonly rdev: bigint;
  readonly size: bigint;
  readonly blockBytes: number;
  readonly blocks: bigint;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
  readonly btime: Time;
}

export interface ListEntry {
  readonly inode: bigint;
  /** As readdir's d_type; 0 when it is not known. */
  readonly type: number;
  /** Where the entry after this one is found. */
  readonly next: bigint;
  readonly name: string;
}

export interface ShareSpace {
  readonly blockBytes: number;
  readonly blocks: bigint;
  readonly freeBlocks: bigint;
  readonly availableBlocks: bigint;
  readonly files: bigint;
  readonly freeFiles: bigint;
  readonly nameBytes: number;
}

/** How a file is opened. */
export interface OpenFlags {
  readonly read: boolean;
  readonly write: boolean;
  readonly truncate: boolean;
  readonly append: boolean;
  readonly exclusive: boolean;
  /** Writes are on the disk when they are answered. */
  readonly sync: boolean;
}

export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

/** What is to be changed; what is absent stays. "now" is the host's time. */
export interface AttributeChanges {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: bigint;
  readonly atime?: Time | "now";
  readonly mtime?: Time | "now";
}

export interface SharedDirectory {
  readonly readOnly: boolean;
  stat(path: Path): FileStat | Result;
  /** Goes down from `path` by `names` as far as it can; what is found there, and why it goes no further (0 when it did). */
  walk(path: Path, names: readonly string[]): { readonly found: readonly FileStat[]; readonly error: Result };
  readLink(path: Path): string | Result;
  space(path: Path): ShareSpace | Result;

  /** Opens a file or a directory, nothing else; a handle. */
  open(path: Path, flags: OpenFlags): Result;
  /** Makes a file, or opens the one that is there unless that is excluded; a handle. */
  create(directory: Path, name: string, flags: OpenFlags, mode: number, owner: Owner): Result;
  close(handle: number): void;
  statHandle(handle: number): FileStat | Result;
  /** Bytes read into or written from `pieces`; less than asked for at the end, or on an error after some. */
  read(handle: number, offset: bigint, pieces: readonly Uint8Array[]): Result;
  write(handle: number, offset: bigint, pieces: readonly Uint8Array[]): Result;
  sync(handle: number, dataOnly: boolean): Result;
  /** The entries of an open directory from `offset`, some `mostBytes` of them; none at its end. */
  list(handle: number, offset: bigint, mostBytes: number): readonly ListEntry[] | Result;

  makeDirectory(directory: Path, name: string, mode: number, owner: Owner): Result;
  symlink(directory: Path, name: string, target: string, owner: Owner): Result;
  link(directory: Path, name: string, existing: Path): Result;
  rename(directory: Path, name: string, newDirectory: Path, newName: string): Result;
  remove(directory: Path, name: string, isDirectory: boolean): Result;
  /** Of an open file where there is a handle, else of what is at `path`. */
  change(path: Path, handle: number | null, changes: AttributeChanges): Result;
  /** Everything that is open. */
  closeAll(): void;
}
