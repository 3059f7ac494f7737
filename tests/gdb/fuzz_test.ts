// Whatever a peer sends, the stub answers the next good packet, and leaves nothing behind when the peer goes.

import assert from "node:assert/strict";
import { ascii } from "../../gdbstub/bytes.ts";
import { PACKETS } from "../../gdbstub/commands.ts";
import { frame } from "../../gdbstub/framing.ts";
import { Client, noise, stop } from "./client.ts";
import { threeContexts } from "./fake_target.ts";

/** A repeatable source of choices. */
class Dice {
  readonly #data: Uint8Array;
  #at = 0;
  constructor(seed: number) {
    this.#data = noise(4096, seed);
  }
  below(limit: number): number {
    const at = this.#at = (this.#at + 2) % 4096;
    return (this.#data[at]! << 8 | this.#data[at + 1]!) % limit;
  }
  of<T>(list: readonly T[]): T {
    return list[this.below(list.length)]!;
  }
}

const PIECES = [
  ":",
  ";",
  ",",
  ".",
  "-",
  "=",
  "0",
  "1",
  "2",
  "4",
  "ff",
  "ffffffffffffffff",
  "10000000000000000",
  "40200000",
  "p1.1",
  "p2.1",
  "p-1.-1",
  "p0.0",
  "-1",
  "p",
  "read",
  "features",
  "target.xml",
  "threads",
  "osdata",
  "exec-file",
  "memory-map",
  "memory",
  "open",
  "pread",
  "fstat",
  "close",
  "c",
  "s",
  "t",
  "r1,2",
  "X2,2227",
  "cmds:1",
  "g",
  "}",
  "\u0003",
  "é",
  "2f6574632f706173737764",
] as const; // deno-fmt-ignore

/** A packet that looks like one of ours. */
function almost(dice: Dice): string {
  // What ends the machine or the session makes dull fuzzing; they are in other tests.
  let text = dice.of(PACKETS.filter(({ name }) => !["k", "D", "vKill", "QNonStop", "QStartNoAckMode", "F"].includes(name))).name;
  for (let i = dice.below(8); i > 0; i--) text += dice.of(PIECES);
  return text;
}

/** The stub still knows who it is. */
async function alive(client: Client): Promise<void> {
  client.send(Uint8Array.of(3));
  await client.ask("Hgp1.1");
  for (let reply = ""; reply !== "QCp1.1"; reply = await client.next()) if (reply === "") client.packet("qC");
}

Deno.test("packets that are almost right get an answer or none, and harm nothing", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const target = threeContexts(), client = await Client.attached(target), dice = new Dice(seed);
    for (let i = 0; i < 50; i++) client.packet(almost(dice));
    await alive(client);
    await client.leave();
    assert.equal(target.listener, null);
  }
});

Deno.test("noise on the line is survived", async () => {
  for (let seed = 1; seed <= 40; seed++) {
    const target = threeContexts(), client = await Client.attached(target), dice = new Dice(seed);
    for (let i = 0; i < 20; i++) {
      const packet = frame(ascii(almost(dice)));
      switch (dice.below(4)) {
        case 0:
          packet[dice.below(packet.length)] = dice.below(256);
          client.send(packet);
          break;
        case 1:
          client.send(packet.subarray(0, dice.below(packet.length)));
          break;
        case 2:
          client.send(noise(dice.below(200), seed * 100 + i).map((byte) => byte === 0x6b ? 0 : byte));
          break;
        default:
          client.send(packet);
      }
    }
    // Ends whatever is open.
    client.send("#00");
    await alive(client);
    await client.leave();
    assert.equal(target.listener, null);
  }
});

Deno.test("a stream may be cut anywhere", async () => {
  const whole = [...ascii("+"), ...frame(ascii("qC")), ...frame(ascii("vCont;s:p1.1")), ...frame(ascii("?"))];
  for (let cut = 0; cut < whole.length; cut++) {
    const client = await Client.attached(threeContexts());
    client.send(Uint8Array.from(whole.slice(0, cut)));
    await Promise.resolve();
    client.send(Uint8Array.from(whole.slice(cut)));
    assert.equal(await client.next(), "QCp1.1");
    assert.equal(stop(await client.next()), "T05thread:p1.1;");
    assert.equal(stop(await client.next()), "T05thread:p1.1;");
    await client.leave();
  }
});

Deno.test("a peer may go at any moment", async () => {
  for (let seed = 1; seed <= 60; seed++) {
    const target = threeContexts(), client = await Client.attached(target), dice = new Dice(seed);
    if (dice.below(2) === 1) client.packet("QNonStop:1");
    for (let i = dice.below(10); i > 0; i--) client.packet(almost(dice));
    client.packet(dice.of(["vCont;c", "vCont;s:p2.1", "qSearch:memory:0;ffffffffffff;zz", "g"]));
    for (let i = dice.below(6); i > 0; i--) await Promise.resolve();
    await client.leave();
    assert.equal(target.listener, null);
    assert.equal(target.points.size, 0);
  }
});
