// Character devices of a whole run, with a stand-in for the machine: options to sockets to rings and back, readers that
// stall, and a run that leaves nothing behind.

import assert from "node:assert/strict";
import { RECEIVED_BREAK } from "../../devices/pl011.ts";
import { STALL_MS } from "../../devices/host/patience.ts";
import { BREAK } from "../../devices/host/character.ts";
import { runMachine } from "../../src/machine/daemon.ts";
import { decodeInput, encodeInput } from "../../src/machine/input_code.ts";
import { parseCommandLine } from "../../src/machine/options.ts";
import { bytes, receive, text } from "./helpers.ts";

const workerUrl = new URL("../machine/fake_worker.ts", import.meta.url);

/** A run of the stand-in; `port` is what its server announces. */
async function start(task: string, options: string) {
  const command = parseCommandLine(["-m", "16", ...options.split(" ")]);
  assert(command.kind === "run");
  const notices: string[] = [], announced = Promise.withResolvers<number>();
  const code = runMachine({ ...command.config, demo: false, append: task }, {
    workerUrl,
    notice: (line) => {
      notices.push(line);
      announced.resolve(Number(/listening on .*:(\d+)/.exec(line)?.[1] ?? 0));
    },
  });
  code.catch(announced.reject);
  return { notices, code, port: await announced.promise };
}

const dial = (port: number) => Deno.connect({ hostname: "127.0.0.1", port });

Deno.test("input crosses as bytes with breaks in their place, however the machine takes it", () => {
  const encoded = [
    ...encodeInput(Uint8Array.of(1, 0xff, 0, 2)),
    ...encodeInput(BREAK),
    ...encodeInput(Uint8Array.of(0xff)),
    ...encodeInput(Uint8Array.of(3)),
  ];
  for (let pause = 1; pause < 5; pause++) {
    // Now and then there is nothing to take.
    const queue = encoded.flatMap((byte, n) => n % pause === 0 ? [-1, byte] : [byte]);
    const next = decodeInput(() => queue.shift() ?? -1), received: number[] = [];
    while (queue.length > 0) {
      const byte = next();
      if (byte >= 0) received.push(byte);
    }
    assert.deepEqual(received, [1, 0xff, 0, 2, RECEIVED_BREAK, 0xff, 3]);
  }
});

Deno.test("-chardev and -serial chardev: meet; breaks and 0xff go through telnet to the machine", async () => {
  const { port, code } = await start(
    "echo",
    "-serial chardev:t -chardev socket,id=t,port=0,server=on,wait=on,telnet=on -chardev ringbuf,id=spare",
  );
  const conn = await dial(port);
  await receive(conn, 12);
  await conn.write(Uint8Array.of(0x61, 255, 255, 255, 243, 0x62));
  assert.equal(text(await receive(conn, 11)), "a\xff\xff<break>b");
  conn.close();
  Deno.kill(Deno.pid, "SIGTERM");
  assert.equal(await code, 143);
});

Deno.test("a multiplexed socket: breaks, help, and x ends the run", async () => {
  const { port, code } = await start("echo", "-serial mon:tcp::0,server=on,wait=off");
  const conn = await dial(port);
  await conn.write(bytes("a\x01b\x01\x01z"));
  assert.equal(text(await receive(conn, 10)), "a<break>\x01z");
  await conn.write(bytes("\x01h"));
  assert.match(text(await receive(conn, 30)), /^\r\nCtrl-A h/);
  await conn.write(bytes("\x01x"));
  assert.equal(await code, 0);
  conn.close();
});

Deno.test("a client that never reads costs a second; the machine goes on to its end", async () => {
  const { port, code, notices } = await start("flood 30000000", "-serial tcp::0,server=on");
  const conn = await dial(port), from = performance.now();
  assert.equal(await code, 0);
  const tookMs = performance.now() - from;
  assert(tookMs > STALL_MS * 0.9 && tookMs < 15_000, `${tookMs} ms`);
  assert.match(notices.at(-1)!, /^serial0: whoever is connected to tcp:127.0.0.1:\d+ does not read/);
  conn.close();
});

Deno.test("a log file has what nobody was there to read", async () => {
  const file = await Deno.makeTempFile();
  const { code } = await start("flood 500000", `-serial tcp::0,server=on,wait=off,logfile=${file}`);
  assert.equal(await code, 0);
  assert.equal((await Deno.stat(file)).size, 500_000);
});

Deno.test({
  name: "-serial pty says where, and what is typed there comes back",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const { code, notices } = await start("echo", "-serial pty");
    const path = /^serial0: char device redirected to (\S+)$/.exec(notices[0]!)![1]!;
    const { stdout } = await new Deno.Command("sh", {
      args: ["-c", 'exec 3<>"$1"; printf typed >&3; head -c 5 <&3', "sh", path],
    }).output();
    assert.equal(text(stdout), "typed");
    Deno.kill(Deno.pid, "SIGTERM");
    assert.equal(await code, 143);
  },
});

Deno.test("what cannot be opened is one line, and what was open is closed", async () => {
  using busy = Deno.listen({ port: 0, hostname: "127.0.0.1" });
  const options = `-chardev socket,id=a,port=0,server=on -chardev ringbuf,id=b -chardev udp,id=c,port=9 ` +
    `-chardev socket,id=d,port=${busy.addr.port},server=on -serial chardev:a`;
  const { code } = await start("hang", options);
  await assert.rejects(code, { message: `cannot listen on tcp:127.0.0.1:${busy.addr.port}: address already in use` });
});
