// Sockets between Debian's guest and the host: tests/guests/vsock_peer on one side, Unix sockets on the other.

import assert from "node:assert/strict";
import { Run, VITRINE } from "../../bench/machines.ts";
import { seededRandom } from "../../src/base/random.ts";
import { packCpio } from "../../src/machine/cpio.ts";
import type { LinuxFiles } from "../../src/machine/fetch_linux.ts";
import { Guest, linux } from "../net/guest.ts";
import { inDirectory } from "../virtio/tools.ts";

const files = await linux();
const PEER = new URL("../guests/vsock_peer/vsock_peer", import.meta.url);
const LIMIT_MS = 240_000;

/** The kernel, and an initramfs with vsock_peer in it. */
async function withPeer(directory: string): Promise<LinuxFiles> {
  const data = await Deno.readFile(PEER), initrd = `${directory}/initrd`;
  await Deno.writeFile(initrd, await Deno.readFile(files!.initrd));
  await Deno.writeFile(initrd, packCpio([{ kind: "file", path: "bin/vsock_peer", mode: 0o755, data }]), {
    append: true,
  });
  return { ...files!, initrd };
}

const sha256 = async (data: Uint8Array<ArrayBuffer>) =>
  new Uint8Array(await crypto.subtle.digest("SHA-256", data)).toHex();
function noise(count: number, seed: number): Uint8Array<ArrayBuffer> {
  const random = seededRandom(seed), out = new Uint8Array(count);
  for (let at = 0; at < count; at += 65536) out.set(random(Math.min(65536, count - at)), at);
  return out;
}
const bytes = (words: string) => new TextEncoder().encode(words);
const readAll = async (conn: Deno.Conn) => new Uint8Array(await new Response(conn.readable).arrayBuffer());
async function writeAll(conn: Deno.Conn, data: Uint8Array): Promise<void> {
  for (let at = 0; at < data.length;) at += await conn.write(data.subarray(at));
}

/** A program that listens for guests, `use` for each of them. */
function serve(path: string, use: (conn: Deno.UnixConn) => Promise<void>): Disposable {
  const listener = Deno.listen({ transport: "unix", path });
  void (async () => {
    for await (const conn of listener) {
      void use(conn).catch(() => {}).finally(() => {
        try {
          conn.close();
        } catch { /* It was closed by `use`. */ }
      });
    }
  })().catch(() => {});
  return listener;
}
async function echo(conn: Deno.Conn): Promise<void> {
  const buffer = new Uint8Array(65536);
  for (let count = await conn.read(buffer); count !== null; count = await conn.read(buffer)) {
    await writeAll(conn, buffer.subarray(0, count));
  }
}

/** Connects to a port of the guest's; null when nobody listens there. */
async function dial(path: string, port: number): Promise<Deno.UnixConn | null> {
  const conn = await Deno.connect({ transport: "unix", path });
  await conn.write(bytes(`CONNECT ${port}\n`));
  let line = "";
  for (const one = new Uint8Array(1); !line.endsWith("\n");) {
    if (await conn.read(one).catch(() => null) === null) {
      conn.close();
      return null;
    }
    line += String.fromCharCode(one[0]!);
  }
  assert.match(line, /^OK \d+\n$/);
  return conn;
}

/** The same once somebody does. */
async function dialUntil(path: string, port: number): Promise<Deno.UnixConn> {
  for (let tries = 0; tries < 2000; tries++) {
    const conn = await dial(path, port);
    if (conn !== null) return conn;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nobody listens on port ${port}`);
}

/** Says something to the guest's echo and hears it. */
async function exchange(path: string, port: number, data: Uint8Array<ArrayBuffer>): Promise<void> {
  const conn = await dial(path, port);
  assert.ok(conn !== null, "the guest's echo listens");
  const heard = readAll(conn);
  await writeAll(conn, data);
  await conn.closeWrite();
  assert.equal(await sha256(await heard), await sha256(data));
}

Deno.test({
  name: "Debian's guest and programs of the host talk over vsock, both ways, much and often",
  ignore: files === null,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/v`, answer = noise(3_000_000, 1);
      let said: Uint8Array<ArrayBuffer> = new Uint8Array(0);
      // Hears all, and only then answers, in the half that is left.
      using _first = serve(`${path}_5000`, async (conn) => {
        const parts: Uint8Array[] = [], buffer = new Uint8Array(65536);
        for (let n = await conn.read(buffer); n !== null; n = await conn.read(buffer)) parts.push(buffer.slice(0, n));
        said = new Uint8Array(await new Blob(parts as BlobPart[]).arrayBuffer());
        await writeAll(conn, answer);
      });
      using _second = serve(`${path}_5001`, echo);
      const guest = await new Guest(VITRINE, await withPeer(directory), [
        ...["-device", `vhost-vsock-device,guest-cid=42,uds=${path}`, "-smp", "2"],
      ]).ready();
      try {
        // From the guest.
        const sum = await guest.run("dd if=/dev/urandom of=/tmp/out bs=64k count=64 2>/dev/null; sha256sum </tmp/out");
        const heard = await guest.run("vsock_peer connect 5000 </tmp/out | sha256sum");
        assert.equal(said.length, 64 * 65536);
        assert.equal(await sha256(said), sum.slice(0, 64));
        assert.equal(heard.slice(0, 64), await sha256(answer));
        assert.match(await guest.run("vsock_peer connect 5002"), /cannot connect: error 104/);
        assert.match(await guest.run("vsock_peer many 5001 200"), /^200 of 200 were answered/);
        assert.match(await guest.run("vsock_peer storm 5001 300"), /^300 connections/);
        // To the guest.
        assert.equal(await dial(path, 6000), null);
        await guest.run("(vsock_peer echo 6000 &)");
        (await dialUntil(path, 6000)).close();
        await exchange(path, 6000, noise(3_000_000, 2));
        await Promise.all(Array.from({ length: 60 }, (_, n) => exchange(path, 6000, noise(1000 + 100 * n, n))));
        for (let n = 0; n < 200; n++) {
          const conn = await Deno.connect({ transport: "unix", path });
          await conn.write(bytes(`CONNECT ${6000 + n % 2}\nwords`));
          conn.close();
        }
        await exchange(path, 6000, noise(100_000, 3));
        // Both at once.
        const [many] = await Promise.all([
          guest.run("vsock_peer many 5001 100"),
          exchange(path, 6000, noise(1_000_000, 4)),
        ]);
        assert.match(many, /^100 of 100/);
        // The half that the guest keeps open.
        const waiting = guest.run("echo bye | vsock_peer listen 6001");
        const conn = await dialUntil(path, 6001);
        await writeAll(conn, bytes("good morning\n"));
        await conn.closeWrite();
        assert.equal(new TextDecoder().decode(await readAll(conn)), "bye\n");
        assert.equal(await waiting, "good morning\n");
        await guest.off();
      } finally {
        await guest.kill();
      }
      assert.doesNotMatch(guest.output, /WARNING|BUG|Call trace/);
      // The socket goes with the program.
      await assert.rejects(Deno.lstat(path), Deno.errors.NotFound);
    }),
});

Deno.test({
  name: "a run with sockets repeats from its log, without the programs that were there",
  ignore: files === null,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/v`, log = `${directory}/log`, { kernel, initrd } = await withPeer(directory);
      const options = [
        ...["-m", "192", "-nic", "none", "-display", "none", "-kernel", kernel, "-initrd", initrd, "-serial", "stdio"],
        ...["-append", "console=ttyAMA0 quiet", "-device", `vhost-vsock-device,guest-cid=42,uds=${path}`],
      ];
      const recorded = new Run(VITRINE, [...options, "-record", log]);
      {
        using _server = serve(`${path}_7`, async (conn) => await writeAll(conn, noise(200_000, 5)));
        await recorded.until("vitrine:/root# ", LIMIT_MS);
        await recorded.type(
          "vsock_peer echo 8 & vsock_peer connect 7 </dev/null | sha256sum; cat /proc/uptime; echo DO''NE\n",
        );
        await recorded.until("DONE", LIMIT_MS);
        (await dialUntil(path, 8)).close();
        await exchange(path, 8, noise(50_000, 6));
        await recorded.type("cat /proc/uptime; poweroff\n");
        assert.equal(await recorded.end(LIMIT_MS), 0);
      }
      assert.ok(recorded.output.includes(await sha256(noise(200_000, 5))), recorded.output);
      const replayed = new Run(VITRINE, [...options, "-replay", log]);
      assert.equal(await replayed.end(LIMIT_MS), 0);
      assert.equal(replayed.output, recorded.output);
    }),
});
