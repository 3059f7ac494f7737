// The memory balloon in Debian's guest: it gives memory when the monitor asks for it, the host gets the pages, and the
// guest has them again when it may.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { GDB, hasGdb } from "../debug/gdb.ts";
import { Guest, linux } from "../net/guest.ts";
import { inDirectory } from "../virtio/tools.ts";

const files = await linux(), gdb = await hasGdb();
if (!gdb) {
  console.log("MISSING gdb-multiarch");
  if (Deno.env.get("CI")) throw new Error("gdb-multiarch is missing");
}
const ignore = files === null || Deno.build.os !== "linux";
const LIMIT_MS = 240_000, MIB = 2 ** 20;

/** Asks the monitor at this socket; the machine stands still meanwhile. */
async function monitor(socket: string, ...commands: string[]): Promise<string> {
  const lines = ["set remotetimeout 60", `target extended-remote ${socket}`, ...commands.map((c) => `monitor ${c}`)];
  const child = new Deno.Command(GDB, {
    args: ["-q", "-nx", "-batch", ...[...lines, "detach"].flatMap((line) => ["-ex", line])],
    stdin: "null",
    env: { LC_ALL: "C", DEBUGINFOD_URLS: "" },
  });
  const { stdout, stderr } = await child.output();
  return new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
}

/** The process with this word on its command line, and the memory that it takes of the host's. */
async function processWith(word: string): Promise<() => number> {
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const line = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() => "");
    if (!line.includes(word) || !line.includes("main.ts")) continue;
    return () => Number(/^VmRSS:\s+(\d+) kB$/m.exec(Deno.readTextFileSync(`/proc/${name}/status`))![1]) / 1024;
  }
  throw new Error(`no process has ${word} on its command line`);
}

/** Looks once a second, since the monitor stops the machine. */
async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + LIMIT_MS; !await holds();) {
    if (performance.now() > end) throw new Error(`not so in time: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

/** Uses memory, and gives it back with the next command. */
const FILL = "dd if=/dev/zero of=/tmp/fill bs=1M count=78 2>/dev/null && echo filled", FREE = "rm /tmp/fill";
/** Something that stays while other memory comes and goes. */
const KEEP = "head -c 1000000 /dev/urandom >/tmp/kept; sha256sum </tmp/kept", KEPT = "sha256sum </tmp/kept";
const memTotal = async (guest: Guest) =>
  Number(/MemTotal:\s+(\d+)/.exec(await guest.run("grep MemTotal /proc/meminfo"))![1]) / 1024;

Deno.test({
  name: "the guest gives memory that the host gets, and takes it back",
  ignore: ignore || !gdb,
  fn: () =>
    inDirectory(async (directory) => {
      const socket = `${directory}/gdb`;
      const guest = await new Guest(VITRINE, files!, ["-device", "virtio-balloon-device", "-gdb", `unix:${socket}`])
        .ready();
      try {
        const resident = await processWith(socket), before = await memTotal(guest);
        const kept = await guest.run(KEEP);
        assert.equal(await guest.run(FILL), "filled\n");
        const full = resident();
        await guest.run(FREE);
        assert.match(await monitor(socket, "info balloon"), /^balloon: actual=192 .*free_mem=\d+ total_mem=\d+$/m);
        assert.match(await monitor(socket, "balloon 112"), /^the guest is asked to do with 112 MiB$/m);
        await until(
          "the guest has 112 MiB",
          async () => /actual=112\b/.test(await monitor(socket, "info balloon")),
        );
        const left = await memTotal(guest);
        assert.ok(Math.abs(before - left - 80) < 1, `${before} MiB, then ${left}`);
        // What the guest had used and freed is what it gave, or what it uses now instead.
        const emptied = resident();
        assert.ok(emptied < full - 40, `${full} MiB, then ${emptied}`);
        assert.match(await monitor(socket, "info virtio balloon"), /takenPages 20480, returnedPages 0, .*badPages 0/);
        const refused = await monitor(socket, "balloon 0", "balloon much", "balloon 100000");
        assert.match(refused, /balloon takes a number.*\n.*balloon takes a number/);
        assert.match(refused, /do with 192 MiB/);
        await until("it has all", async () => /actual=192\b/.test(await monitor(socket, "info balloon")));
        assert.equal(await memTotal(guest), before);
        assert.equal(await guest.run(FILL), "filled\n");
        assert.equal(await guest.run(KEPT), kept);
        assert.doesNotMatch(guest.output, /WARNING|BUG|Call trace/);
        await guest.off();
      } finally {
        await guest.kill();
      }
    }),
});

Deno.test({
  name: "memory that the guest frees is the host's again",
  ignore,
  fn: async () => {
    const id = `balloon${crypto.randomUUID().slice(0, 8)}`;
    const guest = await new Guest(VITRINE, files!, [
      "-device",
      `virtio-balloon-device,free-page-reporting=on,deflate-on-oom=on,id=${id}`,
    ]).ready();
    try {
      const resident = await processWith(id), kept = await guest.run(KEEP);
      assert.equal(await guest.run(FILL), "filled\n");
      const most = resident();
      await guest.run(FREE);
      await until(`memory falls from ${most} MiB`, () => resident() < most - 50);
      assert.equal(await guest.run(FILL), "filled\n");
      assert.equal(await guest.run(KEPT), kept);
      await guest.off();
    } finally {
      await guest.kill();
    }
  },
});

Deno.test({
  name: "a run in which the balloon is told something repeats from its log",
  ignore: ignore || !gdb,
  fn: () =>
    inDirectory(async (directory) => {
      const socket = `${directory}/gdb`, log = `${directory}/log`;
      const options = [
        ...["-m", "192", "-nic", "none", "-display", "none", "-serial", "stdio", "-kernel", files!.kernel],
        ...["-initrd", files!.initrd, "-append", "console=ttyAMA0 quiet", "-device", "virtio-balloon-device"],
      ];
      const run = new Run(VITRINE, [...options, "-gdb", `unix:${socket}`, "-record", log]);
      await run.until("vitrine:/root# ", LIMIT_MS);
      await monitor(socket, "balloon 128");
      await until("it has 128 MiB", async () => /actual=128\b/.test(await monitor(socket, "info balloon")));
      await run.type("grep -E 'Mem(Total|Free)' /proc/meminfo; cat /proc/uptime; poweroff\n");
      assert.equal(await run.end(LIMIT_MS), 0);
      const total = Number(/MemTotal:\s+(\d+)/.exec(run.output)![1]) * 1024;
      assert.ok(total < 128 * MIB, run.output);
      const again = new Run(VITRINE, [...options, "-replay", log]);
      assert.equal(await again.end(LIMIT_MS), 0);
      assert.equal(again.output, run.output);
    }),
});
