// The machine's half of the NBD client against bytes that no server would send: replies that are nearly right, cut at any
// place. Nothing may throw, no request may be lost or answered twice, and nothing may be written but where a read asked.

import assert from "node:assert/strict";
import { NbdBackend } from "../../devices/host/nbd.ts";
import { CHUNK, MAGIC, RECORD, REQUEST_BYTES } from "../../devices/host/nbd_protocol.ts";
import { MachineLink, RecordPort } from "../../devices/host/record_port.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Dice } from "./tools.ts";

const words = (...values: number[]) => {
  const view = new DataView(new ArrayBuffer(4 * values.length));
  values.forEach((value, n) => view.setUint32(4 * n, value));
  return [...new Uint8Array(view.buffer)];
};

Deno.test("no bytes from a server do more than end the connection", () => {
  let violations = 0, answered = 0;
  for (let seed = 1; seed <= 100; seed++) {
    const dice = new Dice(seededRandom(seed)),
      port = new RecordPort(RecordPort.create(2 ** 20)),
      warnings: string[] = [];
    const gate = {
      replaying: false,
      frame: (_: number, host: () => Uint8Array | null) => host(),
      frameTaken: (_: number, host: () => void) => host(),
    };
    const link = new MachineLink({ port, number: 64, gate, wake: () => {}, sendsInReplay: false, waitForRoom: null });
    const structured = dice.below(2) === 0;
    const found = { sizeBytes: 2 ** 20, flags: 0x6d, structured, blocks: { least: 1, preferred: 4096, most: 8192 } };
    const warn = (line: string) => void warnings.push(line);
    const disk = new NbdBackend(link, found, { name: "fuzz", readOnly: false, discard: true, unsafe: false, warn });
    const waiting = new Set<number>();
    let started = 0, generation = 0;
    const memory = new Uint8Array(2 ** 16), owned = new Uint8Array(2 ** 16);
    const start = () => {
      const id = started++, offset = 512 * dice.below(1000), at = 512 * dice.below(100);
      const bytes = 512 * (1 + dice.below(20)), piece = memory.subarray(at, at + bytes);
      waiting.add(id);
      const done = () => {
        assert.ok(waiting.delete(id), `seed ${seed}: answered twice`);
        answered++;
      };
      switch (dice.below(5)) {
        case 0:
          return disk.flush(done);
        case 1:
          return disk.write(offset, [piece], done);
        case 2:
          return disk.zero(offset, bytes, dice.below(2) === 0, done);
        default:
          owned.fill(1, at, at + bytes);
          return disk.read(offset, [piece.subarray(0, 100), piece.subarray(100)], done);
      }
    };
    const push = (kind: number, ...bytes: number[]) => port.toGuest.push(Uint8Array.of(kind, ...bytes));
    const requests: { cookie: number; command: number; offset: number; bytes: number }[] = [];
    for (let step = 0; step < 60; step++) {
      if (dice.below(3) === 0) start();
      if (dice.below(15) === 0) {
        if (dice.below(3) === 0) push(dice.pick(RECORD.LOST, RECORD.FAILING));
        push(RECORD.CONNECTED, ...words(++generation));
        requests.length = 0;
      }
      if (dice.below(40) === 0) {
        disk.abandon();
        // Those have no answer any more.
        waiting.clear();
      }
      disk.pump();
      for (let record = port.toHost.peek(); record !== null; record = port.toHost.peek()) {
        const view = new DataView(record.buffer, record.byteOffset, record.length);
        for (let at = 4; at + REQUEST_BYTES <= record.length;) {
          if (view.getUint32(at) !== MAGIC.REQUEST) break;
          const command = view.getUint16(at + 6), bytes = view.getUint32(at + 24);
          requests.push({ cookie: view.getUint32(at + 12), command, offset: view.getUint32(at + 20), bytes });
          at += REQUEST_BYTES + (command === 1 ? bytes : 0);
        }
        port.toHost.release();
      }
      const request = dice.below(4) === 0 ? requests[0] : requests.splice(dice.below(requests.length || 1), 1)[0];
      if (request === undefined) continue;
      const { cookie, command, offset, bytes } = request, data = new Array(command === 0 ? bytes : 0).fill(seed & 255);
      const length = dice.pick(bytes, bytes, bytes - 1, dice.below(9000));
      const replies = [
        [...words(MAGIC.SIMPLE_REPLY, dice.pick(0, 0, 5), 0, cookie), ...data],
        [...words(MAGIC.STRUCTURED_REPLY, 1 << 16 | CHUNK.OFFSET_DATA, 0, cookie, 8 + data.length, 0, offset), ...data],
        [...words(MAGIC.STRUCTURED_REPLY, 1 << 16 | CHUNK.OFFSET_HOLE, 0, cookie, 12, 0, offset, length)],
        [...words(MAGIC.STRUCTURED_REPLY, dice.below(2) << 16, 0, cookie, 0)],
        [...words(MAGIC.STRUCTURED_REPLY, 1 << 16 | 0x8001, 0, cookie, 6, 5), 0, 0],
        words(dice.word(), dice.word(), dice.word(), dice.word()),
      ];
      const reply = structured ? dice.pick(...replies, replies[1]!, replies[3]!) : dice.pick(...replies, replies[0]!);
      if (dice.below(6) === 0) reply[dice.below(reply.length)]! ^= 1 << dice.below(8);
      const cut = dice.below(reply.length);
      push(RECORD.DATA, ...reply.slice(0, cut));
      if (dice.below(8) > 0) push(RECORD.DATA, ...reply.slice(cut));
    }
    violations += warnings.length;
    push(RECORD.FAILING);
    disk.pump();
    assert.equal(waiting.size, 0, `seed ${seed}: every request has an answer in the end`);
    memory.forEach((byte, at) =>
      assert.ok(byte === 0 || owned[at] === 1, `seed ${seed}: byte ${at} was not to be read`)
    );
  }
  assert.ok(violations > 50 && answered > 300, `${violations} violations, ${answered} answers`);
});
