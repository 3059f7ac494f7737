// User-mode networking over the host's real sockets, with a guest that is driven by hand: slow readers on either side, peers
// that reset, forwarded ports.

import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { type AddressInfo, createServer, type Socket } from "node:net";
import { UserNetEnd } from "../../devices/host/net_user.ts";
import type { PortSide } from "../../devices/net/end.ts";
import { toPlainFrames } from "../../devices/net/offload.ts";
import { createPortMemory, NetPort } from "../../devices/net/port.ts";
import type { UserNetConfig } from "../../devices/net/user/config.ts";
import { PROTOCOL } from "../../devices/net/user/packet.ts";
import { CONFIG, FakeHost, GuestTcp, HOST_IP, readUdp } from "./user_guest.ts";

const MiB = 2 ** 20;
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** The guest's side of a real network: a host to GuestTcp, whose frames cross a port. */
class Wire extends FakeHost {
  readonly side: PortSide = { port: new NetPort(createPortMemory()), wake: () => {} };
  end!: UserNetEnd;
  readonly warnings: string[] = [];

  static async open(config: Partial<UserNetConfig> = {}): Promise<Wire> {
    const wire = new Wire(), warn = (line: string) => wire.warnings.push(line);
    wire.end = await UserNetEnd.open(wire.side, { ...CONFIG, ...config }, () => performance.now(), warn);
    // What FakeHost makes of the guest's packets goes over the wire.
    wire.net.record = (record) => assert.ok(wire.side.port.toHost.push(record));
    return wire;
  }
  override take(): Uint8Array[] {
    const out: Uint8Array[] = [], { toGuest } = this.side.port;
    for (let record = toGuest.peek(); record !== null; record = toGuest.peek()) {
      toPlainFrames(record.slice(), (frame) => out.push(frame.slice()));
      toGuest.release();
    }
    return out;
  }
  /** Lets the daemon's side work until `what`. */
  async until(what: () => boolean, each: () => void = () => {}): Promise<void> {
    for (const end = performance.now() + 60_000; !what() && performance.now() < end;) {
      this.end.service();
      each();
      await pause(0);
    }
    assert.ok(what(), what.toString());
  }
}

async function connected(port: number) {
  const wire = await Wire.open(), guest = new GuestTcp(wire, 40000, HOST_IP, port);
  guest.syn();
  await wire.until(() => guest.theirWindow > 0 || guest.resetGot, () => guest.receive());
  return { wire, guest };
}

Deno.test("a host that does not read stops the guest; then it gets everything, and it cost little", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }), accepted = listener.accept();
  const { wire, guest } = await connected(listener.addr.port), conn = await accepted;
  const piece = Uint8Array.from({ length: 1400 }, (_, n) => n);
  let sent = 0, quiet = 0;
  const send = () => {
    guest.receive();
    let moved = false;
    while (guest.theirWindow - ((guest.sequence - guest.acknowledged) | 0) >= piece.length) {
      if (!wire.side.port.toHost.hasRoom(2000)) break;
      piece[0] = sent / piece.length;
      guest.send(piece);
      sent += piece.length;
      moved = true;
    }
    quiet = moved ? 0 : quiet + 1;
  };
  // The host's kernel has buffers of its own, some megabytes; what we keep is bounded besides.
  await wire.until(() => quiet > 100, send);
  assert.ok(sent < 32 * MiB, `${sent} bytes went to somebody who does not read`);
  const stopped = sent;
  let got = 0, good = true;
  const reading = (async () => {
    const buffer = new Uint8Array(65536);
    while (got < stopped) {
      const count = await conn.read(buffer) ?? assert.fail("the stream ended");
      for (let n = 0; n < count; n++) {
        const at = got + n, expected = at % 1400 === 0 ? (at / 1400) & 255 : at % 1400 & 255;
        good &&= buffer[n] === expected;
      }
      got += count;
    }
  })();
  await wire.until(() => got >= stopped, () => guest.receive());
  await reading;
  assert.ok(good, "the bytes are the ones that were sent");
  wire.end.close();
  conn.close();
  listener.close();
});

Deno.test("a guest that does not read stops the host; then it gets everything, and it cost little", async () => {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }), total = 24 * MiB;
  const block = Uint8Array.from({ length: 65536 }, (_, n) => n * 31 >>> 3);
  let written = 0;
  const serving = listener.accept().then(async (conn) => {
    while (written < total) written += await conn.write(block.subarray(written % block.length));
    conn.close();
  });
  const { wire, guest } = await connected(listener.addr.port);
  guest.autoAcknowledge = false;
  guest.window = 0;
  guest.emit(16);
  let last = -1, quiet = 0;
  await wire.until(() => quiet > 200, () => {
    wire.take();
    quiet = written === last ? quiet + 1 : 0;
    last = written;
  });
  // What was written is with the host's kernel, which has some megabytes, or with us.
  assert.ok(written < total, "it waits");
  guest.window = 65535;
  guest.autoAcknowledge = true;
  let read = 0, good = true;
  guest.emit(16);
  await wire.until(() => read >= total, () => {
    guest.receive();
    for (const byte of guest.got) good &&= byte === block[read++ % block.length];
    guest.got.length = 0;
  });
  assert.ok(good, "the bytes are the ones that were sent");
  await serving;
  wire.end.close();
  listener.close();
});

Deno.test("a peer's reset reaches the guest, and nobody is there for a closed port", async () => {
  const accepted = Promise.withResolvers<Socket>(), server = createServer(accepted.resolve);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo, { wire, guest } = await connected(port);
  (await accepted.promise).resetAndDestroy();
  await wire.until(() => guest.resetGot || guest.finGot, () => guest.receive());
  assert.equal(guest.resetGot, true);
  wire.end.close();
  await new Promise<void>((resolve) => server.close(() => resolve()));
  const nobody = await connected(port);
  assert.equal(nobody.guest.resetGot, true);
  nobody.wire.end.close();
});

Deno.test("forwarded ports lead to the guest, TCP and UDP, and answers come back", async () => {
  const forward = { hostAddress: "127.0.0.1", hostPort: 0, guestAddress: null, guestPort: 7 } as const;
  const wire = await Wire.open({
    forwards: [{ ...forward, protocol: "tcp" }, { ...forward, protocol: "udp" }],
  });
  const [tcp, udp] = wire.warnings.map((line) => Number(/:(\d+) leads to port 7/.exec(line)?.[1]));
  wire.sendUdp(HOST_IP, 5, 5, new Uint8Array(1));
  wire.end.service();
  const socket = createSocket("udp4"),
    answer = new Promise<string>((resolve) => socket.once("message", (data) => resolve(data.toString())));
  socket.send("question", udp!, "127.0.0.1");
  let asked: ReturnType<typeof readUdp> | null = null;
  await wire.until(() => asked !== null, () => {
    for (const frame of wire.take()) asked ??= readUdp(frame);
  });
  assert.deepEqual([new TextDecoder().decode(asked!.data), asked!.toPort], ["question", 7]);
  wire.sendUdp(HOST_IP, 7, asked!.fromPort, new TextEncoder().encode("answer"));
  await wire.until(() => wire.side.port.toHost.empty);
  assert.equal(await answer, "answer");
  await new Promise<void>((resolve) => socket.close(() => resolve()));
  // A guest that refuses: the host's connection ends.
  const conn = await Deno.connect({ hostname: "127.0.0.1", port: tcp! });
  let syn = false;
  await wire.until(() => syn, () => {
    for (const frame of wire.take()) {
      const at = 34;
      if (frame[23] !== PROTOCOL.TCP || (frame[at + 13]! & 2) === 0) continue;
      const guest = new GuestTcp(wire, 7, HOST_IP, frame[at]! << 8 | frame[at + 1]!);
      guest.received = (new DataView(frame.buffer, frame.byteOffset).getUint32(at + 4) + 1) >>> 0;
      guest.emit(4 | 16);
      syn = true;
    }
  });
  await wire.until(() => wire.side.port.toHost.empty);
  assert.equal(await conn.read(new Uint8Array(1)).catch(() => null), null);
  conn.close();
  wire.end.close();
  await assert.rejects(
    Wire.open({ forwards: [{ ...forward, protocol: "tcp", hostAddress: "192.0.2.77" }] }),
    /cannot listen on tcp:192\.0\.2\.77:0/,
  );
});
