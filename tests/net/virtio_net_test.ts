// The network device over a real transport and port, driven by the fake driver.

import assert from "node:assert/strict";
import { LONGEST_FRAME, NET_HEADER_BYTES, OFFLOAD } from "../../devices/net/offload.ts";
import { FEATURE } from "../../devices/virtio/device.ts";
import { VirtioNet } from "../../devices/virtio/net.ts";
import { NET_F } from "../../devices/virtio/net_features.ts";
import { ACK, CTRL_CLASS, CTRL_MAC } from "../../devices/virtio/net_filter.ts";
import { giveLink } from "../../devices/net/end.ts";
import { LINK, WANTS } from "../../devices/net/port.ts";
import { FakeDriver, REG } from "../virtio/driver.ts";
import { BROADCAST, ethernet, MAC, portPair, record } from "./ends.ts";

const PAYLOAD = Uint8Array.from({ length: 50 }, (_, n) => n);
const FRAME = ethernet(MAC, 0x88b5, PAYLOAD);

function nic(features?: bigint, options: { mtu?: number; offloads?: boolean } = {}) {
  const { port, backend, count } = portPair();
  const device = new VirtioNet({ backend, mac: MAC, mtu: options.mtu ?? 0, offloads: options.offloads ?? true });
  const driver = new FakeDriver(device).bringUp(features);
  const [rx, tx, ctrl] = driver.queues as [typeof driver.queues[0], typeof driver.queues[0], typeof driver.queues[0]];
  const command = (kind: number, number: number, ...data: number[]) =>
    ctrl!.ask([Uint8Array.of(kind, number), Uint8Array.from(data)], [1])[0];
  return { port, count, device, driver, rx: rx!, tx: tx!, ctrl: ctrl!, command };
}
/** Brings `frame` to the guest and says whether it got it. */
function arrives({ port, device, rx }: ReturnType<typeof nic>, frame: Uint8Array): boolean {
  const before = device.counters.receivedFrames;
  rx.add([], [2048]);
  assert.ok(port.toGuest.push(record(frame)));
  device.pump();
  rx.poll();
  return device.counters.receivedFrames > before;
}

Deno.test("the configuration says address, link and MTU", () => {
  const { driver } = nic(undefined, { mtu: 9000 });
  assert.equal(driver.read(REG.DeviceID), 1);
  assert.equal(driver.read(REG.Config), 0x12005452);
  assert.equal(driver.read(REG.Config + 4), 0x00015634);
  assert.equal(driver.read(REG.Config + 8, 2), 1);
  assert.equal(driver.read(REG.Config + 10, 2), 9000);
  assert.equal(nic().driver.offered() & NET_F.MTU, 0n);
});

Deno.test("a frame that the guest sends reaches the port once, in one bell for a batch", () => {
  const { port, tx, count, driver } = nic();
  const rung = count.rung;
  for (let n = 0; n < 3; n++) tx.add([new Uint8Array(NET_HEADER_BYTES), FRAME.subarray(0, 20), FRAME.subarray(20)], []);
  tx.kick();
  assert.equal(tx.poll().length, 3);
  assert.equal(count.rung, rung + 1);
  for (let n = 0; n < 3; n++) {
    assert.deepEqual(port.toHost.peek()?.slice(), record(FRAME));
    port.toHost.release();
  }
  assert.equal(port.toHost.peek(), null);
  assert.deepEqual(driver.record.errors, []);
});

Deno.test("the host is told of the first frame at once, and of others soon, or before the machine sleeps", () => {
  const { backend, count, port } = portPair(), device = new VirtioNet({ backend, mac: MAC, mtu: 0, offloads: true });
  const tx = new FakeDriver(device).bringUp().queues[1]!;
  const rings = (nowMs: number) => {
    const before = count.rung;
    count.nowMs = nowMs;
    tx.add([new Uint8Array(NET_HEADER_BYTES), FRAME], []);
    tx.kick();
    return count.rung - before;
  };
  assert.equal(rings(100), 1);
  assert.equal(rings(100.1), 0);
  device.pump();
  assert.equal(count.rung, 1);
  count.nowMs = 100.6;
  device.pump();
  assert.equal(count.rung, 2);
  device.pump();
  assert.equal(count.rung, 2, "once");
  assert.equal(rings(100.7), 0);
  backend.flushLate();
  assert.equal(count.rung, 3);
  backend.flushLate();
  assert.equal(count.rung, 3, "there is nothing to tell");
  backend.rest();
  assert.equal(rings(100.71), 1, "the first one after a rest");
  assert.equal(rings(100.72), 0);
  backend.flushTaken();
  assert.equal(rings(100.73), 1, "an answer");
  const big = new Uint8Array(60_000);
  for (let n = 0; n < 2; n++) tx.add([new Uint8Array(NET_HEADER_BYTES), big], []);
  tx.kick();
  assert.equal(count.rung, 6, "much is told of at once");
  // While the host looks by itself, it is not woken.
  port.wake(WANTS.FRAMES, false);
  assert.equal(rings(200), 0);
});

Deno.test("what the guest sends waits for room, and nothing is lost", () => {
  const { port, tx, device, driver } = nic(), big = new Uint8Array(60000);
  for (let n = 0; n < 10; n++) {
    big[20] = n;
    tx.add([new Uint8Array(NET_HEADER_BYTES), big], []);
  }
  tx.kick();
  const first = tx.poll().length;
  assert.ok(first >= 3 && first < 10);
  assert.equal(device.hasInput, false);
  const seen: number[] = [];
  for (let record = port.toHost.peek(); record !== null; record = port.toHost.peek()) {
    seen.push(record[NET_HEADER_BYTES + 20]!);
    port.toHost.release();
    if (device.hasInput) device.pump();
  }
  assert.deepEqual(seen, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  assert.equal(tx.poll().length, 10 - first);
  assert.deepEqual(driver.record.errors, []);
});

Deno.test("a received frame goes into one buffer, or into several", () => {
  const one = nic(), { rx } = one;
  const { room } = rx.add([], [12, 200]);
  one.port.toGuest.push(record(FRAME));
  one.device.pump();
  const [used] = rx.poll();
  assert.equal(used!.written, NET_HEADER_BYTES + FRAME.length);
  const header = new Uint8Array(NET_HEADER_BYTES);
  header[10] = 1;
  assert.deepEqual(rx.answer(room, used!.written), Uint8Array.of(...header, ...FRAME));

  const many = nic(), buffers = [0, 1, 2].map(() => many.rx.add([], [24]));
  many.port.toGuest.push(record(FRAME));
  many.device.pump();
  assert.deepEqual(many.rx.poll(), [], "three buffers are too few");
  assert.equal(many.device.hasInput, false);
  buffers.push(many.rx.add([], [24]));
  assert.equal(many.device.hasInput, true);
  many.rx.kick();
  assert.deepEqual(many.rx.poll(), [], "frames are let in between slices only");
  many.device.pump();
  const got = many.rx.poll();
  assert.deepEqual(got.map(({ written }) => written), [24, 24, 24, 4]);
  const bytes = got.flatMap(({ written }, n) => [...many.rx.answer(buffers[n]!.room, written)]);
  assert.equal(bytes[10], 4, "num_buffers");
  assert.deepEqual(bytes.slice(NET_HEADER_BYTES), [...FRAME]);
});

Deno.test("without mergeable buffers a frame that does not fit is lost, and the next one is not", () => {
  const it = nic(FEATURE.VERSION_1 | NET_F.MAC);
  it.rx.add([], [40]);
  it.port.toGuest.push(record(FRAME));
  it.device.pump();
  assert.equal(it.device.counters.receivedDropped, 1);
  assert.deepEqual(it.rx.poll(), [{ head: 0, written: 0 }]);
  assert.equal(arrives(it, FRAME), true);
});

Deno.test("frames for nobody are dropped: before the driver is there, and when its link is told", () => {
  const { port, backend } = portPair();
  const device = new VirtioNet({ backend, mac: MAC, mtu: 0, offloads: true }), driver = new FakeDriver(device);
  port.toGuest.push(record(FRAME));
  port.toGuest.push(Uint8Array.of(0));
  device.pump();
  assert.equal(port.toGuest.peek(), null);
  assert.equal(device.counters.receivedDropped, 1);
  driver.bringUp();
  assert.equal(driver.read(REG.Config + 6, 2), 0, "the link is down, through the reset");
  port.toGuest.push(Uint8Array.of(1));
  device.pump();
  assert.equal(driver.read(REG.Config + 6, 2), 1);
  assert.equal(driver.read(REG.InterruptStatus), 2);
});

Deno.test("frames that the guest gets wrong are dropped and told, and the device goes on", () => {
  const it = nic(), { tx, device, driver } = it, plain = NET_F.MAC | FEATURE.VERSION_1, without = nic(plain);
  const send = (nicUnder: ReturnType<typeof nic>, bytes: Uint8Array) => {
    nicUnder.tx.add([bytes], []);
    nicUnder.tx.kick();
    assert.equal(nicUnder.tx.poll().length, 1);
  };
  send(it, new Uint8Array(NET_HEADER_BYTES + 13));
  send(it, new Uint8Array(NET_HEADER_BYTES + LONGEST_FRAME + 1));
  send(it, record(FRAME, [1, 0, 0, 0, 0, 0, 60, 0, 4, 0]));
  send(it, record(FRAME, [1, 1, 0, 0, 0, 0, 34, 0, 16, 0]));
  send(it, record(FRAME, [0, 1, 0, 0, 100, 0, 34, 0, 16, 0]));
  send(it, record(FRAME, [1, 3, 0, 0, 100, 0, 34, 0, 16, 0]));
  send(without, record(FRAME, [1, 0, 0, 0, 0, 0, 34, 0, 16, 0]));
  assert.equal(device.counters.sentErrors, 6);
  assert.equal(driver.record.errors.length, 6);
  assert.equal(without.device.counters.sentErrors, 1);
  assert.equal(it.port.toHost.peek(), null);
  assert.equal(driver.needsReset, false);
  send(it, record(FRAME));
  assert.equal(device.counters.sentFrames, 1);
  tx.add([], [64]);
  tx.kick();
  assert.equal(device.counters.sentErrors, 7, "a buffer to write is no frame");
});

Deno.test("filters: address, broadcast, multicast tables, VLANs", () => {
  const it = nic(),
    { command, driver } = it,
    other = Uint8Array.of(2, 0, 0, 0, 0, 9),
    group = Uint8Array.of(1, 0, 94, 0, 0, 1);
  const to = (address: Uint8Array) => arrives(it, ethernet(address, 0x88b5, PAYLOAD, other));
  assert.equal(to(other), true, "promiscuous until told otherwise");
  assert.equal(command(CTRL_CLASS.RX, 0, 0), ACK.OK);
  assert.deepEqual([to(MAC), to(BROADCAST), to(other), to(group)], [true, true, false, false]);
  assert.equal(command(CTRL_CLASS.RX, 1, 1), ACK.OK);
  assert.equal(to(group), true);
  assert.equal(command(CTRL_CLASS.RX, 3, 1), ACK.OK);
  assert.equal(to(group), false);
  assert.equal(command(CTRL_CLASS.RX, 1, 0) ?? command(CTRL_CLASS.RX, 3, 0), ACK.OK);
  command(CTRL_CLASS.RX, 3, 0);
  assert.equal(command(CTRL_CLASS.RX, 5, 1), ACK.OK);
  assert.equal(to(BROADCAST), false);
  assert.equal(command(CTRL_CLASS.RX, 5, 0), ACK.OK);
  assert.equal(command(CTRL_CLASS.MAC, CTRL_MAC.TABLE_SET, 1, 0, 0, 0, ...other, 1, 0, 0, 0, ...group), ACK.OK);
  assert.deepEqual([to(other), to(group), to(Uint8Array.of(1, 0, 94, 0, 0, 2))], [true, true, false]);
  const many = Array.from({ length: 65 }, (_, n) => [1, 0, 94, 0, 1, n]).flat();
  assert.equal(command(CTRL_CLASS.MAC, CTRL_MAC.TABLE_SET, 0, 0, 0, 0, 65, 0, 0, 0, ...many), ACK.OK);
  assert.deepEqual([to(other), to(Uint8Array.of(1, 0, 94, 0, 0, 2))], [false, true]);
  const tagged = (vlan: number) => arrives(it, ethernet(MAC, 0x8100, Uint8Array.of(vlan >> 8, vlan & 255, 8, 0, 1, 2)));
  assert.equal(tagged(100), false);
  assert.equal(command(CTRL_CLASS.VLAN, 0, 100, 0), ACK.OK);
  assert.deepEqual([tagged(100), tagged(101)], [true, false]);
  assert.equal(command(CTRL_CLASS.VLAN, 1, 100, 0), ACK.OK);
  assert.equal(tagged(100), false);
  assert.equal(command(CTRL_CLASS.MAC, CTRL_MAC.ADDR_SET, ...other), ACK.OK);
  assert.deepEqual([to(MAC), to(other)], [false, true]);
  assert.deepEqual(driver.record.errors, []);
});

Deno.test("commands that make no sense are answered with an error", () => {
  const { command, driver, ctrl } = nic();
  for (
    const [kind, number, ...data] of [
      [9, 0, 0],
      [0, 6, 1],
      [0, 0, 2],
      [0, 0, 1, 1],
      [1, 0, 1, 0, 0, 0],
      [1, 0, 255, 255, 255, 255, 0, 0, 0, 0],
      [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 9],
      [1, 1, 1, 2, 3],
      [2, 0, 0, 16],
      [2, 2, 0, 0],
      [5, 0, 255, 255, 255, 255, 255, 255, 255, 255],
      [5, 0, 1],
    ] as [number, number, ...number[]][]
  ) assert.equal(command(kind, number, ...data), ACK.ERR, `${kind} ${number} ${data}`);
  assert.equal(driver.needsReset, false);
  ctrl.add([Uint8Array.of(1)], [1]);
  ctrl.kick();
  assert.equal(driver.needsReset, true, "a command without a header");
});

Deno.test("the port is told of what the driver takes", () => {
  const { port, command, driver } = nic();
  assert.equal(port.offloads, OFFLOAD.CSUM | OFFLOAD.TSO4 | OFFLOAD.TSO6);
  assert.equal(command(CTRL_CLASS.GUEST_OFFLOADS, 0, 2, 0, 0, 0, 0, 0, 0, 0), ACK.OK);
  assert.equal(port.offloads, OFFLOAD.CSUM);
  driver.write(REG.Status, 0);
  assert.equal(port.offloads, 0);
  assert.equal(nic(undefined, { offloads: false }).port.offloads, 0);
});

Deno.test("a driver that does not take checksums gets them whole; one that does not take segments loses them", () => {
  const it = nic(FEATURE.VERSION_1 | NET_F.MAC), { port, device, rx } = it;
  const { room } = rx.add([], [2048]);
  port.toGuest.push(record(FRAME, [1, 0, 0, 0, 0, 0, 14, 0, 6, 0]));
  port.toGuest.push(record(FRAME, [1, 1, 0, 0, 9, 0, 14, 0, 16, 0]));
  device.pump();
  const [used, ...more] = rx.poll(), bytes = rx.answer(room, used!.written);
  assert.deepEqual(more, []);
  assert.equal(bytes[0], 0);
  let sum = 0;
  for (let at = NET_HEADER_BYTES + 14; at < bytes.length; at += 2) {
    sum += at === NET_HEADER_BYTES + 20 ? 6 * 256 + 7 : bytes[at]! * 256 + bytes[at + 1]!;
  }
  sum = (sum & 0xffff) + (sum >>> 16);
  assert.equal(bytes[NET_HEADER_BYTES + 20]! * 256 + bytes[NET_HEADER_BYTES + 21]!, ~sum & 0xffff);
  assert.equal(device.counters.receivedDropped, 1);
});

Deno.test("features that need another are not accepted alone", () => {
  const { driver } = nic(FEATURE.VERSION_1 | NET_F.HOST_TSO4);
  assert.equal(driver.status & 8, 0);
  assert.match(driver.record.errors[0]!, /HOST_TSO4 without VIRTIO_NET_F_CSUM/);
});

Deno.test("a cable that the operator pulls lets nothing through; it is plugged in only when both sides want it", () => {
  const it = nic(), { driver, device, port, tx } = it, link = () => driver.read(REG.Config + 6, 2);
  const generation = driver.read(REG.ConfigGeneration);
  device.setLink(false);
  assert.deepEqual([link(), driver.read(REG.ConfigGeneration)], [0, generation + 1]);
  assert.equal(arrives(it, FRAME), false);
  tx.add([new Uint8Array(NET_HEADER_BYTES), FRAME], []);
  tx.kick();
  assert.equal(tx.poll().length, 1);
  assert.ok(port.toHost.empty);
  assert.equal(device.counters.sentUnplugged, 1);
  // The other end goes away and comes back: the operator's word still holds, and the other way round.
  const told = (bits: number) => {
    assert.ok(giveLink(port, bits));
    device.pump();
    return link();
  };
  assert.equal(told(0), 0);
  assert.equal(told(LINK.UP), 0);
  assert.equal(told(LINK.OPERATOR | LINK.UP), 1);
  assert.equal(told(0), 0);
  assert.equal(told(LINK.OPERATOR | LINK.UP), 0);
  assert.equal(told(LINK.UP), 1);
  assert.equal(arrives(it, FRAME), true);
  assert.deepEqual(driver.record.errors, []);
});
