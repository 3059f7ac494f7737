// `deno task explain`: what this program makes of an instruction word, a system register or a syndrome. For an instruction
// its definition and fields, its text, its meaning in the IR, the interpreter's record and the Wasm of its handler.

import { exceptionClassName, issLayout, syndromeWords } from "../arch/esr_text.ts";
import { ESR_BITS } from "../arch/esr.ts";
import { CPU_NAMES, cpuModel, type CpuName } from "../arch/models.ts";
import { type Encoding, genericName, sysregEncoding, sysregKey } from "../arch/sysreg.ts";
import { ENCODINGS, type SysregEntry } from "../arch/sysregs.ts";
import { extract, getField, type Layout, layout } from "../base/bits.ts";
import { errorLine, EXIT_BAD_INPUT, HostError, UsageError } from "../base/errors.ts";
import { MAX_RAM_BYTES } from "../memory/host_map.ts";
import { A64 } from "../isa/a64/a64.ts";
import { Decoder, UNALLOCATED } from "../isa/decoder.ts";
import { type Definition, fields31, instantiate, matches, rawFields, xName } from "../isa/define.ts";
import { printIr } from "../isa/print.ts";
import { readableText } from "../isa/text.ts";
import { branchOffset, writeRecord } from "../jit/code_cache.ts";
import { HANDLER, RECORD_BYTES } from "../jit/frames.ts";
import { hotShapes } from "../jit/hot_shapes.ts";
import { handlerListing } from "../jit/listing.ts";
import { irOf, type Shape, shapeOf } from "../jit/shape.ts";
import { readImage } from "./images.ts";
import { unpackKernel } from "./loaders/arm64_image.ts";
import { elfWordAt, isElf } from "./loaders/elf.ts";

const HELP = `usage: deno task explain [-cpu MODEL] WHAT

  0xd503201f                  an instruction word
  1f 20 03 d5                 the bytes of one, as they lie in memory
  FILE@ADDRESS                the instruction at an address of an ELF file, or at an offset into an Image or raw file
  HCR_EL2 [VALUE]             a system register by its name or as S3_4_C1_C1_0: how it is reached, its fields
  esr VALUE                   an exception syndrome`;

const hex = (value: number | bigint, digits = 1) => `0x${value.toString(16).padStart(digits, "0")}`;
const binary = (value: number, width: number) => value.toString(2).padStart(width, "0");
const indented = (lines: readonly string[]) => lines.map((line) => `  ${line}`);
const section = (
  title: string,
  lines: readonly string[],
) => [title, ...indented(lines.length === 0 ? ["nothing"] : lines)];

// ---- instructions

/** Everything about `word`, which lies at `address` if that is known. */
export function explainInstruction(word: number, model: CpuName, address?: bigint): string[] {
  const { features } = cpuModel(model, { el2: true, gicv3: true }), decoder = new Decoder(A64, features);
  const definition = decoder.decode(word), pc = address ?? 0n;
  const head = `${hex(word, 8)}  ${readableText(definition, word, address)}`;
  if (definition === UNALLOCATED) {
    const other = A64.find((known) => matches(known, word));
    const why = other === undefined ? "No instruction has this encoding" : `${other.name} needs ${other.insn.feature}`;
    return [head, `${why}: it takes an exception of class ${hex(0)}, ${exceptionClassName(0)}.`];
  }
  const offset = branchOffset(definition, word), inPage = Number(pc & 0xfffn);
  // Of a word without an address it is not known where in a page it stands: as near as it can be.
  const target = offset === undefined ? 0 : address === undefined ? Math.abs(offset) : inPage + offset;
  const near = offset !== undefined && target >= 0 && target < 4096;
  const shape = shapeOf(definition, word, near);
  const inlined = hotShapes(decoder).findIndex(({ key }) => key === shape.key);
  return [
    ...(address === undefined ? [] : [`at ${hex(address)}`]),
    head,
    ...definitionLines(definition, word),
    ...section("IR, operands being slots of a record", printIr(definition, irOf(shape))),
    ...section("IR, operands being constants", printIr(definition, translated(definition, word))),
    ...recordLines(shape, word, inlined),
    ...section(
      `Handler of shape ${shape.key}: ${
        inlined >= 0 ? "a case of the interpreter's main function" : "a function of its own, behind the handler table"
      }`,
      handlerListing(shape, inlined >= 0),
    ),
  ];
}

const translated = (definition: Definition, word: number) =>
  instantiate(definition, word, "translate", fields31(definition, word));

function definitionLines(definition: Definition, word: number): string[] {
  const { name, insn, fields } = definition, raw = rawFields(definition, word);
  const groups: string[] = [];
  let end = 32;
  for (const field of [...fields, undefined]) {
    const top = field === undefined ? 0 : field.lsb + field.width;
    if (top < end) groups.push(binary(extract(word, top, end - top), end - top));
    if (field === undefined) break;
    groups.push(`${field.name}=${binary(raw[field.name]!, field.width)}`);
    end = field.lsb;
  }
  const values = fields.map((field) => {
    const value = raw[field.name]!;
    const register = field.kind === "R" ? ` (${xName(value, 1, field.sp)})` : field.kind === "V" ? ` (v${value})` : "";
    return `${field.name} = ${value}${register}, ${KINDS[field.kind]}`;
  });
  return section(`Definition: ${name}${insn.feature === undefined ? "" : `, ${insn.feature}`}`, [
    insn.bits.trim().replace(/\s+/g, " "),
    groups.join(" "),
    ...values,
    ...(definition.usesFp ? ["checks first that SIMD and floating point are not trapped"] : []),
    ...(definition.endsBlock ? ["ends a basic block"] : []),
  ]);
}
const KINDS = {
  R: "register operand",
  V: "vector register operand",
  imm: "immediate operand",
  selector: "selector",
  ignored: "ignored here",
} as const;

function recordLines(shape: Shape, word: number, inlined: number): string[] {
  const buffer = new ArrayBuffer(RECORD_BYTES), u16 = new Uint16Array(buffer), u32 = new Uint32Array(buffer);
  const number = inlined >= 0 ? HANDLER.FIRST + inlined : 0;
  writeRecord({ u16, u32 }, 0, number, shape, word);
  const bytes = [...new Uint8Array(buffer)].map((byte, at) =>
    inlined < 0 && at < 2 ? "??" : byte.toString(16).padStart(2, "0")
  );
  const handler = inlined >= 0 ? String(number) : "given when it is first predecoded";
  const slots = shape.definition.operands.map(({ name, slot, value }) => {
    const held = value(rawFields(shape.definition, word));
    const near = shape.near && name === "offset" ? `, kept as ${Number(held) * 4} bytes of records` : "";
    return `+${slot.offset} ${slot.kind} ${name} = ${held}${register(shape.definition, name, Number(held))}${near}`;
  });
  return section("Record", [bytes.join(" "), `+0 u16 handler number: ${handler}`, ...slots]);
}

/** What the slot of a register operand stands for. */
function register(definition: Definition, name: string, place: number): string {
  const kind = definition.fields.find((field) => field.name === name)?.kind;
  if (kind === "R") return ` (8 × ${place / 8})`;
  return kind === "V" ? ` (16 × ${place / 16})` : "";
}

// ---- registers

/** A register's encoding, access and fields; with a value, what the fields hold. */
export function explainRegister(key: number, value: bigint | undefined): string[] {
  const entry = ENCODINGS.get(key), [op0, op1, CRn, CRm, op2] = sysregEncoding(key);
  const encoding = `op0 = ${op0}, op1 = ${op1}, CRn = ${CRn}, CRm = ${CRm}, op2 = ${op2}`;
  if (entry === undefined) return [genericName(key), `  ${encoding}`, "  no register of this machine"];
  const { spelling, row, alias, name } = entry;
  const fields = fieldLines(row.layout, value);
  const syndrome = /^ESR_/.test(name) && value !== undefined ? explainSyndrome(Number(value & 0xffff_ffffn)) : [];
  return [
    `${spelling}, ${genericName(key)}`,
    ...indented([encoding, ...accessLines(entry)]),
    ...(alias ? [`  another way to ${name}, for a host at EL2 with HCR_EL2.E2H`] : []),
    ...section(value === undefined ? "Fields" : `Fields of ${hex(value, 16)}`, fields),
    ...syndrome,
  ];
}

function accessLines({ row, alias }: SysregEntry): string[] {
  const by = (lowest: number | undefined) => lowest === undefined ? "by nobody" : `from EL${alias ? 2 : lowest} up`;
  const lines = [`read ${by(row.read)}, written ${by(row.write)}`];
  if (row.feature !== undefined) lines.push(`with ${row.feature}`);
  if (row.traps !== undefined && !alias) lines.push(`trapped by ${row.traps.join(", ")}`);
  if (row.e2h !== undefined && !alias) lines.push(`at EL2 with HCR_EL2.E2H: ${row.e2h}`);
  if (row.virtual !== undefined) {
    lines.push(`at EL1 with HCR_EL2.${row.virtual.when.join(" or ")}: ${row.virtual.name}`);
  }
  if (row.reset !== undefined) lines.push(`reset value ${hex(row.reset)}`);
  if (row.owner !== undefined) lines.push(`computed by the ${{ cpu: "CPU", gic: "GIC", timer: "timers" }[row.owner]}`);
  return lines;
}

function fieldLines({ fields, res0, res1 }: Layout, value: bigint | undefined): string[] {
  const width = Math.max(4, ...fields.map(({ name }) => name.length));
  const lines = fields.map((field) => {
    const bits = field.width === 1 ? String(field.lsb) : `${field.lsb + field.width - 1}:${field.lsb}`;
    const held = value === undefined ? "" : `  ${hex(getField(value, field))}`;
    return `${bits.padStart(5)}  ${held === "" ? field.name : field.name.padEnd(width)}${held}`;
  });
  if (value === undefined) return lines;
  if ((value & res0) !== 0n) lines.push(`  RES0 bits are set: ${hex(value & res0)}`);
  if ((~value & res1) !== 0n) lines.push(`  RES1 bits are clear: ${hex(~value & res1)}`);
  return lines;
}

// ---- syndromes

const ESR = layout(64, ESR_BITS);

/** The low word of ESR_ELx. */
export function explainSyndrome(esr: number): string[] {
  const ec = esr >>> 26, iss = issLayout(ec);
  return [
    `Syndrome ${hex(esr >>> 0, 8)}: ${syndromeWords(esr >>> 0)}`,
    ...indented([
      `class ${hex(ec, 2)}: ${exceptionClassName(ec)}`,
      ...fieldLines(ESR, BigInt(esr >>> 0)),
    ]),
    ...(iss === undefined ? [] : section("ISS", fieldLines(iss, BigInt(esr & 0x1ff_ffff)))),
  ];
}

// ---- the command

/** The lines for the arguments after `deno task explain`. Throws HostError. */
export async function explain(args: readonly string[]): Promise<string[]> {
  const words = args.filter((word) => word !== "--");
  let model: CpuName = "max";
  const option = words.findIndex((word) => /^--?cpu$/.test(word));
  if (option >= 0) {
    const [, name] = words.splice(option, 2), known = CPU_NAMES.find((cpu) => cpu === name);
    if (known === undefined) throw new UsageError(`option -cpu: needs one of ${CPU_NAMES.join(", ")}`);
    model = known;
  }
  const [what, second] = words;
  if (what === undefined || /^--?h(elp)?$/.test(what)) return HELP.split("\n");
  if (/^esr$/i.test(what)) return explainSyndrome(Number(number(second ?? "", "the syndrome", 32)));
  if (/^([0-9a-f]{2}[ ,]*){4}$/i.test(words.join(" ")) && (words.length === 4 || /[ ,]/.test(what))) {
    const bytes = words.join(" ").split(/[ ,]+/).map((byte) => parseInt(byte, 16));
    return explainInstruction(bytes.reduceRight((word, byte) => word << 8 | byte, 0) >>> 0, model);
  }
  const key = registerKey(what);
  if (key !== undefined) {
    return explainRegister(key, second === undefined ? undefined : number(second, "the value", 64));
  }
  if (words.length > 1) throw new UsageError(`"${words.join(" ")}" is not understood: deno task explain --help`);
  const file = /^(.+)@([^@]+)$/.exec(what);
  if (file !== null) {
    const address = number(file[2]!, "the address", 64);
    return explainInstruction(await wordInFile(file[1]!, address), model, address);
  }
  const word = /^[0-9a-f]{8}$/i.test(what) ? `0x${what}` : what;
  if (!/^(0x)?[0-9a-f]+$/i.test(word)) {
    throw new UsageError(`"${what}" is no register and no number: deno task explain --help`);
  }
  return explainInstruction(Number(number(word, "the instruction", 32)), model);
}

function number(text: string, what: string, bits: number): bigint {
  if (!/^(0x[0-9a-f_]+|\d+)$/i.test(text)) throw new UsageError(`${what} "${text}" is not a number`);
  const value = BigInt(text.replaceAll("_", ""));
  if (value >> BigInt(bits) !== 0n) throw new UsageError(`${what} ${text} has more than ${bits} bits`);
  return value;
}

function registerKey(name: string): number | undefined {
  const generic = /^s([23])_([0-7])_c(\d+)_c(\d+)_([0-7])$/i.exec(name);
  if (generic !== null) {
    const encoding = generic.slice(1).map(Number);
    if (encoding[2]! > 15 || encoding[3]! > 15) throw new UsageError(`register ${name}: C0 to C15`);
    return sysregKey(encoding as unknown as Encoding);
  }
  for (const [key, { spelling }] of ENCODINGS) if (spelling.toLowerCase() === name.toLowerCase()) return key;
  return undefined;
}

async function wordInFile(path: string, address: bigint): Promise<number> {
  const bytes = unpackKernel(await readImage("file", path), MAX_RAM_BYTES, path);
  const cannot = `cannot explain ${path}@${hex(address)}`;
  if ((address & 3n) !== 0n) throw new HostError(`${cannot}: an instruction's address is a multiple of 4`);
  const word = isElf(bytes) ? elfWordAt(bytes, path, address) : wordAt(bytes, address);
  if (word === undefined) throw new HostError(`${cannot}: the file has nothing there`);
  return word;
}

function wordAt(bytes: Uint8Array, offset: bigint): number | undefined {
  if (offset + 4n > BigInt(bytes.length)) return undefined;
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(Number(offset), true);
}

if (import.meta.main) {
  let code = 0;
  try {
    await Deno.stdout.write(new TextEncoder().encode((await explain(Deno.args)).join("\n") + "\n"));
  } catch (error) {
    await Deno.stderr.write(new TextEncoder().encode(errorLine(error) + "\n"));
    code = error instanceof HostError ? EXIT_BAD_INPUT : 1;
  }
  Deno.exit(code);
}
