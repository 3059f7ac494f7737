// The socket device: connections both ways, credit, halves that end, peers that misbehave, and guests that do.

import assert from "node:assert/strict";
import { FEATURE } from "../../devices/virtio/device.ts";
import { BUFFER_BYTES } from "../../devices/host/vsock_connection.ts";
import { OP, SHUTDOWN, TYPE } from "../../devices/virtio/vsock_packet.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Dice, inDirectory } from "./tools.ts";
import { GUEST_CID, type GuestOptions, type Packet, packetBytes, VsockGuest } from "./vsock_guest.ts";
import { REG } from "./driver.ts";

const bytes = (words: string) => new TextEncoder().encode(words);
const text = (data: Uint8Array) => new TextDecoder().decode(data);
const BOTH = SHUTDOWN.RECEIVE | SHUTDOWN.SEND;
const pattern = (count: number, seed: number) => {
  const random = seededRandom(seed), out = new Uint8Array(count);
  for (let at = 0; at < count; at += 65536) out.set(random(Math.min(65536, count - at)), at);
  return out;
};

/** Runs `use` with a device, and closes everything afterwards. */
function withGuest(
  use: (guest: VsockGuest, keep: <T extends Disposable>(what: T) => T) => Promise<void>,
  options?: GuestOptions,
) {
  return inDirectory(async (directory) => {
    const guest = await VsockGuest.open(directory, options), kept: Disposable[] = [];
    try {
      await use(guest, (what) => (kept.push(what), what));
    } finally {
      guest.end.close();
      for (const each of kept) {
        try {
          each[Symbol.dispose]();
        } catch { /* The test has closed it. */ }
      }
    }
  });
}

const listen = (guest: VsockGuest, port: number) => Deno.listen({ transport: "unix", path: `${guest.path}_${port}` });
const dial = (guest: VsockGuest) => Deno.connect({ transport: "unix", path: guest.path });

/** Reads until as many bytes are there, or the end. */
async function read(guest: VsockGuest, conn: Deno.Conn, count: number): Promise<Uint8Array> {
  const out = new Uint8Array(count);
  let got = 0, done = false;
  const reading = (async () => {
    while (got < count) {
      // Closed before all was read is as good as closed.
      const n = await conn.read(out.subarray(got)).catch(() => null);
      if (n === null) break;
      got += n;
    }
    done = true;
  })();
  await guest.until(() => done);
  await reading;
  return out.subarray(0, got);
}

Deno.test("a guest connects to a program of the host's; both talk; the guest closes", () =>
  withGuest(async (guest, keep) => {
    assert.equal(guest.driver.read(REG.Config), GUEST_CID);
    assert.equal(guest.driver.read(REG.Config + 4), 0);
    const listener = keep(listen(guest, 52)), accepted = listener.accept();
    const answer = await guest.connect(52, 1000);
    assert.deepEqual([answer.op, answer.hostPort, answer.guestPort, answer.hostCid, answer.type], [
      ...[OP.RESPONSE, 52, 1000, 2, TYPE.STREAM],
    ]);
    assert.equal(answer.bufferBytes, BUFFER_BYTES);
    const conn = keep(await accepted);
    guest.send({ op: OP.RW, hostPort: 52, guestPort: 1000, data: bytes("hello host") });
    assert.equal(text(await read(guest, conn, 10)), "hello host");
    await conn.write(bytes("hello guest"));
    const heard = await guest.hear();
    assert.deepEqual([heard.op, text(heard.data), heard.forwarded], [OP.RW, "hello guest", 10]);
    guest.send({ op: OP.SHUTDOWN, hostPort: 52, guestPort: 1000, flags: BOTH });
    assert.equal((await guest.hear()).op, OP.RST);
    assert.equal((await read(guest, conn, 1)).length, 0);
    assert.equal(guest.end.openConnections, 0);
    assert.deepEqual(guest.driver.record.errors, []);
  }));

Deno.test("a program of the host's connects to a guest's port", () =>
  withGuest(async (guest, keep) => {
    const conn = keep(await dial(guest));
    // Some do not wait for the answer.
    await conn.write(bytes("CONNECT 1024\nearly"));
    const request = await guest.hear();
    assert.deepEqual([request.op, request.guestPort], [OP.REQUEST, 1024]);
    const { hostPort } = request;
    assert.ok(hostPort >= 2 ** 30);
    guest.send({ op: OP.RESPONSE, hostPort, guestPort: 1024 });
    const ok = `OK ${hostPort}\n`;
    assert.equal(text(await read(guest, conn, ok.length)), ok);
    assert.equal(text((await guest.hear()).data), "early");
    guest.send({ op: OP.RW, hostPort, guestPort: 1024, data: bytes("answer") });
    assert.equal(text(await read(guest, conn, 6)), "answer");
    conn.close();
    const shutdown = await guest.hear();
    assert.deepEqual([shutdown.op, shutdown.flags], [OP.SHUTDOWN, SHUTDOWN.SEND]);
    guest.send({ op: OP.SHUTDOWN, hostPort, guestPort: 1024, flags: BOTH });
    assert.equal((await guest.hear()).op, OP.RST);
    // Another one has another port.
    const second = keep(await dial(guest));
    await second.write(bytes("CONNECT 1024\n"));
    const next = await guest.hear();
    assert.notEqual(next.hostPort, hostPort);
    guest.send({ op: OP.RST, hostPort: next.hostPort, guestPort: 1024 });
    assert.equal((await read(guest, second, 1)).length, 0);
  }));

Deno.test("either half of a connection ends by itself", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 7));
    // The host has said all, and hears the rest.
    let accepted = listener.accept();
    await guest.connect(7, 1);
    let conn = keep(await accepted);
    await conn.write(bytes("last words"));
    await conn.closeWrite();
    assert.equal(text((await guest.hear()).data), "last words");
    const end = await guest.hear();
    assert.deepEqual([end.op, end.flags], [OP.SHUTDOWN, SHUTDOWN.SEND]);
    guest.send({ op: OP.RW, hostPort: 7, guestPort: 1, data: bytes("I see") });
    assert.equal(text(await read(guest, conn, 5)), "I see");
    guest.send({ op: OP.SHUTDOWN, hostPort: 7, guestPort: 1, flags: SHUTDOWN.SEND });
    assert.equal((await read(guest, conn, 1)).length, 0);
    // Both have said all: the guest is told that nobody listens either, and agrees.
    const last = await guest.hear();
    assert.deepEqual([last.op, last.flags], [OP.SHUTDOWN, BOTH]);
    guest.send({ op: OP.RST, hostPort: 7, guestPort: 1 });
    await guest.until(() => guest.end.openConnections === 0);
    // The guest has said all, and hears the rest.
    accepted = listener.accept();
    await guest.connect(7, 2);
    conn = keep(await accepted);
    guest.send({ op: OP.RW, hostPort: 7, guestPort: 2, data: bytes("over to you") });
    guest.send({ op: OP.SHUTDOWN, hostPort: 7, guestPort: 2, flags: SHUTDOWN.SEND });
    assert.equal(text(await read(guest, conn, 100)), "over to you");
    await conn.write(bytes("a long answer"));
    assert.equal(text((await guest.hear()).data), "a long answer");
    guest.send({ op: OP.RW, hostPort: 7, guestPort: 2, data: bytes("too late") });
    assert.equal((await guest.hear()).op, OP.RST);
    assert.equal((await read(guest, conn, 1)).length, 0);
  }));

Deno.test("what is no connection is refused, and what is no packet is ignored", () =>
  withGuest(async (guest) => {
    const ports = { hostPort: 99, guestPort: 5 };
    const refused: [Packet, Partial<Record<"hostCid" | "type", number>>][] = [
      [{ ...ports, op: OP.REQUEST }, {}],
      [{ ...ports, op: OP.REQUEST, targetCid: 3 }, { hostCid: 3 }],
      [{ ...ports, op: OP.REQUEST, type: 2 }, { type: 2 }],
      [{ ...ports, op: OP.REQUEST, type: 77 }, { type: 77 }],
      [{ ...ports, op: OP.RW, data: bytes("lost") }, {}],
      [{ ...ports, op: OP.RW, type: 2, data: bytes("lost") }, { type: 2 }],
      [{ ...ports, op: OP.RESPONSE }, {}],
      [{ ...ports, op: OP.SHUTDOWN, flags: BOTH }, {}],
      [{ ...ports, op: OP.CREDIT_REQUEST }, {}],
      [{ ...ports, op: OP.CREDIT_UPDATE }, {}],
      [{ ...ports, op: 0 }, {}],
      [{ ...ports, op: 1000 }, {}],
    ];
    for (const [packet, { hostCid = 2, type = 1 }] of refused) {
      guest.send(packet);
      const { op, ...heard } = await guest.hear();
      assert.equal(op, OP.RST);
      assert.deepEqual([heard.hostPort, heard.guestPort, heard.hostCid, heard.type], [99, 5, hostCid, type]);
    }
    assert.deepEqual(guest.driver.record.errors, []);
    guest.offer(8);
    guest.send({ ...ports, op: OP.RST }, { ...ports, op: OP.RST, type: 9 });
    guest.send({ ...ports, op: OP.REQUEST, sourceCid: 2 ** 32 + GUEST_CID }, {
      ...ports,
      op: OP.REQUEST,
      sourceCid: 6,
    });
    guest.send({ ...ports, op: OP.RW, length: 5, data: bytes("abcd") });
    guest.send({ ...ports, op: OP.RW, length: 0xffff_ffff, data: bytes("abcd") });
    guest.send(new Uint8Array(43), new Uint8Array(1));
    await guest.silence();
    assert.equal(guest.driver.record.errors.length, 6);
    assert.equal(guest.unsent, 0);
    assert.equal(guest.driver.needsReset, false);
    assert.equal(guest.end.openConnections, 0);
  }));

Deno.test("nothing of the protocol is taken that belongs to another state", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 7));
    for (const [n, op] of [OP.REQUEST, OP.RESPONSE, 0, 8, 65535].entries()) {
      const accepted = listener.accept();
      assert.equal((await guest.connect(7, n)).op, OP.RESPONSE);
      const conn = keep(await accepted);
      guest.send({ op, hostPort: 7, guestPort: n });
      assert.equal((await guest.hear()).op, OP.RST);
      assert.equal((await read(guest, conn, 1)).length, 0);
    }
    // Not even before the answer.
    const conn = keep(await dial(guest));
    await conn.write(bytes("CONNECT 3\n"));
    const { hostPort } = await guest.hear();
    guest.send({ op: OP.RW, hostPort, guestPort: 3, data: bytes("x") });
    assert.equal((await guest.hear()).op, OP.RST);
    assert.equal((await read(guest, conn, 1)).length, 0);
    assert.equal(guest.end.openConnections, 0);
  }));

Deno.test("a guest sends as much as it has credit for, and not more", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 7)), ports = { hostPort: 7, guestPort: 1 };
    const accepted = listener.accept();
    await guest.connect(7, 1);
    const conn = keep(await accepted), sent = pattern(BUFFER_BYTES * 20, 1), received = new Uint8Array(sent.length);
    // The host's own buffers take some; credit never lets more than the promised room be underway.
    let at = 0, forwarded = 0, got = 0, most = 0;
    const hear = () => {
      for (const packet of guest.heard.splice(0)) forwarded = packet.forwarded;
    };
    const give = () => {
      for (;;) {
        const part = Math.min(BUFFER_BYTES - (at - forwarded), 50_000, sent.length - at);
        if (part === 0 || guest.unsent > 20) return;
        guest.send({ ...ports, op: OP.RW, data: sent.subarray(at, at + part) });
        at += part;
      }
    };
    guest.offer(100);
    for (let n = 0; n < 50; n++) {
      give();
      guest.turn();
      hear();
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    // Nobody reads: it stands still.
    const stuck = at;
    assert.ok(stuck >= BUFFER_BYTES && stuck < sent.length / 2, `${stuck}`);
    most = at - forwarded;
    assert.equal(most, BUFFER_BYTES);
    const reading = (async () => {
      while (got < sent.length) got += (await conn.read(received.subarray(got, got + 30_000)))!;
    })();
    await guest.until(() => {
      hear();
      give();
      return got === sent.length;
    });
    await reading;
    assert.deepEqual(received, sent);
    // One byte over the promised room is the end.
    const full = { ...ports, op: OP.RW, data: new Uint8Array(65536) };
    for (let n = 0; n < 10 && guest.end.openConnections > 0; n++) {
      guest.send(full);
      guest.turn();
    }
    await guest.until(() => guest.heard.some(({ op }) => op === OP.RST));
    assert.equal(guest.end.openConnections, 0);
  }));

Deno.test("a guest is sent as much as it has room for, and is asked once when it has none", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 7)), ports = { hostPort: 7, guestPort: 1, bufferBytes: 1000 };
    const accepted = listener.accept(), sent = pattern(200_000, 2), received: number[] = [];
    await guest.connect(7, 1, { bufferBytes: 1000 });
    const conn = keep(await accepted);
    let written = false;
    const writing = (async () => {
      for (let at = 0; at < sent.length;) at += await conn.write(sent.subarray(at));
      written = true;
    })();
    guest.offer(10);
    await guest.until(() => guest.heard.length === 2);
    assert.deepEqual(guest.heard.map(({ op, data }) => [op, data.length]), [[OP.RW, 1000], [OP.CREDIT_REQUEST, 0]]);
    received.push(...guest.heard[0]!.data);
    guest.heard.length = 0;
    await guest.silence();
    // A guest that answers that it has no room is not asked again.
    guest.send({ ...ports, op: OP.CREDIT_UPDATE });
    await guest.silence();
    // Nonsense is no room either: more has left the buffer than was sent.
    guest.send({ ...ports, op: OP.CREDIT_UPDATE, forwarded: 5000 });
    await guest.silence();
    let size = 1000;
    await guest.until(() => {
      for (const { data } of guest.heard.splice(0)) received.push(...data);
      if (received.length < sent.length) {
        size = size === 1000 ? 20_000 : 1000;
        guest.offer(6);
        guest.send({ ...ports, op: OP.CREDIT_UPDATE, forwarded: received.length, bufferBytes: size });
      }
      return received.length === sent.length;
    });
    assert.deepEqual(Uint8Array.from(received), sent);
    await writing;
    assert.ok(written);
    guest.send({ ...ports, op: OP.CREDIT_REQUEST, forwarded: sent.length });
    await guest.until(() => guest.heard.some(({ op }) => op === OP.CREDIT_UPDATE));
  }));

Deno.test("data is cut to the driver's buffers, whatever they are made of", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 7)), accepted = listener.accept(), sent = pattern(3000, 3);
    await guest.connect(7, 1);
    const conn = keep(await accepted);
    await conn.write(sent);
    // Too small for a header, for a byte of data, then in pieces of all kinds.
    guest.offer(1, [20]);
    guest.offer(1, [44]);
    guest.offer(1, [44, 100]);
    guest.offer(1, [10, 10, 30, 200]);
    await guest.until(() => guest.heard.length === 2);
    assert.deepEqual(guest.heard.map(({ data }) => data.length), [100, 206]);
    assert.equal(guest.driver.record.errors.length, 2);
    guest.offer(1, [5000]);
    await guest.until(() => guest.heard.length === 3);
    assert.deepEqual(guest.heard.flatMap(({ data }) => [...data]), [...sent]);
    // And what the guest sends is one packet, however many pieces and records it takes.
    const long = pattern(100_000, 4), packet = packetBytes({ op: OP.RW, hostPort: 7, guestPort: 1, data: long });
    const queue = guest.driver.queues[1]!;
    queue.add(
      [packet.subarray(0, 10), packet.subarray(10, 50), packet.subarray(50, 70_000), packet.subarray(70_000)],
      [],
    );
    queue.kick();
    assert.deepEqual(await read(guest, conn, long.length), long);
  }));

Deno.test("whoever does not say what is expected is not connected", () =>
  withGuest(async (guest, keep) => {
    guest.offer(20);
    for (
      const words of [
        "HELLO\n",
        "CONNECT\n",
        "CONNECT -1\n",
        "CONNECT 4294967295\n",
        "CONNECT 99999999999\n",
        "CONNECT 1 2\n",
        "GET / HTTP/1.1\r\n\r\n",
        "\n",
        "C".repeat(5000),
      ]
    ) {
      const conn = keep(await dial(guest));
      await conn.write(bytes(words));
      assert.equal((await read(guest, conn, 1)).length, 0, words);
    }
    const gone = await dial(guest);
    await gone.write(bytes("CONN"));
    gone.close();
    await guest.silence();
    assert.equal(guest.end.openConnections, 0);
    // Case and carriage return do not matter.
    const conn = keep(await dial(guest));
    await conn.write(bytes("connect 7\r\n"));
    await guest.until(() => guest.heard.length > 0);
    assert.equal(guest.heard[0]!.guestPort, 7);
  }));

Deno.test("a program that goes away in the middle resets the connection, and only that", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 7));
    let accepted = listener.accept();
    await guest.connect(7, 1);
    const stays = keep(await accepted);
    accepted = listener.accept();
    await guest.connect(7, 2);
    const goes = keep(await accepted);
    assert.match(guest.end.state, /^CID 5, 2 connections of 2, /);
    guest.send({ op: OP.RW, hostPort: 7, guestPort: 2, data: new Uint8Array(60_000) });
    guest.turn();
    goes.close();
    guest.offer(20);
    // What was not read is lost; whether the reader or the writer sees it first, the guest hears of it.
    await guest.until(() => {
      if (guest.unsent === 0) guest.send({ op: OP.RW, hostPort: 7, guestPort: 2, data: bytes("x") });
      return guest.heard.some(({ op }) => op === OP.RST);
    });
    assert.ok(guest.heard.every(({ guestPort }) => guestPort === 2));
    assert.equal(guest.end.openConnections, 1);
    guest.send({ op: OP.RW, hostPort: 7, guestPort: 1, data: bytes("still here") });
    assert.equal(text(await read(guest, stays, 10)), "still here");
  }));

Deno.test("there is a limit to connections", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 7)), conns: Deno.Conn[] = [];
    void (async () => {
      for await (const conn of listener) conns.push(keep(conn));
    })().catch(() => {});
    guest.offer(10);
    for (let n = 0; n < 5; n++) guest.send({ op: OP.REQUEST, hostPort: 7, guestPort: n });
    await guest.until(() => guest.heard.length === 5 && conns.length === 4);
    const refused = guest.heard.filter(({ op }) => op === OP.RST);
    assert.deepEqual(refused.map(({ guestPort }) => guestPort), [4]);
    const late = keep(await dial(guest));
    assert.equal((await read(guest, late, 1)).length, 0);
    guest.heard.length = 0;
    guest.send({ op: OP.RST, hostPort: 7, guestPort: 0 }, { op: OP.REQUEST, hostPort: 7, guestPort: 4 });
    await guest.until(() => guest.heard.length === 1);
    assert.equal(guest.heard[0]!.op, OP.RESPONSE);
  }, { mostConnections: 4 }));

Deno.test("a reset of the device ends all connections, and nothing of before is heard after it", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 7)), accepted = listener.accept();
    await guest.connect(7, 1);
    const conn = keep(await accepted);
    await conn.write(bytes("for the one before"));
    await guest.until(() => !guest.port.toGuest.empty);
    guest.restart();
    assert.equal((await read(guest, conn, 1)).length, 0);
    guest.offer(4);
    await guest.silence();
    const again = listener.accept();
    guest.send({ op: OP.REQUEST, hostPort: 7, guestPort: 1 });
    await guest.until(() => guest.heard.length === 1);
    assert.equal(guest.heard[0]!.op, OP.RESPONSE);
    keep(await again);
    // Without a driver nobody is connected.
    guest.driver.write(REG.Status, 0);
    guest.turn();
    const early = keep(await dial(guest));
    await early.write(bytes("CONNECT 5\n"));
    assert.equal((await read(guest, early, 1)).length, 0);
  }));

Deno.test("a guest that does not hear is not heard, and hears everything afterwards", () =>
  withGuest(async (guest) => {
    const total = 8000;
    let sent = 0;
    for (let idle = 0; sent < total && idle < 50;) {
      while (sent < total && guest.unsent < 60) {
        guest.send({ op: OP.RW, hostPort: 1, guestPort: sent++, data: bytes("x") });
      }
      const before = sent;
      guest.turn();
      if (guest.unsent >= 60 || sent === before) {
        idle++;
      }
    }
    assert.ok(guest.unsent > 0 && sent < total, `${sent} of ${total}`);
    const heard: number[] = [];
    await guest.until(() => {
      guest.offer(50);
      guest.turn();
      heard.push(
        ...guest.heard.splice(0).map(({ guestPort }) => guestPort),
      );
      while (sent < total && guest.unsent < 60) {
        guest.send({ op: OP.RW, hostPort: 1, guestPort: sent++, data: bytes("x") });
      }
      return heard.length === total;
    });
    assert.deepEqual(heard, Array.from({ length: total }, (_, n) => n));
  }, { ringBytes: 2 ** 17 }));

Deno.test("the driver is told when the transport was reset", () =>
  withGuest((guest) => {
    guest.device.transportReset();
    const queue = guest.driver.queues[2]!, { room } = queue.add([], [4]);
    guest.driver.put(room[0]!.pa, Uint8Array.of(1, 2, 3, 4));
    queue.kick();
    assert.deepEqual(queue.poll().map(({ written }) => written), [4]);
    assert.deepEqual([...guest.driver.get(room[0]!.pa, 4)], [0, 0, 0, 0]);
    queue.add([], [4]);
    queue.kick();
    assert.deepEqual(queue.poll(), []);
    return Promise.resolve();
  }));

for (const seed of [1, 2, 3]) {
  Deno.test(`any packets at all do no harm (seed ${seed})`, () =>
    withGuest(async (guest, keep) => {
      const dice = new Dice(seededRandom(seed)), listeners = [1, 2].map((port) => keep(listen(guest, port)));
      for (const listener of listeners) {
        void (async () => {
          for await (const conn of listener) {
            keep(conn);
            void conn.readable.pipeTo(conn.writable).catch(() => {});
          }
        })().catch(() => {});
      }
      for (let n = 0; n < 2000; n++) {
        const data = new Uint8Array(dice.pick(0, 0, 1, 100, 1000, 40_000)),
          packet: Packet = {
            op: dice.pick(0, 1, 1, 1, 2, 3, 4, 5, 5, 5, 5, 6, 7, 8, dice.below(65536)),
            hostPort: dice.pick(1, 2, 1, 2, 3, dice.word()),
            guestPort: dice.pick(1, 2, 3, 4, dice.word()),
            flags: dice.pick(0, 1, 2, 3, dice.word()),
            bufferBytes: dice.pick(65536, 65536, 0, dice.word()),
            forwarded: dice.pick(0, dice.word()),
            sourceCid: dice.pick(GUEST_CID, GUEST_CID, GUEST_CID, GUEST_CID, dice.word()),
            targetCid: dice.pick(2, 2, 2, 2, dice.word()),
            type: dice.pick(1, 1, 1, 1, 2, dice.below(65536)),
            ...(dice.below(8) === 0 ? { length: dice.word() } : {}),
            data,
          };
        if (guest.unsent < 50) guest.send(packet);
        if (dice.below(3) === 0 && guest.offered < 40) {
          guest.offer(3, dice.pick([4096], [44, 300], [44], [10], [60_000]));
        }
        if (dice.below(4) === 0) guest.turn();
        if (dice.below(50) === 0) {
          const conn = keep(await dial(guest));
          await conn.write(bytes(`CONNECT ${dice.pick(1, 2, dice.below(2 ** 31))}\n`)).catch(() => 0);
          await new Promise((resolve) => setTimeout(resolve, 0));
        }
        assert.equal(guest.driver.needsReset, false);
        assert.ok(guest.end.openConnections <= 20);
      }
      // It still works.
      guest.restart();
      guest.heard.length = 0;
      await guest.until(() => guest.end.openConnections === 0);
      assert.equal((await guest.connect(1, 77)).op, OP.RESPONSE);
      guest.send({ op: OP.RW, hostPort: 1, guestPort: 77, data: bytes("echo") });
      assert.equal(text((await guest.hear()).data), "echo");
    }, { mostConnections: 20 }));
}

Deno.test("connections that come and go as fast as they can leave nothing behind", () =>
  withGuest(async (guest, keep) => {
    const listener = keep(listen(guest, 9));
    let accepted = 0;
    void (async () => {
      for await (const conn of listener) {
        accepted++;
        conn.close();
      }
    })().catch(() => {});
    for (let n = 0; n < 2000; n++) {
      if (guest.offered < 50) guest.offer(1);
      guest.send({ op: OP.REQUEST, hostPort: 9, guestPort: n }, { op: OP.RST, hostPort: 9, guestPort: n });
      if (n % 20 === 0) {
        guest.turn();
        await new Promise((resolve) => setTimeout(resolve, 0));
        guest.heard.length = 0;
      }
    }
    await guest.until(() => guest.end.openConnections === 0 && guest.unsent === 0);
    assert.ok(accepted <= 2000);
    assert.equal(guest.driver.transport.has(FEATURE.EVENT_IDX), true);
    guest.heard.length = 0;
    guest.send({ op: OP.REQUEST, hostPort: 9, guestPort: 5000 });
    await guest.until(() => guest.heard.some(({ guestPort, op }) => guestPort === 5000 && op === OP.RESPONSE));
  }));
