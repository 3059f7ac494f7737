// Block I/O in the same guest on this program and on QEMU: raw and qcow2 images and an NBD server. `deno run -A
// bench/disks.ts`; --only=raw|qcow2|nbd. Rates are per second of host time; beside each, the share of that time which the
// guest's own instructions took.

import { parse } from "@std/flags";
import { packCpio } from "../src/machine/cpio.ts";
import { fetchLinux } from "../src/machine/fetch_linux.ts";
import { type Machine, QEMU, Run, VITRINE } from "./machines.ts";

const options = parse(Deno.args, { string: ["only"] });
const LIMIT_MS = 120_000;
const MiB = 2 ** 20;

const INIT = `#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
sh /etc/modules
exec </dev/console >/dev/console 2>&1
/disks /dev/vda
poweroff -f
`;

interface Rate {
  readonly rate: number;
  readonly guest: number;
}

async function measure(machine: Machine, drive: string, directory: string): Promise<Map<string, Rate>> {
  const files = await fetchLinux(), initrd = `${directory}/initrd`;
  const ours = packCpio([
    { kind: "file", path: "init", mode: 0o755, data: new TextEncoder().encode(INIT) },
    { kind: "file", path: "disks", mode: 0o755, data: await Deno.readFile(new URL("disks/disks", import.meta.url)) },
  ]);
  await Deno.writeFile(initrd, await Deno.readFile(files.initrd));
  await Deno.writeFile(initrd, ours, { append: true });
  const run = new Run(machine, [
    ...["-M", "virt,gic-version=3", "-cpu", "cortex-a57", "-m", "256", "-nic", "none", "-nographic"],
    ...["-kernel", files.kernel, "-initrd", initrd, "-append", "console=ttyAMA0 quiet"],
    ...["-drive", `${drive},if=none,id=disk`, "-device", "virtio-blk-device,drive=disk"],
    // QEMU's transports are the older version unless told otherwise.
    ...(machine === QEMU ? ["-global", "virtio-mmio.force-legacy=false"] : []),
  ]);
  await run.until("disks done", LIMIT_MS);
  await run.end(LIMIT_MS);
  return new Map(
    [...run.output.matchAll(/^disks (\S+) ([\d.]+) ([\d.]+)/gm)].map((
      [, name, rate, guest],
    ) => [name!, { rate: Number(rate), guest: Number(guest) }]),
  );
}

async function compare(what: string, drive: (n: number) => string, directory: string): Promise<void> {
  console.log(
    `${what}${" ".repeat(20 - what.length)}${"vitrine".padStart(10)}  guest${"qemu".padStart(12)}  guest   ratio`,
  );
  const ours = await measure(VITRINE, drive(0), directory), theirs = await measure(QEMU, drive(1), directory);
  for (const [name, { rate, guest }] of ours) {
    const other = theirs.get(name)!;
    const share = (of: number) => `${Math.round(100 * of)}%`.padStart(5);
    const numbers = `${rate.toFixed(0).padStart(10)}  ${share(guest)}${other.rate.toFixed(0).padStart(12)}  ${
      share(other.guest)
    }`;
    console.log(`  ${name.padEnd(18)}${numbers}${(rate / other.rate).toFixed(2).padStart(8)}`);
  }
}

const directory = await Deno.makeTempDir({ prefix: "vitrine-bench-" });
const wanted = (what: string) => options.only === undefined || options.only === what;
try {
  const image = `${directory}/raw`;
  await Deno.writeFile(image, new Uint8Array(256 * MiB).fill(1));
  if (wanted("raw")) await compare("raw", () => `file=${image},format=raw`, directory);
  if (wanted("qcow2")) {
    const path = (n: number) => `${directory}/qcow2.${n}`;
    for (const n of [0, 1]) {
      await new Deno.Command("qemu-img", { args: ["create", "-q", "-f", "qcow2", path(n), "256M"] }).output();
    }
    await compare("qcow2", (n) => `file=${path(n)},format=qcow2`, directory);
  }
  if (wanted("nbd")) {
    const socket = `${directory}/socket`, args = ["-f", "raw", "-t", "-e", "2", "-k", socket, image];
    const server = new Deno.Command("qemu-nbd", { args, stdout: "null", stderr: "null" }).spawn();
    try {
      while (!await Deno.stat(socket).then(() => true, () => false)) await new Promise((r) => setTimeout(r, 50));
      await compare("nbd", () => `file=nbd:unix:${socket},format=raw`, directory);
    } finally {
      server.kill("SIGKILL");
      await server.status;
    }
  }
} finally {
  await Deno.remove(directory, { recursive: true });
}
