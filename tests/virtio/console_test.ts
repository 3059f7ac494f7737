// The console device: bytes through one port and several, control messages, and sides that do not take what they get.

import assert from "node:assert/strict";
import { CONSOLE_EVENT, VirtioConsole } from "../../devices/virtio/console.ts";
import type { PortBackend } from "../../devices/virtio/console_backend.ts";
import { FEATURE } from "../../devices/virtio/device.ts";
import { FakeDriver, REG } from "./driver.ts";

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const bytes = (words: string) => new TextEncoder().encode(words);

class Host implements PortBackend {
  room = 1e6;
  readonly sent: number[] = [];
  readonly coming: Uint8Array[] = [];
  transmit(data: Uint8Array): number {
    const count = Math.min(this.room, data.length);
    this.room -= count;
    this.sent.push(...data.subarray(0, count));
    return count;
  }
  flush(): void {}
  receive(): Uint8Array | null {
    return this.coming.shift() ?? null;
  }
  get hasInput(): boolean {
    return this.coming.length > 0;
  }
  get hasRoom(): boolean {
    return this.room > 0;
  }
  get output(): string {
    return text(Uint8Array.from(this.sent.splice(0)));
  }
}

function setUp(features?: bigint) {
  const hosts = [new Host(), new Host()],
    device = new VirtioConsole({
      maxPorts: 3,
      ports: [
        { number: 0, isConsole: true, name: "", backend: hosts[0]! },
        { number: 2, isConsole: false, name: "org.example", backend: hosts[1]! },
      ],
    });
  const driver = new FakeDriver(device).bringUp(features);
  const control = (port: number, event: number, value: number) => {
    const message = new Uint8Array(8), view = new DataView(message.buffer);
    view.setUint32(0, port, true);
    view.setUint16(4, event, true);
    view.setUint16(6, value, true);
    driver.queues[3]!.ask([message], []);
  };
  return { hosts, device, driver, queues: driver.queues, control };
}

/** What the device says on a queue for which the driver has made room. */
const heard = (driver: FakeDriver, queue: number, room: { pa: number }[]) =>
  driver.queues[queue]!.poll().map(({ written }) => driver.get(room.shift()!.pa, written));

Deno.test("one port without control messages", () => {
  const { hosts: [host], queues, driver } = setUp(FEATURE.VERSION_1);
  assert.equal(driver.read(REG.Config + 4), 3);
  queues[1]!.ask([bytes("hello "), bytes("world")], []);
  assert.equal(host!.output, "hello world");
  const { room } = queues[0]!.add([], [5]), { room: more } = queues[0]!.add([], [100]);
  queues[0]!.kick();
  assert.deepEqual(queues[0]!.poll(), []);
  host!.coming.push(bytes("good morning"), bytes("!"));
  driver.transport.pump();
  const places = [...room, ...more];
  assert.deepEqual(heard(driver, 0, places).map(text), ["good ", "morning"]);
  // The rest comes when there is room, from what was offered later.
  const { room: last } = queues[0]!.add([], [100]);
  queues[0]!.kick();
  assert.deepEqual(heard(driver, 0, [...last]).map(text), ["!"]);
});

Deno.test("the driver learns of ports, their names and that they are open", () => {
  const { driver, queues, control } = setUp(), places: { pa: number }[] = [];
  for (let n = 0; n < 8; n++) places.push(...queues[2]!.add([], [64]).room);
  control(0, CONSOLE_EVENT.DEVICE_READY, 1);
  const said = () =>
    heard(driver, 2, places).map((message) => {
      const view = new DataView(message.buffer, message.byteOffset);
      return [view.getUint32(0, true), view.getUint16(4, true), view.getUint16(6, true), text(message.subarray(8))];
    });
  assert.deepEqual(said(), [[0, CONSOLE_EVENT.DEVICE_ADD, 1, ""], [2, CONSOLE_EVENT.DEVICE_ADD, 1, ""]]);
  control(0, CONSOLE_EVENT.PORT_READY, 1);
  control(2, CONSOLE_EVENT.PORT_READY, 1);
  assert.deepEqual(said(), [
    [0, CONSOLE_EVENT.CONSOLE_PORT, 1, ""],
    [0, CONSOLE_EVENT.PORT_OPEN, 1, ""],
    [2, CONSOLE_EVENT.PORT_NAME, 1, "org.example"],
    [2, CONSOLE_EVENT.PORT_OPEN, 1, ""],
  ]);
  assert.deepEqual(driver.record.errors, []);
});

Deno.test("a port that the driver has not opened takes nothing from the host", () => {
  const { driver, queues, hosts, control } = setUp(), host = hosts[1]!;
  const { room } = queues[6]!.add([], [64]);
  queues[6]!.kick();
  host.coming.push(bytes("for the agent"));
  driver.transport.pump();
  assert.deepEqual(queues[6]!.poll(), []);
  assert.equal(driver.device.hasInput, false);
  control(2, CONSOLE_EVENT.PORT_OPEN, 1);
  assert.deepEqual(heard(driver, 6, [...room]).map(text), ["for the agent"]);
  queues[7]!.ask([bytes("answer")], []);
  assert.equal(host.output, "answer");
});

Deno.test("output that the host does not take waits, in order", () => {
  const { driver, queues, hosts: [host] } = setUp(FEATURE.VERSION_1), long = "0123456789".repeat(1000);
  host!.room = 5000;
  queues[1]!.add([bytes(long)], []);
  queues[1]!.add([bytes("end")], []);
  queues[1]!.kick();
  assert.deepEqual(queues[1]!.poll(), []);
  assert.equal(driver.device.hasInput, false);
  host!.room = 2000;
  assert.equal(driver.device.hasInput, true);
  driver.transport.pump();
  assert.deepEqual(queues[1]!.poll(), []);
  host!.room = 1e6;
  driver.transport.pump();
  assert.equal(queues[1]!.poll().length, 2);
  assert.equal(host!.output, `${long}end`);
});

Deno.test("emergency output needs no queues", () => {
  const { driver, hosts } = setUp();
  driver.write(REG.Status, 0);
  driver.write(REG.Config + 8, 0x41);
  assert.equal(hosts[0]!.output, "A");
});

Deno.test("control messages that make no sense are told, and a driver that hears none costs no memory", () => {
  const { driver, queues, control } = setUp();
  queues[3]!.ask([new Uint8Array(7)], []);
  control(1, CONSOLE_EVENT.PORT_READY, 1);
  control(0xffffffff, CONSOLE_EVENT.PORT_OPEN, 1);
  control(0, 99, 1);
  control(0, CONSOLE_EVENT.PORT_READY, 0);
  assert.equal(driver.record.errors.length, 5);
  for (let n = 0; n < 1000; n++) control(0, CONSOLE_EVENT.DEVICE_READY, 1);
  assert.match(driver.record.errors.at(-1)!, /takes no control messages/);
  assert.equal(driver.needsReset, false);
  queues[4]!.add([], [10]);
  queues[4]!.kick();
});
