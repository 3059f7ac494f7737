// Debuggers inside the guest: a program steps another under Debian's kernel, and stops it at hardware breakpoints and
// watchpoints, while a debugger of the machine has its own.

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
const PROBE = new URL("../guests/ptrace_probe/ptrace_probe", import.meta.url);

/** The initramfs with ptrace_probe, which two processes run at the same time. */
async function probeInitramfs(): Promise<string> {
  const init = `#!/bin/busybox sh
/bin/busybox mount -t devtmpfs dev /dev
/ptrace_probe > /dev/null & /ptrace_probe && wait $!
echo "probe ends with $?"
/bin/busybox poweroff -f
`;
  const ours = packCpio([
    { kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(init) },
    { kind: "file", path: "ptrace_probe", mode: 0o755, data: await Deno.readFile(PROBE) },
  ]);
  const path = await Deno.makeTempFile({ suffix: ".cpio" });
  await Deno.writeFile(path, await Deno.readFile(files!.initrd));
  await Deno.writeFile(path, ours, { append: true });
  return path;
}

for (const [cpu, cpus] of [["cortex-a57", 1], ["cortex-a76", 2]] as const) {
  Deno.test({
    name: `Linux steps and stops a program: ${cpu}, ${cpus} CPU(s)`,
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
      assert.deepEqual(run.output.split("\n").filter((line) => line.includes("WRONG")), []);
      assert.match(run.output, /ptrace_probe: ok/);
      assert.match(run.output, /probe ends with 0/);
    },
  });
}
