// qXfer: documents that the debugger reads in pieces ("qXfer object read"): register descriptions, threads, ELF names, the
// memory map and the tables of `info os`.

import { ascii } from "../bytes.ts";
import { targetDescription, xml } from "../description.ts";
import { MalformedPacket, type PacketReader } from "../packet.ts";
import type { Reply, Session } from "../session.ts";
import { type Awaitable, ERRNO, execPath, type MemoryRegion, Refusal } from "../target.ts";
import type { PacketCommand } from "./command.ts";

type Document = (session: Session, annex: string) => Awaitable<string | Refusal>;

const noAnnex = (annex: string, what: string): Refusal | null =>
  annex === "" ? null : new Refusal(`there is no ${what} ${annex}`, ERRNO.ENOENT);

function threads(session: Session, annex: string): string | Refusal {
  const lines = session.contexts().flatMap(({ id }) =>
    session.threads(id).map((thread) => {
      const name = session.threadName({ context: id, thread: thread.id });
      return `<thread id="${name}" core="${thread.core}" name="${xml(thread.name)}">${xml(thread.state)}</thread>`;
    })
  );
  return noAnnex(annex, "list of threads") ?? ['<?xml version="1.0"?>', "<threads>", ...lines, "</threads>"].join("\n");
}

function execFile(session: Session, annex: string): string | Refusal {
  if (!/^[0-9a-f]{0,8}$/i.test(annex)) throw new MalformedPacket("the context");
  const wanted = annex === "" ? session.place.context : parseInt(annex, 16);
  const context = session.contexts().find(({ id }) => id === wanted);
  return (context && execPath(context)) ?? new Refusal("there is no ELF file", ERRNO.ENOENT);
}

const LAST_ADDRESS = (1n << 64n) - 1n;

/**
 * The regions, with RAM between them: gdb refuses whatever the map does not name, and addresses are virtual. The very
 * last byte is left out, since a length has 64 bits.
 */
function memoryMap(regions: readonly MemoryRegion[]): string {
  const lines: string[] = [];
  const add = (kind: string, start: bigint, length: bigint) => {
    if (length > 0n) {
      lines.push(`<memory type="${kind}" start="0x${start.toString(16)}" length="0x${length.toString(16)}"/>`);
    }
  };
  let at = 0n;
  for (const { kind, start, length } of [...regions].sort((a, b) => a.start < b.start ? -1 : 1)) {
    if (start < at) continue;
    add("ram", at, start - at);
    add(kind, start, length);
    at = start + length;
  }
  add("ram", at, LAST_ADDRESS - at);
  const type = `<!DOCTYPE memory-map PUBLIC "+//IDN gnu.org//DTD GDB Memory Map V1.0//EN" ` +
    `"http://sourceware.org/gdb/gdb-memory-map.dtd">`;
  return [`<?xml version="1.0"?>`, type, "<memory-map>", ...lines, "</memory-map>"].join("\n");
}

type Row = readonly (readonly [column: string, text: string])[];

function osTable(type: string, rows: readonly Row[]): string {
  const item = (row: Row) =>
    `<item>${row.map(([name, text]) => `<column name="${xml(name)}">${xml(text)}</column>`).join("")}</item>`;
  const doctype = `<!DOCTYPE osdata SYSTEM "osdata.dtd">`;
  return [`<?xml version="1.0"?>`, doctype, `<osdata type="${xml(type)}">`, ...rows.map(item), "</osdata>"].join("\n");
}

async function osData({ target }: Session, annex: string): Promise<string | Refusal> {
  if (annex === "") {
    return osTable(
      "types",
      target.osTables.map(({ name, description, title }) => [
        ["Type", name],
        ["Description", description],
        ["Title", title],
      ]),
    );
  }
  const table = target.osTables.find(({ name }) => name === annex);
  if (table === undefined) return new Refusal(`there is no table ${annex}`, ERRNO.ENOENT);
  const { columns } = table, rows = await table.rows();
  return osTable(annex, rows.map((row) => columns.map((column, i) => [column, row[i] ?? ""] as const)));
}

const DOCUMENTS: Readonly<Record<string, Document>> = {
  features: ({ target, place }, annex) =>
    annex === "target.xml"
      ? targetDescription(target.registers(place.context))
      : new Refusal(`there is no description ${annex}`, ERRNO.ENOENT),
  threads,
  "exec-file": execFile,
  "memory-map": ({ target }, annex) => noAnnex(annex, "memory map") ?? memoryMap(target.memoryMap()),
  osdata: osData,
};

/** `qXfer:OBJECT:read:ANNEX:OFFSET,LENGTH`. */
async function transfer(session: Session, packet: PacketReader): Promise<Reply> {
  const object = packet.expect(":").until(":");
  const document = Object.hasOwn(DOCUMENTS, object) ? DOCUMENTS[object] : undefined;
  if (document === undefined || !packet.accept(":read:")) return "";
  const annex = packet.until(":"), offset = packet.expect(":").number(), length = packet.expect(",").number();
  const key = `${object}:${annex}`;
  if (offset === 0 || session.transfer?.key !== key) {
    const text = await document(session, annex);
    if (text instanceof Refusal) return text;
    session.transfer = { key, data: ascii(text) };
  }
  const { data } = session.transfer!;
  const piece = data.subarray(offset, offset + length);
  const { reply, taken } = session.escaped("m", piece);
  if (offset + taken < data.length) return reply;
  session.transfer = null;
  return session.escaped("l", piece).reply;
}

export const TRANSFER: readonly PacketCommand[] = [{
  name: "qXfer",
  supports: Object.keys(DOCUMENTS).map((object) => `qXfer:${object}:read+`),
  run: transfer,
}];
