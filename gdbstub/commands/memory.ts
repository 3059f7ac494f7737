// Memory: m, M, X, x, and what works through it without moving it: qSearch:memory (gdb's `find`) and qCRC
// (`compare-sections`). Every length is bounded by the packet or by patience for unmapped pages, and a break ends a search.

import { Crc32, unescape } from "../bytes.ts";
import { PACKET_BYTES } from "../framing.ts";
import { MalformedPacket, type PacketReader } from "../packet.ts";
import type { Reply, Session } from "../session.ts";
import { ERRNO, type Outcome, Refusal } from "../target.ts";
import type { PacketCommand } from "./command.ts";

const PAGE_BYTES = 4096n;
/** What searches and checksums read at a time, a multiple of the page. */
const CHUNK_BYTES = 0x40000;
/** A search gives up after so many unmapped pages in a row. */
const MAX_UNMAPPED_PAGES = 0x10000;
/** After so much work the event loop gets its turn, so that a break can be seen. */
const WORK_PER_TURN = 1024, CHUNK_WORK = 64, UNMAPPED_WORK = 1;
/** Longer patterns cannot come in a packet; this keeps the chunks' overlap small. */
const MAX_PATTERN_BYTES = 0x10000;

const wrap = (address: bigint): bigint => BigInt.asUintN(64, address);
const turn = () => new Promise<void>((resolve) => setTimeout(resolve, 0));

function range(packet: PacketReader): { address: bigint; length: number } {
  const address = packet.wide();
  return { address, length: packet.expect(",").number() };
}

async function readInto(session: Session, address: bigint, into: Uint8Array): Promise<number | Refusal> {
  const { place } = session;
  return await session.target.readMemory(place, session.spaceOf(place.context), address, into);
}

async function write(session: Session, address: bigint, data: Uint8Array): Promise<Outcome> {
  if (data.length === 0) return undefined;
  const { place } = session;
  return await session.target.writeMemory(place, session.spaceOf(place.context), address, data);
}

async function read(session: Session, packet: PacketReader, limit: number): Promise<Uint8Array | Refusal> {
  const { address, length } = range(packet);
  const into = session.scratch.subarray(0, Math.min(length, limit));
  if (into.length === 0) return into;
  const count = await readInto(session, address, into);
  return count instanceof Refusal ? count : into.subarray(0, count);
}

async function search(session: Session, packet: PacketReader): Promise<Reply> {
  let address = packet.expect(":memory:").wide();
  const length = packet.expect(";").wide(), end = address + length;
  const pattern = unescape(packet.expect(";").rest());
  if (pattern.length === 0 || pattern.length > MAX_PATTERN_BYTES) throw new MalformedPacket("the pattern's length");
  const buffer = new Uint8Array(CHUNK_BYTES + pattern.length);
  /** Bytes at the start of the buffer that were read before: what could begin a match. */
  let kept = 0, unmapped = 0, work = 0;
  while (address < end) {
    if (work >= WORK_PER_TURN) {
      await turn();
      work = 0;
    }
    if (session.cancelled) return new Refusal("interrupted", ERRNO.EINTR);
    const size = Number(end - address < CHUNK_BYTES ? end - address : CHUNK_BYTES);
    const count = await readInto(session, wrap(address), buffer.subarray(kept, kept + size));
    if (count instanceof Refusal) {
      if (++unmapped > MAX_UNMAPPED_PAGES) return new Refusal("too much of the range is unmapped");
      kept = 0;
      work += UNMAPPED_WORK;
      address += PAGE_BYTES - address % PAGE_BYTES;
      continue;
    }
    unmapped = 0;
    work += CHUNK_WORK;
    const held = buffer.subarray(0, kept + count), at = indexOf(held, pattern);
    if (at >= 0) return `1,${wrap(address - BigInt(kept - at)).toString(16)}`;
    address += BigInt(count);
    kept = Math.min(held.length, pattern.length - 1);
    buffer.copyWithin(0, held.length - kept, held.length);
  }
  return "0";
}

function indexOf(data: Uint8Array, pattern: Uint8Array): number {
  const last = data.length - pattern.length;
  for (let at = data.indexOf(pattern[0]!); at >= 0 && at <= last; at = data.indexOf(pattern[0]!, at + 1)) {
    if (pattern.every((byte, i) => data[at + i] === byte)) return at;
  }
  return -1;
}

async function crc(session: Session, packet: PacketReader): Promise<Reply> {
  let { address, length } = range(packet.expect(":"));
  const crc = new Crc32(), buffer = new Uint8Array(CHUNK_BYTES);
  for (let work = 0; length > 0; work += CHUNK_WORK) {
    if (work >= WORK_PER_TURN) {
      await turn();
      work = 0;
    }
    if (session.cancelled) return new Refusal("interrupted", ERRNO.EINTR);
    const count = await readInto(session, wrap(address), buffer.subarray(0, Math.min(length, CHUNK_BYTES)));
    if (count instanceof Refusal) return count;
    crc.add(buffer.subarray(0, count));
    address += BigInt(count);
    length -= count;
  }
  return `C${crc.value.toString(16)}`;
}

export const MEMORY: readonly PacketCommand[] = [
  {
    name: "m",
    plainErrors: true,
    async run(session, packet) {
      const data = await read(session, packet, PACKET_BYTES / 2);
      return data instanceof Refusal ? data : session.digits(data);
    },
  },
  {
    name: "x",
    plainErrors: true,
    supports: ["binary-upload+"],
    async run(session, packet) {
      const data = await read(session, packet, PACKET_BYTES);
      return data instanceof Refusal ? data : session.escaped("b", data).reply;
    },
  },
  {
    name: "M",
    async run(session, packet) {
      const { address, length } = range(packet);
      const data = packet.expect(":").hex();
      if (data.length !== length) throw new MalformedPacket("the data's length");
      return await write(session, address, data) ?? "OK";
    },
  },
  {
    name: "X",
    async run(session, packet) {
      const { address, length } = range(packet);
      const data = unescape(packet.expect(":").rest());
      if (data.length !== length) throw new MalformedPacket("the data's length");
      return await write(session, address, data) ?? "OK";
    },
  },
  { name: "qSearch", supports: ["qSearch:memory+"], run: search },
  { name: "qCRC", run: crc },
];
