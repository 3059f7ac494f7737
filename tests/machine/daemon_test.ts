// The daemon with a stand-in for the machine: serial backends, exit codes, and what goes wrong.

import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { getAvailablePort } from "@std/net";
import { HostError } from "../../src/base/errors.ts";
import type { ChardevBackend, MachineConfig } from "../../src/machine/config.ts";
import { runMachine } from "../../src/machine/daemon.ts";
import { parseCommandLine } from "../../src/machine/options.ts";

const workerUrl = new URL("./fake_worker.ts", import.meta.url);

function config(task: string, backend: ChardevBackend = { kind: "null" }, more: Partial<MachineConfig> = {}) {
  const command = parseCommandLine(["-m", "16"]);
  assert(command.kind === "run");
  return {
    ...command.config,
    demo: false,
    append: task,
    chardevs: [{ id: "serial0", backend, mux: "off", log: null }],
    ...more,
  } as const;
}

const run = (c: MachineConfig, notice: (line: string) => void = () => {}) => runMachine(c, { workerUrl, notice });

/** Starts a run whose serial port is a server and returns the address it announces. */
async function listening(c: MachineConfig): Promise<{ port: number; code: Promise<number> }> {
  const { promise, resolve } = Promise.withResolvers<number>();
  const code = run(c, (line) => resolve(Number(/\d:(\d+)/.exec(line)?.[1] ?? 0)));
  return { port: await promise, code };
}

async function readAll(conn: Deno.Conn): Promise<Uint8Array> {
  return new Uint8Array(await new Response(conn.readable).arrayBuffer());
}

function checkFlood(data: Uint8Array, total: number): void {
  assert.equal(data.length, total);
  assert(data.every((byte, n) => byte === (n & 0xff)));
}

const SOCKET = { kind: "socket", server: false, wait: false, telnet: false, noDelay: true, reconnectMs: null } as const;
const tcp = (port: number) => ({ kind: "tcp", host: "127.0.0.1", port }) as const;
const TCP_SERVER = { ...SOCKET, address: tcp(0), server: true, wait: true } as const;

Deno.test("a file gets everything that the machine sends", async () => {
  const path = await Deno.makeTempFile();
  assert.equal(await run(config("flood 3000000", { kind: "file", path, append: false, inputPath: null })), 0);
  checkFlood(await Deno.readFile(path), 3_000_000);
  await Deno.remove(path);
});

Deno.test("a client that goes away does not end the run; SIGTERM does, with 143", async () => {
  const { port, code } = await listening(config("hang", TCP_SERVER));
  const conn = await Deno.connect({ port, hostname: "127.0.0.1" });
  conn.close();
  Deno.kill(Deno.pid, "SIGTERM");
  assert.equal(await code, 143);
});

Deno.test("a slow TCP reader loses nothing", async () => {
  const { port, code } = await listening(config("flood 1000000", TCP_SERVER));
  const conn = await Deno.connect({ port, hostname: "127.0.0.1" });
  await new Promise((resolve) => setTimeout(resolve, 100));
  checkFlood(await readAll(conn), 1_000_000);
  assert.equal(await code, 0);
});

Deno.test("the serial port as a TCP client: a large echo", async () => {
  const port = getAvailablePort();
  const listener = Deno.listen({ port, hostname: "127.0.0.1" });
  const code = run(config("echo", { ...SOCKET, address: tcp(port) }));
  const conn = await listener.accept();
  const data = Uint8Array.from({ length: 500_000 }, (_, n) => n * 7);
  const back = readAll(conn);
  const writer = conn.writable.getWriter();
  await writer.write(data);
  await conn.closeWrite();
  assert.equal(await code, 3);
  assert(Buffer.from(await back).equals(data));
  listener.close();
});

Deno.test("a Unix socket server, without waiting, comes and goes", async () => {
  const path = await Deno.makeTempDir() + "/serial";
  const { code } = await listening(config("hang", { ...SOCKET, address: { kind: "unix", path }, server: true }));
  for (let n = 0; n < 2; n++) (await Deno.connect({ transport: "unix", path })).close();
  Deno.kill(Deno.pid, "SIGHUP");
  assert.equal(await code, 129);
  await assert.rejects(Deno.stat(path), Deno.errors.NotFound);
});

Deno.test("a signal ends the wait for a client", async () => {
  const { code } = await listening(config("hang", TCP_SERVER));
  Deno.kill(Deno.pid, "SIGTERM");
  assert.equal(await code, 143);
});

Deno.test("a busy port is a host error", async () => {
  const listener = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const { port } = listener.addr, serial = { ...TCP_SERVER, address: tcp(port) };
  await assert.rejects(run(config("hang", serial)), (error: unknown) => {
    assert(error instanceof HostError);
    assert.equal(error.message, `cannot listen on tcp:127.0.0.1:${port}: address already in use`);
    return true;
  });
  listener.close();
});

Deno.test("images reach the machine, or one clear line says why not", async () => {
  const path = await Deno.makeTempFile();
  const size = (kernel: string) => run(config("size", { kind: "null" }, { kernel }));
  await assert.rejects(size(path), { message: `cannot read kernel ${path}: is empty` });
  await Deno.writeFile(path, new Uint8Array(77));
  assert.equal(await size(path), 77);
  await Deno.remove(path);
  await assert.rejects(size(path), { message: `cannot read kernel ${path}: no such file or directory` });
  await assert.rejects(size("/"), { message: "cannot read kernel /: is a directory" });
});

Deno.test("what the machine complains about is a host error, what it throws is ours", async () => {
  await assert.rejects(run(config("error")), (error: unknown) => error instanceof HostError);
  await assert.rejects(run(config("throw")), (error: unknown) => !(error instanceof HostError));
});

Deno.test("trace lines go to -D's file, all of them", async () => {
  const file = await Deno.makeTempFile();
  assert.equal(
    await run(
      config("trace 200000", { kind: "null" }, { trace: { groups: ["int"], format: "text", filter: null, file } }),
    ),
    0,
  );
  const lines = (await Deno.readTextFile(file)).trimEnd().split("\n");
  assert.equal(lines.length, 200_000);
  assert.equal(lines.at(-1), "line 199999");
  await Deno.remove(file);
});

Deno.test("dumpdtb writes the tree and exits", async () => {
  const dumpDtb = await Deno.makeTempFile();
  assert.equal(await run(config("dtb", { kind: "stdio", signal: false }, { dumpDtb })), 0);
  assert.deepEqual(await Deno.readFile(dumpDtb), Uint8Array.of(0xd0, 0x0d));
  await Deno.remove(dumpDtb);
});
