// Random operations on an interrupt controller as a bare-metal program for qemu-system-aarch64: each operation stores what
// it read and ISR_EL1, in order, also when several CPUs take turns. Our model repeats them, and all values must agree.

import assert from "node:assert/strict";

export type Level = 1 | 2;
export type Operation =
  & { readonly el: Level; readonly cpu?: number; readonly value: bigint }
  & (
    | { readonly kind: "read" | "write"; readonly name: string }
    | { readonly kind: "load" | "store"; readonly address: number; readonly bytes: number }
  );

export class Random {
  constructor(private state: number) {}
  below(n: number): number {
    this.state = (Math.imul(this.state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.state / 2 ** 32) * n);
  }
  word(): number {
    return (this.below(0x10000) * 0x10000 + this.below(0x10000)) >>> 0;
  }
  of<T>(items: readonly T[]): T {
    return items[this.below(items.length)]!;
  }
}

/**
 * Physical interrupts are never masked at EL1 when they go to EL2: closes the priority mask of a CPU around what it runs
 * at EL1. `mask` makes the write of a value to the mask, or says which value an operation writes there.
 */
export function maskAtEl1(
  operations: readonly Operation[],
  mask: { write(value: bigint, cpu: number): Operation; written(op: Operation): bigint | undefined },
): Operation[] {
  const out: Operation[] = [], levels: Level[] = [], masks: bigint[] = [];
  for (const op of operations) {
    const cpu = op.cpu ?? 0;
    if (op.el !== (levels[cpu] ?? 2)) out.push(mask.write(op.el === 1 ? 0n : masks[cpu] ?? 0n, cpu));
    if (op.el === 2) masks[cpu] = mask.written(op) ?? masks[cpu] ?? 0n;
    levels[cpu] = op.el;
    out.push(op);
  }
  return out;
}

const constant = (register: string, value: bigint): string =>
  [0n, 16n, 32n, 48n].map((shift) =>
    `mov${shift ? "k" : "z"} ${register}, #${(value >> shift) & 0xffffn}, lsl #${shift}`
  )
    .join("\n");
const address = (register: string, label: string) =>
  `adrp ${register}, ${label}\nadd ${register}, ${register}, :lo12:${label}`;

/** The program of one CPU; it waits where another one's operation comes first. */
function cpuProgram(
  cpu: number,
  operations: readonly Operation[],
  encoding: Readonly<Record<string, string>>,
): string[] {
  const lines: string[] = [];
  let el: Level = 2, ours = (operations[0]!.cpu ?? 0) === cpu;
  const enter = (next: Level) => {
    if (next === el) return;
    lines.push(next === 1 ? "adr x0, 1f\nmsr elr_el2, x0\nmov x0, #0x3c5\nmsr spsr_el2, x0\neret\n1:" : "hvc #0");
    el = next;
  };
  operations.forEach((op, n) => {
    if ((op.cpu ?? 0) !== cpu) {
      if (ours) lines.push("dsb sy", constant("x1", BigInt(n)), "stlr w1, [x28]");
      ours = false;
      return;
    }
    if (!ours) lines.push(constant("x1", BigInt(n)), "1: yield\nldar w2, [x28]\ncmp w1, w2\nb.ne 1b");
    ours = true;
    enter(op.el);
    lines.push(constant("x1", op.value));
    if ("name" in op) {
      const register = encoding[op.name]!;
      lines.push(op.kind === "write" ? `msr ${register}, x1\nmov x1, #0` : `mrs x1, ${register}`, "isb");
    } else {
      lines.push(constant("x2", BigInt(op.address)));
      const suffix = op.bytes === 1 ? "b" : op.bytes === 2 ? "h" : "";
      lines.push(op.kind === "store" ? `str${suffix} w1, [x2]\nmov x1, #0` : `ldr${suffix} w1, [x2]`, "dsb sy\nisb");
    }
    lines.push("mrs x3, isr_el1", address("x20", "results"), constant("x0", BigInt(16 * n)));
    lines.push("add x20, x20, x0\nstp x1, x3, [x20]");
  });
  if (ours) lines.push("dsb sy", constant("x1", BigInt(operations.length)), "stlr w1, [x28]");
  enter(2);
  return lines;
}

/** `prologue` is run by every CPU at EL2 first. */
export function assemble(
  operations: readonly Operation[],
  prologue: readonly string[] = [],
  encoding: Readonly<Record<string, string>> = {},
): string {
  const cpus = 1 + Math.max(...operations.map((op) => op.cpu ?? 0));
  const lines = [".arch armv8-a+crc", ".globl _start", "_start:"];
  for (let cpu = 0; cpu < cpus; cpu++) {
    lines.push(
      `cpu${cpu}:`,
      "msr daifset, #15",
      address("x0", "vectors"),
      "msr vbar_el2, x0",
      // RW, AMO, IMO, FMO.
      "mov x0, #0x38\norr x0, x0, #0x80000000\nmsr hcr_el2, x0",
      ...prologue,
      address("x28", "turn"),
    );
    for (let other = 1; cpu === 0 && other < cpus; other++) {
      lines.push("ldr x0, =0xc4000003", `mov x1, #${other}`, address("x2", `cpu${other}`), "smc #0");
    }
    lines.push(...cpuProgram(cpu, operations, encoding));
    if (cpu > 0) lines.push("b .");
    else {
      // Waits for the others, prints the results as hexadecimal words on the PL011 and powers off.
      lines.push(
        constant("x1", BigInt(operations.length)),
        "1: yield\nldar w2, [x28]\ncmp w1, w2\nb.ne 1b",
        address("x21", "results"),
        constant("x20", BigInt(16 * operations.length)),
        "add x20, x20, x21\nmov x22, #0x09000000",
        "2: cmp x21, x20\nb.hs 5f\nldr x1, [x21], #8\nmov x4, #64",
        "3: sub x4, x4, #4\nlsr x5, x1, x4\nand x5, x5, #15\nadd x5, x5, #48\ncmp x5, #58\nb.lo 4f\nadd x5, x5, #39",
        "4: str w5, [x22]\ncbnz x4, 3b\nmov x5, #10\nstr w5, [x22]\nb 2b",
        "5: ldr x0, =0x84000008\nsmc #0\nb .",
      );
    }
    lines.push(".ltorg");
  }
  lines.push(
    ".balign 2048\nvectors:",
    // HVC from EL1 goes on behind it at EL2; anything else ends the program with a mark.
    ".rept 8\nmov x0, #0x21\nmov x1, #0x09000000\nstr w0, [x1]\nldr x0, =0x84000008\nsmc #0\nb .\n.balign 128\n.endr",
    "mrs x0, spsr_el2\nmov x0, #0x3c9\nmsr spsr_el2, x0\neret\n.balign 2048",
    ".bss\n.balign 16\nturn: .skip 16\nresults: .skip 0x100000",
  );
  return lines.join("\n") + "\n";
}

async function run(command: string, args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args, stdin: "null" }).output();
  assert.equal(code, 0, `${command}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

export async function available(...commands: string[]): Promise<boolean> {
  try {
    for (const command of commands) await new Deno.Command(command, { args: ["--version"], stdout: "null" }).output();
    return true;
  } catch {
    return false;
  }
}

/** Whether programs can be assembled and run. */
export const canRun = () => available("qemu-system-aarch64", "aarch64-linux-gnu-gcc");

/** Calls `use` with the program as an ELF file. */
export async function withElf<T>(program: string, use: (file: string) => Promise<T>): Promise<T> {
  const directory = await Deno.makeTempDir(), file = `${directory}/test.elf`;
  try {
    await Deno.writeTextFile(`${directory}/test.S`, program);
    const flags = ["-nostdlib", "-static", "-Wl,-Ttext=0x40100000", "-Wl,--build-id=none", "-o"];
    await run("aarch64-linux-gnu-gcc", [...flags, file, `${directory}/test.S`]);
    return await use(file);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Options of both machines for `file`. */
export const machineOptions = (machine: string, cpus: number, file: string): string[] => [
  ...["-M", machine, "-cpu", "cortex-a57", "-m", "128", "-smp", String(cpus), "-kernel", file],
];

/** What the program prints on QEMU's `virt`: two words for each operation. */
export const runOnQemu = (program: string, machine: string, cpus = 1): Promise<bigint[]> =>
  withElf(program, async (file) => {
    // With all CPUs on one thread they do not wait for each other in vain.
    const own = [
      "-accel",
      "tcg,thread=single",
      "-display",
      "none",
      "-monitor",
      "none",
      "-serial",
      "stdio",
      "-net",
      "none",
    ];
    return words(await run("qemu-system-aarch64", [...machineOptions(machine, cpus, file), ...own]));
  });

export const words = (text: string): bigint[] => text.trim().split(/\s+/).map((word) => BigInt("0x" + word));

const show = (op: Operation): string =>
  `CPU${op.cpu ?? 0} EL${op.el} ${op.kind} ${"name" in op ? op.name : `${op.bytes}@0x${op.address.toString(16)}`} 0x${
    op.value.toString(16)
  }`;

/** Fails at the first difference and shows what led to it. */
export function assertAgree(operations: readonly Operation[], ours: bigint[], theirs: bigint[], title: string): void {
  const at = ours.findIndex((value, i) => value !== theirs[i]);
  if (at < 0) return;
  const n = at >>> 1, first = Math.max(0, n - 40);
  const history = operations.slice(first, n + 1).map((op, i) => {
    const k = 2 * (first + i);
    return `${show(op)} -> 0x${ours[k]!.toString(16)} lines ${ours[k + 1]!.toString(16)}`;
  });
  assert.fail(
    `${title}, operation ${n}: ${at & 1 ? "ISR_EL1" : "value"} is 0x${ours[at]!.toString(16)}, ` +
      `QEMU has 0x${theirs[at]?.toString(16)}\n${history.join("\n")}`,
  );
}
