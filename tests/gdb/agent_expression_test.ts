import assert from "node:assert/strict";
import { AgentExpression, type AgentMachine, parseAgentExpression } from "../../gdbstub/agent_expression.ts";
import { ascii } from "../../gdbstub/bytes.ts";
import { Refusal } from "../../gdbstub/target.ts";
import { noise } from "./client.ts";

const CODE = {
  add: 2,
  sub: 3,
  mul: 4,
  divs: 5,
  divu: 6,
  rems: 7,
  remu: 8,
  lsh: 9,
  rshs: 10,
  rshu: 11,
  not: 0x0e,
  and: 0x0f,
  or: 0x10,
  xor: 0x11,
  inv: 0x12,
  eq: 0x13,
  lts: 0x14,
  ltu: 0x15,
  ext: 0x16,
  ref8: 0x17,
  ref16: 0x18,
  ref32: 0x19,
  ref64: 0x1a,
  ifgo: 0x20,
  go: 0x21,
  c8: 0x22,
  c16: 0x23,
  c32: 0x24,
  c64: 0x25,
  reg: 0x26,
  end: 0x27,
  dup: 0x28,
  pop: 0x29,
  zext: 0x2a,
  swap: 0x2b,
  pick: 0x32,
  rot: 0x33,
} as const; // deno-fmt-ignore

/** `c8 1 add end`: names of CODE, and bytes. */
const assemble = (text: string): Uint8Array =>
  Uint8Array.from(text.split(" ").map((word) => CODE[word as keyof typeof CODE] ?? parseInt(word, 16)));

const MEMORY = new Uint8Array(64);
MEMORY.set([0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88]);
MEMORY.set(ascii("hello\0"), 16);

class Machine implements AgentMachine {
  printed = "";
  register(number: number): bigint | undefined {
    return number < 31 ? BigInt(number) * 0x1_0000_0001n : number === 32 ? -4n : undefined;
  }
  memory(address: bigint, bytes: 1 | 2 | 4 | 8): bigint | undefined {
    const at = Number(address);
    if (at + bytes > MEMORY.length) return undefined;
    return MEMORY.subarray(at, at + bytes).reduceRight((sum, byte) => sum << 8n | BigInt(byte), 0n);
  }
  print(text: string): void {
    this.printed += text;
  }
}

function value(text: string): bigint | string {
  const parsed = parseAgentExpression(assemble(text));
  const result = parsed instanceof Refusal ? parsed : parsed.evaluate(new Machine());
  return result instanceof Refusal ? result.text : result;
}

const MINUS_ONE = "c8 ff ext 8", ALL_ONES = (1n << 64n) - 1n;

Deno.test("agent expressions calculate in 64 bits", () => {
  assert.equal(value("c8 2 c8 3 add end"), 5n);
  assert.equal(value("c8 2 c8 3 sub end"), ALL_ONES);
  assert.equal(value("c16 12 34 end"), 0x1234n);
  assert.equal(value("c32 12 34 56 78 end"), 0x12345678n);
  assert.equal(value("c64 12 34 56 78 9a bc de f0 end"), 0x123456789abcdef0n);
  assert.equal(value(`${MINUS_ONE} end`), ALL_ONES);
  assert.equal(value(`${MINUS_ONE} zext 10 end`), 0xffffn);
  assert.equal(value(`${MINUS_ONE} dup mul end`), 1n);
  assert.equal(value(`${MINUS_ONE} c8 2 divs end`), 0n);
  assert.equal(value(`${MINUS_ONE} c8 2 divu end`), ALL_ONES >> 1n);
  assert.equal(value(`${MINUS_ONE} c8 2 rems end`), ALL_ONES);
  assert.equal(value(`${MINUS_ONE} c8 3 remu end`), 0n);
  assert.equal(value(`${MINUS_ONE} c8 3c rshs end`), ALL_ONES);
  assert.equal(value(`${MINUS_ONE} c8 3c rshu end`), 15n);
  assert.equal(value(`${MINUS_ONE} c8 80 rshu end`), 0n);
  assert.equal(value("c8 1 c8 3f lsh end"), 1n << 63n);
  assert.equal(value("c8 1 c8 40 lsh end"), 0n);
  assert.equal(value(`${MINUS_ONE} c8 1 lts end`), 1n);
  assert.equal(value(`${MINUS_ONE} c8 1 ltu end`), 0n);
  assert.equal(value("c8 5 c8 5 eq end"), 1n);
  assert.equal(value("c8 5 not end"), 0n);
  assert.equal(value("c8 5 inv end"), ALL_ONES - 5n);
  assert.equal(value("c8 c c8 a and c8 1 or c8 3 xor end"), 10n);
});

Deno.test("agent expressions move values about", () => {
  assert.equal(value("c8 1 c8 2 swap sub end"), 1n);
  assert.equal(value("c8 1 c8 2 c8 3 pick 2 end"), 1n);
  // a b c => c a b
  assert.equal(value("c8 1 c8 2 c8 3 rot end"), 2n);
  assert.equal(value("c8 1 c8 2 c8 3 rot pop end"), 1n);
  assert.equal(value("end"), 0n);
});

Deno.test("agent expressions read registers and memory", () => {
  assert.equal(value("reg 0 2 end"), 0x2_0000_0002n);
  assert.equal(value("reg 0 20 end"), ALL_ONES - 3n);
  assert.equal(value("c8 1 ref8 end"), 0x22n);
  assert.equal(value("c8 1 ref16 end"), 0x3322n);
  assert.equal(value("c8 0 ref32 end"), 0x44332211n);
  assert.equal(value("c8 0 ref64 end"), 0x8877665544332211n);
  assert.match(String(value("reg 0 40 end")), /cannot read register 64/);
  assert.match(String(value("c8 ff ref64 end")), /cannot read memory at 0xff/);
});

Deno.test("agent expressions branch, and end in bounded time", () => {
  assert.equal(value("c8 1 ifgo 0 8 c8 5 end c8 6 end"), 6n);
  assert.equal(value("c8 0 ifgo 0 8 c8 5 end c8 6 end"), 5n);
  assert.match(String(value("go 0 0")), /takes too long/);
  assert.match(String(value("c8 1 go 0 0")), /too deep/);
  assert.match(String(value("go 0 1")), /branches into an opcode/);
  assert.match(String(value("go 10 0")), /branches into an opcode/);
});

Deno.test("what is wrong with an agent expression is a value", () => {
  assert.match(String(value("add end")), /too few/);
  assert.match(String(value("c8 1")), /past its end/);
  assert.match(String(value("c8")), /ends within/);
  assert.match(String(value("c64 1 2")), /ends within/);
  assert.match(String(value("ff")), /unknown opcode 0xff/);
  assert.match(String(value("1")), /unknown opcode 0x1/);
  assert.match(String(value("c8 1 c8 0 divs end")), /by zero/);
  assert.match(String(value("c8 1 pick 5 end")), /below the stack/);
  assert(parseAgentExpression(new Uint8Array(0)) instanceof Refusal);
});

Deno.test("printf commands print", () => {
  // hello %d %lx\n of x0 twice, as gdb sends it for dprintf with dprintf-style agent.
  const code = [0x26, 0, 3, 0x26, 0, 3, 0x22, 0, 0x22, 0, 0x34, 2, 0];
  const print = (format: string, extra: number[] = code): string => {
    const machine = new Machine(), text = ascii(`${format}\0`);
    const parsed = parseAgentExpression(Uint8Array.from([...extra, text.length, ...text, 0x27]));
    assert(parsed instanceof AgentExpression);
    assert.equal(parsed.evaluate(machine), 0n);
    return machine.printed;
  };
  assert.equal(print("hello %d %lx\n"), "hello 3 300000003\n");
  assert.equal(print("%5d|%-5d|"), "    3|3    |");
  // As gdb sends it: escapes are still two characters.
  assert.equal(print("a\\tb\\\\n\\101\\n"), "a\tb\\nA\n");
  assert.equal(print("%05d %#lx 100%%"), "00003 0x300000003 100%");
  assert.equal(print("%c%+d"), "\u0003+3");
  const string = [0x22, 16, 0x22, 0, 0x22, 0, 0x34, 1, 0];
  assert.equal(print("[%s]", string), "[hello]");
  assert.equal(print("[%.2s]", string), "[he]");
  assert.match(String(value("c8 0 c8 0 34 0 0 1 41 end")), /unterminated/);
});

Deno.test("random bytecode neither throws nor hangs", () => {
  const opcodes = Object.values(CODE);
  for (let seed = 1; seed < 3000; seed++) {
    const code = noise(24, seed).map((byte, i) => i % 3 === 0 ? opcodes[byte % opcodes.length]! : byte);
    const parsed = parseAgentExpression(code);
    if (parsed instanceof AgentExpression) parsed.evaluate(new Machine());
  }
});
