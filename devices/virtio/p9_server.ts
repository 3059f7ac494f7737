// A 9P2000.L server: fids, and for each message of p9_messages.ts what it does with the shared directory. Messages are
// answered one after the other, at once. Whatever a client sends, it gets an answer: fids, open files, names and depths
// are bounded, every mistake is an Rlerror. As QEMU's server it keeps names, not files, so that what the host replaces is
// seen; unlike it, a place that the client removed stays removed for the fids that point there. Left out: authentication,
// extended attributes, special files, and locks, which the guest's kernel keeps among its own programs.

import { assert } from "../../src/base/errors.ts";
import { Reader, Writer } from "./p9_codec.ts";
import { changesOf, DIRENT, GETATTR, LOCK, OPEN, openFlags, UNLINK_DIRECTORY, wrongName } from "./p9_flags.ts";
import {
  type Answer,
  ERROR_BYTES,
  HEADER_BYTES,
  type MessageName,
  messageName,
  MESSAGES,
  QID,
  type Qid,
  QID_BYTES,
  QID_TYPE,
  READ_HEAD_BYTES,
  readRequest,
  type Request,
  RLERROR,
  WRITE_HEAD_BYTES,
} from "./p9_messages.ts";
import { type Node, NodeTree } from "./p9_nodes.ts";
import { ERRNO, type FileStat, MODE, type Path, type SharedDirectory } from "./p9_share.ts";

const VERSION = "9P2000.L", UNKNOWN = "unknown";
/** Messages are at most as long as the client says, and as this; a client that wants less than this gets nothing. */
export const MOST_MESSAGE_BYTES = 512 * 1024;
const LEAST_MESSAGE_BYTES = 4096;
export const MOST_FIDS = 1 << 17, MOST_OPEN = 512, MOST_DEPTH = 256;
const MOST_NODES = 2 * MOST_FIDS;
const NO_FID = 0xffff_ffff;
/** What statfs says that it is: Linux's number for 9P. */
const P9_MAGIC = 0x0102_1997;
/** A qid, the next offset, a type and a name's length. */
const ENTRY_BYTES = QID_BYTES + 8 + 1 + 2;

interface Fid {
  node: Node;
  readonly uid: number;
  /** The share's handle once it is open. */
  handle: number | null;
  isDirectory: boolean;
}

/** One request and the room for its answer, wherever they are. */
export interface Exchange {
  readonly sentBytes: number;
  readonly roomBytes: number;
  /** Copies what was sent from byte 0. */
  read(into: Uint8Array): void;
  /** What was sent, and room for the answer, in place. */
  sent(at: number, count: number): readonly Uint8Array[];
  room(at: number, count: number): readonly Uint8Array[];
  /** Copies the answer to byte 0; `inPlace` more bytes lie behind it. */
  write(answer: Uint8Array, inPlace: number): void;
}

type Handler<N extends MessageName> = (request: Request<N>, exchange: Exchange) => Answer<N> | number;
type Handlers = { readonly [N in MessageName]: Handler<N> };

export class P9Server {
  readonly counters: { messages: number; errors: number; bytesRead: number; bytesWritten: number; fids: number } = {
    messages: 0,
    errors: 0,
    bytesRead: 0,
    bytesWritten: 0,
    fids: 0,
  };
  readonly #share: SharedDirectory;
  readonly #mostBytes: number;
  /** 0 until a version was agreed on. */
  #messageBytes = 0;
  #open = 0;
  #tree = new NodeTree();
  readonly #fids = new Map<number, Fid>();
  readonly #request: Uint8Array;
  readonly #out: Writer;
  /** The device that the shared directory itself is on. */
  #rootDevice: bigint | null = null;
  /** Bytes of the present answer that the handler has put into the exchange's room. */
  #inPlace = 0;

  constructor(share: SharedDirectory, mostBytes: number = MOST_MESSAGE_BYTES) {
    this.#share = share;
    this.#mostBytes = mostBytes;
    this.#request = new Uint8Array(mostBytes);
    this.#out = new Writer(new Uint8Array(mostBytes));
  }

  /** As before the first message. */
  reset(): void {
    this.#share.closeAll();
    this.#fids.clear();
    this.#tree = new NodeTree();
    this.#open = this.#messageBytes = this.counters.fids = 0;
  }

  /** Answers a request of at least HEADER_BYTES where there is room for ERROR_BYTES; the bytes of the answer. */
  answer(exchange: Exchange): number {
    const { counters } = this, out = this.#out, { roomBytes } = exchange;
    assert(exchange.sentBytes >= HEADER_BYTES && roomBytes >= ERROR_BYTES, "an exchange has room");
    counters.messages++;
    const request = this.#request.subarray(0, Math.min(exchange.sentBytes, this.#request.length));
    const type = this.#read(exchange, request), tag = request[5]! | request[6]! << 8;
    this.#inPlace = 0;
    out.begin(roomBytes);
    out.u32(0);
    out.u8(type + 1);
    out.u16(tag);
    let error = this.#act(type, request, exchange);
    if (error === 0 && out.full) error = -ERRNO.ENOBUFS;
    if (error !== 0) {
      counters.errors++;
      this.#inPlace = 0;
      out.begin(roomBytes);
      out.u32(0);
      out.u8(RLERROR);
      out.u16(tag);
      out.u32(-error);
    }
    const total = out.at + this.#inPlace;
    out.patch32(0, total);
    exchange.write(out.written, this.#inPlace);
    counters.fids = this.#fids.size;
    return total;
  }

  /** Copies the request, but for data that it carries; its type. */
  #read(exchange: Exchange, request: Uint8Array): number {
    const start = request.subarray(0, Math.min(WRITE_HEAD_BYTES, request.length));
    exchange.read(start);
    if (start[4] !== MESSAGES.write.type) exchange.read(request);
    return start[4]!;
  }

  /** Does what is asked for and writes the answer's fields; 0, or the error. */
  #act(type: number, request: Uint8Array, exchange: Exchange): number {
    const name = messageName(type), said = new DataView(request.buffer, request.byteOffset).getUint32(0, true);
    if (name === undefined) return -ERRNO.EOPNOTSUPP;
    const longest = this.#messageBytes === 0 ? LEAST_MESSAGE_BYTES : this.#messageBytes;
    if (said > longest || exchange.sentBytes > longest + HEADER_BYTES) return -ERRNO.EMSGSIZE;
    // Older Linux does not count a write's data.
    const { hasData, changes, answer } = MESSAGES[name], end = hasData ? WRITE_HEAD_BYTES : said;
    if (said < HEADER_BYTES || end > exchange.sentBytes) return -ERRNO.EINVAL;
    const from = new Reader(request.subarray(0, end));
    from.at = HEADER_BYTES;
    const values = readRequest(name, from);
    if (values === null) return -ERRNO.EINVAL;
    if (this.#messageBytes === 0 && name !== "version") return -ERRNO.EPROTO;
    if (changes && this.#share.readOnly) return -ERRNO.EROFS;
    const at = this.#out.at;
    const result = (this.#handlers[name] as Handler<MessageName>)(values as Request<MessageName>, exchange);
    if (typeof result === "number") return result;
    // A listing's handler has put data where its count goes.
    if (name === "readdir") this.#out.patch32(at, (result as Answer<"readdir">).count);
    else answer.write(this.#out, result as never);
    return 0;
  }

  readonly #handlers: Handlers = {
    version: ({ msize, version }) => {
      this.reset();
      if (msize < LEAST_MESSAGE_BYTES) return -ERRNO.EMSGSIZE;
      const bytes = Math.min(msize, this.#mostBytes);
      if (version !== VERSION) return { msize: bytes, version: UNKNOWN };
      this.#messageBytes = bytes;
      return { msize: bytes, version };
    },
    auth: () => -ERRNO.EOPNOTSUPP,
    attach: ({ fid, afid, nUname }) => {
      if (afid !== NO_FID) return -ERRNO.EBADF;
      const stat = this.#share.stat([]);
      if (typeof stat === "number") return stat;
      this.#rootDevice = stat.device;
      const error = this.#add(fid, this.#tree.root, nUname);
      return error !== 0 ? error : { qid: this.#qid(stat) };
    },
    // What is flushed was answered before.
    flush: () => ({}),
    walk: ({ fid, newfid, names }) => this.#walk(fid, newfid, names),
    clunk: ({ fid }) => {
      const known = this.#fids.get(fid);
      if (known === undefined) return -ERRNO.EBADF;
      this.#drop(fid, known);
      return {};
    },
    remove: ({ fid }) => {
      const known = this.#fids.get(fid), path = this.#path(fid);
      if (known === undefined) return -ERRNO.EBADF;
      const { node } = known;
      const error = this.#share.readOnly ? -ERRNO.EROFS : this.#remove(path, node);
      this.#drop(fid, known);
      return error < 0 ? error : {};
    },

    getattr: ({ fid }) => {
      const stat = this.#stat(fid);
      if (typeof stat === "number") return stat;
      return {
        valid: GETATTR.BASIC | GETATTR.BTIME,
        qid: this.#qid(stat),
        mode: stat.mode,
        uid: stat.uid,
        gid: stat.gid,
        nlink: BigInt(stat.links),
        rdev: stat.rdev,
        size: stat.size,
        blksize: BigInt(this.#bestBytes(stat.blockBytes)),
        blocks: stat.blocks,
        atimeSec: stat.atime.sec,
        atimeNsec: stat.atime.nsec,
        mtimeSec: stat.mtime.sec,
        mtimeNsec: stat.mtime.nsec,
        ctimeSec: stat.ctime.sec,
        ctimeNsec: stat.ctime.nsec,
        btimeSec: stat.btime.sec,
        btimeNsec: stat.btime.nsec,
        gen: 0n,
        dataVersion: 0n,
      };
    },
    setattr: (request) => {
      const fid = this.#fids.get(request.fid), path = this.#path(request.fid);
      if (fid === undefined) return -ERRNO.EBADF;
      if (typeof path === "number" && fid.handle === null) return path;
      const changes = changesOf(request);
      if (typeof changes === "number") return changes;
      return done(this.#share.change(typeof path === "number" ? [] : path, fid.handle, changes));
    },
    statfs: ({ fid }) => {
      const path = this.#path(fid);
      if (typeof path === "number") return path;
      const space = this.#share.space(path);
      if (typeof space === "number") return space;
      return {
        type: P9_MAGIC,
        bsize: space.blockBytes,
        blocks: space.blocks,
        bfree: space.freeBlocks,
        bavail: space.availableBlocks,
        files: space.files,
        ffree: space.freeFiles,
        fsid: 0n,
        namelen: space.nameBytes,
      };
    },
    readlink: ({ fid }) => {
      const path = this.#path(fid);
      if (typeof path === "number") return path;
      const target = this.#share.readLink(path);
      return typeof target === "number" ? target : { target };
    },
    xattrwalk: () => -ERRNO.EOPNOTSUPP,
    xattrcreate: () => -ERRNO.EOPNOTSUPP,

    lopen: ({ fid, flags }) => {
      const known = this.#fids.get(fid), path = this.#path(fid);
      if (typeof path === "number") return path;
      if (known === undefined || known.handle !== null) return -ERRNO.EINVAL;
      const wanted = openFlags(flags);
      if ((wanted.write || wanted.truncate) && this.#share.readOnly) return -ERRNO.EROFS;
      if (this.#open >= MOST_OPEN) return -ERRNO.ENFILE;
      return this.#opened(known, this.#share.open(path, wanted), (flags & OPEN.DIRECTORY) !== 0);
    },
    lcreate: ({ fid, name, flags, mode, gid }) => {
      const known = this.#fids.get(fid), path = this.#path(fid), error = wrongName(name);
      if (typeof path === "number") return path;
      if (known === undefined || known.handle !== null) return -ERRNO.EINVAL;
      if (error !== 0) return error;
      if (this.#open >= MOST_OPEN) return -ERRNO.ENFILE;
      if (this.#isFull(known.node, 1)) return -ERRNO.ENAMETOOLONG;
      const owner = { uid: known.uid, gid };
      const handle = this.#share.create(path, name, openFlags(flags), mode & MODE.BITS, owner);
      const result = this.#opened(known, handle, false);
      if (typeof result === "number") return result;
      const directory = known.node;
      known.node = this.#tree.hold(this.#tree.child(directory, name));
      this.#tree.release(directory);
      return result;
    },
    read: ({ fid, offset, count }, exchange) => {
      const known = this.#opening(fid, false);
      if (typeof known === "number") return known;
      const asked = Math.min(count, Math.min(exchange.roomBytes, this.#messageBytes) - READ_HEAD_BYTES);
      const got = this.#share.read(known.handle, offset, exchange.room(READ_HEAD_BYTES, asked));
      if (got < 0) return got;
      this.#inPlace = got;
      this.counters.bytesRead += got;
      return { count: got };
    },
    write: ({ fid, offset, count }, exchange) => {
      const known = this.#opening(fid, false);
      if (typeof known === "number") return known;
      if (count > exchange.sentBytes - WRITE_HEAD_BYTES) return -ERRNO.EINVAL;
      const put = this.#share.write(known.handle, offset, exchange.sent(WRITE_HEAD_BYTES, count));
      if (put < 0) return put;
      this.counters.bytesWritten += put;
      return { count: put };
    },
    readdir: ({ fid, offset, count }, exchange) => this.#list(fid, offset, count, exchange),
    fsync: ({ fid, datasync }) => {
      const known = this.#fids.get(fid);
      if (known === undefined || known.handle === null) return -ERRNO.EBADF;
      return done(this.#share.sync(known.handle, datasync !== 0));
    },
    lock: ({ fid }) => this.#fids.has(fid) ? { status: LOCK.SUCCESS } : -ERRNO.EBADF,
    getlock: ({ fid, start, length, procId, clientId }) =>
      this.#fids.has(fid) ? { type: LOCK.UNLOCKED, start, length, procId, clientId } : -ERRNO.EBADF,

    mkdir: ({ dfid, name, mode, gid }) =>
      this.#make(dfid, name, (path, uid) => this.#share.makeDirectory(path, name, mode & MODE.BITS, { uid, gid })),
    symlink: ({ dfid, name, target, gid }) => {
      if (target === "" || target.includes("\0")) return -ERRNO.EINVAL;
      return this.#make(dfid, name, (path, uid) => this.#share.symlink(path, name, target, { uid, gid }));
    },
    mknod: () => -ERRNO.EPERM,
    link: ({ dfid, fid, name }) => {
      const directory = this.#path(dfid), existing = this.#path(fid), error = wrongName(name);
      if (typeof directory === "number") return directory;
      if (typeof existing === "number") return existing;
      if (error !== 0) return error;
      return existing.length === 0 ? -ERRNO.EPERM : done(this.#share.link(directory, name, existing));
    },
    rename: ({ fid, dfid, name }) => {
      const node = this.#fids.get(fid)?.node, directory = this.#fids.get(dfid)?.node;
      if (node === undefined || directory === undefined) return -ERRNO.EBADF;
      if (node.parent === null) return -ERRNO.EBUSY;
      return node.gone ? -ERRNO.ENOENT : this.#rename(node.parent, node.name, directory, name, node);
    },
    renameat: ({ olddirfid, oldname, newdirfid, newname }) => {
      const from = this.#fids.get(olddirfid)?.node, to = this.#fids.get(newdirfid)?.node;
      if (from === undefined || to === undefined) return -ERRNO.EBADF;
      return this.#rename(from, oldname, to, newname, from.below.get(oldname));
    },
    unlinkat: ({ dfid, name, flags }) => {
      const path = this.#path(dfid), error = wrongName(name), node = this.#fids.get(dfid)?.node;
      if (typeof path === "number") return path;
      if (error !== 0) return error;
      const result = this.#share.remove(path, name, (flags & UNLINK_DIRECTORY) !== 0);
      if (result < 0) return result;
      this.#tree.remove(node!, name);
      return {};
    },
  };

  /** A new fid; 0 or the error. */
  #add(fid: number, node: Node, uid: number): number {
    if (fid === NO_FID || this.#fids.has(fid)) return -ERRNO.EINVAL;
    if (this.#fids.size >= MOST_FIDS) return -ERRNO.ENFILE;
    this.#fids.set(fid, { node: this.#tree.hold(node), uid, handle: null, isDirectory: false });
    return 0;
  }

  #drop(fid: number, known: Fid): void {
    if (known.handle !== null) {
      this.#share.close(known.handle);
      this.#open--;
    }
    this.#fids.delete(fid);
    this.#tree.release(known.node);
  }

  /** Where a fid points; the error when it is none or its place is gone. */
  #path(fid: number): Path | number {
    const known = this.#fids.get(fid);
    return known === undefined ? -ERRNO.EBADF : this.#tree.path(known.node) ?? -ERRNO.ENOENT;
  }

  #stat(fid: number): FileStat | number {
    const handle = this.#fids.get(fid)?.handle ?? null;
    if (handle !== null) return this.#share.statHandle(handle);
    const path = this.#path(fid);
    return typeof path === "number" ? path : this.#share.stat(path);
  }

  /** What programs had better read and write at once: as many blocks as a message holds. */
  #bestBytes(blockBytes: number): number {
    const most = this.#messageBytes - WRITE_HEAD_BYTES;
    return most < blockBytes ? blockBytes : most - most % Math.max(1, blockBytes);
  }

  /** The fid of an open file, or of an open directory. */
  #opening(fid: number, isDirectory: boolean): { readonly handle: number } | number {
    const known = this.#fids.get(fid);
    if (known === undefined || known.handle === null) return -ERRNO.EBADF;
    if (known.isDirectory !== isDirectory) return isDirectory ? -ERRNO.ENOTDIR : -ERRNO.EISDIR;
    return { handle: known.handle };
  }

  #opened(fid: Fid, handle: number, mustBeDirectory: boolean): Answer<"lopen"> | number {
    if (handle < 0) return handle;
    const stat = this.#share.statHandle(handle),
      isDirectory = typeof stat !== "number" && hasType(stat, MODE.DIRECTORY);
    if (typeof stat === "number" || (mustBeDirectory && !isDirectory)) {
      this.#share.close(handle);
      return typeof stat === "number" ? stat : -ERRNO.ENOTDIR;
    }
    this.#open++;
    fid.handle = handle;
    fid.isDirectory = isDirectory;
    return { qid: this.#qid(stat), iounit: 0 };
  }

  /** Whether `more` names below a node would be too many. */
  #isFull(node: Node, more: number): boolean {
    return node.depth + more > MOST_DEPTH || this.#tree.count + more > MOST_NODES;
  }

  #walk(fid: number, newfid: number, names: readonly string[]): Answer<"walk"> | number {
    const known = this.#fids.get(fid);
    if (known === undefined) return -ERRNO.EBADF;
    if (known.handle !== null) return -ERRNO.EINVAL;
    if (newfid !== fid && this.#fids.has(newfid)) return -ERRNO.EINVAL;
    const qids: Qid[] = [], tree = this.#tree;
    let node = tree.hold(known.node), error = 0;
    const go = (next: Node) => {
      tree.hold(next);
      tree.release(node);
      node = next;
    };
    // Every run of names without ".." is one walk of the share's.
    for (let next = 0; next < names.length && error === 0;) {
      if (names[next] === "..") {
        go(node.parent ?? node);
        const path = tree.path(node), stat = path === null ? -ERRNO.ENOENT : this.#share.stat(path);
        if (typeof stat === "number") error = stat;
        else qids.push(this.#qid(stat));
        next++;
        continue;
      }
      const up = names.indexOf("..", next), end = up < 0 ? names.length : up, run = names.slice(next, end);
      const wrong = run.findIndex((name) => wrongName(name) !== 0), good = wrong < 0 ? run : run.slice(0, wrong);
      const path = tree.path(node);
      if (path === null) error = -ERRNO.ENOENT;
      else if (this.#isFull(node, good.length)) error = -ERRNO.ENAMETOOLONG;
      else {
        const walked = this.#share.walk(path, good);
        walked.found.forEach((stat, n) => {
          go(tree.child(node, good[n]!));
          qids.push(this.#qid(stat));
        });
        error = walked.error !== 0 ? walked.error : wrong < 0 ? 0 : -ERRNO.ENOENT;
      }
      next = end;
    }
    // What was found before the error is told, and newfid is not made.
    if (error === 0) {
      if (newfid !== fid) error = this.#add(newfid, node, known.uid);
      else {
        tree.hold(node);
        tree.release(known.node);
        known.node = node;
      }
      if (error !== 0) qids.length = 0;
    }
    tree.release(node);
    return error !== 0 && qids.length === 0 ? error : { qids };
  }

  #list(fid: number, offset: bigint, count: number, exchange: Exchange): Answer<"readdir"> | number {
    const known = this.#opening(fid, true);
    if (typeof known === "number") return known;
    const out = this.#out, start = out.at + 4;
    const most = Math.min(count, Math.min(exchange.roomBytes, this.#messageBytes) - READ_HEAD_BYTES);
    if (most < 0) return -ERRNO.ENOBUFS;
    const entries = this.#share.list(known.handle, offset, most);
    if (typeof entries === "number") return entries;
    const directory = this.#share.statHandle(known.handle), path = this.#path(fid);
    if (typeof directory === "number") return directory;
    out.u32(0);
    for (const { inode, type, next, name } of entries) {
      if (out.at - start + ENTRY_BYTES + name.length > most) break;
      // What is above the shared directory is none of the guest's business.
      const isTop = name === ".." && typeof path !== "number" && path.length === 0;
      QID.write(out, {
        type: type === DIRENT.DIRECTORY ? QID_TYPE.DIRECTORY : type === DIRENT.LINK ? QID_TYPE.LINK : QID_TYPE.FILE,
        version: 0,
        path: this.#qidPath(directory.device, isTop ? directory.inode : inode),
      });
      out.u64(next);
      out.u8(type);
      out.text(name);
    }
    // Nothing would mean that the directory ends here.
    return entries.length > 0 && out.at === start ? -ERRNO.EINVAL : { count: out.at - start };
  }

  #make(
    dfid: number,
    name: string,
    make: (path: Path, uid: number) => number,
  ): { readonly qid: Qid } | number {
    const path = this.#path(dfid), error = wrongName(name);
    if (typeof path === "number") return path;
    if (error !== 0) return error;
    const result = make(path, this.#fids.get(dfid)!.uid);
    if (result < 0) return result;
    const { found, error: notFound } = this.#share.walk(path, [name]);
    return found.length === 1 ? { qid: this.#qid(found[0]!) } : notFound;
  }

  #remove(path: Path | number, node: Node): number {
    if (typeof path === "number") return path;
    const { parent, name } = node;
    if (parent === null) return -ERRNO.EBUSY;
    const stat = this.#share.stat(path);
    if (typeof stat === "number") return stat;
    const result = this.#share.remove(path.slice(0, -1), name, hasType(stat, MODE.DIRECTORY));
    if (result >= 0) this.#tree.remove(parent, name);
    return result;
  }

  #rename(from: Node, name: string, to: Node, newName: string, moved: Node | undefined): Answer<"rename"> | number {
    const error = wrongName(name) || wrongName(newName);
    if (error !== 0) return error;
    const path = this.#tree.path(from), newPath = this.#tree.path(to);
    if (path === null || newPath === null) return -ERRNO.ENOENT;
    // The tree would not hold together, whatever the host has meanwhile.
    if (moved !== undefined && this.#tree.isWithin(to, moved)) return -ERRNO.EINVAL;
    if (this.#isFull(to, 1)) return -ERRNO.ENAMETOOLONG;
    const result = this.#share.rename(path, name, newPath, newName);
    if (result < 0) return result;
    this.#tree.move(from, name, to, newName);
    return {};
  }

  #qid(stat: FileStat): Qid {
    const { mode, mtime, size } = stat;
    return {
      type: hasType(stat, MODE.DIRECTORY)
        ? QID_TYPE.DIRECTORY
        : (mode & MODE.TYPE) === MODE.LINK
        ? QID_TYPE.LINK
        : QID_TYPE.FILE,
      version: Number(BigInt.asUintN(32, mtime.sec * 1_000_000_000n + mtime.nsec ^ size << 8n)),
      path: this.#qidPath(stat.device, stat.inode),
    };
  }

  /** Inodes of other devices than the shared directory's differ in the bits that inodes do not reach. */
  #qidPath(device: bigint, inode: bigint): bigint {
    if (device === this.#rootDevice) return inode;
    return inode ^ BigInt.asUintN(24, (device + 1n) * 0x9e3779b97f4a7c15n >> 20n | 1n) << 40n;
  }
}

const hasType = ({ mode }: FileStat, type: number) => (mode & MODE.TYPE) === type;
const done = (result: number): Record<string, never> | number => result < 0 ? result : {};
