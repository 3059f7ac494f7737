// Files of the host for semihosting calls, beneath one directory that the user names, and nothing else: a guest must not be
// able to read the host. A name is taken apart here; absolute ones, `..`, links on the way or at the end, and whatever is
// not a plain file (devices, pipes, sockets, directories) are refused. What is opened is compared with what was looked at.

import { HostError, reason } from "../../base/errors.ts";
import type { Handle } from "./handles.ts";
import type { CallMemory } from "./memory.ts";
import { at, ERROR, errorOf, type Progress } from "./progress.ts";

const LONGEST_NAME = 1024;

/** What ISO C's mode strings stand for, by SYS_OPEN's numbers less the bit for binary. */
const MODES = [
  { read: true },
  { read: true, write: true },
  { write: true, create: true, truncate: true },
  { read: true, write: true, create: true, truncate: true },
  { write: true, create: true, append: true },
  { read: true, write: true, create: true, append: true },
] as const satisfies readonly Mode[];

interface Mode {
  readonly read?: boolean;
  readonly write?: boolean;
  readonly create?: boolean;
  readonly truncate?: boolean;
  readonly append?: boolean;
}

/** What files a semihosting call can reach. Numbers are negative errors; 0 is success. */
export interface HostFiles {
  open(name: Uint8Array, mode: number): Handle | number;
  remove(name: Uint8Array): number;
  rename(from: Uint8Array, to: Uint8Array): number;
}

/** None at all: unless the user names a directory. */
export const NO_FILES: HostFiles = {
  open: () => -ERROR.EACCES,
  remove: () => -ERROR.EACCES,
  rename: () => -ERROR.EACCES,
};

export class DirectoryFiles implements HostFiles {
  readonly #root: string;

  /** Throws HostError when `directory` is not one. */
  constructor(directory: string) {
    try {
      this.#root = Deno.realPathSync(directory);
      if (!Deno.statSync(this.#root).isDirectory) throw new Error("it is not a directory");
    } catch (error) {
      throw new HostError(`cannot use ${directory} for semihosting: ${reason(error)}`);
    }
  }

  open(name: Uint8Array, number: number): Handle | number {
    const mode: Mode | undefined = MODES[number >> 1], path = this.#path(name);
    if (mode === undefined) return -ERROR.EINVAL;
    if (typeof path === "number") return path;
    let file: Deno.FsFile | undefined;
    try {
      const found = this.#look(path);
      if (typeof found === "number" && (found !== -ERROR.ENOENT || mode.create !== true)) return found;
      const { read = false, write = false, append = false } = mode;
      // A new file must be new: if a link has come between, this fails. An old one is emptied when it is known to be it.
      file = typeof found === "number"
        ? Deno.openSync(path, { read, write: true, append, createNew: true, mode: 0o644 })
        : Deno.openSync(path, { read, write: write && !append, append });
      const now = this.#look(path), { dev, ino, isFile } = file.statSync();
      if (typeof now === "number" || !isFile || now.dev !== dev || now.ino !== ino) {
        file.close();
        return -ERROR.EACCES;
      }
      if (mode.truncate === true && typeof found !== "number") file.truncateSync(0);
      return new FileHandle(file, mode);
    } catch (error) {
      file?.close();
      return errorOf(error);
    }
  }

  remove(name: Uint8Array): number {
    const path = this.#path(name);
    if (typeof path === "number") return path;
    try {
      const found = this.#look(path);
      if (typeof found === "number") return found;
      Deno.removeSync(path);
      return 0;
    } catch (error) {
      return errorOf(error);
    }
  }

  rename(from: Uint8Array, to: Uint8Array): number {
    const old = this.#path(from), made = this.#path(to);
    if (typeof old === "number") return old;
    if (typeof made === "number") return made;
    try {
      const found = this.#look(old), there = this.#look(made);
      if (typeof found === "number") return found;
      if (typeof there === "number" && there !== -ERROR.ENOENT) return there;
      Deno.renameSync(old, made);
      return 0;
    } catch (error) {
      return errorOf(error);
    }
  }

  /** The path that a guest's name means, if it can only lie beneath the directory. */
  #path(name: Uint8Array): string | number {
    if (name.length > LONGEST_NAME) return -ERROR.ENAMETOOLONG;
    let text: string;
    try {
      text = new TextDecoder("utf-8", { fatal: true }).decode(name);
    } catch {
      return -ERROR.EINVAL;
    }
    if (text === "") return -ERROR.ENOENT;
    if (text.includes("\0")) return -ERROR.EINVAL;
    const words = text.split("/");
    if (words[0] === "" || words.includes("..")) return -ERROR.EACCES;
    const below = words.filter((word) => word !== "" && word !== ".");
    if (below.length === 0 || text.endsWith("/")) return -ERROR.EISDIR;
    return [this.#root, ...below].join("/");
  }

  /** The plain file at a path, no part of which is a link; or an error. */
  #look(path: string): Deno.FileInfo | number {
    try {
      const cut = path.lastIndexOf("/"), folder = path.slice(0, cut);
      if (Deno.realPathSync(folder) !== folder) return -ERROR.EACCES;
      const info = Deno.lstatSync(path);
      return info.isFile ? info : info.isDirectory ? -ERROR.EISDIR : -ERROR.EACCES;
    } catch (error) {
      return errorOf(error);
    }
  }
}

/** Bytes that cross at once. */
const CHUNK_BYTES = 65536;

class FileHandle implements Handle {
  constructor(readonly file: Deno.FsFile, readonly mode: Mode) {}

  read(memory: CallMemory, address: bigint, count: number): Progress<number> {
    if (this.mode.read !== true) return at(-ERROR.EBADF);
    return this.#move(count, (done, bytes) => {
      const chunk = new Uint8Array(bytes), found = this.file.readSync(chunk) ?? 0;
      const written = memory.write(BigInt.asUintN(64, address + BigInt(done)), chunk.subarray(0, found));
      return written < found ? -ERROR.EFAULT : written;
    });
  }
  write(memory: CallMemory, address: bigint, count: number): Progress<number> {
    if (this.mode.write !== true) return at(-ERROR.EBADF);
    return this.#move(count, (done, bytes) => {
      const chunk = memory.read(BigInt.asUintN(64, address + BigInt(done)), bytes);
      return chunk.length === 0 ? -ERROR.EFAULT : this.file.writeSync(chunk);
    });
  }
  /** Moves pieces until one is short. */
  #move(count: number, piece: (done: number, bytes: number) => number): Progress<number> {
    let done = 0;
    try {
      while (done < count) {
        const bytes = Math.min(CHUNK_BYTES, count - done), moved = piece(done, bytes);
        if (moved < 0) return at(done > 0 ? done : moved);
        done += moved;
        if (moved < bytes) break;
      }
      return at(done);
    } catch (error) {
      return at(done > 0 ? done : errorOf(error));
    }
  }
  seek(offset: number): Progress<number> {
    return this.#try(() => this.file.seekSync(offset, Deno.SeekMode.Start));
  }
  length(): Progress<number> {
    return this.#try(() => this.file.statSync().size);
  }
  isTerminal(): Progress<number> {
    return at(0);
  }
  close(): Progress<number> {
    return this.#try(() => {
      this.file.close();
      return 0;
    });
  }
  #try(does: () => number): Progress<number> {
    try {
      return at(does());
    } catch (error) {
      return at(errorOf(error));
    }
  }
}
