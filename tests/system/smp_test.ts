// Several CPUs under Debian's kernel: all come up, work on each, go offline and come back, with both interrupt controllers,
// at EL2 and EL1, and nothing is said about stalls or lockups.

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

const INIT = String.raw`#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs tmp /tmp
exec </dev/console >/dev/console 2>&1
say() { echo "=$*"; }
cpus=$(nproc)
say cpus $cpus
for n in $(seq 0 $((cpus - 1))); do
  taskset -c $n sh -c 'i=0; while [ $i -lt 2000 ]; do i=$((i+1)); done; cut -d" " -f39 /proc/self/stat' > /tmp/on$n &
done
wait
say ran on $(cat /tmp/on*)
for n in $(seq 1 $((cpus - 1))); do echo 0 > /sys/devices/system/cpu/cpu$n/online; done
say offline $(nproc) $(cat /sys/devices/system/cpu/online)
for n in $(seq 1 $((cpus - 1))); do echo 1 > /sys/devices/system/cpu/cpu$n/online; done
say online $(nproc) $(cat /sys/devices/system/cpu/online)
i=0; while [ $i -lt 60 ]; do seq 1 200 | sort -r | sha256sum >> /tmp/sums & i=$((i+1)); done; wait
say sums $(sort -u /tmp/sums | wc -l) $(wc -l < /tmp/sums)
before=$(cut -d. -f1 /proc/uptime); sleep 2; after=$(cut -d. -f1 /proc/uptime)
say slept $((after - before))
say complaints $(dmesg | grep -c -i -E 'stall|lockup|hung|unstable|WARNING|BUG')
poweroff -f
`;

const BOARDS = [
  { cpus: 2, options: ["-M", "virt,gic-version=3", "-cpu", "cortex-a57"], log: /started at EL1/ },
  { cpus: 4, options: ["-M", "virt,gic-version=2,virtualization=on", "-cpu", "cortex-a57"], log: /started at EL2/ },
  {
    cpus: 8,
    options: ["-M", "virt,gic-version=3,virtualization=on", "-cpu", "cortex-a76"],
    log: /VHE mode initialized/,
  },
] as const;

for (const { cpus, options, log } of BOARDS) {
  Deno.test({
    name: `Linux uses ${cpus} CPUs: ${options[1]}, ${options[3]}`,
    ignore: files === null,
    fn: async () => {
      const initrd = await Deno.makeTempFile({ suffix: ".cpio" });
      const ours = packCpio([{ kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(INIT) }]);
      await Deno.writeFile(initrd, await Deno.readFile(files!.initrd));
      await Deno.writeFile(initrd, ours, { append: true });
      const run = new Run(VITRINE, [
        ...options,
        ...["-smp", `${cpus}`, "-m", "512", "-nic", "none", "-nographic"],
        ...["-kernel", files!.kernel, "-initrd", initrd, "-append", "console=ttyAMA0"],
      ]);
      const code = await run.end(LIMIT_MS);
      await Deno.remove(initrd);
      assert.equal(code, 0, run.output.slice(-2000));
      const output = run.output.replaceAll("\r", ""), last = cpus - 1;
      assert.match(output, log);
      const said = [...output.matchAll(/^=(.*)$/gm)].map((match) => match[1]);
      const numbers = Array.from({ length: cpus }, (_, n) => n).join(" ");
      // Two readings of whole seconds, two seconds apart.
      assert.match(said[5] ?? "", /^slept [23]$/);
      assert.deepEqual(said.filter((_, i) => i !== 5), [
        `cpus ${cpus}`,
        `ran on ${numbers}`,
        "offline 1 0",
        `online ${cpus} 0-${last}`,
        "sums 1 60",
        "complaints 0",
      ]);
    },
  });
}
