// The real gdb on the built-in demo: a hypervisor and two guests, each an inferior with symbols of its own, from one
// connection and without scripts.

import assert from "node:assert/strict";
import { Debuggee, GDB, hasGdb } from "./gdb.ts";

const ignore = !await hasGdb();
/** Time slices by instruction count, so that each run is the same. */
const DEMO = ["-S", "-serial", "null", "-icount", "shift=0,sleep=off"] as const;

function gdbTest(name: string, commands: readonly string[], check: (output: string) => void): void {
  Deno.test({
    name: `gdb: ${name}`,
    ignore,
    fn: async () => {
      const debuggee = await Debuggee.start(DEMO);
      try {
        check(await debuggee.gdb(...commands));
      } finally {
        await debuggee.end();
      }
    },
  });
}

/** What a text has, in this order. */
function inOrder(text: string, ...patterns: readonly RegExp[]): void {
  let rest = text;
  for (const pattern of patterns) {
    const match = pattern.exec(rest);
    assert(match, `${pattern} is not in:\n${rest}\n--- of:\n${text}`);
    rest = rest.slice(match.index + match[0].length);
  }
}

/** To the first hypercall of guest B, when both guests are known: a condition that the stub evaluates. */
const BOTH_GUESTS = ["break report_exit if vm->id == 1", "continue", "delete"] as const;

gdbTest(
  "guests appear by themselves, with symbols and registers; a breakpoint waits for one; the stub evaluates conditions",
  [
    "break guest_b.c:30",
    "break report_exit if vm->id == 1",
    "continue",
    "bt 2",
    "print vm->name",
    "info inferiors",
    "info threads",
    "thread 3.1",
    "bt",
    "delete 2",
    "continue",
    "info registers ESR_EL1 SCTLR_EL1",
    "print &guest_main",
    "thread 2.1",
    "print &guest_main",
    "info registers CurrentEL",
    "info registers pc",
    "continue",
  ],
  (output) =>
    inOrder(
      output,
      /Breakpoint 1 .*pending/,
      /\[New inferior 2\]/,
      /\[New inferior 3\]/,
      /Thread 1\.1 "hypervisor vcpu 0" hit Breakpoint 2, report_exit/,
      /#0 +report_exit \(vm=.*EXIT_HYPERCALL/,
      /#1 .* in handle_hypercall/,
      /\$1 = .* "guest B"/,
      /1 +process 1 .*two_guests\.elf/,
      /2 +process 2 .*guest_a\.elf/,
      /3 +process 3 .*guest_b\.elf/,
      /1\.1 +Thread 1\.1 "hypervisor vcpu 0" \(EL2\) +report_exit/,
      /2\.1 +Thread 2\.1 "vm 1 vcpu 0" \(descheduled, exit HVC .* at EL1\)/,
      /3\.1 +Thread 3\.1 "vm 2 vcpu 0" \(descheduled, exit HVC .* at EL1\)/,
      /#0 +console_putc .*guest\/kernel\.c/,
      /#1 .* put \(/,
      /Thread 3\.1 "vm 2 vcpu 0" hit Breakpoint 1, guest_main \(\) at two_guests\/guest\/guest_b\.c:30/,
      /ESR_EL1 +0x96000010 +\[ EC=DATA_ABORT IL .*\]/,
      /SCTLR_EL1 +0x\w+ +\[ .*I .*C M \]/,
      /\$2 = .* <guest_main>/,
      /\$3 = .* <guest_main>/,
      /CurrentEL +0x4 +\[ EL=1 \]/,
      /\[Inferior 1 \(process 1\) exited normally\]/,
    ),
);

/** Both guests have code at this address, and neither the same. */
const SHARED = "0xffffff80400004a4";
gdbTest("one address in three contexts is three places", [
  ...BOTH_GUESTS,
  "thread 2.1",
  `x/wx ${SHARED}`,
  `break *${SHARED}`,
  "thread 3.1",
  `x/wx ${SHARED}`,
  "thread 1.1",
  `x/wx ${SHARED}`,
  "thread 3.1",
  "tbreak guest_b.c:30",
  "continue",
  "info breakpoints",
], (output) => {
  inOrder(output, /guest_irq>:\s+0x\w+\n/, /Breakpoint 2 at 0xffffff80400004a4/, /Cannot access memory at address/);
  const [a, b] = [...output.matchAll(/>:\s+(0x\w{8})\n/g)].map(([, word]) => word);
  assert(a !== undefined && b !== undefined && a !== b, output);
  // Guest B executes what it has there, whenever it prints a line.
  inOrder(
    output,
    /Thread 3\.1 .* hit Temporary breakpoint 3/,
    /2 +breakpoint +keep y +0xffffff80400004a4 in guest_irq .* inf 2\n(?!.*already hit)/,
  );
});

gdbTest("steps through a device's emulation, watchpoints of all kinds, finish", [
  "break guest_b.c:30",
  "continue",
  "stepi",
  "next",
  "next",
  "watch ticks",
  "continue",
  "continue",
  "finish",
  "info threads",
  "delete",
  "rwatch ticks_wanted",
  "continue",
  "delete",
  "awatch tick_period",
  "continue",
], (output) =>
  inOrder(
    output,
    /hit Breakpoint 1, guest_main \(\) at two_guests\/guest\/guest_b\.c:30/,
    /0x[0-9a-f]+\s+30\s/,
    /^31\s/m,
    /^32\s/m,
    /Old value = 0\nNew value = 1\n.*guest_irq/,
    /Old value = 1\nNew value = 2\n.*guest_irq/,
    /handle_irq \(\)/,
    /1\.1 .*\(runs vm 2\)/,
    /\* 3\.1 .*\(EL1 on cpu 0\)/,
    /Hardware read watchpoint \d+: ticks_wanted\n\nValue = /,
    /Hardware access \(read\/write\) watchpoint \d+: tick_period\n\n(Old value|Value) = /,
  ));

gdbTest("the first step into a guest that gdb does not know comes back behind it; a reset and run keep breakpoints", [
  "tbreak *&enter_guest+112",
  "break guest_b.c:30",
  "continue",
  "x/i $pc",
  "stepi",
  "x/i $pc",
  "continue",
  "set $x19 = 77",
  "monitor reset",
  "info threads",
  "continue",
  "print $x19 == 77",
  "monitor info contexts",
  "thread 1.1",
  "run",
  "thread 1.1",
  "kill",
  "run",
], (output) =>
  inOrder(
    output,
    /=> .*\teret/,
    /\[New inferior 2\]/,
    /=> .* <hyp_vectors\+1024>:/,
    /Thread 3\.1 "vm 2 vcpu 0" hit Breakpoint 2/,
    /the machine was reset/,
    /1\.1 .*\(EL2\) +_start/,
    /3\.1 .*\(not entered since the reset\)/,
    /Thread 3\.1 "vm 2 vcpu 0" hit Breakpoint 2/,
    /= 0$/m,
    /3 +vm 2 +2 +0x/,
    /hit Breakpoint 2/,
    /\[Inferior 1 \(process 1\) killed\]/,
    /hit Breakpoint 2/,
  ));

gdbTest("load, sections compared, ignore counts, commands of a breakpoint", [
  "load",
  "compare-sections",
  "break report_exit",
  "ignore 1 4",
  String.raw`python gdb.breakpoints()[0].commands = 'printf "exit of %s\\n", vm->name'`,
  "continue",
  "info breakpoints",
], (output) =>
  inOrder(
    output,
    /Loading section \.text, .* lma 0x40200000/,
    /Section \.text, .*: matched/,
    /Section \.rodata, .*: matched/,
    /hit Breakpoint 1, report_exit/,
    /^exit of guest [AB]$/m,
    /breakpoint already hit 5 times/,
  ));

gdbTest("over HVC from a guest to EL2 and back", [
  ...BOTH_GUESTS,
  "thread 3.1",
  "set $hvc = $pc - 4",
  "tbreak *$hvc",
  "continue",
  "x/i $pc",
  "stepi",
  "print $pc - $hvc",
  "info threads",
], (output) => {
  inOrder(output, /=> .*hvc\s+#0x1/, /\$\d+ = 4$/m, /\* 3\.1 .*\(EL1 on cpu 0\)/);
});

gdbTest("finish, until, advance, display, a call of a function, registers with names for their bits", [
  ...BOTH_GUESTS,
  "thread 1.1",
  "hbreak two_guests/exits.c:handle_sync",
  "continue",
  "display/x $sp",
  "print/x $HCR_EL2",
  "info registers HCR_EL2 ESR_EL2",
  "finish",
  "until",
  "advance report_exit",
  "print has_pending_interrupt(vm)",
  "print get_register(vm, 31)",
  "print $VTTBR_EL2 = $VTTBR_EL2",
  "set $TPIDR_EL2 = 0x1234",
  "print/x $TPIDR_EL2",
], (output) =>
  inOrder(
    output,
    /hit Breakpoint 2.*, handle_sync/,
    /HCR_EL2 +0x[0-9a-f]+ +\[ .*RW .*IMO .*VM \]/,
    /ESR_EL2 +0x5a00\w+ +\[ EC=HVC .*IL /,
    /1: \/x \$sp = 0x402/,
    /Value returned is \$\d+ = /,
    /report_exit \(/,
    /\$\d+ = (true|false)/,
    /\$\d+ = 0/,
    /\$\d+ = 0x1234/,
  ));

gdbTest("memory: find, dump and restore, sections compared, a walk", [
  ...BOTH_GUESTS,
  "thread 1.1",
  "dump binary memory /tmp/vitrine_gdb_test.bin &main (char*)&main+64",
  "restore /tmp/vitrine_gdb_test.bin binary &main",
  "compare-sections .text",
  "find /w &main, +64, *(unsigned int*)((char*)&main+8)",
  "monitor walk 3 0xffffff8040000068",
  "monitor info contexts",
  "info os contexts",
  "thread 2.1",
  "set var *(unsigned int*)guest_main = 0x11111111",
  "thread 3.1",
  "set var *(unsigned int*)guest_main = 0x22222222",
  "thread 2.1",
  "x/wx guest_main",
  "thread 3.1",
  "x/wx guest_main",
  "set var $x0 = 1",
  "monitor space ipa",
  "x/wx 0x40000068",
  "monitor space auto",
  "x/wx 0x40000068",
  "monitor space el2",
  "x/wx 0x40000068",
], (output) =>
  inOrder(
    output,
    /Restoring binary file/,
    /Section \.text, range .*: matched/,
    /<main\+8>\n.*pattern.* found/,
    /vm 2 vcpu 0, EL1&0: VA 0xffffff8040000068/,
    /stage 2 level 1: PA/,
    /is IPA 0x40000068, PA 0x[0-9a-f]+: memory/,
    /3 +vm 2 /,
    /<guest_main>:\s+0x11111111/,
    /<guest_main>:\s+0x22222222/,
    /vm 2 vcpu 0 is descheduled: where the hypervisor will load its registers from is not known/,
    /0x40000068:\s+0x22222222/,
    /0x40000068:\s+0x22222222/,
    /Cannot access memory at address 0x40000068/,
  ));

gdbTest("catching world switches and exceptions", [
  "monitor catch exit hvc",
  "continue",
  "monitor catch delete",
  "monitor catch exception 1 svc",
  "continue",
  "print (unsigned long)$pc & 0x7ff",
  "monitor catch delete",
  "monitor catch eret",
  "continue",
], (output) =>
  inOrder(
    output,
    /vm 1 vcpu 0: exit HVC #0x1 at EL1, pc 0x/,
    /exception to EL1: SVC/,
    /\$1 = 1024/,
    /exception return from EL\d to EL\d|entered at EL/,
  ));

Deno.test({
  name: "gdb: detach, kill and reconnect: the machine runs on without a debugger",
  ignore,
  fn: async () => {
    // One instruction, which branches to itself, and one behind it.
    const loop =
      "-device loader,addr=0x40200000,data=0xd503201f14000000,data-len=8 -device loader,addr=0x40200000,cpu-num=0";
    const debuggee = await Debuggee.start(["-S", "-serial", "null", ...loop.split(" ")]);
    try {
      inOrder(
        await debuggee.gdb(
          "info registers pc cpsr",
          "stepi",
          "stepi",
          "info registers pc",
          "set $pc = $pc + 4",
          "stepi",
          "set $pc = 0x40200000",
        ),
        /pc +0x40200000 .*\ncpsr .*EL=2/,
        /pc +0x40200000/,
        /0x0*40200008 in/,
      );
      inOrder(await debuggee.gdb("info registers pc", "kill"), /pc +0x4020/, /\[Inferior 1 \(process 1\) killed\]/);
      inOrder(
        await debuggee.gdb("hbreak *0x40200000", "continue", "print $x5 = 7", "monitor reset", "print $x5", "detach"),
        /Breakpoint 1, 0x0*40200000/,
        /= 7/,
        /the machine was reset/,
        /\[Inferior 1 \(process 1\) detached\]/,
      );
      assert.match(await debuggee.gdb("monitor quit"), /the machine ends/);
      assert.equal(await debuggee.run.end(60_000), 0);
    } finally {
      await debuggee.end();
    }
  },
});

/** Runs several gdbs, one after or beside the other, on one demo. */
function sessionsTest(name: string, run: (debuggee: Debuggee) => Promise<void>): void {
  Deno.test({
    name: `gdb: ${name}`,
    ignore,
    fn: async () => {
      const debuggee = await Debuggee.start(DEMO);
      try {
        await run(debuggee);
      } finally {
        await debuggee.end();
      }
    },
  });
}

sessionsTest(
  "a second debugger is refused, the first is not disturbed; one that comes later finds all",
  async (debuggee) => {
    // The first one runs the second, while it is attached itself. Guest B then stays where it is for ever.
    const second = `shell ${GDB} -q -nx -batch -ex "target extended-remote ${debuggee.socket}" -ex "print 40 + 2" 2>&1`;
    inOrder(
      await debuggee.gdb("break guest_b.c:30", second, "continue", "set var *(unsigned*)$pc = 0x14000000", "x/i $pc"),
      /another debugger is attached/,
      /= 42/,
      /Thread 3\.1 .* hit Breakpoint 1/,
      /=> .*\tb\t0xffffff804000015c/,
    );
    inOrder(
      await debuggee.gdb(
        "info inferiors",
        "thread 3.1",
        "stepi",
        "unset tdesc filename",
        "info registers ESR_EL1",
        "detach inferior 2",
        "monitor info contexts",
      ),
      /process 3 .*guest_b\.elf/,
      /guest_main \(\) at two_guests\/guest\/guest_b\.c:30/,
      /ESR_EL1 +0x96000010/,
      /\[Inferior 2 \(process 2\) detached\]/,
      /3 +vm 2 /,
    );
  },
);

sessionsTest("non-stop: one guest stands still and is stepped, the others run on", async (debuggee) => {
  inOrder(
    await debuggee.gdbWith(
      ["set non-stop on"],
      "break guest_b.c:30",
      "continue -a",
      "info threads",
      "thread 3.1",
      "stepi",
      "info registers ESR_EL1",
      "next",
      "info threads",
    ),
    /Thread 3\.1 "vm 2 vcpu 0" hit Breakpoint 1/,
    /1\.1 .*\(running\)/,
    /2\.1 .*\(running\)/,
    /3\.1 .*guest_main \(\)/,
    /0xffffff8040000160/,
    /ESR_EL1 +0x96000010/,
    /^31\s/m,
    /3\.1 .*guest_b\.c:31/,
  );
});

/** The block behind a mark in README.md. */
async function readmeBlock(mark: string): Promise<string[]> {
  const readme = await Deno.readTextFile(new URL("../../README.md", import.meta.url));
  const block = readme.split(`<!-- ${mark} -->\n\`\`\`\n`)[1]?.split("\n```")[0];
  assert(block !== undefined, `README.md has a block behind ${mark}`);
  return block.split("\n");
}

Deno.test({
  name: "gdb: the session in README.md",
  ignore,
  fn: async () => {
    const lines = await readmeBlock("session"), prompt = "(gdb) ";
    const commands = lines.filter((line) => line.startsWith(prompt)).map((line) => line.slice(prompt.length));
    const expected = lines.filter((line) => !line.startsWith(prompt));
    const debuggee = await Debuggee.start(DEMO);
    try {
      const output = await debuggee.gdb(...commands.filter((command) => !command.startsWith("target ")));
      const squeezed = (text: string) => text.replace(/[ \t]+/g, " ");
      let rest = squeezed(output);
      for (const line of expected) {
        const at = rest.indexOf(squeezed(line));
        assert(at >= 0, `"${line}" does not follow in:\n${output}`);
        rest = rest.slice(at);
      }
      for (const line of await readmeBlock("gdbinit")) assert.match(line, /^(set|directory|target) /);
    } finally {
      await debuggee.end();
    }
  },
});
