// A disk on an NBD server, the machine's half: turns what the block device asks for into requests, and replies, simple and
// structured, into answers. Connections are the daemon's (nbd_link.ts). When one is lost, what was not answered is sent
// again on the next; the server may have been told to stop waiting, then it is answered with an error. Nothing that the
// server says is believed: a reply that does not fit ends the connection.

import type { BlockBackend, Done } from "../virtio/block_backend.ts";
import {
  CHUNK,
  CHUNK_FLAG_DONE,
  COMMAND,
  COMMAND_FLAG,
  EXPORT_FLAG,
  GENERATION_BYTES,
  MAGIC,
  type NbdExport,
  RECORD,
  REQUEST_BYTES,
  SIMPLE_REPLY_BYTES,
  STRUCTURED_REPLY_BYTES,
} from "./nbd_protocol.ts";
import { gather, lengthOf, Pieces, scatter } from "./pieces.ts";
import { type MachineLink, RECORD_BYTES } from "./record_port.ts";

const SECTOR = 512;
/** The most data of one request. */
const MOST_DATA_BYTES = 2 ** 20;
/** The most bytes of a request without data. */
const MOST_RANGE_BYTES = 2 ** 30;
/** A request that ends so many connections is at fault itself. */
const MOST_TRIES = 4;
/** Offset and length of a hole, the longest payload that must be whole to be understood. */
const PAYLOAD_BYTES = 12;

interface Request {
  readonly command: number;
  readonly flags: number;
  readonly offset: number;
  readonly bytes: number;
  /** Where the data is or goes to. */
  readonly pieces: readonly Uint8Array[];
  /** Null: nobody waits any more. */
  done: Done | null;
  /** Of a read: bytes that have not come. */
  missing: number;
  failed: boolean;
  tries: number;
}

export interface NbdOptions {
  readonly name: string;
  readonly readOnly: boolean;
  readonly discard: boolean;
  readonly unsafe: boolean;
  readonly warn: (line: string) => void;
}

/** What the bytes are that come next. */
type Expected =
  | { readonly kind: "header" }
  /** Data of `request`, from byte `at` of it, or of no interest. */
  | { readonly kind: "data"; readonly request: Request | null; at: number; left: number; readonly then: () => void }
  /** The first bytes of a chunk's payload. */
  | { readonly kind: "payload"; readonly bytes: number; readonly then: (view: DataView) => void };

export class NbdBackend implements BlockBackend {
  readonly name: string;
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly clusterBytes: number;
  readonly canDiscard: boolean;
  readonly #link: MachineLink;
  readonly #export: NbdExport;
  readonly #options: NbdOptions;
  /** Requests that were not answered, by cookie. */
  readonly #requests = new Map<number, Request>();
  #nextCookie = 1;
  /** Cookies of what is to be sent, and how much of the first one is. */
  #unsent: number[] = [];
  #sentBytes = 0;
  /** Generation of the connection, 0 while there is none. */
  #connection = 0;
  /** Generation of a connection that the daemon is to end, 0 for none. */
  #ending = 0;
  #failing = false;
  #expected: Expected = { kind: "header" };
  readonly #held = new Uint8Array(STRUCTURED_REPLY_BYTES);
  readonly #heldView = new DataView(this.#held.buffer);
  #heldBytes = 0;
  readonly #warned = new Set<string>();

  constructor(link: MachineLink, found: NbdExport, options: NbdOptions) {
    this.#link = link;
    this.#export = found;
    this.#options = options;
    this.name = options.name;
    this.sizeBytes = Math.floor(found.sizeBytes / SECTOR) * SECTOR;
    this.readOnly = options.readOnly || this.#can(EXPORT_FLAG.READ_ONLY);
    this.clusterBytes = Math.max(SECTOR, found.blocks.preferred);
    this.canDiscard = options.discard && this.#can(EXPORT_FLAG.SEND_TRIM);
  }

  read(offset: number, pieces: readonly Uint8Array[], done: Done): void {
    this.#transfer(COMMAND.READ, 0, offset, pieces, done);
  }
  write(offset: number, pieces: readonly Uint8Array[], done: Done, durable = false): void {
    this.#transfer(COMMAND.WRITE, this.#durability(durable), offset, pieces, done);
  }
  flush(done: Done): void {
    // A server that cannot flush has nothing to flush.
    if (this.#options.unsafe || !this.#can(EXPORT_FLAG.SEND_FLUSH)) return done(true);
    this.#submit(COMMAND.FLUSH, 0, 0, 0, [], done);
    this.#send();
  }
  discard(offset: number, bytes: number, done: Done): void {
    this.#range(COMMAND.TRIM, 0, offset, bytes, done);
  }
  zero(offset: number, bytes: number, mayUnmap: boolean, done: Done, durable = false): void {
    if (this.#can(EXPORT_FLAG.SEND_WRITE_ZEROES)) {
      const flags = mayUnmap && this.#options.discard ? 0 : COMMAND_FLAG.NO_HOLE;
      return this.#range(COMMAND.WRITE_ZEROES, flags | this.#durability(durable), offset, bytes, done);
    }
    const zeros = new Uint8Array(Math.min(bytes, MOST_DATA_BYTES));
    const pieces = Array.from({ length: Math.floor(bytes / zeros.length) }, () => zeros);
    this.write(offset, [...pieces, zeros.subarray(0, bytes % zeros.length)], done, durable);
  }

  pump(): boolean {
    let any = false;
    for (let record = this.#link.next(); record !== null; record = this.#link.next()) {
      this.#take(record);
      this.#link.taken();
      any = true;
    }
    this.#send();
    if (any) this.#link.flush();
    return any;
  }
  get hasInput(): boolean {
    return this.#link.hasInput || ((this.#canSend || this.#ending !== 0) && this.#link.hasRoom(RECORD_BYTES));
  }

  abandon(): void {
    for (const request of this.#requests.values()) request.done = null;
    // What was sent in part must be sent to its end.
    const kept = this.#sentBytes > 0 ? 1 : 0;
    for (const cookie of this.#unsent.splice(kept)) this.#requests.delete(cookie);
  }

  close(): void {}

  /** Force unit access saves the flush and its way to the server and back. */
  get canBeDurable(): boolean {
    return this.#can(EXPORT_FLAG.SEND_FUA) || this.#options.unsafe || !this.#can(EXPORT_FLAG.SEND_FLUSH);
  }
  #durability(durable: boolean): number {
    return durable && !this.#options.unsafe && this.#can(EXPORT_FLAG.SEND_FUA) ? COMMAND_FLAG.FUA : 0;
  }

  #can(flag: number): boolean {
    return (this.#export.flags & flag) !== 0;
  }

  /** A read or write, in as many requests as the server needs. */
  #transfer(command: number, flags: number, offset: number, pieces: readonly Uint8Array[], done: Done): void {
    const bytes = lengthOf(pieces),
      most = Math.min(MOST_DATA_BYTES, this.#export.blocks.most),
      cursor = new Pieces(pieces);
    const all = joined(Math.ceil(bytes / most), done);
    for (let at = 0; at < bytes; at += most) {
      const part = Math.min(most, bytes - at);
      this.#submit(command, flags, offset + at, part, cursor.take(part), all);
    }
    this.#send();
  }

  #range(command: number, flags: number, offset: number, bytes: number, done: Done): void {
    const all = joined(Math.ceil(bytes / MOST_RANGE_BYTES), done);
    for (let at = 0; at < bytes; at += MOST_RANGE_BYTES) {
      this.#submit(command, flags, offset + at, Math.min(MOST_RANGE_BYTES, bytes - at), [], all);
    }
    this.#send();
  }

  #submit(
    command: number,
    flags: number,
    offset: number,
    bytes: number,
    pieces: readonly Uint8Array[],
    done: Done,
  ): void {
    if (this.#failing) return done(false);
    const cookie = this.#nextCookie++, missing = command === COMMAND.READ ? bytes : 0;
    this.#requests.set(cookie, { command, flags, offset, bytes, pieces, done, missing, failed: false, tries: 0 });
    this.#unsent.push(cookie);
  }

  get #canSend(): boolean {
    return this.#connection !== 0 && this.#unsent.length > 0;
  }

  /** Fills records with requests, as far as there are any and there is room. */
  #send(): void {
    let sent = false;
    if (this.#ending !== 0) {
      const place = this.#link.reserve(GENERATION_BYTES);
      if (place === null) return;
      new DataView(place.buffer, place.byteOffset).setUint32(0, this.#ending);
      this.#link.commit(GENERATION_BYTES);
      this.#ending = 0;
      sent = true;
    }
    while (this.#canSend) {
      const place = this.#link.reserve(RECORD_BYTES);
      if (place === null) break;
      new DataView(place.buffer, place.byteOffset).setUint32(0, this.#connection);
      let used = GENERATION_BYTES, count = 0;
      while (count < this.#unsent.length && used < place.length) {
        const cookie = this.#unsent[count]!, request = this.#requests.get(cookie)!;
        used += this.#put(cookie, request, place.subarray(used));
        const whole = REQUEST_BYTES + (request.command === COMMAND.WRITE ? request.bytes : 0);
        if (this.#sentBytes < whole) break;
        this.#sentBytes = 0;
        count++;
      }
      this.#unsent.splice(0, count);
      this.#link.commit(used);
      sent = true;
    }
    if (sent) this.#link.flush();
  }

  /** Puts as much of a request as fits, from where it was left; returns how much that is. */
  #put(cookie: number, { command, flags, offset, bytes, pieces }: Request, place: Uint8Array): number {
    let used = 0;
    if (this.#sentBytes < REQUEST_BYTES) {
      const header = new Uint8Array(REQUEST_BYTES), view = new DataView(header.buffer);
      view.setUint32(0, MAGIC.REQUEST);
      view.setUint16(4, flags);
      view.setUint16(6, command);
      view.setBigUint64(8, BigInt(cookie));
      view.setBigUint64(16, BigInt(offset));
      view.setUint32(24, bytes);
      const part = header.subarray(this.#sentBytes, this.#sentBytes + place.length);
      place.set(part);
      used = part.length;
      this.#sentBytes += used;
    }
    if (command === COMMAND.WRITE && this.#sentBytes >= REQUEST_BYTES) {
      const copied = gather(pieces, this.#sentBytes - REQUEST_BYTES, place.subarray(used));
      used += copied;
      this.#sentBytes += copied;
    }
    return used;
  }

  #take(record: Uint8Array): void {
    switch (record[0]) {
      case RECORD.CONNECTED:
        return this.#connected(new DataView(record.buffer, record.byteOffset).getUint32(1));
      case RECORD.LOST:
        return this.#lost();
      case RECORD.FAILING:
        this.#failing = true;
        this.#unsent = [];
        for (const [cookie, request] of [...this.#requests]) this.#end(cookie, request, false);
        return;
      default:
        if (this.#connection !== 0) this.#parse(record.subarray(1));
    }
  }

  #connected(generation: number): void {
    this.#lost();
    this.#connection = generation;
    this.#failing = false;
  }

  /** Everything that was not answered goes back to what is to be sent. */
  #lost(): void {
    if (this.#connection !== 0) {
      for (const [cookie, request] of [...this.#requests]) {
        request.missing = request.command === COMMAND.READ ? request.bytes : 0;
        request.failed = false;
        if (request.done === null) this.#requests.delete(cookie);
        else if (++request.tries >= MOST_TRIES) this.#end(cookie, request, false);
      }
      this.#unsent = [...this.#requests.keys()];
    }
    this.#connection = 0;
    this.#sentBytes = this.#heldBytes = 0;
    this.#expected = { kind: "header" };
  }

  /** The server does not keep to the protocol. */
  #violation(what: string): void {
    this.#warn(`the server ${what}: connecting again`);
    this.#ending = this.#connection;
    this.#lost();
  }

  #parse(data: Uint8Array): void {
    for (let rest = data; rest.length > 0 && this.#connection !== 0;) {
      const expected = this.#expected;
      if (expected.kind === "data") {
        const part = rest.subarray(0, expected.left), { request } = expected;
        if (request !== null && request.done !== null) scatter(request.pieces, expected.at, part);
        expected.at += part.length;
        expected.left -= part.length;
        rest = rest.subarray(part.length);
        if (expected.left === 0) expected.then();
        continue;
      }
      const need = expected.kind === "payload"
        ? expected.bytes
        : this.#heldBytes >= 4 && this.#heldView.getUint32(0) === MAGIC.STRUCTURED_REPLY
        ? STRUCTURED_REPLY_BYTES
        : this.#heldBytes >= 4
        ? SIMPLE_REPLY_BYTES
        : 4;
      const part = rest.subarray(0, need - this.#heldBytes);
      this.#held.set(part, this.#heldBytes);
      this.#heldBytes += part.length;
      rest = rest.subarray(part.length);
      if (this.#heldBytes < need || need === 4) continue;
      this.#heldBytes = 0;
      if (expected.kind === "payload") expected.then(this.#heldView);
      else this.#header();
    }
  }

  #header(): void {
    const view = this.#heldView, magic = view.getUint32(0), structured = magic === MAGIC.STRUCTURED_REPLY;
    if (!structured && magic !== MAGIC.SIMPLE_REPLY) return this.#violation("sends what is no reply");
    const cookie = view.getUint32(8) * 2 ** 32 + view.getUint32(12), request = this.#requests.get(cookie);
    if (request === undefined || this.#unsent.includes(cookie)) {
      return this.#violation("answers what it was not asked");
    }
    if (structured) {
      if (!this.#export.structured) return this.#violation("sends a structured reply, which was not agreed on");
      return this.#chunk(cookie, request, view.getUint16(4), view.getUint16(6), view.getUint32(16));
    }
    const error = view.getUint32(4);
    if (error !== 0) this.#failed(request, error);
    if (request.command !== COMMAND.READ || error !== 0) return this.#end(cookie, request, error === 0);
    if (this.#export.structured) return this.#violation("sends a simple reply with data");
    this.#data(request, 0, request.bytes, () => this.#end(cookie, request, true));
  }

  #chunk(cookie: number, request: Request, flags: number, type: number, length: number): void {
    const then = () => {
      if ((flags & CHUNK_FLAG_DONE) === 0) return;
      if (request.missing > 0 && !request.failed) return this.#violation("sends less than it was asked for");
      this.#end(cookie, request, !request.failed);
    };
    const rest = (bytes: number) => this.#data(null, 0, bytes, then);
    if ((type & CHUNK.ERROR) !== 0) {
      if (length < 6) return this.#violation("sends an error without a number");
      return this.#payload(6, (view) => {
        this.#failed(request, view.getUint32(0));
        rest(length - 6);
      });
    }
    if (type === CHUNK.NONE && length === 0 && (flags & CHUNK_FLAG_DONE) !== 0) return rest(0);
    const data = type === CHUNK.OFFSET_DATA && length > 8,
      hole = type === CHUNK.OFFSET_HOLE && length === PAYLOAD_BYTES;
    if (request.command !== COMMAND.READ || !(data || hole)) return this.#violation("sends a chunk of no use");
    this.#payload(data ? 8 : PAYLOAD_BYTES, (view) => {
      const offset = view.getUint32(0) * 2 ** 32 + view.getUint32(4), at = offset - request.offset;
      const bytes = data ? length - 8 : view.getUint32(8);
      if (at < 0 || at + bytes > request.bytes || bytes > request.missing) {
        return this.#violation("sends what it was not asked for");
      }
      if (data) return this.#data(request, at, bytes, then);
      request.missing -= bytes;
      if (request.done !== null) {
        const cursor = new Pieces(request.pieces);
        cursor.take(at);
        for (const piece of cursor.take(bytes)) piece.fill(0);
      }
      rest(0);
    });
  }

  #payload(bytes: number, then: (view: DataView) => void): void {
    this.#expected = {
      kind: "payload",
      bytes,
      then: (view) => {
        this.#expected = { kind: "header" };
        then(view);
      },
    };
  }

  /** `left` bytes of data follow, for `request` from its byte `at`, or for nobody. */
  #data(request: Request | null, at: number, left: number, then: () => void): void {
    if (request !== null) request.missing -= left;
    const ended = () => {
      this.#expected = { kind: "header" };
      then();
    };
    if (left === 0) return ended();
    this.#expected = { kind: "data", request, at, left, then: ended };
  }

  #failed(request: Request, error: number): void {
    request.failed = true;
    const what = Object.keys(COMMAND).find((name) => COMMAND[name as keyof typeof COMMAND] === request.command)!;
    this.#warn(`the server answers ${what.toLowerCase().replace("_", " ")} with error ${error}`);
  }

  #end(cookie: number, { done }: Request, good: boolean): void {
    this.#requests.delete(cookie);
    done?.(good);
  }

  #warn(line: string): void {
    if (!this.#warned.has(line)) this.#options.warn(line);
    this.#warned.add(line);
  }
}

/** One answer for `parts` answers, good when all are. */
function joined(parts: number, done: Done): Done {
  let left = parts, good = true;
  if (parts === 0) done(true);
  return (ended) => {
    good &&= ended;
    if (--left === 0) done(good);
  };
}
