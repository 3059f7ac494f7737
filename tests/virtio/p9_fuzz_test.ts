// Messages of random content to the 9P device, over a directory that may be written: each gets an answer that holds
// together, nothing beside the directory is touched, and nothing stays open.

import assert from "node:assert/strict";
import { HostShare } from "../../devices/host/share.ts";
import { VirtioP9 } from "../../devices/virtio/p9.ts";
import { Reader, record, text, u16, u32, u64, u8, Writer } from "../../devices/virtio/p9_codec.ts";
import { list } from "../../devices/virtio/p9_codec.ts";
import { HEADER_BYTES, type MessageName, MESSAGES, readRequest, RLERROR } from "../../devices/virtio/p9_messages.ts";
import { seededRandom } from "../../src/base/random.ts";
import { P9Client } from "./p9_client.ts";
import { Dice, inDirectory, runTool } from "./tools.ts";

const NAMES = Object.keys(MESSAGES) as MessageName[];
const FILES = [
  "a",
  "b",
  "sub",
  "out",
  "deep",
  "..",
  ".",
  "",
  "a/b",
  "../outside/secret",
  "x".repeat(300),
  "\0",
  "\xff",
];
const MOST_STRING = 2000;

/** A value for a field of this name: mostly one that leads somewhere. */
function valueOf(field: string, dice: Dice): unknown {
  const name = () => dice.below(4) > 0 ? dice.pick(...FILES.slice(0, 6)) : dice.pick(...FILES);
  switch (field) {
    case "fid":
    case "newfid":
    case "dfid":
    case "olddirfid":
    case "newdirfid":
      return dice.below(20) === 0 ? dice.word() : dice.below(12);
    case "afid":
      return dice.pick(0xffff_ffff, 0xffff_ffff, 1);
    case "names":
      return Array.from({ length: dice.below(dice.below(10) === 0 ? 17 : 4) }, name);
    case "name":
    case "oldname":
    case "newname":
      return name();
    case "target":
      return dice.pick("../outside", "/etc", "", "a", "x".repeat(dice.below(MOST_STRING)));
    case "version":
      return dice.pick("9P2000.L", "9P2000.L", "9P2000.L", "9P2000");
    case "msize":
      return dice.pick(65536, 65536, 65536, 8192, dice.word());
    case "flags":
      return dice.pick(0, 1, 2, 0o200000, 0o1002, 0o200, 0x200, dice.word());
    case "mode":
      return dice.pick(0o644, 0o755, dice.word());
    case "valid":
      return dice.below(512);
    case "oldtag":
    case "type":
      return dice.below(256);
    case "count":
      return dice.pick(0, 100, 4096, 60_000, dice.word());
    case "uname":
    case "aname":
    case "clientId":
      return "x".repeat(dice.below(20));
    case "uid":
    case "gid":
    case "nUname":
      return dice.pick(0, 1000, 0xffff_ffff);
    default: {
      const small = dice.below(4) > 0, value = small ? dice.below(5000) : dice.word();
      return U64.has(field) ? BigInt(value) * (small ? 1n : 0x1_0000_0001n) : value;
    }
  }
}
const U64 = new Set(
  Object.values(MESSAGES).flatMap(({ fields }) =>
    Object.entries(fields).flatMap(([name, kind]) => kind === u64 ? [name] : [])
  ),
);

/** These take away what the others need: seldom. */
const FORGETS = new Set<MessageName>(["version", "clunk", "remove"]);

function message(dice: Dice, tag: number): Uint8Array {
  const name = dice.pick<MessageName>(
    ...NAMES,
    "walk",
    "walk",
    "walk",
    "lopen",
    "lcreate",
    "mkdir",
    "readdir",
    "attach",
  );
  const { type, fields, request, hasData } = MESSAGES[FORGETS.has(name) && dice.below(8) > 0 ? "walk" : name];
  const values = Object.fromEntries(Object.keys(fields).map((field) => [field, valueOf(field, dice)]));
  const out = new Writer(new Uint8Array(100_000)), data = hasData || dice.below(20) === 0 ? dice.below(5000) : 0;
  out.u32(0);
  out.u8(type);
  out.u16(tag);
  (request as { write(to: Writer, value: unknown): void }).write(out, values);
  out.patch32(0, out.at + data);
  const bytes = new Uint8Array(out.at + data);
  bytes.set(out.written);
  return bytes;
}

/** Now and then something is wrong with it. */
function damaged(bytes: Uint8Array, dice: Dice): Uint8Array {
  switch (dice.below(12)) {
    case 0:
      bytes[HEADER_BYTES - 3 + dice.below(bytes.length - HEADER_BYTES + 3)]! ^= 1 << dice.below(8);
      return bytes;
    case 1:
      return bytes.subarray(0, HEADER_BYTES + dice.below(bytes.length - HEADER_BYTES + 1));
    case 2:
      new DataView(bytes.buffer).setUint32(0, dice.word(), true);
      return bytes;
    case 3:
      return Uint8Array.from([...bytes, ...new Uint8Array(dice.below(20))]);
    default:
      return bytes;
  }
}

/** Puts into the directory what the names above mean. */
const FRESH = 'chmod u+rwx "$1" && cd "$1" && chmod -R u+rwx . && find . -mindepth 1 -delete && mkdir -p sub/deep && ' +
  "echo content >a && ln -s ../outside out";

const openFiles = () => [...Deno.readDirSync("/proc/self/fd")].length;

Deno.test({
  name: "9p: whatever the messages are, each is answered, and the host keeps what is not shared",
  ignore: Deno.build.os !== "linux",
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/share`, outside = `${directory}/outside`;
      await Deno.mkdir(path);
      await Deno.mkdir(outside);
      await Deno.writeTextFile(`${outside}/secret`, "outside");
      const state = () =>
        JSON.stringify([...Deno.readDirSync(outside)]) + Deno.readTextFileSync(`${outside}/secret`) +
        JSON.stringify([Deno.statSync(outside), Deno.statSync(`${outside}/secret`)].map(({ mode, mtime, ctime }) => [
          ...[mode, mtime, ctime],
        ]));
      const before = state(), answered: Record<string, number> = {};
      let good = 0, wrong = 0;
      for (let seed = 1; seed <= 15; seed++) {
        const dice = new Dice(seededRandom(seed));
        const filesBefore = openFiles();
        const share = new HostShare({ path, readOnly: false, securityModel: dice.pick("none", "mapped-xattr") });
        const client = new P9Client(new VirtioP9({ tag: "x", share, logged: null }));
        for (let step = 0; step < 400; step++) {
          if (step % 25 === 0) {
            await runTool("sh", ["-c", FRESH, "sh", path]);
            client.begin();
            for (const [fid, names] of [[1, ["a"]], [2, ["out"]], [3, ["sub"]], [4, ["a"]], [5, []]] as const) {
              client.must("walk", { fid: 0, newfid: fid, names });
            }
            client.must("lopen", { fid: 1, flags: 2 });
            client.must("lopen", { fid: 5, flags: 0 });
          }
          const sent = damaged(message(dice, step), dice), room = dice.pick(65536, 65536, 65536, 11 + dice.below(200));
          const answer = client.raw(sent, undefined, [room]), from = new Reader(answer);
          assert.ok(answer.length >= HEADER_BYTES && answer.length <= room, `seed ${seed}, step ${step}`);
          const size = from.u32(), type = from.u8();
          assert.equal(size, answer.length);
          assert.equal(from.u16(), new DataView(sent.buffer, sent.byteOffset).getUint16(5, true));
          if (type !== RLERROR) {
            good++;
            assert.equal(type, sent[4]! + 1);
            answered[type] = (answered[type] ?? 0) + 1;
            continue;
          }
          wrong++;
          const error = from.u32();
          assert.ok(error > 0 && error < 134, `seed ${seed}, step ${step}: error ${error}`);
        }
        assert.ok(!client.driver.needsReset);
        client.bringUp();
        share.dispose();
        await runTool("sh", ["-c", FRESH, "sh", path]);
        assert.equal(openFiles(), filesBefore, `seed ${seed}: everything was closed`);
      }
      assert.equal(state(), before);
      assert.ok(good > 600 && wrong > 2000, `the test reaches what it should: ${good} good, ${wrong} wrong`);
      const never = NAMES.filter((name) => answered[MESSAGES[name].type + 1] === undefined);
      assert.deepEqual(never.sort(), ["auth", "mknod", "xattrcreate", "xattrwalk"]);
    }),
});

Deno.test("9p: a message is read as it was written, and cut off anywhere it is none", () => {
  const dice = new Dice(seededRandom(7)), seen = new Set<number>();
  for (let n = 0; n < 3000; n++) {
    const bytes = message(dice, n), name = NAMES.find((name) => MESSAGES[name].type === bytes[4])!;
    const { request, hasData } = MESSAGES[name], from = new Reader(bytes);
    from.at = HEADER_BYTES;
    const values = request.read(from), end = from.at;
    assert.ok(!from.broken);
    const out = new Writer(new Uint8Array(bytes.length));
    (request as { write(to: Writer, value: unknown): void }).write(out, values);
    assert.deepEqual(out.written, bytes.subarray(HEADER_BYTES, end));
    const cut = new Reader(bytes.subarray(0, HEADER_BYTES + dice.below(end - HEADER_BYTES + 1)));
    cut.at = HEADER_BYTES;
    const read = readRequest(name, cut);
    assert.equal(read === null, cut.bytes.length < end && !(hasData && cut.bytes.length >= end));
    seen.add(bytes[4]!);
  }
  assert.equal(seen.size, NAMES.length);
});

Deno.test("9p: what does not fit is left out and said", () => {
  const kind = record({ a: u8, b: u16, c: list(text, 3), d: u32 }), value = { a: 1, b: 2, c: ["x", "yz"], d: 4 };
  const whole = new Writer(new Uint8Array(100));
  kind.write(whole, value);
  assert.deepEqual([...whole.written], [1, 2, 0, 2, 0, 1, 0, 120, 2, 0, 121, 122, 4, 0, 0, 0]);
  for (let room = 0; room < whole.at; room++) {
    const out = new Writer(new Uint8Array(room));
    kind.write(out, value);
    assert.ok(out.full && out.at <= room);
    const from = new Reader(whole.written.subarray(0, room));
    kind.read(from);
    assert.ok(from.broken);
  }
  const many = new Reader(Uint8Array.of(4, 0, 0, 0, 0, 0, 0, 0, 0, 0));
  assert.deepEqual(list(text, 3).read(many), []);
  assert.ok(many.broken);
});
