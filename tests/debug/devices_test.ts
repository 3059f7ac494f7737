// What the monitor says of devices, and `monitor space`, whose every choice reads another place.

import assert from "node:assert/strict";
import { Refusal } from "../../gdbstub/target.ts";
import { DebugMachine, symbolsOf } from "./debug_machine.ts";
import { Debuggee, hasGdb } from "./gdb.ts";

const gdb = await hasGdb();
if (!gdb) {
  console.log("MISSING gdb-multiarch");
  if (Deno.env.get("CI")) throw new Error("gdb-multiarch is missing");
}

Deno.test("devices say what they are, and what has queues says how it is", async () => {
  const d = await DebugMachine.from(["-device", "virtio-rng-device"]);
  const { machine } = d.test, transport = machine.devices.virtio[0]!;
  assert.match(await d.monitor("info devices"), /^virtio-mmio\.31 +0xa003e00 +0x200 +virtio-rng-device +reset$/m);
  assert.match(await d.monitor("info virtio"), /^virtio-mmio\.31: virtio-rng-device, reset$/m);
  assert.match(await d.monitor("info virtio"), /not taken: INDIRECT_DESC EVENT_IDX VERSION_1/);
  // As a driver would: the version is taken, one queue is set up, and then there is nonsense in it.
  const write = (at: number, value: number) => machine.bus.write(0xa00_3e00 + at, 4, value, 0);
  const ring = 0x4780_0000;
  write(0x70, 3);
  write(0x24, 1);
  write(0x20, 1);
  write(0x70, 11);
  for (
    const [at, value] of [[0x38, 8], [0x80, ring], [0x90, ring + 0x1000], [0xa0, ring + 0x2000], [0x44, 1]] as const
  ) {
    write(at, value);
  }
  write(0x70, 15);
  assert.equal(transport.running, true);
  const words = (pa: number, ...values: number[]) =>
    machine.bus.writeBytes(pa, new Uint8Array(Uint32Array.from(values).buffer), true);
  // One buffer of 100 bytes that the device fills, as descriptor 3; then a chain that begins nowhere.
  words(ring + 48, ring + 0x3000, 0, 100, 2);
  words(ring + 0x1000, 1 << 16, 3);
  write(0x50, 0);
  assert.match(
    await d.monitor("info virtio rng"),
    /queue 0: 8 entries, taken 1, used 1, in flight 0, last head 3; 1 chains/,
  );
  assert.match(await d.monitor("info virtio 31"), /requests 1, bytes 100/);
  assert.match(await d.monitor("info devices"), /virtio-rng-device +in use/);
  words(ring + 0x1000, 2 << 16, 3 | 77 << 16);
  write(0x50, 0);
  assert.match(await d.monitor("info virtio"), /DEVICE_NEEDS_RESET: queue 0: descriptor 77/);
  const table = d.target.osTables.find(({ name }) => name === "devices")!, rows = await table.rows();
  const row = rows.find(([name]) => name === "virtio-mmio.31")!;
  assert.equal(row.length, table.columns.length);
  assert.match(row[4]!, /^needs reset: queue 0: descriptor 77/);
  assert.deepEqual(row.slice(5), ["VERSION_1", "0: taken 1 used 1 in flight 0 last 3", "requests 1, bytes 100"]);
  await assert.rejects(d.monitor("info virtio nothing"), /no virtio device is called nothing/);
});

Deno.test({
  name: "gdb: info virtio, info network, info os devices; a cable is pulled",
  ignore: !gdb,
  fn: async () => {
    const guest = await Debuggee.start([
      ...["-netdev", "user,id=n0", "-device", "virtio-net-device,netdev=n0,id=nic0,mac=52:54:00:01:02:03"],
      "-S",
    ]);
    try {
      const said = await guest.gdb(
        ...["monitor info virtio", "monitor info network", "info os devices", "info os networks"],
        ...["monitor set_link nic0 off", "monitor set_link nothing off", "monitor set_link nic0 maybe"],
        // The guest runs for some slices.
        ...["tbreak main", "continue", "tbreak print_summary", "continue", "monitor info network"],
        ...["monitor set_link n0 on", "kill"],
      );
      assert.match(said, /virtio-mmio\.31: virtio-net-device, reset/);
      assert.match(said, /^nic0 +n0 +virtio-mmio\.31 +52:54:00:01:02:03 +up +no /m);
      assert.match(said, /^n0: user/m);
      assert.match(said, /^virtio-mmio\.31 +0xa003e00 +0x200 +virtio-net-device +reset /m);
      assert.match(said, /^Device +MAC +Link +Driver +Frames out/m);
      assert.match(said, /nic0 is told when the machine runs: the cable is pulled/);
      assert.match(said, /there is no network device nothing/);
      assert.match(said, /set_link takes a name, and on or off/);
      assert.match(said, /^nic0 +n0 +virtio-mmio\.31 +52:54:00:01:02:03 +down +no /m);
      assert.match(said, /n0 is told when the machine runs: the cable is plugged in/);
    } finally {
      await guest.end();
    }
  },
});

const GUESTS = new URL("../guests/two_guests/", import.meta.url);
const HYP = symbolsOf(new URL("two_guests.elf", GUESTS)), A = symbolsOf(new URL("guest_a.elf", GUESTS));

Deno.test("each space reads another place, for the hypervisor and for a guest", async () => {
  const d = await DebugMachine.from([]), hypervisor = { context: 1, thread: 1 }, guest = { context: 2, thread: 1 };
  const main = A.get("guest_main")!, hypMain = HYP.get("main")!;
  await d.breakAt(2, main);
  await d.go();
  const code = d.memory(guest, main, 32).slice(), own = d.memory(hypervisor, hypMain, 32).slice();
  const refused = (place: typeof guest, space: "el0" | "el1" | "el2" | "ipa" | "pa", address: bigint) => {
    const answer = d.target.readMemory(place, space, address, new Uint8Array(4));
    assert(answer instanceof Refusal, `${space} of ${place.context} has nothing at 0x${address.toString(16)}`);
    return answer.text;
  };
  // What `walk` finds step by step is where the spaces must lead.
  const walk = await d.monitor(`walk 2 0x${main.toString(16)}`);
  const [, ipa, pa] = /is IPA (0x[0-9a-f]+), PA (0x[0-9a-f]+)/.exec(walk)!;
  assert.notEqual(ipa, pa);
  for (const space of ["auto", "el1", "el0"] as const) assert.deepEqual(d.memory(guest, main, 32, space), code, space);
  assert.deepEqual(d.memory(guest, BigInt(ipa!), 32, "ipa"), code);
  assert.deepEqual(d.memory(guest, BigInt(pa!), 32, "pa"), code);
  assert.deepEqual(d.memory(hypervisor, BigInt(pa!), 32, "pa"), code);
  assert.match(refused(guest, "el2", main), /has no el2 regime/);
  assert.match(refused(guest, "ipa", main), /is not mapped by stage 2/);
  assert.match(refused(hypervisor, "el2", main), /is not mapped by EL2/);
  for (const space of ["auto", "el2", "pa"] as const) {
    assert.deepEqual(d.memory(hypervisor, hypMain, 32, space), own, space);
  }
  // What is written through one is there through another.
  assert.equal(await d.target.writeMemory(guest, "ipa", BigInt(ipa!), code), undefined);
  assert(d.target.writeMemory(guest, "pa", 0x10n, code) instanceof Refusal);
});

Deno.test({
  name: "gdb: monitor space is each inferior's own",
  ignore: !gdb,
  fn: async () => {
    const demo = await Debuggee.start(["-S"]);
    try {
      const said = await demo.gdb(
        ...["tbreak print_summary", "continue", "inferior 1", "monitor space pa", "inferior 2", "monitor space"],
        ...[`x/wx 0x${A.get("guest_main")!.toString(16)}`, "monitor space ipa", "maintenance flush dcache"],
        ...[`x/wx 0x${A.get("guest_main")!.toString(16)}`, "x/wx 0x40000000", "inferior 1", "monitor space"],
        ...["monitor space nowhere", "kill"],
      );
      const lines = said.split("\n"), at = (pattern: RegExp) => lines.findIndex((line) => pattern.test(line));
      assert(at(/^addresses of inferior 1 are understood as pa$/) >= 0, said);
      assert(at(/^auto$/) > at(/^addresses of inferior 1/), said);
      assert(at(/^addresses of inferior 2 are understood as ipa$/) > at(/^auto$/), said);
      assert.match(said, /Cannot access memory at address 0xffffff80/);
      assert(at(/^pa$/) > at(/^addresses of inferior 2/), said);
      assert.match(said, /"nowhere" is not one of auto, el0, el1, el2, ipa, pa/);
    } finally {
      await demo.end();
    }
  },
});
