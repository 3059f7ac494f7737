// The real gdb on Debian's kernel, which was not built for that: attached to while it runs, by addresses of kallsyms. And
// on KVM's guests, with and without VHE: the kernel and its virtual machine at the same time.

import assert from "node:assert/strict";
import { packCpio } from "../../src/machine/cpio.ts";
import { fetchLinux, type LinuxFiles } from "../../src/machine/fetch_linux.ts";
import { Debuggee, hasGdb } from "./gdb.ts";

const LIMIT_MS = 300_000;
const gdb = await hasGdb();
const files: LinuxFiles | null = await fetchLinux().catch((error) => {
  console.log(`MISSING Debian's kernel: ${error.message}`);
  if (Deno.env.get("CI")) throw error;
  return null;
});
const PROBE = new URL("../guests/kvm_probe/kvm_probe", import.meta.url);

/** Boots with this script as the first program. */
async function boot(script: string, ...options: readonly string[]): Promise<Debuggee> {
  const init = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
${script}
poweroff -f
`;
  const ours = packCpio([
    { kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(init) },
    { kind: "file", path: "kvm_probe", mode: 0o755, data: await Deno.readFile(PROBE) },
  ]);
  const initrd = await Deno.makeTempFile({ suffix: ".cpio" });
  await Deno.writeFile(initrd, await Deno.readFile(files!.initrd));
  await Deno.writeFile(initrd, ours, { append: true });
  const append = "console=ttyAMA0 quiet";
  return await Debuggee.start([
    ...["-m", "512", "-kernel", files!.kernel, "-initrd", initrd, "-append", append],
    ...options,
  ]);
}

function inOrder(text: string, ...patterns: readonly RegExp[]): void {
  let rest = text;
  for (const pattern of patterns) {
    const match = pattern.exec(rest);
    assert(match, `${pattern} is not in:\n${rest}\n--- of:\n${text}`);
    rest = rest.slice(match.index + match[0].length);
  }
}

/** What the kernel is: at EL1 under its own EL2, at EL2, or without EL2; and what gdb sees of it. */
const KERNELS = [
  { cpu: "cortex-a57", level: 1, context: "hypervisor", options: [] },
  { cpu: "cortex-a76", level: 2, context: "hypervisor", options: [] },
  { cpu: "cortex-a72", level: 1, context: "machine", options: ["-M", "virt,gic-version=3,virtualization=off"] },
] as const;
for (const { cpu, level, context, options } of KERNELS) {
  Deno.test({
    name:
      `gdb: attached to a running kernel on ${cpu}, ${context}, a breakpoint, current, detached; the kernel goes on`,
    ignore: !gdb || files === null,
    fn: async () => {
      const script = `
echo 0 > /proc/sys/kernel/kptr_restrict
grep -E " do_sys_openat2$" /proc/kallsyms
echo =ready
until [ -e /done ]; do cat /proc/version > /dev/null; done &
read line
touch /done
wait
echo =end`;
      const debuggee = await boot(script, "-cpu", cpu, ...options);
      try {
        await debuggee.run.until("=ready", LIMIT_MS);
        const address = /([0-9a-f]{16}) t do_sys_openat2/.exec(debuggee.run.output)?.[1];
        assert(address !== undefined, debuggee.run.output);
        const output = await debuggee.gdb(
          // The stub evaluates it: the name begins with /proc/ve, so that it is cat which opens it.
          `hbreak *0x${address} if *(unsigned long*)$x1 == 0x65762f636f72702f`,
          "continue",
          "info threads",
          "info registers CurrentEL",
          "x/s $x1",
          // current, which has its name in it.
          "print/x (unsigned long)$SP_EL0 >> 48",
          "find /1 $SP_EL0, +0x2000, 'c', 'a', 't', (char)0",
          // EL2's vector, which EL1's tables do not map.
          ...(level === 1 && context === "hypervisor" ? ["x/i $VBAR_EL2 + 0x600"] : []),
          "stepi",
          "stepi",
          `print (unsigned long)$pc - 0x${address}`,
          "continue",
          "monitor info contexts",
          "delete",
          "detach",
        );
        inOrder(
          output,
          new RegExp(`Breakpoint 1, 0x${address}`),
          new RegExp(`1 +Thread 1\\.1 "${context} vcpu 0" \\(EL${level}\\)`),
          new RegExp(`CurrentEL +0x\\w+ +\\[ EL=${level} \\]`),
          /:\s+"\/proc\/version"/,
          /= 0xffff$/m,
          /1 pattern found/,
          ...(level === 1 && context === "hypervisor" ? [/0x[0-9a-f]+:\s+[a-z]+/] : []),
          /\$\d+ = [48]$/m,
          /Breakpoint 1, /,
          new RegExp(`1 +${context}`),
          /\[Inferior 1 \(process 1\) detached\]/,
        );
        await debuggee.run.type("\n");
        await debuggee.run.until("=end", LIMIT_MS);
        assert.equal(await debuggee.run.end(LIMIT_MS), 0);
      } finally {
        await debuggee.end();
      }
    },
  });
}

for (const { cpu, vhe } of [{ cpu: "cortex-a57", vhe: false }, { cpu: "cortex-a76", vhe: true }]) {
  Deno.test({
    name: `gdb: a virtual machine of KVM on ${cpu}: caught, stepped through its exits, gone`,
    ignore: !gdb || files === null,
    fn: async () => {
      const debuggee = await boot("/kvm_probe && /kvm_probe", "-cpu", cpu, "-S");
      try {
        const output = await debuggee.gdb(
          "monitor catch exit dabt",
          "continue",
          "info threads",
          "thread 2.1",
          "x/2i $pc",
          "print/x $x19",
          "monitor catch delete",
          // KVM's process answers for the device before the next instruction is executed.
          "stepi",
          "x/i $pc",
          "stepi",
          "info registers pc",
          "info threads",
          "monitor walk 2 0x40000000",
          "info registers SCTLR_EL1",
          // A host at EL1 calls EL2: stopped there, its own code is to be seen, which EL2's tables do not map.
          ...(vhe ? [] : [
            "thread 1.1",
            "monitor catch exception 2 hvc",
            "continue",
            "info registers CurrentEL",
            "x/i $ELR_EL2 - 4",
            "monitor catch delete",
          ]),
          "monitor catch enter",
          "continue",
          "continue",
          "monitor catch delete",
          "detach",
        );
        inOrder(
          output,
          /vm 1 vcpu 0: exit data abort .* write of 8 bytes from x0 at EL1, pc 0x40000018/,
          /2\.1 +Thread 2\.1 "vm 1 vcpu 0" \(descheduled, exit data abort.* at EL1\) +0x0000000040000018/,
          /=> 0x40000018:\s+str\s+x0, \[x19\]/,
          /= 0x9000000/,
          /=> 0x4000001c:\s+ldr\s+w2/,
          /pc +0x40000020/,
          /1\.1 .*\(runs vm 1\)/,
          /stage 1 is off/,
          /is IPA 0x40000000, PA 0x[0-9a-f]+: memory/,
          /SCTLR_EL1 +0x\w+ +\[ .*\]/,
          ...(vhe ? [] : [/exception to EL2: HVC.* from EL1/, /EL=2/, /0xffff\w+:\s+hvc\t#0x/]),
          /vm 1 vcpu 0: entered at EL1/,
        );
        assert.equal(await debuggee.run.end(LIMIT_MS), 0);
        assert.equal(debuggee.run.output.match(/guest powers off: ok/g)?.length, 2, debuggee.run.output);
      } finally {
        await debuggee.end();
      }
    },
  });
}
