// The daemon's ends of networks, on ports and loopback sockets: streams that break in every way, datagrams, hubs, dumps.

import assert from "node:assert/strict";
import { FrameDump } from "../../devices/host/net_dump.ts";
import { DgramNet } from "../../devices/host/net_dgram.ts";
import { StreamNet } from "../../devices/host/net_stream.ts";
import type { NetworkEnd, PortSide } from "../../devices/net/end.ts";
import { Hub, HubPort, HubUplink } from "../../devices/net/hub.ts";
import { createPortMemory, NetPort } from "../../devices/net/port.ts";
import { putFramed } from "../../devices/net/stream_framing.ts";
import { freePort } from "./guest.ts";
import { ethernet, MAC, record } from "./ends.ts";

const frame = (n: number, length = 100) => ethernet(MAC, 0x88b5, new Uint8Array(length).fill(n));
const framed = (bytes: Uint8Array) => {
  const out = new Uint8Array(4 + bytes.length);
  putFramed(out, 0, bytes);
  return out;
};

/** A port whose machine is the test: frames that came, and what the link is. */
function machine() {
  const side: PortSide = { port: new NetPort(createPortMemory()), wake: () => {} };
  const it = { side, link: true, frames: [] as Uint8Array[], end: null as NetworkEnd | null };
  const take = () => {
    for (let each = side.port.toGuest.peek(); each !== null; each = side.port.toGuest.peek()) {
      if (each.length === 1) it.link = each[0] === 1;
      else it.frames.push(each.slice(12));
      side.port.toGuest.release();
    }
  };
  const until = async (what: () => boolean) => {
    for (let n = 0; n < 2000 && (take(), it.end?.service(), !what()); n++) await new Promise((r) => setTimeout(r, 2));
    assert.ok(what(), what.toString());
  };
  const send = (bytes: Uint8Array) => assert.ok(side.port.toHost.push(record(bytes)));
  return Object.assign(it, { until, send, take });
}

async function server(warn: (line: string) => void = () => {}) {
  const it = machine(), address = { kind: "tcp", host: "127.0.0.1", port: freePort() } as const;
  it.end = await StreamNet.open(it.side, { address, server: true, reconnectMs: null }, warn);
  const connect = () => Deno.connect({ hostname: "127.0.0.1", port: address.port });
  return Object.assign(it, { connect, address });
}

Deno.test("a stream's link follows its peers, one after the other", async () => {
  const it = await server();
  await it.until(() => !it.link);
  for (let n = 0; n < 3; n++) {
    const peer = await it.connect();
    await it.until(() => it.link);
    await peer.write(framed(frame(n)));
    await it.until(() => it.frames.length === n + 1);
    assert.deepEqual(it.frames[n], frame(n));
    it.send(frame(9));
    it.end!.service();
    const got = new Uint8Array(200);
    assert.equal(await peer.read(got), 4 + 114);
    assert.deepEqual(got.subarray(0, 118), framed(frame(9)));
    peer.close();
    await it.until(() => !it.link);
  }
  it.send(frame(1));
  await it.until(() => it.side.port.toHost.empty);
  it.end!.close();
});

Deno.test("a peer that sends no frames is disconnected, and the next one is welcome", async () => {
  const lines: string[] = [], it = await server((line) => lines.push(line));
  for (const bytes of [new TextEncoder().encode("GET / HTTP/1.0\r\n\r\n"), Uint8Array.of(255, 255, 255, 255)]) {
    const peer = await it.connect();
    await it.until(() => it.link);
    await peer.write(bytes);
    assert.equal(await peer.read(new Uint8Array(1)).catch(() => null), null);
    peer.close();
    await it.until(() => !it.link);
  }
  assert.equal(lines.length, 2);
  // Half a frame, then nobody: nothing comes, and the next peer starts anew.
  for (let cut = 1; cut < 118; cut++) {
    const peer = await it.connect();
    await it.until(() => it.link);
    await peer.write(framed(frame(1)).subarray(0, cut));
    peer.close();
    await it.until(() => !it.link);
  }
  assert.deepEqual(it.frames, []);
  const peer = await it.connect();
  await peer.write(framed(frame(7)));
  await it.until(() => it.frames.length === 1);
  peer.close();
  it.end!.close();
});

Deno.test("a guest that does not read stops its peer, and loses nothing", async () => {
  const it = await server(), peer = await it.connect(), count = 3000;
  let sent = 0;
  const all = (async () => {
    for (; sent < count; sent++) {
      const bytes = framed(frame(sent & 255, 1400));
      for (let at = 0; at < bytes.length;) at += await peer.write(bytes.subarray(at));
    }
  })();
  await new Promise((resolve) => setTimeout(resolve, 300));
  assert.ok(it.side.port.toGuest.usedBytes <= it.side.port.toGuest.capacityBytes);
  await it.until(() => it.frames.length === count);
  await all;
  assert.ok(it.frames.every((bytes, n) => bytes[20] === (n & 255)));
  peer.close();
  it.end!.close();
});

Deno.test("a peer that does not read stops the guest, and loses nothing", async () => {
  const it = await server(), peer = await it.connect(), count = 12_000;
  await it.until(() => it.link);
  let sent = 0;
  const push = () => {
    while (sent < count && it.side.port.toHost.push(record(frame(sent & 255, 1400)))) sent++;
  };
  for (let n = 0; n < 50; n++) {
    push();
    it.end!.service();
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  assert.ok(sent < count, "it has to wait");
  let bytes = 0;
  const buffer = new Uint8Array(65536);
  const reading = (async () => {
    while (bytes < count * 1418) bytes += await peer.read(buffer) ?? assert.fail("the stream ended");
  })();
  while (sent < count) {
    push();
    it.end!.service();
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
  await reading;
  peer.close();
  it.end!.close();
});

Deno.test("a client comes again after its server went away", async () => {
  const it = machine(), port = freePort(), address = { kind: "tcp", host: "127.0.0.1", port } as const;
  it.end = await StreamNet.open(it.side, { address, server: false, reconnectMs: 20 }, () => {});
  for (let n = 0; n < 2; n++) {
    const listener = Deno.listen({ hostname: "127.0.0.1", port });
    const peer = await listener.accept();
    await it.until(() => it.link);
    listener.close();
    peer.close();
    await it.until(() => !it.link);
  }
  it.end.close();
  await assert.rejects(
    StreamNet.open(machine().side, { address, server: false, reconnectMs: null }, () => {}),
    /cannot connect to tcp:127\.0\.0\.1:\d+: connection refused/,
  );
});

Deno.test("datagrams carry a frame each", async () => {
  const [a, b] = [machine(), machine()], ports = [freePort(), freePort()] as const, host = "127.0.0.1";
  a.end = await DgramNet.open(a.side, { host, port: ports[1], localHost: host, localPort: ports[0] });
  b.end = await DgramNet.open(b.side, { host, port: ports[0], localHost: host, localPort: ports[1] });
  a.send(frame(1));
  a.end.service();
  await b.until(() => b.frames.length === 1);
  b.send(frame(2, 9000));
  b.end.service();
  await a.until(() => a.frames.length === 1);
  assert.deepEqual([a.frames[0], b.frames[0]], [frame(2, 9000), frame(1)]);
  a.end.close();
  b.end.close();
});

Deno.test("a hub gives what one sends to all the others", () => {
  const hub = new Hub(0), machines = [machine(), machine(), machine()];
  const ports = machines.map(({ side }) => new HubPort(side, hub));
  machines[0]!.send(frame(5));
  ports[0]!.service();
  machines.forEach((each) => each.take());
  assert.deepEqual(machines.map(({ frames }) => frames.length), [0, 1, 1]);
  ports[1]!.close();
  machines[0]!.send(frame(6));
  ports[0]!.service();
  machines.forEach((each) => each.take());
  assert.deepEqual(machines.map(({ frames }) => frames.length), [0, 1, 2]);
});

Deno.test("a dump has both directions' frames, cut where asked for", async () => {
  const path = await Deno.makeTempFile(), dump = new FrameDump(path, 60, () => 1_700_000_000.25, () => {});
  const it = machine();
  it.side.port.toHost.tap = it.side.port.toGuest.tap = dump.record;
  it.send(frame(3));
  it.side.port.toHost.tap = dump.record;
  it.side.port.toGuest.push(Uint8Array.of(1));
  dump.close();
  const bytes = await Deno.readFile(path), view = new DataView(bytes.buffer);
  assert.equal(bytes.length, 24 + 16 + 60);
  assert.deepEqual([0, 16, 20].map((at) => view.getUint32(at, true)), [0xa1b2c3d4, 60, 1]);
  assert.deepEqual([24, 28, 32, 36].map((at) => view.getUint32(at, true)), [1_700_000_000, 250_000, 60, 114]);
  assert.deepEqual(bytes.subarray(40), frame(3).subarray(0, 60));
  await Deno.remove(path);
});

Deno.test("another network at a hub takes what the machines send, and gives to all of them", async () => {
  const hub = new Hub(0), machines = [machine(), machine()], uplink = new HubUplink(hub);
  const ports = machines.map(({ side }) => new HubPort(side, hub)),
    address = { kind: "tcp", host: "127.0.0.1" } as const;
  const port = freePort(), options = { address: { ...address, port }, server: true, reconnectMs: null };
  const end = uplink.end = await StreamNet.open(uplink.side, options, () => {});
  const peer = await Deno.connect({ hostname: "127.0.0.1", port }), got = new Uint8Array(200);
  await peer.write(framed(frame(3)));
  for (const each of machines) await each.until(() => each.frames.length === 1);
  machines[0]!.send(frame(4));
  ports[0]!.service();
  assert.equal(await peer.read(got), 118);
  assert.deepEqual(got.subarray(0, 118), framed(frame(4)));
  await machines[1]!.until(() => machines[1]!.frames.length === 2);
  assert.equal(machines[0]!.frames.length, 1);
  // A network that takes nothing loses frames, and holds nobody up.
  end.close();
  peer.close();
  const many = () => {
    for (let n = 0; n < 500; n++) {
      machines[0]!.send(frame(5, 1400));
      ports[0]!.service();
      machines[1]!.take();
    }
  };
  uplink.end = null;
  many();
  assert.ok(uplink.lostFrames > 0);
  assert.equal(machines[1]!.frames.length, 502);
});
