// Real hypervisors run guests on this machine: KVM in Debian's kernel, without and with VHE, and Debian's Xen with the same
// kernel as its first domain.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { packCpio } from "../../src/machine/cpio.ts";
import { fetchLinux, type LinuxFiles } from "../../src/machine/fetch_linux.ts";

const LIMIT_MS = 300_000;
const files: LinuxFiles | null = await fetchLinux().catch((error) => {
  console.log(`MISSING Debian's packages: ${error.message}`);
  if (Deno.env.get("CI")) throw error;
  return null;
});
const PROBE = new URL("../guests/kvm_probe/kvm_probe", import.meta.url);

/** The initramfs with kvm_probe (tests/guests/kvm_probe), which is run twice: the second VM follows the first. */
async function probeInitramfs(): Promise<string> {
  const init = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/kvm_probe && /kvm_probe
echo "probe ends with $?"
/bin/busybox poweroff -f
`;
  const ours = packCpio([
    { kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(init) },
    { kind: "file", path: "kvm_probe", mode: 0o755, data: await Deno.readFile(PROBE) },
  ]);
  const path = await Deno.makeTempFile({ suffix: ".cpio" });
  await Deno.writeFile(path, await Deno.readFile(files!.initrd));
  await Deno.writeFile(path, ours, { append: true });
  return path;
}

for (const [cpu, cpus] of [["cortex-a57", 1], ["cortex-a76", 2]] as const) {
  Deno.test({
    name: `KVM runs a guest: ${cpu}, ${cpus} CPU(s)`,
    ignore: files === null,
    fn: async () => {
      const initrd = await probeInitramfs();
      const run = new Run(VITRINE, [
        ...["-cpu", cpu, "-smp", `${cpus}`, "-m", "512", "-nic", "none", "-nographic"],
        ...["-kernel", files!.kernel, "-initrd", initrd, "-append", "console=ttyAMA0 quiet"],
      ]);
      const code = await run.end(LIMIT_MS);
      await Deno.remove(initrd);
      assert.equal(code, 0, run.output.slice(-2000));
      assert.equal(run.output.match(/guest powers off: ok/g)?.length, 2, run.output.slice(-2000));
      assert.match(run.output, /probe ends with 0/);
      assert.doesNotMatch(run.output, /WRONG|WARNING|BUG/);
    },
  });
}

for (const gic of [3, 2]) {
  Deno.test({
    name: `Xen with GICv${gic} boots Debian's kernel as its first domain to a shell, which powers the machine off`,
    ignore: files === null,
    fn: async () => {
      const run = new Run(VITRINE, ["xen", "-M", `virt,gic-version=${gic},virtualization=on`]);
      await run.until("vitrine:/root# ", LIMIT_MS);
      await run.type("cat /sys/hypervisor/type; poweroff -f\n");
      assert.equal(await run.end(LIMIT_MS), 0, run.output.slice(-2000));
      assert.match(run.output, /\(XEN\) Xen version 4/);
      assert.match(run.output, new RegExp(`\\(XEN\\) GICv${gic} initialization`));
      assert.match(run.output, /^xen\r?$/m);
    },
  });
}
