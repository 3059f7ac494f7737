// The NBD handshake, fixed newstyle (doc/proto.md of the NBD project): asks for structured replies, then for the export.
// Left out: TLS, the old negotiation, meta contexts.

import { HostError } from "../../src/base/errors.ts";
import { HANDSHAKE, INFO, MAGIC, type NbdExport, OPTION, OPTION_ERRORS, OPTION_REPLY } from "./nbd_protocol.ts";

/** A stream of bytes to a server. */
export interface ByteStream {
  read(into: Uint8Array): Promise<number | null>;
  write(data: Uint8Array): Promise<number>;
}

const SECTOR = 512, MOST_REPLY_BYTES = 65536;
/** What may be read at once where the server does not say. */
const MOST_DATA_BYTES = 32 * 2 ** 20;
/** Zeros that a server sends which does not know that it need not. */
const PADDING_BYTES = 124;
/** No server tells more than this before it says yes or no. */
const MOST_REPLIES = 100;

class Talk {
  constructor(private readonly stream: ByteStream, private readonly name: string) {}

  async receive(bytes: number): Promise<DataView> {
    const out = new Uint8Array(bytes);
    for (let done = 0; done < bytes;) {
      const count = await this.stream.read(out.subarray(done));
      if (count === null) this.fail("the server closed the connection");
      done += count;
    }
    return new DataView(out.buffer);
  }

  async send(...parts: readonly (number | bigint | Uint8Array)[]): Promise<void> {
    const bytes = parts.flatMap((part) => {
      if (part instanceof Uint8Array) return [...part];
      const view = new DataView(new ArrayBuffer(8));
      if (typeof part === "bigint") view.setBigUint64(0, part);
      else view.setUint32(0, part);
      return [...new Uint8Array(view.buffer, 0, typeof part === "bigint" ? 8 : 4)];
    });
    const data = Uint8Array.from(bytes);
    for (let done = 0; done < data.length;) done += await this.stream.write(data.subarray(done));
  }

  option(option: number, data: Uint8Array): Promise<void> {
    return this.send(MAGIC.OPTION_HIGH, MAGIC.OPTION_LOW, option, data.length, data);
  }

  /** One reply to `option`: its type and data. */
  async reply(option: number): Promise<{ type: number; data: DataView }> {
    const head = await this.receive(20), length = head.getUint32(16);
    if (head.getUint32(0) !== MAGIC.OPTION_REPLY_HIGH || head.getUint32(4) !== MAGIC.OPTION_REPLY_LOW) {
      this.fail("the server sends what is no reply");
    }
    if (head.getUint32(8) !== option || length > MOST_REPLY_BYTES) this.fail("the server's reply makes no sense");
    return { type: head.getUint32(12), data: await this.receive(length) };
  }

  fail(state: string): never {
    throw new HostError(`cannot use ${this.name}: ${state}`);
  }
}

/** Brings a fresh connection to where requests may be sent. Throws HostError, or whatever the stream throws. */
export async function negotiate(stream: ByteStream, name: string, exportName: string): Promise<NbdExport> {
  const talk = new Talk(stream, name), greeting = await talk.receive(16);
  if (greeting.getUint32(0) !== MAGIC.INIT_HIGH || greeting.getUint32(4) !== MAGIC.INIT_LOW) {
    talk.fail("it is not an NBD server");
  }
  if (greeting.getUint32(8) !== MAGIC.OPTION_HIGH || greeting.getUint32(12) !== MAGIC.OPTION_LOW) {
    talk.fail("the server speaks the old negotiation, which is not implemented");
  }
  const flags = (await talk.receive(2)).getUint16(0), fixed = (flags & HANDSHAKE.FIXED_NEWSTYLE) !== 0;
  const ours = flags & (HANDSHAKE.FIXED_NEWSTYLE | HANDSHAKE.NO_ZEROES);
  await talk.send(ours);
  let structured = false;
  const exportBytes = new TextEncoder().encode(exportName);
  if (fixed) {
    await talk.option(OPTION.STRUCTURED_REPLY, new Uint8Array(0));
    structured = (await talk.reply(OPTION.STRUCTURED_REPLY)).type === OPTION_REPLY.ACK;
    const found = await go(talk, exportBytes, exportName);
    if (found !== null) return checked(talk, { ...found, structured });
  }
  await talk.option(OPTION.EXPORT_NAME, exportBytes);
  const padding = (ours & HANDSHAKE.NO_ZEROES) !== 0 ? 0 : PADDING_BYTES, answer = await talk.receive(10 + padding);
  const blocks = { least: 1, preferred: 4096, most: MOST_DATA_BYTES };
  return checked(talk, { sizeBytes: sizeOf(answer, 0), flags: answer.getUint16(8), structured, blocks });
}

const sizeOf = (view: DataView, at: number) => view.getUint32(at) * 2 ** 32 + view.getUint32(at + 4);

/** NBD_OPT_GO; null when the server does not know it. */
async function go(talk: Talk, name: Uint8Array, shown: string): Promise<Omit<NbdExport, "structured"> | null> {
  const request = new Uint8Array(4 + name.length + 4), view = new DataView(request.buffer);
  view.setUint32(0, name.length);
  request.set(name, 4);
  view.setUint16(4 + name.length, 1);
  view.setUint16(6 + name.length, INFO.BLOCK_SIZE);
  await talk.option(OPTION.GO, request);
  let sizeBytes: number | null = null, flags = 0, blocks = { least: 1, preferred: 4096, most: MOST_DATA_BYTES };
  for (let n = 0; n < MOST_REPLIES; n++) {
    const { type, data } = await talk.reply(OPTION.GO);
    if (type === OPTION_REPLY.ACK) {
      if (sizeBytes === null) talk.fail("the server does not say how large the export is");
      return { sizeBytes, flags, blocks };
    }
    if (type === OPTION_REPLY.ERR_UNSUP) return null;
    if (type >= OPTION_REPLY.ERROR) {
      const words = new TextDecoder().decode(data).replace(/[^ -~]/g, "");
      const why = OPTION_ERRORS[type - OPTION_REPLY.ERROR] ?? `error ${type - OPTION_REPLY.ERROR}`;
      talk.fail(`the server refuses the export "${shown}": ${why}${words === "" ? "" : ` (${words})`}`);
    }
    if (type !== OPTION_REPLY.INFO || data.byteLength < 2) continue;
    const what = data.getUint16(0);
    if (what === INFO.EXPORT && data.byteLength >= 12) {
      sizeBytes = sizeOf(data, 2);
      flags = data.getUint16(10);
    } else if (what === INFO.BLOCK_SIZE && data.byteLength >= 14) {
      blocks = { least: data.getUint32(2), preferred: data.getUint32(6), most: data.getUint32(10) };
    }
  }
  return talk.fail("the server does not come to an end");
}

function checked(talk: Talk, found: NbdExport): NbdExport {
  const { sizeBytes, blocks: { least, preferred, most } } = found;
  if (!Number.isSafeInteger(sizeBytes)) talk.fail("the export has more than 2^53 bytes");
  if (least > SECTOR) talk.fail(`the server's blocks have at least ${least} bytes, a disk's have ${SECTOR}`);
  const good = preferred >= SECTOR && preferred <= 2 ** 25 && Number.isInteger(Math.log2(preferred));
  // At least some sectors at once, and whole ones.
  const capped = Math.max(64 * SECTOR, Math.floor(Math.min(most, MOST_DATA_BYTES) / SECTOR) * SECTOR);
  return { ...found, blocks: { least, preferred: good ? preferred : 4096, most: capped } };
}
