// The other side of the 9P device: a client that says messages and hears their answers, over the fake driver.

import { Reader, Writer } from "../../devices/virtio/p9_codec.ts";
import {
  type Answer,
  type MessageName,
  MESSAGES,
  QID,
  type Qid,
  type Request,
  RLERROR,
} from "../../devices/virtio/p9_messages.ts";
import { ERRNO } from "../../devices/virtio/p9_share.ts";
import type { VirtioDevice } from "../../devices/virtio/device.ts";
import { DESC } from "../../devices/virtio/queue.ts";
import { FakeDriver, type Used } from "./driver.ts";

const MOST_BYTES = 2 ** 20;
export const NO_FID = 0xffff_ffff;
export type ErrorName = keyof typeof ERRNO;
const errorName = (number: number) =>
  (Object.entries(ERRNO).find(([, value]) => value === number)?.[0] ?? `error ${number}`) as ErrorName;

export interface Listed {
  readonly qid: Qid;
  readonly next: bigint;
  readonly type: number;
  readonly name: string;
}

export class P9Client {
  readonly driver: FakeDriver;
  messageBytes = 65536;
  #tag = 0;
  #free = 100;
  /** Guest memory for a request and for its answer. */
  #sentAt = 0;
  #roomAt = 0;

  constructor(device: VirtioDevice) {
    this.driver = new FakeDriver(device);
    this.bringUp();
  }

  /** Resets the device and makes it ready. */
  bringUp(): this {
    this.driver.bringUp();
    this.#sentAt = this.driver.allocate(MOST_BYTES, 4096);
    this.#roomAt = this.driver.allocate(MOST_BYTES, 4096);
    return this;
  }

  /** A request as bytes. */
  encode<N extends MessageName>(name: N, request: Request<N>, data: Uint8Array = new Uint8Array(0)): Uint8Array {
    const { type, request: kind } = MESSAGES[name], out = new Writer(new Uint8Array(70_000 + data.length));
    out.u32(0);
    out.u8(type);
    out.u16(this.#tag = (this.#tag + 1) & 0xfff);
    (kind as { write(to: Writer, value: unknown): void }).write(out, request);
    out.patch32(0, out.at + data.length);
    return Uint8Array.from([...out.written, ...data]);
  }

  /** Makes a chain of pieces of these lengths available and kicks; what the device gave back. */
  send(bytes: Uint8Array, sentPieces: readonly number[], roomPieces: readonly number[]): Used[] {
    const { driver } = this, queue = driver.queues[0]!, count = sentPieces.length + roomPieces.length;
    driver.put(this.#sentAt, bytes);
    let at = this.#sentAt;
    [...sentPieces, ...roomPieces].forEach((length, n) => {
      if (n === sentPieces.length) at = this.#roomAt;
      const flags = (n < sentPieces.length ? 0 : DESC.WRITE) | (n < count - 1 ? DESC.NEXT : 0);
      queue.describe(queue.desc, n, at, length, flags, n + 1);
      at += length;
    });
    queue.offer(0);
    queue.kick();
    return queue.poll();
  }

  /** Sends bytes and returns the answer's. */
  raw(sent: Uint8Array, sentPieces = [sent.length], roomPieces = [this.messageBytes]): Uint8Array {
    const used = this.send(sent, sentPieces, roomPieces);
    if (used.length !== 1) throw new Error("a request is not answered");
    return this.driver.get(this.#roomAt, used[0]!.written);
  }

  /** Says a message; its answer and what follows that, or the name of the error. */
  say<N extends MessageName>(
    name: N,
    request: Request<N>,
    data?: Uint8Array,
    room = this.messageBytes,
  ): { readonly answer: Answer<N>; readonly data: Uint8Array } | ErrorName {
    const bytes = this.raw(this.encode(name, request, data), undefined, [room]);
    const from = new Reader(bytes), size = from.u32(), type = from.u8(), tag = from.u16();
    if (size !== bytes.length || tag !== this.#tag) throw new Error(`an answer of ${bytes.length} bytes: ${bytes}`);
    if (type === RLERROR) return errorName(from.u32());
    if (type !== MESSAGES[name].type + 1) throw new Error(`${name} was answered by ${type}`);
    const answer = MESSAGES[name].answer.read(from) as unknown as Answer<N>;
    if (from.broken) throw new Error(`the answer to ${name} is cut off`);
    return { answer, data: bytes.subarray(from.at) };
  }

  /** As `say`, where an error is a failure. */
  must<N extends MessageName>(name: N, request: Request<N>, data?: Uint8Array): Answer<N> {
    const said = this.say(name, request, data);
    if (typeof said === "string") throw new Error(`${name}: ${said}`);
    return said.answer;
  }
  /** The error of what must fail, "" when it does not. */
  error<N extends MessageName>(name: N, request: Request<N>, data?: Uint8Array): ErrorName | "" {
    const said = this.say(name, request, data);
    return typeof said === "string" ? said : "";
  }

  /** Version and attach; fid 0 is the shared directory. */
  begin(uid = 0): this {
    this.messageBytes = this.must("version", { msize: this.messageBytes, version: "9P2000.L" }).msize;
    this.must("attach", { fid: 0, afid: NO_FID, uname: "", aname: "", nUname: uid });
    return this;
  }

  newFid(): number {
    return this.#free++;
  }
  /** A fid of the place that names lead to from the shared directory. */
  walk(...names: string[]): number {
    const fid = this.newFid(), { qids } = this.must("walk", { fid: 0, newfid: fid, names });
    if (qids.length !== names.length) throw new Error(`${names.join("/")} is not there`);
    return fid;
  }
  open(flags: number, ...names: string[]): number {
    const fid = this.walk(...names);
    this.must("lopen", { fid, flags });
    return fid;
  }

  readAll(fid: number, count = 4096): Uint8Array {
    const out: number[] = [];
    for (;;) {
      const said = this.say("read", { fid, offset: BigInt(out.length), count });
      if (typeof said === "string") throw new Error(`read: ${said}`);
      if (said.data.length !== said.answer.count) throw new Error("a read's count is wrong");
      if (said.data.length === 0) return Uint8Array.from(out);
      out.push(...said.data);
    }
  }
  readText(...names: string[]): string {
    const fid = this.open(0, ...names), text = new TextDecoder().decode(this.readAll(fid));
    this.must("clunk", { fid });
    return text;
  }

  /** Some entries of an open directory. */
  list(fid: number, offset: bigint, count: number): Listed[] {
    const said = this.say("readdir", { fid, offset, count });
    if (typeof said === "string") throw new Error(`readdir: ${said}`);
    if (said.data.length !== said.answer.count || said.data.length > count) throw new Error("a listing is too long");
    const from = new Reader(said.data), out: Listed[] = [];
    while (from.at < said.data.length) {
      out.push({ qid: QID.read(from), next: from.u64(), type: from.u8(), name: from.text() });
    }
    if (from.broken) throw new Error("a listing is cut off");
    return out;
  }
  listAll(fid: number, count = 65536): Listed[] {
    const out: Listed[] = [];
    for (let part = this.list(fid, 0n, count); part.length > 0; part = this.list(fid, part.at(-1)!.next, count)) {
      out.push(...part);
    }
    return out;
  }
}
