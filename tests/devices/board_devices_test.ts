// PL031, PL061, fw_cfg and the empty slots, by themselves and on the bus as the board puts them there.

import assert from "node:assert/strict";
import { FW_CFG_ITEM, FwCfg, stringItem } from "../../devices/fw_cfg.ts";
import { Pl031 } from "../../devices/pl031.ts";
import { Pl061 } from "../../devices/pl061.ts";
import { boardStateBytes, buildDevices, makeBoard } from "../../src/machine/board.ts";
import { PhysicalBus } from "../../src/memory/bus.ts";
import { recorder } from "./recorder.ts";

Deno.test("pl031 counts wall seconds from where it was set and interrupts at the match", () => {
  const r = recorder();
  let wall = 1000.5;
  const rtc = new Pl031({ base: 0, ...r, stateBase: 0, wallSeconds: () => wall });
  const read = (at: number) => rtc.read(at, 4), write = (at: number, value: number) => rtc.write(at, 4, value);
  assert.equal(read(0), 1000);
  write(0x08, 0xffff_fffe);
  assert.equal(read(0), 0xffff_fffe);
  wall += 3;
  assert.equal(read(0), 1, "wraps at 32 bits");
  write(0x10, 1);
  write(0x04, 3);
  assert.equal(rtc.secondsToAlarm(), 1.5);
  wall += 1;
  rtc.pump();
  assert.equal(r.level(), false);
  wall += 1;
  rtc.pump();
  assert.equal(r.level(), true);
  assert.deepEqual([read(0x14), read(0x18)], [1, 1]);
  assert.equal(rtc.secondsToAlarm(), Infinity);
  write(0x1c, 1);
  assert.equal(r.level(), false);
  write(0x04, read(0));
  assert.equal(r.level(), true, "a match with the present second is immediate");
  rtc.reset();
  assert.equal(read(0), 3, "the time of day survives reset");
});

Deno.test("pl061 latches edges of inputs, follows levels, masks data accesses", () => {
  const r = recorder();
  const gpio = new Pl061({ base: 0, ...r, stateBase: 0 });
  const read = (at: number) => gpio.read(at, 4), write = (at: number, value: number) => gpio.write(at, 4, value);
  write(0x408, 1 << 3);
  write(0x410, 1 << 3);
  gpio.setInput(3, true);
  assert.equal(r.level(), true);
  assert.equal(read(0x3fc), 8);
  assert.equal(read((1 << 2) * 4), 0);
  write(0x41c, 8);
  assert.equal(r.level(), false);
  gpio.setInput(3, false);
  assert.equal(r.level(), true, "both edges");
  write(0x41c, 8);
  write(0x404, 8);
  assert.equal(r.level(), true, "low level");
  gpio.setInput(3, true);
  assert.equal(r.level(), false);
  write(0x40c, 8);
  assert.equal(r.level(), true, "high level");
  assert.equal(read(0x418), 8);
  assert.equal(r.errors.length, 0);
});

Deno.test("fw_cfg gives items, a file directory, and takes DMA", () => {
  const memory = new SharedArrayBuffer(0x3000), errors: string[] = [], bus = new PhysicalBus(memory);
  bus.addMemory({ name: "RAM", base: 0x4000_0000, size: 0x1000, host: 0x1000, writable: true });
  const device = new FwCfg({
    base: 0,
    memory,
    stateBase: 0,
    dma: bus,
    cpuCount: 3,
    items: new Map([[FW_CFG_ITEM.CMDLINE_DATA, stringItem("hello")]]),
    files: new Map([["etc/one", Uint8Array.of(1, 2, 3)], ["etc/two", Uint8Array.of(4)]]),
    guestErrors: (m) => errors.push(m),
  });
  const select = (key: number) => device.write(8, 2, ((key & 0xff) << 8) | (key >> 8));
  const take = (count: number) => Array.from({ length: count }, () => device.read(0, 1));
  select(FW_CFG_ITEM.NB_CPUS);
  assert.deepEqual(take(4), [3, 0, 0, 0]);
  select(FW_CFG_ITEM.FILE_DIR);
  assert.equal(device.read(0, 4), 0x0200_0000);
  assert.deepEqual(take(8), [0, 0, 0, 3, 0, 0x20, 0, 0]);
  assert.equal(String.fromCharCode(...take(7)), "etc/one");
  take(49);
  assert.deepEqual(take(6), [0, 0, 0, 1, 0, 0x21]);
  select(0x20);
  assert.deepEqual(take(4), [1, 2, 3, 0]);

  const view = new DataView(memory);
  const dma = (control: number, length: number, address: bigint, request = 0x4000_0000) => {
    view.setUint32(0x1000, control);
    view.setUint32(0x1004, length);
    view.setBigUint64(0x1008, address);
    device.write(0x10, 4, 0);
    const swapped = new DataView(new ArrayBuffer(4));
    swapped.setUint32(0, request);
    device.write(0x14, 4, swapped.getUint32(0, true));
    return view.getUint32(0x1000);
  };
  assert.equal(dma((FW_CFG_ITEM.CMDLINE_DATA << 16) | 8 | 2, 8, 0x4000_0100n), 0);
  const at = (from: number, count: number) => [...new Uint8Array(memory, from, count)];
  assert.deepEqual(at(0x1100, 8), [...stringItem("hello"), 0, 0]);
  assert.equal(dma((0x20 << 16) | 8 | 4, 1, 0n), 0);
  assert.equal(dma(2, 1, 0x4000_0200n), 0);
  assert.deepEqual(at(0x1200, 1), [2]);
  assert.deepEqual(errors, []);
  assert.equal(dma(2, 16, 0x4000_0ff8n), 1, "not all RAM");
  assert.equal(dma(2, 0xffff_ffff, 0xffff_ffff_ffff_ff00n), 1);
  assert.equal(dma(16, 1, 0x4000_0100n), 1, "writing");
  dma(2, 1, 0n, 0x5000_0000);
  assert.equal(errors.length, 4);
  device.write(0, 4, 1);
  device.write(8, 4, 1);
  assert.equal(device.read(8, 2), 0);
  assert.equal(errors.length, 7);
});

Deno.test("the board's devices are on the bus, with their interrupts", () => {
  const memory = new SharedArrayBuffer(0x10000), bus = new PhysicalBus(memory), lines: string[] = [];
  const board = makeBoard({
    board: { gicVersion: 3, virtualization: true },
    cpu: { model: "cortex-a76", features: [{ name: "vhe", on: false }] },
    cpuCount: 18,
    ramSizeBytes: 2 ** 27,
  });
  assert.equal(board.hasVhe, false);
  assert.deepEqual([board.cpus[15]!.mpidr, board.cpus[17]!.mpidr], [15, 0x101]);
  const input = [0x41], accesses: string[] = [];
  const devices = buildDevices(board, {
    bus,
    memory,
    stateBase: 0x100,
    firmwareBytes: 0x2000,
    line: (spi) => (level) => void lines.push(`${spi} ${level}`),
    serial: { transmit: () => true, receive: () => input.shift() ?? -1 },
    wallSeconds: () => 5,
    guestErrors: () => {},
    onAccess: (...access) => accesses.push(access.join(" ")),
  });
  assert.ok(boardStateBytes([]) < 0x1000);
  assert.equal(bus.regions.length, 4 + 32 + 2);
  assert.equal(bus.read(0x1000, 4, 0), -1, "ROM pages go here");
  assert.equal(bus.read(0x2000, 4, 0), 0);
  assert.equal(bus.read(0x0a00_3e00, 4, 0), 0x7472_6976);
  lines.length = 0;
  bus.write(0x0900_0038, 4, 0x10, 0);
  devices.pump();
  assert.deepEqual(lines, ["1 true"]);
  assert.equal(bus.read(0x0900_0000, 4, 0), 0x41);
  assert.deepEqual(accesses.slice(-2), ["pl011 true 56 4 16", "pl011 false 0 4 65"]);
  bus.write(0x0903_0408, 4, 8, 0);
  bus.write(0x0903_0410, 4, 8, 0);
  devices.powerButton(true);
  assert.deepEqual(lines.slice(1), ["1 false", "7 true"]);
  devices.reset();
  assert.ok(lines.includes("7 false"));
});
