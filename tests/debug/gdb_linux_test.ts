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

for (const cpu of ["cortex-a57", "cortex-a76"]) {
  Deno.test({
    name: `gdb: attached to a running kernel on ${cpu}, a breakpoint, current, detached; the kernel goes on`,
    ignore: !gdb || files === null,
    fn: async () => {
      const script = `
echo 0 > /proc/sys/kernel/kptr_restrict
grep -E " do_sys_openat2$" /proc/kallsyms
echo =ready
i=0; while [ $i -lt 1000 ]; do cat /proc/version > /dev/null; i=$((i+1)); [ -e /proc/1/root/done ] && break; done
echo =end`;
      const debuggee = await boot(script, "-cpu", cpu);
      try {
        await debuggee.run.until("=ready", LIMIT_MS);
        const address = /([0-9a-f]{16}) t do_sys_openat2/.exec(debuggee.run.output)?.[1];
        assert(address !== undefined, debuggee.run.output);
        const output = await debuggee.gdb(
          `hbreak *0x${address}`,
          "continue",
          "info registers pc",
          "x/s $x1",
          // current, whose first word is the task's flags.
          "print/x (unsigned long)$SP_EL0 >> 48",
          "x/2gx $SP_EL0",
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
          /:\s+"\//,
          /= 0xffff$/m,
          /0xffff[0-9a-f]+:\s+0x/,
          /\$2 = [48]$/m,
          /Breakpoint 1, /,
          /1 +hypervisor/,
          /\[Inferior 1 \(process 1\) detached\]/,
        );
        await debuggee.run.until("=end", LIMIT_MS);
        assert.equal(await debuggee.run.end(LIMIT_MS), 0);
      } finally {
        await debuggee.end();
      }
    },
  });

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
