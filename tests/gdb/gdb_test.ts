// The real gdb against a machine without instructions that holds the demo guest's three programs: what gdb makes of the
// stub, whatever the machine behind it does.

import assert from "node:assert/strict";
import { demoTarget, GDB, runGdb } from "./real.ts";

const found = await new Deno.Command("sh", { args: ["-c", `command -v ${GDB}`], stdout: "null" }).output();
const ignore = !found.success;

const gdbTest = (name: string, run: () => Promise<void>) => Deno.test({ name: `gdb: ${name}`, ignore, fn: run });

/** What a text has, in this order. */
function inOrder(text: string, ...patterns: RegExp[]): void {
  let rest = text;
  for (const pattern of patterns) {
    const match = pattern.exec(rest);
    assert(match, `${pattern} is not in:\n${rest}\n--- of:\n${text}`);
    rest = rest.slice(match.index + match[0].length);
  }
}

gdbTest("contexts are inferiors, each with the symbols that the stub serves", async () => {
  const { output, notices } = await runGdb(await demoTarget(), [
    "info inferiors",
    "info threads",
    "thread 2.1",
    "print message",
    "thread 3.1",
    "x/2i $pc",
    "bt",
  ]);
  inOrder(
    output,
    /\* 1 +process 1 .*two_guests\.elf/,
    /2 +process 2 .*guest_a\.elf/,
    /3 +process 3 .*guest_b\.elf/,
    /1\.2 +Thread 1\.2 "hypervisor vcpu 1" \(running at EL2\)/,
    /2\.1 +Thread 2\.1 "vm 1 vcpu 0" \(descheduled, exit WFx at EL1\) +_start \(\) at two_guests\/guest\/start\.S/,
    /Switching to thread 3\.1/,
    /=> 0xffffff8040000000 <_start>:\s+adrp/,
    /#0 +_start \(\)/,
  );
  assert.deepEqual(notices, ["gdb: a debugger is attached", "gdb: the debugger has gone"]);
});

gdbTest("the same address is another place in another guest", async () => {
  const target = await demoTarget(),
    { output } = await runGdb(target, [
      "thread 2.1",
      "set var *(unsigned int *)0xffffff8040000f00 = 0x11111111",
      "thread 3.1",
      "set var *(unsigned int *)0xffffff8040000f00 = 0x22222222",
      "thread 2.1",
      "x/wx 0xffffff8040000f00",
      "thread 3.1",
      "x/wx 0xffffff8040000f00",
      "break *0xffffff8040000010",
      "continue",
      "info threads",
      "x/wx 0x1234",
    ]);
  inOrder(
    output,
    /0x11111111/,
    /0x22222222/,
    /Thread 3\.1 "vm 2 vcpu 0" hit Breakpoint 1/,
    /\* 3\.1/,
  );
  assert.match(output, /Cannot access memory at address 0x1234/);
  // The other guest went past the same address.
  assert.equal(target.points.size, 0);
});

gdbTest("system registers show their fields, by name and by group", async () => {
  const target = await demoTarget(),
    { output } = await runGdb(target, [
      "info registers HCR_EL2",
      "info registers exception",
      "print $HCR_EL2 = 0x80000001UL",
      "print/x $HCR_EL2",
      "print $MIDR_EL1 = 1",
      "print $x5 = 0x55",
      "print $cpsr = 0x3c5",
      "print $v3.q.u[0]",
      "info registers general",
    ]);
  inOrder(
    output,
    /HCR_EL2 +0x80000019 +\[ VM FMO IMO BSU=0 RW \]/,
    /ESR_EL2 +0x92000007 +\[ ISS=7 IL EC=DABT_LOWER \]/,
    /= \[ VM BSU=0 RW \]/,
    /0x80000001/,
    /= 85/,
    /= \[ SP EL=1 F I A D BTYPE=0 \]/,
    /= 0/,
    /x30 /,
  );
  assert.match(output, /MIDR_EL1 cannot be written/);
});

gdbTest("steps, ranges and temporary breakpoints", async () => {
  const { output } = await runGdb(await demoTarget(), [
    "stepi",
    "info registers pc",
    "next",
    "thread 3.1",
    "stepi",
    "info registers pc",
    "tbreak *0xffffff8040000020",
    "continue",
    "advance *0xffffff8040000030",
    "info registers pc",
    "until *0xffffff8040000038",
    "info registers pc",
  ]);
  inOrder(
    output,
    /pc +0x40200004/,
    /pc +0xffffff8040000004/,
    /hit Temporary breakpoint 1/,
    /pc +0xffffff8040000030/,
    /pc +0xffffff8040000038/,
  );
});

gdbTest("hardware breakpoints, watchpoints and displays", async () => {
  const { output } = await runGdb(await demoTarget(), [
    "hbreak *0x40200010",
    "continue",
    "delete",
    "watch *(long *)0x40208000",
    "display/x $x0",
    "continue",
    "continue",
    "delete",
    "awatch *(int *)0x40208004",
    "continue",
    "info breakpoints",
  ]);
  inOrder(
    output,
    /hypervisor: at a hardware breakpoint/,
    /hit Breakpoint 1/,
    /Hardware watchpoint 2/,
    /hit Hardware watchpoint 2/,
    /Old value = .*\nNew value = /,
    /\/x \$x0 = 0x/,
    /hit Hardware watchpoint 2/,
    /Hardware access \(read\/write\) watchpoint 3/,
    /Value = /,
    /3 +acc watchpoint/,
  );
});

gdbTest("conditions and dprintf work in the stub, ignore counts too", async () => {
  const { output } = await runGdb(await demoTarget(), [
    "break *0x40200010 if $x0 > 1000 && *(int *)0x40200000 != 0",
    "continue",
    "print $x0 > 1000",
    "info breakpoints",
    "delete",
    "set dprintf-style agent",
    'dprintf *0x40200008,"count %d\\n",$x0',
    "break *0x40200010",
    "ignore 3 3",
    "continue",
  ]);
  inOrder(
    output,
    /hit Breakpoint 1/,
    /= 1/,
    /stop only if .*\(target evals\)/,
    /breakpoint already hit 1 time/,
    /count \d+\ncount \d+/,
    /hit Breakpoint 3/,
  );
});

gdbTest("find, dump, restore, compare-sections, load", async () => {
  const file = await Deno.makeTempFile();
  try {
    const { output } = await runGdb(await demoTarget(), [
      "find /w 0x40200000, +0x4000, 0xd65f03c0",
      "compare-sections",
      `dump binary memory ${file} 0x40200000 0x40204000`,
      "set var *(int *)0x40200000 = 1",
      "compare-sections .text",
      `restore ${file} binary 0x40200000`,
      "compare-sections .text",
      "set var *(int *)0x40200000 = 1",
      "load",
      "compare-sections .text",
    ]);
    inOrder(
      output,
      /<skip_instruction\+12>/,
      /patterns found/,
      /Section \.text.*: matched/,
      /Section \.text.*: MIS-MATCHED/,
      /Restoring binary file/,
      /Section \.text.*: matched/,
      /Transfer rate/,
      /Section \.text.*: matched/,
    );
  } finally {
    await Deno.remove(file);
  }
});

gdbTest("monitor commands and info os", async () => {
  const { output } = await runGdb(await demoTarget(), [
    "monitor help",
    "monitor walk 2 0x1000",
    "thread 2.1",
    "monitor space el1",
    "monitor space",
    "thread 1.1",
    "monitor space",
    "monitor catch exit wfx",
    "monitor nonsense",
    "info os",
    "info os contexts",
    "info mem",
  ]);
  inOrder(
    output,
    /walk \[CONTEXT\] VA/,
    /walk of 2 0x1000/,
    /inferior 2 are understood as el1/,
    /el1/,
    /auto/,
    /exit wfx/,
    /"nonsense" is not known/,
    /contexts +The hypervisor & its <guests>/,
    /2 +vm 1/,
    /ro nocache/,
  );
});

gdbTest("virtual machines come and go while the machine runs", async () => {
  const { output } = await runGdb(await demoTarget(), [
    "monitor appear 4 30",
    "monitor vanish 3 60",
    "continue",
    "info threads",
  ]);
  inOrder(output, /\[Inferior 3 \(process 3\) exited normally\]/, /Thread 4\.1 "vm 3 vcpu 0"/);
});

gdbTest("detach, attach, kill of a guest", async () => {
  const target = await demoTarget(),
    { output } = await runGdb(target, [
      "detach inferior 2",
      "info inferiors",
      "inferior 2",
      "attach 2",
      "info threads",
      "kill inferiors 3",
    ]);
  inOrder(output, /2 +<null>/, /\* 2\.1 +Thread 2\.1/, /Can't kill process/);
  assert.equal(target.log.at(-1), "release");
});

gdbTest("kill, start and run again", async () => {
  const target = await demoTarget();
  target.list.length = 1;
  const { output } = await runGdb(target, [
    "stepi",
    "kill",
    "starti",
    "info registers pc",
    "tbreak *0x40200020",
    "run",
  ]);
  inOrder(output, /process 1\) killed/, /pc +0x40200000/, /hit Temporary breakpoint 1/);
  assert.deepEqual(target.log, ["kill", "restart", "kill", "restart", "detach 1", "release"]);
});

gdbTest("target remote, several sessions, and no stub without acknowledgements", async () => {
  const target = await demoTarget();
  for (const first of [[], ["set remote noack-packet off"], ["set remote multiprocess-feature-packet off"]]) {
    const { output } = await runGdb(target, ["info threads", "stepi", "detach"], "target remote", first);
    assert.match(output, /hypervisor vcpu 0/);
    assert(!/rror/.test(output), output);
  }
  assert.equal(target.attachments, 3);
});

gdbTest("non-stop: one guest stops, the others run", async () => {
  const { output } = await runGdb(
    await demoTarget(1),
    ["break *0x40200010", "continue", "info threads"],
    "target extended-remote",
    ["set non-stop on"],
  );
  inOrder(output, /Thread 1\.1 .* hit Breakpoint 1/, /3\.1 .*\(running\)/);
});
