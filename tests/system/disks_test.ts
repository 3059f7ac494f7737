// Disks in Debian's guest: ext4 on raw and qcow2 images and on NBD servers, looked at afterwards by e2fsck, debugfs and
// qemu-img; a program that is killed while the guest writes; a run with disks that is repeated from its log.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { Guest, linux } from "../net/guest.ts";
import { hasTools, inDirectory, runTool } from "../virtio/tools.ts";

const files = await linux();
const ignore = files === null || !await hasTools("qemu-img", "mke2fs");

const sha256 = async (data: Uint8Array<ArrayBuffer>) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();

async function emptyExt4(path: string, mebibytes: number): Promise<void> {
  await Deno.writeFile(path, new Uint8Array(0));
  await Deno.truncate(path, mebibytes * 2 ** 20);
  await runTool("mke2fs", ["-q", "-F", "-t", "ext4", path]);
}

/** The hash of a file in an ext4 image. */
async function hashInImage(image: string, name: string): Promise<string> {
  const { stdout } = await new Deno.Command("debugfs", { args: ["-R", `cat ${name}`, image], stderr: "null" }).output();
  return await sha256(stdout);
}

/** Fills a file system with files and directories, some of which go away again; the hashes of what is left, by name. */
async function fill(guest: Guest, device: string): Promise<Map<string, string>> {
  assert.equal(await guest.run(`mkdir -p /mnt && mount -t ext4 -o discard ${device} /mnt && echo there`), "there\n");
  await guest.run("for i in 1 2 3 4 5 6; do dd if=/dev/urandom of=/mnt/f$i bs=20k count=$i 2>/dev/null; done");
  await guest.run("mkdir -p /mnt/a/b && cp /mnt/f* /mnt/a/b && rm /mnt/f2 /mnt/a/b/f5 && sync && fstrim /mnt");
  const sums = await guest.run("cd /mnt && sha256sum f* a/b/f*; cd; umount /mnt");
  const lines = sums.trim().split("\n").map((line) => line.split(/\s+/) as [string, string]);
  assert.equal(lines.length, 10);
  return new Map(lines.map(([hash, name]) => [name, hash]));
}

async function look(image: string, expected: ReadonlyMap<string, string>): Promise<void> {
  await runTool("e2fsck", ["-fn", image]);
  for (const [name, hash] of expected) assert.equal(await hashInImage(image, name), hash, name);
}

Deno.test({
  name: "Linux writes ext4 on a raw and a qcow2 disk at once, with four queues, and the host reads it",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const raw = `${directory}/raw`, base = `${directory}/base`, top = `${directory}/top`;
      await emptyExt4(raw, 64);
      await emptyExt4(`${base}.raw`, 64);
      await runTool("qemu-img", ["convert", "-c", "-O", "qcow2", `${base}.raw`, base]);
      await runTool("qemu-img", ["create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", top]);
      const guest = await new Guest(VITRINE, files!, [
        ...["-drive", `file=${raw},format=raw,if=none,id=raw`, "-drive", `file=${top},if=none,id=top,discard=unmap`],
        ...["-device", "virtio-blk-device,drive=top,serial=qcow2"],
        ...["-device", "virtio-blk-device,drive=raw,serial=raw,num-queues=4", "-device", "virtio-rng-device"],
      ]).ready();
      // As on QEMU's board, Linux counts the devices from the last one.
      assert.equal(await guest.run("cat /sys/block/vda/serial; echo; cat /sys/block/vdb/serial; echo"), "raw\nqcow2\n");
      assert.equal(await guest.run("ls /sys/block/vda/mq | wc -l; cat /sys/block/vda/size"), "1\n131072\n");
      const [first, second] = [await fill(guest, "/dev/vda"), await fill(guest, "/dev/vdb")];
      await guest.off();
      await look(raw, first);
      assert.match((await runTool("qemu-img", ["check", top])).output, /No errors were found/);
      await runTool("qemu-img", ["convert", "-O", "raw", top, `${top}.raw`]);
      await look(`${top}.raw`, second);
    }),
});

Deno.test({
  name: "Linux writes ext4 on NBD servers, and the host reads it",
  ignore: ignore || !await hasTools("nbdkit", "qemu-nbd"),
  fn: () =>
    inDirectory(async (directory) => {
      const images = [`${directory}/one`, `${directory}/two`], sockets = images.map((image) => `${image}.socket`);
      for (const image of images) await emptyExt4(image, 64);
      const options = { stdin: "null", stdout: "null", stderr: "null" } as const;
      const servers = [
        new Deno.Command("qemu-nbd", { args: ["-f", "raw", "-t", "-k", sockets[0]!, images[0]!], ...options }).spawn(),
        new Deno.Command("nbdkit", { args: ["-f", "-U", sockets[1]!, "file", images[1]!], ...options }).spawn(),
      ];
      try {
        for (const socket of sockets) {
          while (!await Deno.stat(socket).then(() => true, () => false)) {
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
        }
        const guest = await new Guest(VITRINE, files!, [
          ...["-drive", `file=nbd:unix:${sockets[1]}`, "-drive", `file=nbd+unix:///?socket=${sockets[0]}`],
        ]).ready();
        const [first, second] = [await fill(guest, "/dev/vda"), await fill(guest, "/dev/vdb")];
        await guest.off();
        await look(images[0]!, first);
        await look(images[1]!, second);
      } finally {
        for (const server of servers) server.kill("SIGKILL");
        await Promise.all(servers.map((server) => server.status));
      }
    }),
});

/** Images of the same content and of many shapes, by their options for qemu-img; some stand on others. */
const SHAPES: Record<string, readonly string[]> = {
  raw: ["convert", "-O", "raw", "base"],
  version2: ["convert", "-O", "qcow2", "-o", "compat=0.10", "base"],
  smallest: ["convert", "-O", "qcow2", "-o", "cluster_size=512", "base"],
  largest: ["convert", "-O", "qcow2", "-o", "cluster_size=2M", "base"],
  compressed: ["convert", "-c", "-O", "qcow2", "-o", "compression_type=zstd", "base"],
  middle: ["create", "-f", "qcow2", "-o", "compat=0.10", "-b", "base", "-F", "raw"],
  top: ["create", "-f", "qcow2", "-b", "middle", "-F", "qcow2"],
};

Deno.test({
  name: "qcow2 images of every shape that Linux wrote to are sound to QEMU, and equal to a raw one",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const base = new Uint8Array(16 * 2 ** 20).fill(0x55, 2 ** 20, 9 * 2 ** 20);
      for (let at = 0; at < base.length; at += 3 * 65536) crypto.getRandomValues(base.subarray(at, at + 65536));
      await Deno.writeFile(`${directory}/base`, base);
      const path = (word: string) => word === "base" || word in SHAPES ? `${directory}/${word}` : word;
      for (const [name, args] of Object.entries(SHAPES)) {
        await runTool("qemu-img", [...args.map((word) => word === "raw" ? word : path(word)), path(name)]);
      }
      // The middle one stays as it is.
      const written = Object.keys(SHAPES).filter((name) => name !== "middle");
      const guest = await new Guest(
        VITRINE,
        files!,
        written.flatMap((name) => ["-drive", `file=${path(name)},serial=${name},discard=unmap`]),
      ).ready();
      assert.equal(await guest.run("ls /sys/block | wc -l"), `${written.length}\n`);
      await guest.run(
        "dd if=/dev/urandom of=/tmp/data bs=64k count=20 2>/dev/null; for i in 1 2 4 6 9; do " +
          "for d in /dev/vd?; do dd if=/tmp/data of=$d bs=512 skip=$((i*97)) seek=$((i*i*331)) count=$((i*29)) " +
          "conv=notrunc,fsync 2>/dev/null; dd if=/tmp/data of=$d bs=64k skip=$i seek=$((i*23)) count=3 conv=notrunc " +
          "2>/dev/null; done; done; for d in /dev/vd?; do blkdiscard -z -o 5242880 -l 3145728 $d || " +
          "dd if=/dev/zero of=$d bs=1M seek=5 count=3 conv=notrunc 2>/dev/null; done; sync",
      );
      await guest.off();
      for (const name of written) {
        if (name !== "raw") {
          assert.match((await runTool("qemu-img", ["check", path(name)])).output, /No errors were found/);
        }
        await runTool("qemu-img", ["compare", path("raw"), path(name)]);
      }
      assert.notDeepEqual(await Deno.readFile(path("raw")), base);
      assert.deepEqual(await Deno.readFile(path("base")), base);
    }),
});

Deno.test({
  name: "servers that are killed while Linux writes, and come back, lose nothing that was flushed",
  ignore: ignore || !await hasTools("nbdkit", "qemu-nbd"),
  fn: () =>
    inDirectory(async (directory) => {
      const images = [`${directory}/one`, `${directory}/two`], sockets = images.map((image) => `${image}.socket`);
      for (const image of images) await emptyExt4(image, 64);
      const start = async () => {
        for (const socket of sockets) await Deno.remove(socket).catch(() => {});
        const options = { stdin: "null", stdout: "null", stderr: "null" } as const;
        const servers = [
          new Deno.Command("qemu-nbd", { args: ["-f", "raw", "-t", "-k", sockets[0]!, images[0]!], ...options })
            .spawn(),
          new Deno.Command("nbdkit", { args: ["-f", "-U", sockets[1]!, "file", images[1]!], ...options }).spawn(),
        ];
        for (const socket of sockets) {
          while (!await Deno.stat(socket).then(() => true, () => false)) {
            await new Promise((resolve) => setTimeout(resolve, 50));
          }
        }
        return servers;
      };
      const kill = async (servers: readonly Deno.ChildProcess[]) => {
        for (const server of servers) server.kill("SIGKILL");
        await Promise.all(servers.map((server) => server.status));
      };
      let servers = await start();
      try {
        // Linux counts the disks from the last one.
        const guest = await new Guest(VITRINE, files!, [
          ...["-drive", `file=nbd:unix:${sockets[1]},file.reconnect-delay=120`],
          ...["-drive", `file=nbd:unix:${sockets[0]},file.reconnect-delay=120`],
        ]).ready();
        await guest.run("mkdir /one /two && mount -t ext4 /dev/vda /one && mount -t ext4 /dev/vdb /two");
        const writing = guest.run(
          "for i in $(seq 1 24); do for d in one two; do dd if=/dev/urandom of=/$d/f$i bs=50k count=$((i%7+1)) " +
            'conv=fsync 2>/dev/null; set -- $(sha256sum /$d/f$i); echo "=$d f$i $1="; done; done; umount /one /two',
        );
        let over = false;
        writing.then(() => over = true, () => over = true);
        for (const moment of ["=one f4 ", "=two f9 ", "=one f15 "]) {
          while (!over && !guest.output.includes(moment)) await new Promise((resolve) => setTimeout(resolve, 20));
          await kill(servers);
          servers = await start();
        }
        const said = await writing;
        await guest.off();
        const flushed = [...said.matchAll(/^=(one|two) (f\d+) ([0-9a-f]{64})=/gm)];
        assert.equal(flushed.length, 48);
        for (const image of images) await runTool("e2fsck", ["-fn", image]);
        for (const [, image, name, hash] of flushed) {
          assert.equal(await hashInImage(`${directory}/${image}`, name!), hash);
        }
      } finally {
        await kill(servers);
      }
    }),
});

for (const format of ["raw", "qcow2"]) {
  Deno.test({
    name: `what was flushed survives SIGKILL while the guest goes on writing: ${format}`,
    ignore,
    fn: () =>
      inDirectory(async (directory) => {
        const image = `${directory}/image`, raw = `${directory}/raw`;
        await emptyExt4(raw, 64);
        await runTool("qemu-img", ["convert", "-f", "raw", "-O", format, raw, image]);
        const guest = new Guest(VITRINE, files!, ["-drive", `file=${image},format=${format}`]);
        // Whole lines: the last one may be cut off.
        const flushed = () => [...guest.output.matchAll(/^=(\d+) ([0-9a-f]{64})=/gm)];
        const loop =
          "i=0; while true; do i=$((i+1)); dd if=/dev/urandom of=/mnt/f$i bs=7k count=$((i%9+1)) conv=fsync " +
          '2>/dev/null; set -- $(sha256sum /mnt/f$i); echo "=$i $1="; done';
        try {
          await guest.ready();
          await guest.run("mkdir /mnt && mount -t ext4 /dev/vda /mnt");
          void guest.run(loop).catch(() => {});
          for (let n = 0; n < 1200 && flushed().length < 30; n++) {
            await new Promise((resolve) => setTimeout(resolve, 100));
          }
        } finally {
          await guest.kill();
        }
        assert.ok(flushed().length >= 30, guest.output.slice(-500));
        if (format === "qcow2") {
          const { code, output } = await runTool("qemu-img", ["check", image], [0, 3]);
          assert.ok(code === 0 || /leaked clusters/.test(output), output);
        }
        await runTool("qemu-img", ["convert", "-f", format, "-O", "raw", image, raw]);
        // The journal is replayed; after that there is nothing to repair.
        await runTool("e2fsck", ["-p", raw], [0, 1]);
        await runTool("e2fsck", ["-fn", raw]);
        for (const [, number, hash] of flushed()) assert.equal(await hashInImage(raw, `f${number}`), hash);
      }),
  });
}

Deno.test({
  name: "a console and a port carry bytes both ways",
  ignore: files === null,
  fn: () =>
    inDirectory(async (directory) => {
      await Deno.writeTextFile(`${directory}/in`, "words from the host\n");
      const guest = await new Guest(VITRINE, files!, [
        ...["-chardev", `file,id=out,path=${directory}/console`],
        ...["-chardev", `file,id=port,path=${directory}/port,input-path=${directory}/in`],
        ...["-device", "virtio-serial-device", "-device", "virtconsole,chardev=out"],
        ...["-device", "virtserialport,chardev=port,name=org.vitrine.test"],
      ]).ready();
      assert.equal(await guest.run("cat /sys/class/virtio-ports/vport0p1/name"), "org.vitrine.test\n");
      assert.equal(await guest.run("head -n 1 < /dev/vport0p1"), "words from the host\n");
      await guest.run("echo from the port > /dev/vport0p1; seq 1 20000 > /dev/hvc0");
      await guest.off();
      assert.equal(await Deno.readTextFile(`${directory}/port`), "from the port\n");
      const lines = (await Deno.readTextFile(`${directory}/console`)).replaceAll("\r", "");
      assert.equal(lines, Array.from({ length: 20000 }, (_, n) => `${n + 1}\n`).join(""));
    }),
});

Deno.test({
  name: "a run with a disk on a server, an overlay, random numbers and a console repeats from its log",
  ignore: ignore || !await hasTools("nbdkit"),
  fn: () =>
    inDirectory(async (directory) => {
      const image = `${directory}/image`, socket = `${directory}/socket`, log = `${directory}/log`;
      await emptyExt4(image, 64);
      await Deno.writeTextFile(`${directory}/in`, "words from the host\n");
      const script = "mkdir /mnt; mount -t ext4 /dev/vda /mnt && cp /bin/busybox /mnt && sync && ls -la /mnt; " +
        "dd if=/dev/urandom bs=64k count=20 2>/dev/null | tee /dev/vdb | sha256sum; sync; sha256sum /dev/vdb; " +
        "hexdump -C /dev/hwrng | head -n 3; head -n 1 < /dev/vport2p1; poweroff";
      const options = [
        ...["-m", "192", "-display", "none", "-kernel", files!.kernel, "-initrd", files!.initrd],
        ...["-append", "console=ttyAMA0 quiet", "-device", "virtio-rng-device", "-device", "virtio-serial-device"],
        ...["-chardev", `file,id=port,path=${directory}/port,input-path=${directory}/in`],
        ...["-device", "virtserialport,chardev=port", "-drive", `file=nbd+unix:///?socket=${socket}`],
        ...["-drive", `file=${image},snapshot=on`],
      ];
      const server = new Deno.Command("nbdkit", {
        ...{ args: ["-f", "-U", socket, "memory", "2M"], stdin: "null", stdout: "null", stderr: "null" },
      }).spawn();
      const outputs: string[] = [];
      try {
        while (!await Deno.stat(socket).then(() => true, () => false)) {
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        const run = new Run(VITRINE, [...options, "-serial", "stdio", "-record", log]);
        await run.until("vitrine:/root# ", 240_000);
        await run.type(`${script}\n`);
        assert.equal(await run.end(240_000), 0);
        outputs.push(run.output);
      } finally {
        server.kill("SIGKILL");
        await server.status;
      }
      const again = new Run(VITRINE, [...options, "-serial", "stdio", "-replay", log]);
      assert.equal(await again.end(240_000), 0);
      assert.equal(again.output, outputs[0]);
      assert.match(again.output, /words from the host/);
    }),
});
