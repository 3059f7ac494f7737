// The messages of 9P2000.L: for each request what it carries and what its answer carries, declared once. Reading, writing,
// the types of the handlers and the fuzzer's messages follow from it. The names are the protocol's, without T and R.
// https://github.com/chaos/diod/blob/master/protocol.md describes them.

import { type Fields, type Kind, list, type Reader, record, text, u16, u32, u64, u8, type Values } from "./p9_codec.ts";

export const QID_TYPE = { DIRECTORY: 0x80, LINK: 0x02, FILE: 0 } as const;
/** What a file is known by: its type, a number that changes with its contents, and one that no other file has. */
export const QID = record({ type: u8, version: u32, path: u64 });
export const QID_BYTES = 13;

/** Names in one walk. */
export const MOST_NAMES = 16;
/** Length, type and tag. */
export const HEADER_BYTES = 7;
/** An error's whole answer, and what stands before the data of a read, a listing or a write. */
export const ERROR_BYTES = HEADER_BYTES + 4, READ_HEAD_BYTES = HEADER_BYTES + 4, WRITE_HEAD_BYTES = HEADER_BYTES + 16;
/** The type of an answer that is an error number; of any other it is the request's plus one. */
export const RLERROR = 7;

interface Message<T extends Fields, R extends Fields> {
  readonly type: number;
  readonly request: Kind<Values<T>>;
  readonly answer: Kind<Values<R>>;
  /** It changes what is shared. */
  readonly changes: boolean;
  /** The request's last field counts data that follows it. */
  readonly hasData: boolean;
  /** By name, for tests. */
  readonly fields: T;
}

function message<const T extends Fields, const R extends Fields>(
  type: number,
  fields: T,
  answer: R,
  more: { readonly changes?: true; readonly hasData?: true } = {},
): Message<T, R> {
  const { changes = false, hasData = false } = more;
  return { type, request: record(fields), answer: record(answer), changes, hasData, fields };
}
const changes = { changes: true } as const;

/** The times of a setattr: seconds and nanoseconds since 1970. */
const times = { atimeSec: u64, atimeNsec: u64, mtimeSec: u64, mtimeNsec: u64 };
const lock = { start: u64, length: u64, procId: u32, clientId: text };

export const MESSAGES = {
  statfs: message(8, { fid: u32 }, {
    ...{ type: u32, bsize: u32, blocks: u64, bfree: u64, bavail: u64, files: u64, ffree: u64, fsid: u64 },
    namelen: u32,
  }),
  lopen: message(12, { fid: u32, flags: u32 }, { qid: QID, iounit: u32 }),
  lcreate: message(
    14,
    { fid: u32, name: text, flags: u32, mode: u32, gid: u32 },
    { qid: QID, iounit: u32 },
    changes,
  ),
  symlink: message(16, { dfid: u32, name: text, target: text, gid: u32 }, { qid: QID }, changes),
  mknod: message(
    18,
    { dfid: u32, name: text, mode: u32, major: u32, minor: u32, gid: u32 },
    { qid: QID },
    changes,
  ),
  rename: message(20, { fid: u32, dfid: u32, name: text }, {}, changes),
  readlink: message(22, { fid: u32 }, { target: text }),
  getattr: message(24, { fid: u32, mask: u64 }, {
    ...{ valid: u64, qid: QID, mode: u32, uid: u32, gid: u32, nlink: u64, rdev: u64, size: u64 },
    ...{ blksize: u64, blocks: u64, ...times, ctimeSec: u64, ctimeNsec: u64, btimeSec: u64, btimeNsec: u64 },
    ...{ gen: u64, dataVersion: u64 },
  }),
  setattr: message(
    26,
    { fid: u32, valid: u32, mode: u32, uid: u32, gid: u32, size: u64, ...times },
    {},
    changes,
  ),
  xattrwalk: message(30, { fid: u32, newfid: u32, name: text }, { size: u64 }),
  xattrcreate: message(32, { fid: u32, name: text, size: u64, flags: u32 }, {}, changes),
  /** The answer's data is put behind its count by the handler. */
  readdir: message(40, { fid: u32, offset: u64, count: u32 }, { count: u32 }),
  fsync: message(50, { fid: u32, datasync: u32 }, {}),
  lock: message(52, { fid: u32, type: u8, flags: u32, ...lock }, { status: u8 }),
  getlock: message(54, { fid: u32, type: u8, ...lock }, { type: u8, ...lock }),
  link: message(70, { dfid: u32, fid: u32, name: text }, {}, changes),
  mkdir: message(72, { dfid: u32, name: text, mode: u32, gid: u32 }, { qid: QID }, changes),
  renameat: message(74, { olddirfid: u32, oldname: text, newdirfid: u32, newname: text }, {}, changes),
  unlinkat: message(76, { dfid: u32, name: text, flags: u32 }, {}, changes),
  version: message(100, { msize: u32, version: text }, { msize: u32, version: text }),
  auth: message(102, { afid: u32, uname: text, aname: text, nUname: u32 }, { aqid: QID }),
  attach: message(104, { fid: u32, afid: u32, uname: text, aname: text, nUname: u32 }, { qid: QID }),
  flush: message(108, { oldtag: u16 }, {}),
  walk: message(
    110,
    { fid: u32, newfid: u32, names: list(text, MOST_NAMES) },
    { qids: list(QID, MOST_NAMES) },
  ),
  /** Its data goes straight into the answer. */
  read: message(116, { fid: u32, offset: u64, count: u32 }, { count: u32 }),
  write: message(118, { fid: u32, offset: u64, count: u32 }, { count: u32 }, { ...changes, hasData: true }),
  clunk: message(120, { fid: u32 }, {}),
  /** It gives the fid up even when it changes nothing, so that it is refused by its handler. */
  remove: message(122, { fid: u32 }, {}),
} as const;
export type MessageName = keyof typeof MESSAGES;
type Of<K extends Kind<unknown>> = K extends Kind<infer T> ? T : never;
export type Request<N extends MessageName> = Of<(typeof MESSAGES)[N]["request"]>;
export type Answer<N extends MessageName> = Of<(typeof MESSAGES)[N]["answer"]>;
export type Qid = Of<typeof QID>;

const BY_TYPE = new Map<number, MessageName>(
  Object.entries(MESSAGES).map(([name, { type }]) => [type, name as MessageName]),
);
/** The name of a request's type, if it is one of this protocol. */
export const messageName = (type: number): MessageName | undefined => BY_TYPE.get(type);

/** The fields of a request; null when they are not what is there. */
export function readRequest(name: MessageName, from: Reader): Readonly<Record<string, unknown>> | null {
  const { request, hasData } = MESSAGES[name];
  const values = request.read(from);
  return from.broken || (!hasData && from.at !== from.bytes.length) ? null : values;
}
