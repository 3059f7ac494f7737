// Wasm in its text format, for people: prints the body of a function from the bytes that `module.ts` wrote. Operands that
// stand directly before their instruction are folded into it, as the text format allows. Knows nothing of Arm: names of
// functions and locals, and comments on memory accesses, are the caller's.

import { assert } from "../base/errors.ts";
import type { Code, ValueType } from "./module.ts";
import { OPCODE_NAMES } from "./opcodes.ts";

export interface WatNames {
  /** Name, number of parameters and of results of an imported function. */
  readonly function: (index: number) => { readonly name: string; readonly params: number; readonly results: number };
  readonly local: (index: number) => string;
  /** What lies at `offset` from the address that `base` (folded text) computes. */
  readonly memory?: (base: string, offset: number) => string | undefined;
  /** Labels around the code, innermost first. */
  readonly labels?: readonly string[];
}

/** An instruction with the operands that were folded into it. */
interface Tree {
  readonly head: string;
  readonly operands: readonly Tree[];
  /** Blocks: `then` and `else`, or one body. */
  readonly bodies?: readonly { readonly keyword: string; readonly trees: readonly Tree[] }[];
  readonly comment?: string | undefined;
  /** Whether it leaves a value. */
  readonly value: boolean;
}

const TYPES: Readonly<Record<number, ValueType>> = { 0x7f: "i32", 0x7e: "i64", 0x7d: "f32", 0x7c: "f64", 0x7b: "v128" };
const EMPTY_BLOCK = 0x40, WIDTH = 112;

/** The lines of a function body. */
export function printWat(code: Code, names: WatNames): string[] {
  const reader = new Reader(code, names), { trees, end } = reader.sequence();
  assert(end === "", "the function's bytes end with its last instruction");
  return trees.flatMap((tree) => lines(tree));
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;
  /** Labels of the open blocks, innermost first; those of the code's surroundings follow. */
  readonly #labels: string[];
  readonly #hints: ReadonlyMap<number, boolean>;
  #blocks = 0;

  constructor(readonly code: Code, readonly names: WatNames) {
    this.#bytes = code.view();
    this.#labels = [...names.labels ?? []];
    this.#hints = new Map(code.hints.map(({ at, likely }) => [at, likely]));
  }

  #u32(): number {
    let value = 0;
    for (let shift = 0;; shift += 7) {
      const byte = this.#bytes[this.#at++]!;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) return value >>> 0;
    }
  }
  #signed(): bigint {
    let value = 0n;
    for (let shift = 0n;; shift += 7n) {
      const byte = this.#bytes[this.#at++]!;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asIntN(Number(shift) + 7, value);
    }
  }
  #name(): string {
    const first = this.#bytes[this.#at++]!;
    const name = first < 0xfc ? OPCODE_NAMES.get(first) : OPCODE_NAMES.get(first << 16 | this.#u32());
    assert(name !== undefined, `an opcode at byte ${this.#at}`);
    return name;
  }

  /** Instructions up to the end of the block or of the code, and which of `end`, `else` and nothing that was. */
  sequence(): { trees: Tree[]; end: string } {
    const trees: Tree[] = [];
    while (this.#at < this.#bytes.length) {
      const hint = this.#hints.get(this.#at), name = this.#name();
      if (name === "end" || name === "else") return { trees, end: name };
      trees.push(this.#instruction(name, trees, hint));
    }
    return { trees, end: "" };
  }

  /** Takes the last `count` trees as operands if all of them leave values, else none. */
  #fold(trees: Tree[], count: number): Tree[] {
    const last = count === 0 ? [] : trees.slice(-count);
    if (last.length < count || !last.every((tree) => tree.value)) return [];
    trees.length -= count;
    return last;
  }

  #instruction(name: string, trees: Tree[], hint: boolean | undefined): Tree {
    const plain = (operands: number, value: boolean, immediate = ""): Tree => ({
      head: immediate === "" ? name : `${name} ${immediate}`,
      operands: this.#fold(trees, operands),
      value,
    });
    switch (name) {
      case "block":
      case "loop":
      case "if":
        return this.#block(name, trees, hint);
      case "br":
        return plain(0, false, this.#label());
      case "br_if":
        return plain(1, false, this.#label());
      case "br_table": {
        const count = this.#u32(), targets = Array.from({ length: count + 1 }, () => this.#label());
        return plain(1, false, targets.join(" "));
      }
      case "return":
        return plain(this.code.results.length, false);
      case "unreachable":
      case "nop":
        return plain(0, false);
      case "call": {
        const { name, params, results } = this.names.function(this.#u32());
        return plain(params, results > 0, `$${name}`);
      }
      case "call_indirect": {
        const type = this.#u32();
        this.#u32();
        return plain(3, true, `(type ${type})`);
      }
      case "local.get":
        return plain(0, true, this.names.local(this.#u32()));
      case "local.set":
        return plain(1, false, this.names.local(this.#u32()));
      case "local.tee":
        return plain(1, true, this.names.local(this.#u32()));
      case "i32.const":
      case "i64.const":
        return plain(0, true, constant(this.#signed()));
      case "v128.const":
        return plain(0, true, `i64x2 ${this.#word64()} ${this.#word64()}`);
      case "i8x16.shuffle":
        return plain(2, true, Array.from({ length: 16 }, () => this.#bytes[this.#at++]).join(" "));
      case "drop":
        return plain(1, false);
    }
    if (/\.(load|store)|\.atomic\.rmw/.test(name)) return this.#memory(name, trees);
    const lane = /_lane(_[su])?$/.test(name) ? String(this.#bytes[this.#at++]) : "";
    return plain(arity(name), true, lane);
  }

  #word64(): string {
    let value = 0n;
    for (let i = 0n; i < 64n; i += 8n) value |= BigInt(this.#bytes[this.#at++]!) << i;
    return constant(value);
  }

  #memory(name: string, trees: Tree[]): Tree {
    const align = this.#u32(), offset = this.#u32(), atomic = name.includes(".atomic.");
    const lane = name.endsWith("_lane") ? ` ${this.#bytes[this.#at++]}` : "";
    const store = /\.store/.test(name),
      count = name.includes("cmpxchg") ? 3 : store || name.includes("rmw") || lane ? 2 : 1;
    const operands = this.#fold(trees, count);
    const base = operands[0] === undefined ? undefined : flat(operands[0]);
    return {
      head: `${name}${offset === 0 ? "" : ` offset=${offset}`}${atomic ? "" : ` align=${1 << align}`}${lane}`
        .replace(" align=1", ""),
      operands,
      value: !store,
      comment: base === undefined ? undefined : this.names.memory?.(base, offset),
    };
  }

  #block(kind: string, trees: Tree[], hint: boolean | undefined): Tree {
    const type = this.#bytes[this.#at++]!, result = type === EMPTY_BLOCK ? "" : ` (result ${TYPES[type]})`;
    const operands = kind === "if" ? this.#fold(trees, 1) : [];
    const label = `$b${this.#blocks++}`;
    this.#labels.unshift(label);
    const first = this.sequence(), bodies = [{ keyword: kind === "if" ? "then" : "", trees: first.trees }];
    if (first.end === "else") bodies.push({ keyword: "else", trees: this.sequence().trees });
    this.#labels.shift();
    return {
      head: `${kind} ${label}${result}`,
      operands,
      bodies,
      comment: hint === undefined ? undefined : hint ? "likely" : "unlikely",
      value: result !== "",
    };
  }

  #label(): string {
    const depth = this.#u32();
    return this.#labels[depth] ?? String(depth);
  }
}

const constant = (value: bigint): string => {
  if (value > -1024n && value < 1024n) return String(value);
  return value < 0n ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
};

const UNARY = new RegExp(
  "\\.(eqz|clz|ctz|popcnt|wrap|extend|trunc|convert|demote|promote|reinterpret|abs|neg|ceil|floor|nearest|sqrt|not|" +
    "any_true|all_true|bitmask|extadd)|\\.(splat|extract_lane)",
);
/** How many operands an instruction without immediates (but lanes) takes. */
function arity(name: string): number {
  if (name === "select" || name === "v128.bitselect") return 3;
  return UNARY.test(name) ? 1 : 2;
}

/** A tree on one line. */
const flat = ({ head, operands }: Tree): string => `(${[head, ...operands.map(flat)].join(" ")})`;
const hasBlocks = (tree: Tree): boolean => tree.bodies !== undefined || tree.operands.some(hasBlocks);
const comments = (tree: Tree): string[] => [
  ...tree.operands.flatMap(comments),
  ...tree.comment === undefined ? [] : [tree.comment],
];

function lines(tree: Tree, indent = ""): string[] {
  const note = (words: string[]) => words.length === 0 ? "" : ` ;; ${words.join(", ")}`;
  if (!hasBlocks(tree)) {
    const line = `${indent}${flat(tree)}`;
    if (line.length <= WIDTH) return [line + note(comments(tree))];
  }
  const inner = indent + "  ";
  const body = [
    ...tree.operands.flatMap((operand) => lines(operand, inner)),
    ...(tree.bodies ?? []).flatMap(({ keyword, trees }) =>
      keyword === ""
        ? trees.flatMap((t) => lines(t, inner))
        : [`${inner}(${keyword}`, ...trees.flatMap((t) => lines(t, `${inner}  `)), `${inner})`]
    ),
  ];
  return [`${indent}(${tree.head}${note(tree.comment === undefined ? [] : [tree.comment])}`, ...body, `${indent})`];
}
