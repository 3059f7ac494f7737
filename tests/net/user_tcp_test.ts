// TCP of the user-mode network against a guest that is driven by hand.

import assert from "node:assert/strict";
import { FLAG } from "../../devices/net/user/tcp_segment.ts";
import { FakeHost, FakeStream, GuestTcp, HOST_IP } from "./user_guest.ts";

const numbers = (count: number, first = 0) => Uint8Array.from({ length: count }, (_, n) => first + n * 7);

async function connected(host = new FakeHost(), options?: readonly number[]) {
  const guest = new GuestTcp(host, 40000, HOST_IP, 80), stream = new FakeStream();
  guest.syn(options);
  await host.settle();
  assert.deepEqual(host.connects[0]!.address, { kind: "tcp", host: "127.0.0.1", port: 80 });
  assert.equal(host.frames.length, 0, "no answer before the host has one");
  host.connects[0]!.accept(stream);
  await host.settle();
  const [answer] = guest.receive();
  assert.equal(answer!.flags, FLAG.SYN | FLAG.ACK);
  assert.equal(guest.acknowledged, guest.sequence);
  await host.settle();
  return { host, guest, stream };
}

Deno.test("a connection carries bytes in both directions and ends in both", async () => {
  const { host, guest, stream } = await connected();
  guest.send(numbers(1000));
  await host.settle();
  assert.deepEqual(stream.taken, [...numbers(1000)]);
  stream.give(numbers(5000));
  await host.settle();
  guest.receive();
  assert.deepEqual(guest.got, [...numbers(5000)]);
  // The guest ends its direction; the other goes on.
  guest.fin();
  await host.settle();
  assert.equal(stream.writeEnded, true);
  stream.give([1, 2, 3]);
  await host.settle();
  guest.receive();
  assert.deepEqual(guest.got.slice(5000), [1, 2, 3]);
  stream.end();
  await host.settle();
  guest.receive();
  await host.settle();
  assert.equal(guest.finGot, true);
  assert.equal(stream.closed, true);
  assert.equal(host.net.connectionCount, 0);
});

Deno.test("small data is acknowledged by the answer, or after a moment; much data and the end at once", async () => {
  const { host, guest, stream } = await connected();
  guest.send(numbers(10));
  await host.settle();
  assert.equal(host.frames.length, 0);
  stream.give([1]);
  await host.settle();
  const [answer, ...others] = guest.receive();
  assert.deepEqual([answer!.data.length, answer!.acknowledged, others.length], [1, guest.sequence, 0]);
  guest.send(numbers(10));
  await host.settle();
  host.nowMs += 4;
  host.net.tick();
  await host.settle();
  assert.equal(host.frames.length, 0);
  assert.equal(host.net.deadlineMs, host.nowMs + 1);
  host.nowMs += 1;
  host.net.tick();
  await host.settle();
  guest.receive();
  assert.equal(guest.acknowledged, guest.sequence);
  guest.send(numbers(1460));
  await host.settle();
  assert.equal(host.frames.length, 0);
  guest.send(numbers(1460));
  await host.settle();
  guest.receive();
  assert.equal(guest.acknowledged, guest.sequence);
  guest.fin();
  await host.settle();
  guest.receive();
  assert.equal(guest.acknowledged, guest.sequence);
});

Deno.test("the host ends its direction first, and the guest may go on", async () => {
  const { host, guest, stream } = await connected();
  stream.give([9]);
  stream.end();
  await host.settle();
  guest.receive();
  assert.equal(guest.finGot, true);
  guest.send(numbers(10));
  guest.fin();
  await host.settle();
  assert.deepEqual(stream.taken, [...numbers(10)]);
  assert.equal(stream.writeEnded, true);
  guest.receive();
  await host.settle();
  assert.equal(host.net.connectionCount, 0);
});

Deno.test("who is not there refuses; who breaks off is heard of", async () => {
  const host = new FakeHost(), guest = new GuestTcp(host, 40000, HOST_IP, 81);
  guest.syn();
  host.connects[0]!.refuse();
  await host.settle();
  guest.receive();
  assert.equal(guest.resetGot, true);
  assert.equal(host.net.connectionCount, 0);
  const open = await connected();
  open.stream.break();
  await open.host.settle();
  open.guest.receive();
  assert.equal(open.guest.resetGot, true);
  assert.equal(open.stream.closed, true);
  const reset = await connected();
  reset.guest.emit(FLAG.RST);
  assert.equal(reset.stream.closed, true);
  const wrong = await connected();
  wrong.guest.emit(FLAG.RST, undefined, [], wrong.guest.sequence + 5);
  assert.equal(wrong.stream.closed, false, "a reset with another number is answered");
  await wrong.host.settle();
  assert.equal(wrong.guest.receive()[0]!.flags, FLAG.ACK);
});

Deno.test("a guest that gives up while the host connects is not connected", async () => {
  const host = new FakeHost(), guest = new GuestTcp(host, 40000, HOST_IP, 80), stream = new FakeStream();
  guest.syn();
  guest.emit(FLAG.RST);
  assert.equal(host.net.connectionCount, 0);
  host.connects[0]!.accept(stream);
  await host.settle();
  assert.equal(stream.closed, true);
});

Deno.test("a host that reads slowly closes the guest's window; memory is bounded and nothing is lost", async () => {
  const { host, guest, stream } = await connected();
  stream.appetite = 0;
  let sent = 0;
  for (let n = 0; n < 1000; n++) {
    const inFlight = (guest.sequence - guest.acknowledged) | 0, room = guest.theirWindow - inFlight;
    if (room <= 0) break;
    const data = numbers(Math.min(1400, room), sent);
    guest.send(data);
    sent += data.length;
    await host.settle();
    host.nowMs += 5;
    host.net.tick();
    await host.settle();
    guest.receive();
  }
  assert.equal(guest.theirWindow, 0);
  assert.ok(sent <= 512 * 1024, `${sent} bytes`);
  guest.emit(FLAG.ACK, new Uint8Array(100));
  await host.settle();
  guest.receive();
  const more = (guest.acknowledged - guest.sequence) | 0;
  assert.ok(more < 16, "what is beyond the window is not taken, but for what a scaled window cannot say");
  stream.eat(sent + more);
  await host.settle();
  guest.receive();
  assert.ok(guest.theirWindow >= 128 * 1024, "the guest is told of the room");
  assert.equal(stream.taken.length, sent + more);
});

Deno.test("a guest that reads slowly stops the host's socket; it is asked whether it still lives", async () => {
  const { host, guest, stream } = await connected();
  guest.autoAcknowledge = false;
  stream.give(numbers(1_000_000));
  for (let n = 0; n < 50; n++) {
    await host.settle();
    guest.receive();
  }
  assert.ok(guest.got.length > 64_000 && guest.got.length <= 65535, "the window was used, and no more");
  assert.ok(stream.reads <= 256 * 1024, `${stream.reads} bytes were read`);
  guest.window = 0;
  guest.emit(FLAG.ACK);
  await host.settle();
  for (let n = 0; n < 20; n++) {
    host.nowMs += 31_000;
    host.net.tick();
    await host.settle();
    const probes = guest.receive();
    assert.equal(probes.length, 1);
    assert.equal(probes[0]!.data.length, 1);
    guest.emit(FLAG.ACK);
    await host.settle();
  }
  guest.window = 65535;
  guest.autoAcknowledge = true;
  guest.emit(FLAG.ACK);
  for (let n = 0; n < 2000 && guest.got.length < 1_000_000; n++) {
    await host.settle();
    guest.receive();
  }
  assert.deepEqual(Uint8Array.from(guest.got), numbers(1_000_000));
});

Deno.test("segments that the guest loses are sent again: after three hints at once, else after a time", async () => {
  const { host, guest, stream } = await connected();
  let n = 0;
  guest.lose = ({ data }) => data.length > 0 && n++ === 2;
  stream.give(numbers(20_000));
  await host.settle();
  for (let round = 0; round < 20; round++) {
    guest.receive();
    await host.settle();
  }
  assert.deepEqual(Uint8Array.from(guest.got), numbers(20_000), "without the clock");
  guest.lose = ({ data }) => data.length > 0;
  stream.give([1, 2, 3]);
  await host.settle();
  guest.receive();
  guest.lose = null;
  host.nowMs += 900;
  host.net.tick();
  assert.deepEqual(guest.receive(), []);
  host.nowMs += 200;
  host.net.tick();
  await host.settle();
  guest.receive();
  assert.deepEqual(guest.got.slice(20_000), [1, 2, 3]);
  // Nothing comes twice when nothing was lost, however long it takes: the frames are still in the ring.
  stream.give([4]);
  await host.settle();
  host.nowMs += 100_000;
  host.net.tick();
  await host.settle();
  assert.equal(guest.receive().length, 1);
  await host.settle();
  guest.lose = () => true;
  stream.give([5]);
  for (let tries = 0; tries < 12; tries++) {
    await host.settle();
    guest.receive();
    host.nowMs += 40_000;
    host.net.tick();
  }
  assert.equal(host.net.connectionCount, 0, "a guest that is gone is given up");
  assert.equal(stream.closed, true);
});

Deno.test("with one frame of room at a time, bytes still come, and others' too", async () => {
  const { host, guest, stream } = await connected();
  host.room = 1;
  stream.give(numbers(50_000));
  for (let n = 0; n < 200 && guest.got.length < 50_000; n++) {
    await host.settle();
    guest.receive();
  }
  assert.deepEqual(Uint8Array.from(guest.got), numbers(50_000));
});

Deno.test("what comes twice, in pieces or out of order is put together right", async () => {
  const { host, guest, stream } = await connected(), data = numbers(3000), start = guest.sequence;
  guest.emit(FLAG.ACK, data.subarray(1000, 2000), [], start + 1000);
  guest.emit(FLAG.ACK, data.subarray(0, 1000), [], start);
  guest.emit(FLAG.ACK, data.subarray(0, 1000), [], start);
  guest.emit(FLAG.ACK, data.subarray(500, 2500), [], start + 500);
  guest.emit(FLAG.ACK, data.subarray(2000, 3000), [], start + 2000);
  await host.settle();
  assert.deepEqual(stream.taken, [...data]);
});

Deno.test("large segments and unfinished checksums go only to a guest that takes them", async () => {
  const host = new FakeHost();
  host.takesChecksums = host.takesSegments = true;
  const { guest, stream } = await connected(host);
  stream.give(numbers(60_000));
  await host.settle();
  assert.ok(host.frames.some((frame) => frame.length > 30_000), "one large one");
  guest.receive();
  await host.settle();
  guest.receive();
  assert.deepEqual(Uint8Array.from(guest.got), numbers(60_000), "cut into frames they are the same");
});

Deno.test("without window scaling, and with a small segment size", async () => {
  const { host, guest, stream } = await connected(new FakeHost(), [2, 4, 0, 100]);
  assert.equal(guest.theirScale, 0);
  stream.give(numbers(1000));
  await host.settle();
  const segments = guest.receive();
  assert.ok(segments.length >= 10 && segments.every(({ data, window }) => data.length <= 100 && window === 65535));
  guest.send(numbers(10));
  await host.settle();
  assert.deepEqual(stream.taken, [...numbers(10)]);
});

Deno.test("a connection from outside is opened to the guest, once it is known where that is", async () => {
  const host = new FakeHost(), stream = new FakeStream();
  host.net.accept(stream, { protocol: "tcp", hostAddress: "", hostPort: 1, guestAddress: null, guestPort: 22 });
  await host.settle();
  const [question] = host.take();
  assert.deepEqual([...question!.subarray(12, 14), question![21]], [8, 6, 1], "who has it?");
  const reply = question!.slice();
  reply[21] = 2;
  reply.set(question!.subarray(28, 32), 38);
  reply.set([10, 0, 2, 15], 28);
  reply.set([0x52, 0x54, 0, 0x12, 0x34, 0x56], 22);
  host.net.record(Uint8Array.of(...new Uint8Array(12), ...reply));
  await host.settle();
  const guest = new GuestTcp(host, 22, HOST_IP, 49152);
  // Its own answer, with its own number.
  guest.lose = (segment) => {
    guest.received = (segment.sequence + 1) >>> 0;
    return true;
  };
  assert.deepEqual(guest.receive(), []);
  guest.lose = null;
  guest.emit(FLAG.SYN | FLAG.ACK, undefined, [2, 4, 5, 180]);
  guest.sequence = (guest.sequence + 1) >>> 0;
  await host.settle();
  guest.send(numbers(5));
  await host.settle();
  assert.deepEqual(stream.taken, [...numbers(5)]);
});
