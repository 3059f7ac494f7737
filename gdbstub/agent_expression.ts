// gdb's agent expressions: the bytecode of breakpoint conditions and commands, evaluated where the vCPU runs ("The GDB
// Agent Expression Mechanism"). A program is checked once, when the breakpoint is set; evaluation is bounded in steps,
// stack and printed text, and never throws. Left out: floating point, trace collection and trace state variables, which
// gdb uses for tracepoints only.

import { Refusal } from "./target.ts";
import { textOf } from "./bytes.ts";

/** What an expression can ask of the machine, in the place where it is evaluated. */
export interface AgentMachine {
  /** The register with gdb's number; undefined when it cannot be read. */
  register(number: number): bigint | undefined;
  /** A little-endian value in memory; undefined when it cannot be read. */
  memory(address: bigint, bytes: 1 | 2 | 4 | 8): bigint | undefined;
  /** Text of a printf command. */
  print(text: string): void;
}

const STACK_DEPTH = 256;
/** A condition that branches backwards for longer than this fails. */
const MAX_STEPS = 10_000;
const MAX_CODE_BYTES = 16 * 1024;
const MAX_STRING_BYTES = 1024;

type Operand = "none" | "u8" | "u16" | "u32" | "u64" | "target" | "printf";

interface Opcode {
  readonly name: string;
  readonly operand: Operand;
  /** Values that it takes from the stack, and leaves there. */
  readonly pops: number;
  readonly pushes: number;
}

const op = (name: string, pops: number, pushes: number, operand: Operand = "none"): Opcode => ({
  name,
  operand,
  pops,
  pushes,
});

const OPCODES: Readonly<Record<number, Opcode>> = {
  0x02: op("add", 2, 1),
  0x03: op("sub", 2, 1),
  0x04: op("mul", 2, 1),
  0x05: op("div_signed", 2, 1),
  0x06: op("div_unsigned", 2, 1),
  0x07: op("rem_signed", 2, 1),
  0x08: op("rem_unsigned", 2, 1),
  0x09: op("lsh", 2, 1),
  0x0a: op("rsh_signed", 2, 1),
  0x0b: op("rsh_unsigned", 2, 1),
  0x0e: op("log_not", 1, 1),
  0x0f: op("bit_and", 2, 1),
  0x10: op("bit_or", 2, 1),
  0x11: op("bit_xor", 2, 1),
  0x12: op("bit_not", 1, 1),
  0x13: op("equal", 2, 1),
  0x14: op("less_signed", 2, 1),
  0x15: op("less_unsigned", 2, 1),
  0x16: op("ext", 1, 1, "u8"),
  0x17: op("ref8", 1, 1),
  0x18: op("ref16", 1, 1),
  0x19: op("ref32", 1, 1),
  0x1a: op("ref64", 1, 1),
  0x20: op("if_goto", 1, 0, "target"),
  0x21: op("goto", 0, 0, "target"),
  0x22: op("const8", 0, 1, "u8"),
  0x23: op("const16", 0, 1, "u16"),
  0x24: op("const32", 0, 1, "u32"),
  0x25: op("const64", 0, 1, "u64"),
  0x26: op("reg", 0, 1, "u16"),
  0x27: op("end", 0, 0),
  0x28: op("dup", 1, 2),
  0x29: op("pop", 1, 0),
  0x2a: op("zero_ext", 1, 1, "u8"),
  0x2b: op("swap", 2, 2),
  0x32: op("pick", 0, 1, "u8"),
  0x33: op("rot", 3, 3),
  0x34: op("printf", 2, 0, "printf"),
};

interface Step {
  readonly opcode: Opcode;
  /** A constant, a width, a register number, the index of a step, or the number of printf's arguments. */
  readonly value: bigint;
  readonly format: string;
}

const OPERAND_BYTES: Readonly<Record<Operand, number>> = {
  none: 0,
  u8: 1,
  u16: 2,
  u32: 4,
  u64: 8,
  target: 2,
  printf: 3,
};

function readOperand(code: Uint8Array, at: number, bytes: number): bigint {
  let value = 0n;
  for (let i = 0; i < bytes; i++) value = value << 8n | BigInt(code[at + i]!);
  return value;
}

/** A checked program. */
export class AgentExpression {
  constructor(private readonly steps: readonly Step[]) {}

  /** The value on top of the stack at the end, 64 bits unsigned; 0 when the stack is empty then. */
  evaluate(machine: AgentMachine): bigint | Refusal {
    const stack: bigint[] = [];
    let at = 0;
    for (let count = 0; count < MAX_STEPS; count++) {
      const step = this.steps[at];
      if (step === undefined) return refuse("runs past its end");
      const { name, pops, pushes } = step.opcode;
      if (stack.length < pops) return refuse(`${name} finds too few values`);
      if (stack.length - pops + pushes > STACK_DEPTH) return refuse("needs too deep a stack");
      at++;
      switch (name) {
        case "end":
          return stack.at(-1) ?? 0n;
        case "goto":
          at = Number(step.value);
          break;
        case "if_goto":
          if (stack.pop() !== 0n) at = Number(step.value);
          break;
        case "reg": {
          const value = machine.register(Number(step.value));
          if (value === undefined) return refuse(`cannot read register ${step.value}`);
          stack.push(BigInt.asUintN(64, value));
          break;
        }
        case "ref8":
        case "ref16":
        case "ref32":
        case "ref64": {
          const bytes = (Number(name.slice(3)) / 8) as 1 | 2 | 4 | 8, address = stack.pop()!;
          const value = machine.memory(address, bytes);
          if (value === undefined) return refuse(`cannot read memory at 0x${address.toString(16)}`);
          stack.push(value);
          break;
        }
        case "pick": {
          const value = stack[stack.length - 1 - Number(step.value)];
          if (value === undefined) return refuse("pick reaches below the stack");
          stack.push(value);
          break;
        }
        case "printf": {
          // Function and channel, which mean nothing here, then the arguments, the first on top.
          stack.length -= 2;
          const wanted = Number(step.value);
          if (stack.length < wanted) return refuse("printf finds too few values");
          const args = stack.splice(stack.length - wanted).reverse();
          machine.print(printf(step.format, args, machine));
          break;
        }
        default: {
          const failure = calculate(name, step.value, stack);
          if (failure !== undefined) return failure;
        }
      }
    }
    return refuse("takes too long");
  }
}

const refuse = (what: string) => new Refusal(`the agent expression ${what}`);
const signed = (value: bigint): bigint => BigInt.asIntN(64, value);
const unsigned = (value: bigint): bigint => BigInt.asUintN(64, value);
const truth = (value: boolean): bigint => value ? 1n : 0n;

/** Opcodes that only rearrange the stack. */
function calculate(name: string, operand: bigint, stack: bigint[]): Refusal | undefined {
  const top = () => stack.at(-1)!;
  switch (name) {
    case "const8":
    case "const16":
    case "const32":
    case "const64":
      stack.push(operand);
      return;
    case "dup":
      stack.push(top());
      return;
    case "pop":
      stack.pop();
      return;
    case "swap":
      stack.push(...stack.splice(-2).reverse());
      return;
    case "rot": {
      const [third, second, first] = stack.splice(-3);
      stack.push(first!, third!, second!);
      return;
    }
    case "log_not":
      stack.push(truth(stack.pop() === 0n));
      return;
    case "bit_not":
      stack.push(unsigned(~stack.pop()!));
      return;
    case "ext":
      stack.push(unsigned(BigInt.asIntN(Number(operand), stack.pop()!)));
      return;
    case "zero_ext":
      stack.push(BigInt.asUintN(Number(operand), stack.pop()!));
      return;
  }
  const b = stack.pop()!, a = stack.pop()!;
  if (b === 0n && /^(div|rem)/.test(name)) return refuse("divides by zero");
  stack.push(unsigned(combine(name, a, b)));
}

function combine(name: string, a: bigint, b: bigint): bigint {
  switch (name) {
    case "add":
      return a + b;
    case "sub":
      return a - b;
    case "mul":
      return a * b;
    case "div_signed":
      return signed(a) / signed(b);
    case "div_unsigned":
      return a / b;
    case "rem_signed":
      return signed(a) % signed(b);
    case "rem_unsigned":
      return a % b;
    case "lsh":
      return b > 63n ? 0n : a << b;
    case "rsh_signed":
      return signed(a) >> (b > 63n ? 63n : b);
    case "rsh_unsigned":
      return b > 63n ? 0n : a >> b;
    case "bit_and":
      return a & b;
    case "bit_or":
      return a | b;
    case "bit_xor":
      return a ^ b;
    case "equal":
      return truth(a === b);
    case "less_signed":
      return truth(signed(a) < signed(b));
    default:
      return truth(a < b);
  }
}

/** Checks bytecode: known opcodes, whole operands, branches to the start of an opcode. */
export function parseAgentExpression(code: Uint8Array): AgentExpression | Refusal {
  if (code.length === 0 || code.length > MAX_CODE_BYTES) return refuse("is empty or too long");
  const steps: Step[] = [], indexOf = new Map<number, number>(), targets: [step: number, offset: number][] = [];
  for (let at = 0; at < code.length;) {
    indexOf.set(at, steps.length);
    const opcode = OPCODES[code[at]!];
    if (opcode === undefined) return refuse(`has an unknown opcode 0x${code[at]!.toString(16)}`);
    const bytes = OPERAND_BYTES[opcode.operand], operandAt = at + 1;
    at = operandAt + bytes;
    if (at > code.length) return refuse("ends within an opcode");
    let value = readOperand(code, operandAt, bytes), format = "";
    if (opcode.operand === "target") targets.push([steps.length, Number(value)]);
    if (opcode.operand === "printf") {
      const length = Number(value & 0xffffn), end = at + length;
      if (length === 0 || end > code.length || code[end - 1] !== 0) return refuse("has an unterminated format");
      format = withoutEscapes(textOf(code.subarray(at, end - 1)));
      value >>= 16n;
      at = end;
    }
    steps.push({ opcode, value, format });
  }
  for (const [index, offset] of targets) {
    const to = indexOf.get(offset);
    if (to === undefined) return refuse("branches into an opcode");
    steps[index] = { ...steps[index]!, value: BigInt(to) };
  }
  return new AgentExpression(steps);
}

const ESCAPES: Readonly<Record<string, string>> = {
  n: "\n",
  t: "\t",
  r: "\r",
  a: "\x07",
  b: "\b",
  e: "\x1b",
  f: "\f",
  v: "\v",
};

/** gdb sends a format as the user typed it: `\n` is two characters. */
const withoutEscapes = (text: string): string =>
  text.replace(
    /\\([0-7]{1,3}|[^])/g,
    (_, what: string) => /^[0-7]/.test(what) ? String.fromCharCode(parseInt(what, 8) & 0xff) : ESCAPES[what] ?? what,
  );

const CONVERSION = /%%|%([-+ #0]*)(\d*)(?:\.(\d+))?(hh|h|ll|l|z|j|t)?([diouxXcsp])/g;
/** A field wider than this is a mistake. */
const MAX_FIELD = 200;

/** C's printf for integers, characters and strings. What is not understood stays as it is. */
function printf(format: string, args: readonly bigint[], machine: AgentMachine): string {
  let next = 0;
  return format.replace(CONVERSION, (whole, flags: string, width: string, precision, length, conversion) => {
    if (whole === "%%") return "%";
    const arg = args[next++] ?? 0n;
    let text = convert(arg, conversion, length, precision, machine);
    if (flags.includes("#") && conversion === "x" && arg !== 0n) text = `0x${text}`;
    if (/[di]/.test(conversion) && !text.startsWith("-")) {
      if (flags.includes("+")) text = `+${text}`;
      else if (flags.includes(" ")) text = ` ${text}`;
    }
    const field = Math.min(Number(width), MAX_FIELD);
    if (flags.includes("-")) return text.padEnd(field);
    if (!flags.includes("0") || precision !== undefined || /[cs]/.test(conversion)) return text.padStart(field);
    const sign = /^(?:[-+ ]|0x)/.exec(text)?.[0] ?? "";
    return sign + text.slice(sign.length).padStart(field - sign.length, "0");
  });
}

const LENGTH_BITS: Readonly<Record<string, number>> = { hh: 8, h: 16, l: 64, ll: 64, z: 64, j: 64, t: 64 };

function convert(
  arg: bigint,
  conversion: string,
  length: string | undefined,
  precision: string | undefined,
  machine: AgentMachine,
): string {
  const bits = length === undefined ? 32 : LENGTH_BITS[length]!;
  const digits = Math.min(Number(precision ?? 1), MAX_FIELD);
  switch (conversion) {
    case "d":
    case "i": {
      const value = BigInt.asIntN(bits, arg), size = value < 0n ? -value : value;
      return (value < 0n ? "-" : "") + size.toString().padStart(digits, "0");
    }
    case "c":
      return String.fromCharCode(Number(arg & 0xffn));
    case "s":
      return stringAt(arg, precision === undefined ? MAX_STRING_BYTES : Number(precision), machine);
    case "p":
      return `0x${arg.toString(16)}`;
  }
  const radix = conversion === "o" ? 8 : conversion === "u" ? 10 : 16;
  const text = BigInt.asUintN(bits, arg).toString(radix).padStart(digits, "0");
  return conversion === "X" ? text.toUpperCase() : text;
}

/** The guest's string at an address, up to what can be read of it. */
function stringAt(address: bigint, limit: number, machine: AgentMachine): string {
  const bytes: number[] = [];
  while (bytes.length < Math.min(limit, MAX_STRING_BYTES)) {
    const byte = machine.memory(unsigned(address + BigInt(bytes.length)), 1);
    if (byte === undefined || byte === 0n) break;
    bytes.push(Number(byte));
  }
  return textOf(Uint8Array.from(bytes));
}
