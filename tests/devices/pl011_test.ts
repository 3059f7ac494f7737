// The PL011 as a driver sees it.

import assert from "node:assert/strict";
import { Pl011, RECEIVED_BREAK } from "../../devices/pl011.ts";
import { recorder } from "./recorder.ts";

const DR = 0x00,
  RSR = 0x04,
  FR = 0x18,
  LCRH = 0x2c,
  CR = 0x30,
  IFLS = 0x34,
  IMSC = 0x38,
  RIS = 0x3c,
  MIS = 0x40,
  ICR = 0x44; // deno-fmt-ignore
const FEN = 1 << 4, ENABLED = 0x301, LOOPBACK = 1 << 7;
const TX = 1 << 5, RX = 1 << 4, RT = 1 << 6, BE = 1 << 9, OE = 1 << 10;

function make() {
  const r = recorder(), sent: number[] = [], input: number[] = [];
  const host = { room: Infinity };
  const uart = new Pl011({
    base: 0x0900_0000,
    memory: r.memory,
    stateBase: 0x100,
    line: r.line,
    guestErrors: r.guestErrors,
    backend: {
      transmit: (byte) => host.room-- > 0 && sent.push(byte) > 0,
      receive: () => input.shift() ?? -1,
    },
  });
  const read = (at: number) => uart.read(at, 4), write = (at: number, value: number) => uart.write(at, 4, value);
  return { ...r, uart, sent, input, host, read, write };
}

Deno.test("output goes out at once and raises the transmit interrupt", () => {
  const { read, write, sent, level } = make();
  write(CR, ENABLED);
  write(IMSC, TX);
  assert.equal(level(), false);
  write(DR, 0x41);
  assert.deepEqual(sent, [0x41]);
  assert.equal(read(FR), 0x90);
  assert.equal(level(), true);
  assert.equal(read(MIS), TX);
  write(ICR, TX);
  assert.equal(level(), false);
});

Deno.test("a break from the backend is a null character with its error bit", () => {
  const { uart, input, read, write } = make();
  write(LCRH, FEN);
  input.push(0x61, RECEIVED_BREAK, 0x62);
  uart.pump();
  assert.deepEqual([read(DR), read(DR), read(DR)], [0x61, 1 << 10, 0x62]);
  assert.equal(read(RIS) & BE, BE);
});

Deno.test("output that the host does not take fills the FIFO, then flows and interrupts at the trigger level", () => {
  const { uart, read, write, sent, host, level, errors } = make();
  write(CR, ENABLED);
  write(LCRH, FEN);
  write(IFLS, 2);
  write(IMSC, TX);
  host.room = 0;
  for (let i = 0; i < 16; i++) {
    assert.equal(read(FR) & 0x20, 0, "not full yet");
    write(DR, i);
  }
  assert.equal(read(FR) & 0xa8, 0x28, "full, busy, not empty");
  write(DR, 99);
  assert.match(errors.at(-1)!, /full transmit FIFO/);
  host.room = 4;
  uart.pump();
  assert.equal(level(), false, "12 are more than the trigger level 8");
  host.room = Infinity;
  assert.equal(uart.pump(), true);
  assert.equal(level(), true);
  assert.deepEqual(sent, Array.from({ length: 16 }, (_, i) => i));
  assert.equal(read(FR), 0x90);
  assert.equal(uart.pump(), false);
});

Deno.test("without FIFOs there is room for one character each way", () => {
  const { uart, read, write, input, host } = make();
  write(CR, ENABLED);
  host.room = 0;
  write(DR, 1);
  assert.equal(read(FR) & 0x20, 0x20);
  input.push(5, 6);
  uart.pump();
  assert.equal(uart.canReceive, false);
  assert.equal(read(FR) & 0x50, 0x40);
  assert.equal(read(DR), 5);
  assert.equal(read(FR) & 0x50, 0x10);
  uart.pump();
  assert.equal(read(DR), 6);
  assert.equal(read(DR), 0, "empty");
});

Deno.test("input interrupts until it is read, by the receive interrupt or the timeout", () => {
  for (const enabled of [RX, RT]) {
    const { uart, read, write, input, level } = make();
    write(CR, ENABLED);
    write(LCRH, FEN);
    write(IMSC, enabled);
    input.push(...Array.from({ length: 20 }, (_, i) => i));
    assert.equal(uart.pump(), true);
    assert.equal(input.length, 4, "the FIFO bounds what is taken");
    assert.equal(read(RIS) & (RX | RT), RX | RT);
    assert.equal(level(), true);
    for (let i = 0; i < 16; i++) {
      assert.equal(level(), true);
      assert.equal(read(DR), i);
    }
    assert.equal(level(), false);
    uart.pump();
    assert.equal(level(), true);
    write(ICR, RX | RT);
    assert.equal(level(), false);
    assert.equal(read(DR), 16, "clearing the interrupt keeps the data");
  }
});

Deno.test("a break and an overrun are reported with the character and as interrupts", () => {
  const { uart, read, write } = make();
  write(CR, ENABLED);
  uart.receiveBreak();
  assert.equal(read(RIS) & BE, BE);
  assert.equal(read(DR), 1 << 10);
  assert.equal(read(RSR), 1 << 2);
  write(RSR, 0);
  assert.equal(read(RSR), 0);
  uart.receiveBreak();
  uart.receiveBreak();
  assert.equal(read(RIS) & OE, OE);
  assert.equal(read(RSR) & 8, 8);
  read(DR);
  uart.receiveBreak();
  assert.equal(read(DR), (1 << 10) | (1 << 11));
});

Deno.test("loopback returns output, modem lines and break, and takes no input from outside", () => {
  const { uart, read, write, sent, input } = make();
  write(CR, ENABLED | LOOPBACK);
  write(LCRH, FEN);
  write(DR, 0x55);
  assert.deepEqual(sent, []);
  assert.equal(read(DR), 0x55);
  input.push(1);
  uart.pump();
  assert.equal(read(FR) & 0x10, 0x10);
  write(CR, ENABLED | LOOPBACK | (1 << 11) | (1 << 12));
  assert.equal(read(FR) & 0x107, 0b101, "RTS is CTS, OUT1 is DCD");
  assert.equal(read(RIS) & 0xf, 0b0110);
  write(LCRH, FEN | 1);
  assert.equal(read(DR), 1 << 10);
});

Deno.test("switching the FIFOs flushes them", () => {
  const { uart, read, write, input, level } = make();
  write(CR, ENABLED);
  write(IMSC, RX);
  input.push(1);
  uart.pump();
  assert.equal(level(), true);
  write(LCRH, FEN);
  assert.equal(read(FR) & 0x10, 0x10);
  assert.equal(level(), false);
});

Deno.test("reserved bits read as zero, malformed accesses do nothing and are told", () => {
  const { uart, read, write, errors } = make();
  for (const at of [0x24, 0x28, LCRH, CR, IFLS, IMSC, 0x48]) write(at, 0xffff_ffff);
  assert.deepEqual([0x24, 0x28, LCRH, CR, IFLS, IMSC, 0x48].map(read), [0xffff, 0x3f, 0xff, 0xff87, 0x3f, 0x7ff, 7]);
  assert.deepEqual(errors, []);
  assert.equal(read(0x50), 0);
  write(0xffc, 1);
  assert.equal(read(ICR), 0);
  assert.equal(uart.read(CR + 1, 1), 0);
  uart.write(CR + 2, 2, 0xffff);
  assert.equal(read(CR), 0xff87);
  assert.deepEqual(errors, [
    "pl011: read of 4 bytes at offset 0x50: no register",
    "pl011: write to read-only register PCellID3",
    "pl011: read of write-only register UARTICR",
    "pl011: read of 1 bytes at offset 0x31: no register",
    "pl011: write of 2 bytes at offset 0x32: no register",
  ]);
  assert.equal(uart.read(CR, 1), 0x87, "a narrow read gives the low part");
});

Deno.test("reset clears everything and lowers the line", () => {
  const { uart, read, write, level } = make();
  write(CR, ENABLED);
  write(IMSC, TX);
  write(DR, 1);
  assert.equal(level(), true);
  uart.reset();
  assert.equal(level(), false);
  assert.deepEqual([FR, LCRH, CR, IFLS, IMSC, RIS].map(read), [0x90, 0, 0x300, 0x12, 0, 0]);
});
