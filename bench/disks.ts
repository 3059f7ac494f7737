// `deno task bench --only=disks`: block I/O in the same guest on this program and on QEMU, on raw and qcow2 images and an NBD
// server. Rates are per second of host time; beside each, the share of that time which the guest's own instructions took.

import { packCpio } from "../src/machine/cpio.ts";
import { fetchLinux } from "../src/machine/fetch_linux.ts";
import { type Machine, QEMU, Run } from "./machines.ts";

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

export interface DiskRate {
  readonly rate: number;
  readonly guest: number;
}

async function measure(machine: Machine, drive: string, directory: string): Promise<Map<string, DiskRate>> {
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

/** The rates of each machine, by kind of disk. */
export async function measureDisks(
  machines: readonly Machine[],
): Promise<Map<string, Map<string, DiskRate>[]>> {
  const directory = await Deno.makeTempDir({ prefix: "vitrine-bench-" });
  const all = new Map<string, Map<string, DiskRate>[]>();
  const compare = async (what: string, drive: (n: number) => string) => {
    const rates: Map<string, DiskRate>[] = [];
    for (const [n, machine] of machines.entries()) rates.push(await measure(machine, drive(n), directory));
    all.set(what, rates);
  };
  try {
    const image = `${directory}/raw`;
    await Deno.writeFile(image, new Uint8Array(256 * MiB).fill(1));
    await compare("raw", () => `file=${image},format=raw`);
    const path = (n: number) => `${directory}/qcow2.${n}`;
    for (const n of machines.keys()) {
      await new Deno.Command("qemu-img", { args: ["create", "-q", "-f", "qcow2", path(n), "256M"] }).output();
    }
    await compare("qcow2", (n) => `file=${path(n)},format=qcow2`);
    const socket = `${directory}/socket`, args = ["-f", "raw", "-t", "-e", "2", "-k", socket, image];
    const server = new Deno.Command("qemu-nbd", { args, stdout: "null", stderr: "null" }).spawn();
    try {
      while (!await Deno.stat(socket).then(() => true, () => false)) await new Promise((r) => setTimeout(r, 50));
      await compare("nbd", () => `file=nbd:unix:${socket},format=raw`);
    } finally {
      server.kill("SIGKILL");
      await server.status;
    }
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
  return all;
}
