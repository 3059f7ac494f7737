// A directory of the host in Debian's guest, through 9P. The cloud kernel of the other tests does not have that file system,
// so this takes Debian's generic one.

import assert from "node:assert/strict";
import { QEMU, Run, VITRINE } from "../../bench/machines.ts";
import { fetchLinux } from "../../src/machine/fetch_linux.ts";
import { Guest } from "../net/guest.ts";
import { hasTools, inDirectory, runTool } from "../virtio/tools.ts";

const files = await fetchLinux("generic").catch((error) => {
  console.log(`MISSING Debian's generic kernel: ${error.message}`);
  if (Deno.env.get("CI")) throw error;
  return null;
});
const ignore = files === null || Deno.build.os !== "linux";

const MOUNT = "mkdir -p /mnt && mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 here /mnt && echo mounted";

/** A directory with something of everything, beside a file that is not shared. */
async function makeTree(directory: string): Promise<string> {
  const share = `${directory}/share`;
  await Deno.mkdir(`${share}/sub/deeper`, { recursive: true });
  await Deno.mkdir(`${share}/many`);
  await Deno.writeTextFile(`${directory}/secret`, "not shared\n");
  for (
    const [name, bytes] of [["empty", 0], ["small", 13], ["sub/large", 3_000_001], ["sub/deeper/page", 4096]] as const
  ) {
    const content = new Uint8Array(bytes);
    for (let at = 0; at < bytes; at += 65536) crypto.getRandomValues(content.subarray(at, Math.min(bytes, at + 65536)));
    await Deno.writeFile(`${share}/${name}`, content);
  }
  for (let n = 0; n < 120; n++) await Deno.writeTextFile(`${share}/many/file-${n}`, `${n}`);
  await Deno.symlink("small", `${share}/inside`);
  await Deno.symlink("../secret", `${share}/outside`);
  await Deno.symlink(`${directory}/secret`, `${share}/sub/absolute`);
  await Deno.chmod(`${share}/small`, 0o751);
  await Deno.utime(`${share}/small`, 1_000_000_000, 1_100_000_000);
  return share;
}

/** What is in a directory, as find and sha256sum of the host say it. */
async function hostTree(share: string): Promise<string> {
  const script = "find . | sort; find . -type f | sort | xargs sha256sum; " +
    "find . ! -type d | sort | xargs stat -c '%n %A %s %Y %h'; readlink inside outside sub/absolute";
  return (await runTool("sh", ["-c", `cd "${share}" && { ${script}; }`])).output;
}
const guestTree = (guest: Guest) =>
  guest.run(
    "cd /mnt; find . | sort; find . -type f | sort | xargs sha256sum; " +
      "find . ! -type d | sort | xargs stat -c '%n %A %s %Y %h'; readlink inside; readlink outside; " +
      "readlink sub/absolute; cd",
  );

/** Tries to change things, and to get at what is not shared. */
const TRY = [
  "cat /mnt/inside | sha256sum",
  "cat /mnt/outside /mnt/sub/absolute",
  "cat /mnt/../mnt/sub/../../mnt/empty",
  ...[
    "echo x >/mnt/new",
    "echo x >>/mnt/small",
    "rm /mnt/small",
    "mkdir /mnt/d",
    "rmdir /mnt/many",
    "chmod 0 /mnt/small",
  ],
  ...["touch /mnt/small", "ln -s a /mnt/b", "ln /mnt/small /mnt/b", "mv /mnt/small /mnt/b", "mknod /mnt/p p"],
].map((command) => `${command} 2>&1`).join("; ");

Deno.test({
  name: "Linux lists and reads a shared directory, whose links lead nowhere else, and cannot change it",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const share = await makeTree(directory), before = await hostTree(share);
      const ours = await new Guest(VITRINE, files!, ["-virtfs", `local,path=${share},mount_tag=here`]).ready();
      assert.equal(await ours.run(MOUNT), "mounted\n");
      assert.equal(await guestTree(ours), before);
      const tried = await ours.run(TRY);
      assert.equal(tried.match(/Read-only file system/g)?.length, 11);
      assert.ok(!tried.includes("not shared"), tried);
      assert.match(await ours.run("stat -f -c '%T %t' /mnt"), /1021997/);
      await ours.off();
      assert.equal(await hostTree(share), before);
      if (!await hasTools(QEMU.command)) return;
      const qemu = await new Guest(QEMU, files!, [
        ...["-nic", "none", "-fsdev", `local,id=x,path=${share},security_model=none,readonly=on`],
        ...["-device", "virtio-9p-device,fsdev=x,mount_tag=here"],
      ]).ready();
      assert.equal(await qemu.run(MOUNT), "mounted\n");
      assert.equal(await guestTree(qemu), before);
      assert.equal(await qemu.run(TRY), tried);
      await qemu.off();
    }),
});

Deno.test({
  name: "Linux writes into a shared directory what the host then finds",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const share = `${directory}/share`;
      await Deno.mkdir(share);
      const guest = await new Guest(VITRINE, files!, [
        ...["-fsdev", `local,id=x,path=${share},readonly=off,security_model=none`],
        ...["-device", "virtio-9p-device,fsdev=x,mount_tag=here"],
      ]).ready();
      assert.equal(await guest.run(MOUNT), "mounted\n");
      // A program runs from there, so that its pages are mapped.
      assert.equal(await guest.run("cp /bin/busybox /mnt/ && /mnt/busybox echo it runs"), "it runs\n");
      await guest.run(
        "cd /mnt; mkdir -p a/b/c; for i in 1 2 3 4 5; do dd if=/dev/urandom of=a/f$i bs=30000 count=$i 2>/dev/null; done; " +
          "cp -r a copy; mv copy a/b/moved; rm a/f2; ln -s ../f3 a/b/link; ln a/f4 a/hard; echo more >> a/f5; " +
          "truncate -s 5000 a/f3; chmod 4750 a/f1; touch -d '2020-02-02 02:02:02' a/f1; mv a/f5 a/f4b; cat busybox > a/b/c/bb; " +
          "exec 7<>a/open; rm a/open; echo unseen >&7; stat -L -c %s /proc/self/fd/7; exec 7>&-; sync; cd",
      );
      const list = "cd $0; find . | sort; find . -type f | sort | xargs sha256sum; " +
        "find . -type f | sort | xargs stat -c '%n %s %Y %h %A'; readlink a/b/link";
      const ours = await guest.run(`sh -c "${list.replaceAll("$0", "/mnt")}"`);
      assert.equal(ours, (await runTool("sh", ["-c", list, share])).output);
      assert.match(ours, /a\/b\/moved\/f2\n/);
      assert.match(ours, /a\/f1 30000 1580608922 1 -rwxr-x---\n/);
      // What the host does meanwhile is seen.
      await Deno.writeTextFile(`${share}/from-the-host`, "words");
      await Deno.remove(`${share}/a/f4b`);
      assert.equal(
        await guest.run("cat /mnt/from-the-host; echo; ls /mnt/a/f4b 2>/dev/null; ls -1 /mnt"),
        "words\na\nbusybox\nfrom-the-host\n",
      );
      assert.equal(
        await guest.run("rm -r /mnt/a /mnt/busybox; ls /mnt; umount /mnt; mount | grep -c 9p"),
        "from-the-host\n0\n",
      );
      await guest.off();
      assert.deepEqual([...Deno.readDirSync(share)].map(({ name }) => name), ["from-the-host"]);
    }),
});

Deno.test({
  name: "owners and links that are kept in attributes are the same for QEMU's guest",
  ignore: ignore || !await hasTools(QEMU.command),
  fn: () =>
    inDirectory(async (directory) => {
      const options = [
        ...["-fsdev", `local,id=x,path=${directory},readonly=off,security_model=mapped-xattr`],
        ...["-device", "virtio-9p-device,fsdev=x,mount_tag=here"],
      ];
      const qemu = await new Guest(QEMU, files!, ["-nic", "none", ...options]).ready();
      await qemu.run(MOUNT);
      if (!(await qemu.run("touch /mnt/probe && chown 5:6 /mnt/probe && echo good")).includes("good")) {
        await qemu.kill();
        return console.log("MISSING extended attributes in the directory for temporary files");
      }
      const make = (name: string) =>
        `mkdir -m 1750 /mnt/${name}; cd /mnt/${name}; echo a >f; chown 12:34 f; chmod 4751 f; ln -s ../nowhere s; cd`;
      const list =
        "cd /mnt; find . | sort | xargs stat -c '%n %F %a %u %g'; readlink theirs/s; readlink ours/s; cat */f; cd";
      await qemu.run(make("theirs"));
      const ours = await new Guest(VITRINE, files!, options).ready();
      await ours.run(MOUNT);
      await ours.run(make("ours"));
      const seen = await ours.run(list);
      assert.equal(await qemu.run(list), seen);
      assert.match(seen, /theirs\/f regular file 4751 12 34\n.*theirs\/s symbolic link 777/);
      assert.equal(seen.replaceAll("theirs", "ours").match(/ours\/f regular file 4751 12 34\n/g)?.length, 2);
      await Promise.all([qemu.off(), ours.off()]);
      assert.ok(
        Deno.lstatSync(`${directory}/ours/s`).isFile && Deno.lstatSync(`${directory}/ours/f`).uid === Deno.uid(),
      );
    }),
});

Deno.test({
  name: "a run with a shared directory repeats from its log, without the directory",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const share = await makeTree(directory), log = `${directory}/log`;
      const script = `${MOUNT}; cd /mnt; sha256sum small sub/large; ls -la . many | sha256sum; ` +
        "date >/mnt/new; cat new; cat /sys/class/block/*/size 2>/dev/null; dmesg | tail -n 3; cd; poweroff";
      const options = [
        ...["-m", "192", "-display", "none", "-kernel", files!.kernel, "-initrd", files!.initrd],
        ...["-append", "console=ttyAMA0 quiet", "-virtfs", `local,path=${share},mount_tag=here,readonly=off`],
        ...["-serial", "stdio"],
      ];
      const run = new Run(VITRINE, [...options, "-record", log]);
      await run.until("vitrine:/root# ", 240_000);
      await run.type(`${script}\n`);
      assert.equal(await run.end(240_000), 0);
      assert.match(run.output, /mounted/);
      assert.match(run.output, new RegExp((await runTool("sha256sum", [`${share}/sub/large`])).output.slice(0, 64)));
      const written = await Deno.readTextFile(`${share}/new`);
      await Deno.remove(share, { recursive: true });
      const again = new Run(VITRINE, [...options, "-replay", log]);
      assert.equal(await again.end(240_000), 0);
      assert.equal(again.output, run.output);
      assert.ok(again.output.includes(written.trim()));
      await assert.rejects(Deno.stat(share), Deno.errors.NotFound);
    }),
});
