// The IR in words, for `deno task explain` and for tests that review it. Pure operations keep their Wasm names; an
// expression that is used more than once gets a name (%0, %1, …) where it is first evaluated, as the emitter gives it a
// local. What the instruction writes at its end, all together, comes last.

import type { Definition } from "./define.ts";
import type { AccessOptions, Block, Builder, Effect, Expr, Reg, Slot, VReg } from "./ir.ts";

const INDENT = "  ";
const PREFIXES = { i32: "", i64: "", f32: "f32 ", f64: "f64 ", v128: "v128 " } as const;

/** The semantics of an instruction, one line each. */
export function printIr(definition: Definition, ir: Builder): string[] {
  return new Printer(definition, ir).print();
}

class Printer {
  readonly #lines: string[] = [];
  readonly #uses = new Map<Expr, number>();
  /** Expressions that have a name, by open block. */
  readonly #scopes: Map<Expr, string>[] = [new Map()];
  readonly #slotNames: ReadonlyMap<number, string>;
  #names = 0;
  #depth = 0;

  constructor(definition: Definition, readonly ir: Builder) {
    this.#slotNames = new Map(definition.operands.map(({ name, slot }) => [slot.offset, name]));
  }

  print(): string[] {
    const { effects, writes } = this.ir, isEnd = ({ kind }: Effect) => kind === "branch" || kind === "jump";
    for (const effect of [...effects, ...writes]) for (const x of operands(effect)) this.#count(x);
    for (const effect of effects) if (!isEnd(effect)) this.#effect(effect);
    for (const write of writes) this.#effect(write);
    for (const effect of effects) if (isEnd(effect)) this.#effect(effect);
    return this.#lines;
  }

  #line(text: string): void {
    this.#lines.push(INDENT.repeat(this.#depth) + text);
  }

  #count(x: Expr): void {
    const n = this.#uses.get(x) ?? 0;
    this.#uses.set(x, n + 1);
    if (n > 0) return;
    for (const inner of parts(x)) this.#count(inner);
  }

  // ---- expressions

  #value(x: Expr): string {
    for (const scope of this.#scopes) {
      const name = scope.get(x);
      if (name !== undefined) return name;
    }
    const text = this.#text(x);
    if (this.#uses.get(x)! < 2 || parts(x).length === 0) return text;
    const name = `%${this.#names++}`;
    this.#line(`${name} = ${text}`);
    this.#scopes.at(-1)!.set(x, name);
    return name;
  }

  #text({ node, type }: Expr): string {
    switch (node.op) {
      case "const":
        return node.value < 10n ? `${node.value}` : `0x${node.value.toString(16)}`;
      case "slot":
        return this.#slot(node.slot);
      case "pc":
        return "pc";
      case "x":
        return `${type === "i32" ? "W" : "X"}${this.#register(node.reg)}`;
      case "v":
        return `${{ 32: "S", 64: "D", 128: "V" }[node.bits]}${this.#vector(node.reg)}`;
      case "v64":
        return `V${this.#vector(node.reg)}.d[${node.part}]`;
      case "state":
        return node.field;
      case "sysreg":
        return `sysreg[${this.#value(node.offset)}]`;
      case "temp":
        return `t${node.id}`;
      case "wasm": {
        const args = node.args.map((arg) => this.#value(arg));
        return `${node.name}${node.imm ? `[${immediate(node.imm)}]` : ""}(${args.join(", ")})`;
      }
    }
  }
  #slot({ offset }: Slot): string {
    return this.#slotNames.get(offset) ?? `slot${offset}`;
  }
  #register({ name, place, plus }: Reg): string {
    if (typeof place === "number") return place === 31 ? "ZR" : place === 32 ? "SP" : String(place);
    return `[${name}${plus === 0 ? "" : `+${plus}`}]`;
  }
  #vector({ place, plus }: VReg): string {
    if (typeof place === "number") return String(place);
    return `[${this.#slot(place)}${plus === 0 ? "" : `+${plus}`}]`;
  }

  // ---- effects

  #effect(e: Effect): void {
    switch (e.kind) {
      case "let":
        return this.#line(`t${e.temp} = ${PREFIXES[e.value.type]}${this.#value(e.value)}`);
      case "load":
        return this.#line(`t${e.temp} = load${e.bytes} [${this.#value(e.address)}]${accessWords(e.options)}`);
      case "store": {
        const value = this.#value(e.value), address = this.#value(e.address);
        return this.#line(`store${e.bytes} [${address}] <- ${value}${accessWords(e.options)}`);
      }
      case "rmwAddress":
        return this.#line(`t${e.temp} = host address of ${e.bytes} writable bytes [${this.#value(e.address)}]`);
      case "atomic": {
        const args = [e.host, ...e.args].map((arg) => this.#value(arg));
        return this.#line(`t${e.temp} = atomic.${e.name}${e.bytes}(${args.join(", ")})`);
      }
      case "hostLoad":
        return this.#line(`t${e.temp} = host.load${e.bytes} [${this.#value(e.host)}]`);
      case "hostStore":
        return this.#line(`host.store${e.bytes} [${this.#value(e.host)}] <- ${this.#value(e.value)}`);
      case "setX":
        return this.#line(`${e.value.type === "i32" ? "W" : "X"}${this.#register(e.reg)} <- ${this.#value(e.value)}`);
      case "setV":
        return this.#line(`V${this.#vector(e.reg)} <- ${this.#value(e.value)}`);
      case "setV64":
        return this.#line(`V${this.#vector(e.reg)}.d[${e.part}] <- ${this.#value(e.value)}`);
      case "setState":
        return this.#line(`${e.field} <- ${this.#value(e.value)}`);
      case "orState":
        return this.#line(`${e.field} |= ${this.#value(e.value)}`);
      case "setSysreg":
        return this.#line(`sysreg[${this.#value(e.offset)}] <- ${this.#value(e.value)}`);
      case "choose":
        return this.#choose(e);
      case "helper": {
        const args = e.args.map((arg) => this.#value(arg));
        return this.#line(`${e.temp === undefined ? "" : `t${e.temp} = `}call ${e.name}(${args.join(", ")})`);
      }
      case "checkSp":
        return this.#line("check that SP is aligned");
      case "branch": {
        const condition = e.condition === undefined ? "" : ` if ${this.#value(e.condition)}`;
        return this.#line(`branch to pc + ${this.#value(e.offset)}${condition}`);
      }
      case "jump":
        return this.#line(`jump to ${this.#value(e.target)}`);
    }
  }
  #choose(e: Effect & { kind: "choose" }): void {
    const likely = e.likely === undefined ? "" : e.likely ? " (likely)" : " (unlikely)";
    this.#line(`${e.temp === undefined ? "" : `t${e.temp} = `}if ${this.#value(e.condition)}${likely}`);
    this.#block(e.then);
    if (e.else.value === undefined && e.else.effects.length === 0) return;
    this.#line("else");
    this.#block(e.else);
  }
  #block({ effects, value }: Block): void {
    this.#depth++;
    this.#scopes.push(new Map());
    for (const effect of effects) this.#effect(effect);
    if (value !== undefined) this.#line(this.#value(value));
    this.#scopes.pop();
    this.#depth--;
  }
}

/** The expressions that an effect evaluates itself, those of its blocks included. */
function operands(e: Effect): readonly Expr[] {
  switch (e.kind) {
    case "load":
    case "rmwAddress":
      return [e.address];
    case "store":
      return [e.value, e.address];
    case "atomic":
      return [e.host, ...e.args];
    case "hostLoad":
      return [e.host];
    case "hostStore":
      return [e.host, e.value];
    case "setSysreg":
      return [e.offset, e.value];
    case "choose":
      return [
        e.condition,
        ...[e.then, e.else].flatMap((b) => [...b.effects.flatMap(operands), ...b.value ? [b.value] : []]),
      ];
    case "helper":
      return e.args;
    case "checkSp":
      return [];
    case "branch":
      return e.condition === undefined ? [e.offset] : [e.offset, e.condition];
    case "jump":
      return [e.target];
    default:
      return [e.value];
  }
}

function parts({ node }: Expr): readonly Expr[] {
  return node.op === "wasm" ? node.args : node.op === "sysreg" ? [node.offset] : [];
}

function accessWords({ element, unprivileged, aligned }: AccessOptions): string {
  const words = [
    element === undefined ? "" : `elements of ${element}`,
    unprivileged ? "as EL0" : "",
    aligned ? "aligned" : "",
  ].filter((word) => word !== "");
  return words.length === 0 ? "" : ` (${words.join(", ")})`;
}

const immediate = (bytes: readonly number[]): string => bytes.join(" ");
