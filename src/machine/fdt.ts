// Flattened device trees, version 17, by the Devicetree Specification 0.4 "Flattened Devicetree (DTB) Format": a reader
// that checks everything it is given, and a writer. A property is bytes; the helpers below make and read the usual kinds.

import { HostError } from "../base/errors.ts";

export interface FdtNode {
  readonly name: string;
  readonly properties: Map<string, Uint8Array>;
  readonly children: FdtNode[];
}

export interface DeviceTree {
  readonly root: FdtNode;
  readonly reservations: { readonly address: bigint; readonly size: bigint }[];
  readonly bootCpu: number;
}

const MAGIC = 0xd00d_feed;
const VERSION = 17, LAST_COMPATIBLE_VERSION = 16;
const HEADER_BYTES = 40;
const TOKEN = { BEGIN_NODE: 1, END_NODE: 2, PROP: 3, NOP: 4, END: 9 } as const;
/** More is taken for a mistake: Linux's own limit is 64. */
const MAX_DEPTH = 64;

const encoder = new TextEncoder();
const pad4 = (n: number): number => (n + 3) & ~3;

/** A property of big-endian 32-bit cells. */
export function cells(...values: readonly number[]): Uint8Array {
  const bytes = new Uint8Array(values.length * 4), view = new DataView(bytes.buffer);
  values.forEach((value, i) => view.setUint32(i * 4, value));
  return bytes;
}
/** The two cells of a 64-bit number. */
export const wide = (value: number): [number, number] => [Math.floor(value / 2 ** 32), value >>> 0];
/** A property of one or more zero-terminated strings. */
export const strings = (...values: readonly string[]): Uint8Array =>
  encoder.encode(values.map((s) => s + "\0").join(""));
/** A property without a value. */
export const flag = (): Uint8Array => new Uint8Array(0);

export type PropertyValue = Uint8Array | string | number;
/** A node from plain data: a string is a string property, a number a single cell. */
export function node(
  name: string,
  properties: Readonly<Record<string, PropertyValue>>,
  children: FdtNode[] = [],
): FdtNode {
  const toBytes = (value: PropertyValue) =>
    typeof value === "string" ? strings(value) : typeof value === "number" ? cells(value) : value;
  return { name, properties: new Map(Object.entries(properties).map(([k, v]) => [k, toBytes(v)])), children };
}

/** The cells of a property; a rest that is no whole cell is dropped. */
export function readCells(bytes: Uint8Array): number[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Array.from({ length: bytes.length >> 2 }, (_, i) => view.getUint32(i * 4));
}
/** The strings of a property. */
export const readStrings = (bytes: Uint8Array): string[] =>
  new TextDecoder().decode(bytes).replace(/\0$/, "").split("\0");

/** The child called `name`, with or without its unit address. */
export const child = (parent: FdtNode, name: string): FdtNode | undefined =>
  parent.children.find((c) => c.name === name) ?? parent.children.find((c) => c.name.split("@")[0] === name);

/** The tree as a blob. */
export function writeFdt(tree: DeviceTree): Uint8Array<ArrayBuffer> {
  const stringOffsets = new Map<string, number>();
  const stringBytes: Uint8Array[] = [];
  let stringsSize = 0;
  const stringOffset = (name: string): number => {
    const known = stringOffsets.get(name);
    if (known !== undefined) return known;
    const at = stringsSize, bytes = encoder.encode(name + "\0");
    stringOffsets.set(name, at);
    stringBytes.push(bytes);
    stringsSize += bytes.length;
    return at;
  };
  const structure: Uint8Array[] = [];
  const padded = (bytes: Uint8Array) => {
    const out = new Uint8Array(pad4(bytes.length));
    out.set(bytes);
    structure.push(out);
  };
  const emit = (n: FdtNode): void => {
    structure.push(cells(TOKEN.BEGIN_NODE));
    padded(encoder.encode(n.name + "\0"));
    for (const [name, value] of n.properties) {
      structure.push(cells(TOKEN.PROP, value.length, stringOffset(name)));
      padded(value);
    }
    n.children.forEach(emit);
    structure.push(cells(TOKEN.END_NODE));
  };
  emit(tree.root);
  structure.push(cells(TOKEN.END));

  const structureSize = structure.reduce((sum, part) => sum + part.length, 0);
  const reserveAt = HEADER_BYTES, structureAt = reserveAt + (tree.reservations.length + 1) * 16;
  const stringsAt = structureAt + structureSize, total = stringsAt + stringsSize;
  const blob = new Uint8Array(total), view = new DataView(blob.buffer);
  // deno-fmt-ignore
  const header = [
    MAGIC, total, structureAt, stringsAt, reserveAt, VERSION, LAST_COMPATIBLE_VERSION,
    tree.bootCpu, stringsSize, structureSize,
  ];
  blob.set(cells(...header), 0);
  tree.reservations.forEach(({ address, size }, i) => {
    view.setBigUint64(reserveAt + i * 16, address);
    view.setBigUint64(reserveAt + i * 16 + 8, size);
  });
  let at = structureAt;
  for (const part of [...structure, ...stringBytes]) {
    blob.set(part, at);
    at += part.length;
  }
  return blob;
}

/** Reads a blob; what is wrong with it is a HostError that names `what` (`device tree x.dtb`). */
export function parseFdt(blob: Uint8Array, what: string): DeviceTree {
  const fail = (state: string): never => {
    throw new HostError(`cannot read ${what}: ${state}`);
  };
  const hex = (n: number) => "0x" + n.toString(16);
  if (blob.length < HEADER_BYTES) fail(`${blob.length} bytes are too short for a device tree`);
  const view = new DataView(blob.buffer, blob.byteOffset, blob.byteLength);
  const field = (index: number) => view.getUint32(index * 4);
  if (field(0) !== MAGIC) fail(`it is not a device tree blob: magic is ${hex(field(0))}, not ${hex(MAGIC)}`);
  const total = field(1), structureAt = field(2), stringsAt = field(3), reserveAt = field(4);
  const version = field(5), lastCompatible = field(6), bootCpu = field(7), stringsSize = field(8);
  if (version < VERSION || lastCompatible > VERSION) fail(`format version is ${version}, not ${VERSION}`);
  const structureSize = field(9);
  if (total > blob.length) fail(`it is truncated: ${blob.length} of ${total} bytes`);
  for (
    const [name, at, size] of [["structure", structureAt, structureSize], ["strings", stringsAt, stringsSize]] as const
  ) {
    if (at < HEADER_BYTES || at + size > total) fail(`its ${name} block lies outside the blob`);
  }
  if (structureAt % 4 !== 0) fail("its structure block is not aligned");

  const reservations: { address: bigint; size: bigint }[] = [];
  for (let at = reserveAt;; at += 16) {
    if (at < HEADER_BYTES || at + 16 > total) fail("its memory reservations lie outside the blob");
    const address = view.getBigUint64(at), size = view.getBigUint64(at + 8);
    if (address === 0n && size === 0n) break;
    reservations.push({ address, size });
  }

  const decoder = new TextDecoder();
  /** Bytes of the zero-terminated text at `at`, without the zero. */
  const text = (at: number, end: number): Uint8Array => {
    const zero = at < end ? blob.subarray(0, end).indexOf(0, at) : -1;
    if (zero < 0) fail(`a name at offset ${hex(at)} has no end`);
    return blob.subarray(at, zero);
  };
  const structureEnd = structureAt + structureSize;
  let at = structureAt;
  const token = (): number => {
    if (at + 4 > structureEnd) fail("its structure block ends early");
    return view.getUint32((at += 4) - 4);
  };
  const path: FdtNode[] = [];
  let root: FdtNode | undefined;
  for (;;) {
    const here = at, kind = token(), parent = path.at(-1);
    if (kind === TOKEN.NOP) continue;
    if (kind === TOKEN.END) {
      if (parent !== undefined || root === undefined) fail(`it ends inside a node at offset ${hex(here)}`);
      break;
    }
    if (kind === TOKEN.BEGIN_NODE) {
      const name = text(at, structureEnd);
      at += pad4(name.length + 1);
      const added: FdtNode = { name: decoder.decode(name), properties: new Map(), children: [] };
      if (parent !== undefined) parent.children.push(added);
      else if (root === undefined) root = added;
      else fail(`it has a second root at offset ${hex(here)}`);
      path.push(added);
      if (path.length > MAX_DEPTH) fail(`nodes are nested more than ${MAX_DEPTH} deep`);
    } else if (kind === TOKEN.END_NODE) {
      if (path.pop() === undefined) fail(`a node ends that did not begin, at offset ${hex(here)}`);
    } else if (kind === TOKEN.PROP) {
      const length = token(), nameAt = token();
      if (parent === undefined) fail(`a property stands outside of a node, at offset ${hex(here)}`);
      if (nameAt >= stringsSize) fail(`a property's name lies outside the strings block, at offset ${hex(here)}`);
      if (length > structureEnd - at) fail(`a property is longer than the structure block, at offset ${hex(here)}`);
      const property = decoder.decode(text(stringsAt + nameAt, stringsAt + stringsSize));
      parent!.properties.set(property, blob.slice(at, at + length));
      at += pad4(length);
    } else fail(`token ${hex(kind)} at offset ${hex(here)} is unknown`);
  }
  return { root: root!, reservations, bootCpu };
}
