// The other backends: files, log files, ring buffers, named pipes, UDP, and real pseudo-terminals.

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { FileBackend, LoggedBackend, OutputFile } from "../../devices/host/character.ts";
import { PatientWriter } from "../../devices/host/patience.ts";
import { PipeBackend } from "../../devices/host/pipe.ts";
import { PtyBackend } from "../../devices/host/pty.ts";
import { RingBuffer } from "../../devices/host/ring_buffer.ts";
import { UdpBackend } from "../../devices/host/udp.ts";
import { bytes, collect, FakeBackend, later, readText, text, until } from "./helpers.ts";

const quiet = () => {};
const linux = Deno.build.os === "linux";

Deno.test("a file: truncated or added to, with input from another", async () => {
  const directory = await Deno.makeTempDir(), path = `${directory}/out`, input = `${directory}/in`;
  await Deno.writeTextFile(path, "old ");
  await Deno.writeTextFile(input, "typed");
  for (const [append, expected] of [[true, "old new"], [false, "new"]] as const) {
    const file = await FileBackend.open(path, append, input, quiet);
    await file.write(bytes("new"));
    assert.equal(await readText(file, 6), "typed<end>");
    file.close();
    assert.equal(await Deno.readTextFile(path), expected);
  }
  const missing = FileBackend.open(path, false, `${directory}/none`, quiet);
  await assert.rejects(missing, { message: `cannot open ${directory}/none: no such file or directory` });
  assert.equal(await Deno.readTextFile(path), "new");
});

Deno.test({
  name: "a full disk is told of once and ends nothing",
  ignore: !linux,
  fn: async () => {
    const warnings: string[] = [],
      file = await FileBackend.open("/dev/full", false, null, (line) => warnings.push(line));
    await file.write(bytes("one"));
    await file.write(bytes("two"));
    assert.deepEqual(warnings, ["cannot write /dev/full: No space left on device"]);
    assert.equal(file.state, "6 bytes could not be written");
    file.close();
  },
});

Deno.test("a log file keeps what goes out", async () => {
  const path = await Deno.makeTempFile(), base = new FakeBackend();
  const logged = new LoggedBackend(base, await OutputFile.open(path, false, quiet));
  base.type("typed");
  assert.equal(await readText(logged, 5), "typed");
  await logged.write(bytes("said"));
  assert.equal(base.screen, "said");
  logged.close();
  assert(base.closed);
  assert.equal(await Deno.readTextFile(path), "said");
});

Deno.test("a ring buffer keeps the last bytes", async () => {
  const ring = new RingBuffer(8);
  for (const piece of ["abc", "defghij", "", "0123456789ABCDEF"]) await ring.write(bytes(piece));
  assert.equal(ring.state, "8 of 8 bytes");
  assert.equal(text(ring.take(3)), "89A");
  await ring.write(bytes("xy"));
  assert.equal(text(ring.take()), "BCDEFxy");
  assert.equal(ring.take().length, 0);
  assert.equal(ring.put(bytes("12345")), 5);
  assert.equal(ring.put(bytes("6789")), 3);
  assert.equal(await readText(ring, 8), "12345678");
  const waiting = ring.read();
  ring.close();
  assert.equal(await waiting, null);
});

Deno.test("a ring buffer agrees with a string, whatever the sizes", async () => {
  const ring = new RingBuffer(64);
  let model = "";
  for (let n = 0; n < 500; n++) {
    const piece = String.fromCharCode(97 + n % 26).repeat((n * 37) % 100);
    await ring.write(bytes(piece));
    model = (model + piece).slice(-64);
    const count = (n * 13) % 40;
    assert.equal(text(ring.take(count)), model.slice(0, count));
    model = model.slice(count);
  }
});

Deno.test("a stalled writer gives up after a while, and goes on when it is read", async () => {
  const taken: number[] = [];
  let gate = Promise.resolve(), open = () => {}, stalls = 0;
  const sink = { write: (data: Uint8Array) => gate.then(() => (taken.push(data.length), Math.min(data.length, 4))) };
  const writer = new PatientWriter(sink, () => stalls++, 20);
  await writer.write(new Uint8Array(10));
  assert.deepEqual(taken, [10, 6, 2]);
  gate = new Promise((resolve) => open = resolve);
  await writer.write(new Uint8Array(5));
  await writer.write(new Uint8Array(7));
  assert.deepEqual([writer.stalled, writer.dropped, stalls], [true, 7, 1]);
  open();
  await later(1);
  assert.deepEqual([writer.stalled, writer.dropped], [false, 8]);
  await writer.write(new Uint8Array(2));
  assert.deepEqual(taken, [10, 6, 2, 5, 2]);
});

Deno.test({
  name: "named pipes: both ways, readers that come and go, and a reader that does not read",
  ignore: !linux,
  fn: async () => {
    const path = await Deno.makeTempDir() + "/p", warnings: string[] = [];
    await assert.rejects(PipeBackend.open(path, quiet), {
      message: `cannot open pipe ${path}: no such file or directory`,
    });
    await new Deno.Command("mkfifo", { args: [`${path}.in`, `${path}.out`] }).output();
    const pipe = await PipeBackend.open(path, (line) => warnings.push(line)), input = collect(pipe);
    await pipe.write(bytes("before anybody reads\n"));
    for (const expected of ["before anybody reads", "again"]) {
      const reader = new Deno.Command("head", { args: ["-n1", `${path}.out`], stdout: "piped" }).output();
      if (expected === "again") await later(20).then(() => pipe.write(bytes("again\n")));
      assert.equal(text((await reader).stdout), `${expected}\n`);
    }
    await Deno.writeTextFile(`${path}.in`, "typed", { create: false });
    await until(() => input.all === "typed", "the input");
    await pipe.write(new Uint8Array(1 << 20));
    assert.equal(warnings.length, 1);
    assert.match(warnings[0]!, /nobody reads pipe:/);
    pipe.close();
    await input.ended;
  },
});

Deno.test("UDP: datagrams both ways, and nobody at the other end", async () => {
  const peer = createSocket("udp4"), received: string[] = [];
  peer.on("message", (data) => received.push(text(data)));
  await new Promise<void>((resolve) => peer.bind(0, "127.0.0.1", resolve));
  const { port } = peer.address();
  const udp = await UdpBackend.open({ host: "127.0.0.1", port, localHost: "127.0.0.1", localPort: 0 });
  const input = collect(udp), local = Number(/(\d+)$/.exec(udp.name)![1]);
  await udp.write(bytes("x".repeat(1500)));
  await until(() => received.join("").length === 1500, "the output");
  peer.send("typed", local, "127.0.0.1");
  await until(() => input.all === "typed", "the input");
  await new Promise<void>((resolve) => peer.close(resolve));
  for (let n = 0; n < 5; n++) await udp.write(bytes("to nobody")).then(() => later(2));
  const taken = UdpBackend.open({ host: "127.0.0.1", port, localHost: "127.0.0.1", localPort: local });
  await assert.rejects(taken, { message: /^cannot open udp:.*: address already in use/ });
  udp.close();
  await input.ended;
});

/** A program that has the other side of a pseudo-terminal open. */
function shell(path: string, script: string): Deno.ChildProcess {
  return new Deno.Command("sh", { args: ["-c", script, "sh", path], stdout: "piped", stderr: "inherit" }).spawn();
}

Deno.test({
  name: "a pseudo-terminal: raw, opened and closed again and again, output without anybody is dropped",
  ignore: !linux,
  fn: async () => {
    const pty = PtyBackend.open(quiet), input = collect(pty);
    assert.match(pty.path, /^\/dev\/pts\/\d+$/);
    await pty.write(bytes("to nobody"));
    assert.equal(pty.state, "disconnected");
    for (let n = 1; n <= 2; n++) {
      const child = shell(pty.path, 'exec 3<>"$1"; printf "\\001\\003typed\\r\\n\\377" >&3; head -c 6 <&3');
      await until(() => input.all.length === 10 * n, "the input");
      assert.equal(pty.state, "connected");
      await pty.write(bytes("a\r\nb\n\x03"));
      assert.equal(text((await child.output()).stdout), "a\r\nb\n\x03");
      await until(() => pty.state === "disconnected", "the end");
      await pty.write(bytes("to nobody"));
    }
    assert.equal(input.all, "\x01\x03typed\r\n\xff".repeat(2));
    pty.close();
    pty.close();
    await input.ended;
  },
});

Deno.test({
  name: "a pseudo-terminal that is open and not read costs a second once; a slow reader loses nothing",
  ignore: !linux,
  fn: async () => {
    const warnings: string[] = [], pty = PtyBackend.open((line) => warnings.push(line)), input = collect(pty);
    const idle = shell(pty.path, 'exec 3<>"$1"; echo >&3; exec sleep 20');
    idle.stdout.cancel();
    await until(() => input.all.length > 0, "the program");
    const start = performance.now();
    for (let n = 0; n < 20; n++) await pty.write(new Uint8Array(50_000).fill(65));
    const tookMs = performance.now() - start;
    assert(tookMs > 500 && tookMs < 3000, `${tookMs} ms`);
    assert.equal(warnings.length, 1);
    assert.match(pty.state, /^connected, \d+ bytes were dropped$/);
    idle.kill("SIGKILL");
    await idle.status;
    await until(() => pty.state.startsWith("disconnected"), "the end");
    const slow = shell(pty.path, 'exec 3<>"$1"; echo >&3; sleep 0.2; head -c 300000 <&3 | cksum');
    await until(() => input.all.length > 1, "the program");
    const data = Uint8Array.from({ length: 300_000 }, (_, n) => n * 7 >> 3);
    await pty.write(data);
    const sum = new Deno.Command("cksum", { stdin: "piped", stdout: "piped" }).spawn();
    const writer = sum.stdin.getWriter();
    await writer.write(data);
    await writer.close();
    assert.equal(text((await slow.output()).stdout), text((await sum.output()).stdout));
    pty.close();
    await input.ended;
  },
});
