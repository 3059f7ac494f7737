// Socket backends on real sockets: who may come and go, who is waited for, and that nothing is left behind.

import { getAvailablePort } from "@std/net";
import assert from "node:assert/strict";
import { BREAK } from "../../devices/host/character.ts";
import { STALL_MS } from "../../devices/host/patience.ts";
import { SocketBackend, type SocketOptions } from "../../devices/host/socket.ts";
import { GREETING } from "../../devices/host/telnet.ts";
import { bytes, collect, later, readText, receive, text, until } from "./helpers.ts";

const HOST = "127.0.0.1";
const tcp = (port: number) => ({ kind: "tcp", host: HOST, port }) as const;
const open = (port: number, more: Partial<SocketOptions>, warn: (line: string) => void = () => {}) =>
  SocketBackend.open(
    { address: tcp(port), server: false, telnet: false, noDelay: true, reconnectMs: null, ...more },
    warn,
  );
const portOf = ({ name }: SocketBackend) => Number(/:(\d+)$/.exec(name)![1]);
const dial = async (backend: SocketBackend) => {
  const conn = await Deno.connect({ hostname: HOST, port: portOf(backend) });
  await backend.whenConnected();
  return conn;
};

Deno.test("a server takes one client after another, and drops output between them", async () => {
  const server = await open(0, { server: true }), input = collect(server);
  await server.write(bytes("to nobody"));
  for (const name of ["first", "second"]) {
    const conn = await dial(server);
    await conn.write(bytes(name));
    await server.write(bytes(`hello ${name}`));
    assert.equal(text(await receive(conn, 6 + name.length)), `hello ${name}`);
    conn.close();
    await until(() => !server.connected, "the end");
    await server.write(bytes("to nobody"));
  }
  assert.equal(input.all, "firstsecond");
  assert.match(server.state, /^disconnected/);
  server.close();
  await input.ended;
});

Deno.test("a client that has ended its input still gets output, until the next one comes", async () => {
  const server = await open(0, { server: true });
  const first = await dial(server);
  await first.write(bytes("over"));
  await first.closeWrite();
  assert.equal(await readText(server, 4), "over");
  const reading = readText(server, 4);
  await server.write(bytes("and out"));
  assert.equal(text(await receive(first, 7)), "and out");
  const second = await Deno.connect({ hostname: HOST, port: portOf(server) });
  await second.write(bytes("next"));
  assert.equal(await reading, "next");
  assert.equal((await receive(first, 1)).length, 0);
  first.close();
  second.close();
  server.close();
});

Deno.test("a slow reader loses nothing; a stalled one costs a second once, then output is dropped until it reads", async () => {
  const warnings: string[] = [];
  const server = await open(0, { server: true }, (line) => warnings.push(line));
  const conn = await dial(server), block = new Uint8Array(1 << 20);
  const start = performance.now();
  // Far more than a host buffers.
  for (let n = 0; n < 64; n++) await server.write(block.fill(n));
  const tookMs = performance.now() - start;
  assert(tookMs >= STALL_MS * 0.9 && tookMs < STALL_MS + 2000, `${tookMs} ms`);
  assert.equal(warnings.length, 1);
  assert.match(warnings[0]!, /does not read/);
  // It reads again: what was buffered, and then what is sent now.
  let last = 0, total = 0;
  const drained = (async () => {
    for await (const chunk of conn.readable) {
      total += chunk.length;
      last = chunk.at(-1)!;
    }
  })();
  for (let n = 0; n < 100 && last !== 200; n++) {
    await later(10);
    await server.write(new Uint8Array(1000).fill(200));
  }
  assert.equal(last, 200);
  assert.match(server.state, /^connected, \d+ bytes were dropped$/);
  server.close();
  await drained;
  assert(total < 64 << 20);
  assert.equal(warnings.length, 1);
});

Deno.test("a reader that vanishes while it is written to ends nothing", async () => {
  const server = await open(0, { server: true }), input = collect(server);
  const conn = await dial(server);
  const flood = (async () => {
    for (let n = 0; n < 200; n++) await server.write(new Uint8Array(100_000));
  })();
  await later(10);
  conn.close();
  await flood;
  const next = await Deno.connect({ hostname: HOST, port: portOf(server) });
  await until(() => server.connected, "the next client");
  await server.write(bytes("still here"));
  assert.equal(text(await receive(next, 10)), "still here");
  next.close();
  server.close();
  await input.ended;
});

Deno.test("a client with reconnect starts without a server, and comes back when it was gone", async () => {
  const port = getAvailablePort();
  const client = await open(port, { reconnectMs: 20 }), input = collect(client);
  await client.write(bytes("to nobody"));
  for (let n = 1; n <= 2; n++) {
    const listener = Deno.listen({ hostname: HOST, port });
    const conn = await listener.accept();
    listener.close();
    await until(() => client.connected, "the connection");
    await conn.write(bytes("abc"));
    await client.write(bytes(`call ${n}`));
    assert.equal(text(await receive(conn, 6)), `call ${n}`);
    conn.close();
    await until(() => !client.connected, "the end");
  }
  assert.equal(input.all, "abcabc");
  client.close();
  await input.ended;
});

Deno.test("a client without reconnect connects once", async () => {
  const port = getAvailablePort();
  await assert.rejects(open(port, {}), { message: `cannot connect to tcp:127.0.0.1:${port}: connection refused` });
  const listener = Deno.listen({ hostname: HOST, port });
  const client = await open(port, {}), conn = await listener.accept();
  await conn.write(bytes("bye"));
  conn.close();
  assert.equal(await readText(client, 4), "bye<end>");
  await client.write(bytes("to nobody"));
  client.close();
  listener.close();
});

Deno.test("telnet: greeted, escaped both ways, a break", async () => {
  const server = await open(0, { server: true, telnet: true });
  const conn = await dial(server);
  assert.deepEqual(await receive(conn, GREETING.length), GREETING);
  await conn.write(Uint8Array.of(0x61, 255, 255, 255, 243, 255, 251, 31, 0x62));
  assert.deepEqual(
    [await server.read(), await server.read(), await server.read()],
    [Uint8Array.of(0x61, 255), BREAK, Uint8Array.of(0x62)],
  );
  assert.deepEqual(await receive(conn, 3), Uint8Array.of(255, 254, 31));
  await server.write(Uint8Array.of(1, 255, 2));
  assert.deepEqual(await receive(conn, 4), Uint8Array.of(1, 255, 255, 2));
  conn.close();
  server.close();
});

Deno.test("a Unix socket: a stale file is replaced, one in use and other files are not, ours is removed", async () => {
  const path = await Deno.makeTempDir() + "/serial", address = { kind: "unix", path } as const;
  // A process that is killed leaves its socket behind.
  const stale = Deno.listen({ transport: "unix", path }), kept = path + "2";
  await Deno.rename(path, kept);
  stale.close();
  await Deno.rename(kept, path);
  const server = await open(0, { server: true, address });
  await assert.rejects(open(0, { server: true, address }), {
    message: /^cannot listen on unix:.*: address already in use/,
  });
  const client = await open(0, { address });
  await client.write(bytes("over Unix"));
  assert.equal(await readText(server, 9), "over Unix");
  client.close();
  server.close();
  await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
  await Deno.writeTextFile(path, "precious");
  await assert.rejects(open(0, { server: true, address }), { message: /^cannot listen on unix:/ });
  assert.equal(await Deno.readTextFile(path), "precious");
});

Deno.test("closing ends what waits: readers, servers without a client, pauses between attempts", async () => {
  const server = await open(0, { server: true }), client = await open(getAvailablePort(), { reconnectMs: 1e6 });
  await later(20);
  const waiting = [server.read(), client.read(), server.whenConnected()];
  server.close();
  client.close();
  client.close();
  assert.deepEqual(await Promise.all(waiting), [null, null, false]);
});
