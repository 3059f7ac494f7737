import assert from "node:assert/strict";
import { parseGdbAddress } from "../../gdbstub/address.ts";
import { ascii, textOf } from "../../gdbstub/bytes.ts";
import { frame } from "../../gdbstub/framing.ts";
import { type GdbServer, startGdbServer } from "../../gdbstub/server.ts";
import { HostError, UsageError } from "../../src/base/errors.ts";
import { type FakeTarget, threeContexts } from "./fake_target.ts";

const ANY_PORT = parseGdbAddress("tcp::0");

const port = (server: GdbServer): number => server.address.kind === "tcp" ? server.address.port : 0;
const connect = (server: GdbServer) => Deno.connect({ port: port(server) });

/** Reads until `text` has come; the whole of what came. */
async function readUntil(stream: Deno.Conn, text: string): Promise<string> {
  const buffer = new Uint8Array(4096);
  for (let got = "";;) {
    const count = await stream.read(buffer);
    if (count === null) return `${got}|closed`;
    got += textOf(buffer.subarray(0, count));
    if (got.includes(text)) return got;
  }
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 500 && !condition(); i++) await new Promise((resolve) => setTimeout(resolve, 2));
  assert(condition());
}

Deno.test("-gdb takes QEMU's spellings, loopback unless a host is named", () => {
  assert.deepEqual(parseGdbAddress("tcp::1234"), { kind: "tcp", host: "127.0.0.1", port: 1234 });
  assert.deepEqual(parseGdbAddress("tcp:0.0.0.0:1"), { kind: "tcp", host: "0.0.0.0", port: 1 });
  assert.deepEqual(parseGdbAddress("tcp:[::1]:1234"), { kind: "tcp", host: "::1", port: 1234 });
  assert.deepEqual(parseGdbAddress("tcp::1234,server=on,wait=off"), { kind: "tcp", host: "127.0.0.1", port: 1234 });
  assert.deepEqual(parseGdbAddress("unix:/run/x.sock"), { kind: "unix", path: "/run/x.sock" });
  for (const bad of ["", "1234", "tcp:1234", "tcp::70000", "tcp::x", "unix:", "stdio", "tcp::1,wait=on", "tcp:a:b:1"]) {
    assert.throws(() => parseGdbAddress(bad), UsageError, bad);
  }
});

Deno.test("a debugger comes and goes any number of times, and leaves nothing", async () => {
  const target = threeContexts(), server = await startGdbServer(target, ANY_PORT);
  for (let i = 1; i <= 5; i++) {
    const stream = await connect(server);
    await stream.write(frame(ascii("Z0,40200010,4")));
    assert.match(await readUntil(stream, "#9a"), /\$OK#9a$/);
    assert.equal(target.points.size, 1);
    if (i % 2 === 0) {
      await stream.write(frame(ascii("D")));
      await readUntil(stream, "#9a");
    }
    stream.close();
    await until(() => !server.busy);
    assert.deepEqual([target.points.size, target.listener, target.attachments], [0, null, i]);
  }
  await server.close();
});

Deno.test("a peer that vanishes while the machine runs lets it run on", async () => {
  const target = threeContexts(), server = await startGdbServer(target, ANY_PORT);
  const stream = await connect(server);
  await stream.write(frame(ascii("vCont;c")));
  await readUntil(stream, "+");
  stream.close();
  await until(() => !server.busy);
  assert.equal(target.listener, null);
  assert.deepEqual(target.log, ["release"]);
  await server.close();
});

Deno.test("half a packet and then nothing leaves nothing", async () => {
  const target = threeContexts(), server = await startGdbServer(target, ANY_PORT);
  for (const part of ["$m4020", "$vCont;c#", "}", "$X0,100:abc"]) {
    const stream = await connect(server);
    await stream.write(ascii(part));
    stream.close();
    await until(() => !server.busy && target.listener === null);
  }
  await server.close();
});

Deno.test("a second debugger is told so, the first is not disturbed", async () => {
  const target = threeContexts(), server = await startGdbServer(target, ANY_PORT);
  const first = await connect(server);
  await until(() => server.busy);
  for (let i = 0; i < 3; i++) {
    const second = await connect(server);
    await second.write(frame(ascii("qSupported")));
    assert.match(await readUntil(second, "#9999"), /^\+\$E\.another debugger is attached.*\|closed$/);
    second.close();
  }
  await first.write(frame(ascii("qC")));
  assert.match(await readUntil(first, "QC1"), /QC1/);
  assert.equal(target.attachments, 1);
  first.close();
  await until(() => !server.busy);
  const third = await connect(server);
  await third.write(frame(ascii("qC")));
  assert.match(await readUntil(third, "QC1"), /QC1/);
  third.close();
  await server.close();
});

Deno.test("a peer that does not read holds no more than its share", async () => {
  const target = threeContexts(), server = await startGdbServer(target, ANY_PORT);
  const stream = await connect(server);
  const request = frame(ascii("m40200000,10000"));
  const flood = new Uint8Array(request.length * 200);
  for (let i = 0; i < 200; i++) flood.set(request, i * request.length);
  // Far more than sockets and queues hold: writing must come to a halt, since nobody reads the replies.
  let written = 0;
  const writing = (async () => {
    for (let i = 0; i < 4000; i++) {
      await stream.write(flood);
      written += flood.length;
    }
  })().catch(() => {});
  let before = -1;
  while (written !== before) {
    before = written;
    await new Promise((resolve) => setTimeout(resolve, 150));
  }
  assert(written < 16 << 20, `${written} bytes were taken`);
  stream.close();
  await writing;
  await until(() => !server.busy);
  await server.close();
});

Deno.test("closing the server lets its debugger go", async () => {
  const target = threeContexts(), server = await startGdbServer(target, ANY_PORT);
  const stream = await connect(server);
  await until(() => target.listener !== null);
  await server.close();
  assert.equal(target.listener, null);
  assert.match(await readUntil(stream, "never"), /closed$/);
  stream.close();
  await assert.rejects(connect(server));
});

Deno.test("a debugger hears of the machine's end although the server closes at once", async () => {
  const target = threeContexts(), server = await startGdbServer(target, ANY_PORT);
  const stream = await connect(server);
  await stream.write(frame(ascii("vCont;c")));
  await readUntil(stream, "+");
  target.listener!.ended(7);
  await server.close();
  assert.match(await readUntil(stream, "never"), /\$W07#be\|closed$/);
  stream.close();
});

Deno.test("a failing target ends the session and is told, the server goes on", async () => {
  const target: FakeTarget = threeContexts(), failures: unknown[] = [];
  const server = await startGdbServer(target, ANY_PORT, { failed: (error) => failures.push(error) });
  const good = target.readGeneral.bind(target);
  target.readGeneral = () => {
    throw new Error("out of order");
  };
  const stream = await connect(server);
  await stream.write(frame(ascii("g")));
  assert.match(await readUntil(stream, "#"), /closed$/);
  stream.close();
  await until(() => !server.busy);
  assert.equal(String(failures[0]), "Error: out of order");
  target.readGeneral = good;
  const again = await connect(server);
  await again.write(frame(ascii("g")));
  assert.match(await readUntil(again, "#"), /\$0{16}/);
  again.close();
  await server.close();
});

Deno.test("a busy port or a bad path is one clear error", async () => {
  const server = await startGdbServer(threeContexts(), ANY_PORT);
  await assert.rejects(
    startGdbServer(threeContexts(), server.address),
    (error) =>
      error instanceof HostError && /cannot listen for a debugger on tcp:127.0.0.1:\d+: .*in use/.test(error.message),
  );
  await server.close();
  await assert.rejects(startGdbServer(threeContexts(), { kind: "unix", path: "/nowhere/at/all" }), HostError);
});

Deno.test("a Unix socket works, is removed, and replaces one that is left over", async () => {
  const directory = await Deno.makeTempDir(), path = `${directory}/gdb.sock`;
  try {
    // Closing a listener removes its file, unless that has another name by then.
    const leftOver = Deno.listen({ transport: "unix", path: `${path}.old` });
    await Deno.rename(`${path}.old`, path);
    leftOver.close();
    assert((await Deno.lstat(path)).isSocket);
    const server = await startGdbServer(threeContexts(), { kind: "unix", path });
    await assert.rejects(startGdbServer(threeContexts(), { kind: "unix", path }), HostError);
    // That one looked whether somebody listens.
    await until(() => !server.busy);
    const stream = await Deno.connect({ transport: "unix", path });
    await stream.write(frame(ascii("qC")));
    assert.match(await readUntil(stream, "QC1"), /QC1/);
    stream.close();
    await server.close();
    assert.equal(await Deno.lstat(path).catch(() => null), null);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
