// Images on the host: what goes wrong there reaches the guest as an error and the user as one line.

import assert from "node:assert/strict";
import { ImageBackend } from "../../devices/host/image.ts";
import { openImage } from "../../devices/host/image_open.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Dice, hasTools, inDirectory, runTool } from "./tools.ts";

const open = (path: string, more: Partial<Parameters<typeof openImage>[0]> = {}) =>
  openImage({ path, format: null, readOnly: false, snapshot: false, unsafe: false, ...more });

Deno.test("a raw image's last sector is completed, and offsets have more than 32 bits", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/image`;
    await Deno.writeFile(path, Uint8Array.of(1, 2, 3));
    const small = open(path), sector = new Uint8Array(512).fill(9);
    assert.equal(small.sizeBytes, 512);
    small.read(0, [sector]);
    assert.deepEqual(sector.subarray(0, 4), Uint8Array.of(1, 2, 3, 0));
    small.close();
    await Deno.truncate(path, 3 * 2 ** 40);
    const large = open(path);
    for (const offset of [2 ** 31, 2 ** 32 - 512, 3 * 2 ** 40 - 1024]) {
      large.write(offset, [sector.fill(offset % 251), sector]);
      const back = [new Uint8Array(100), new Uint8Array(924)];
      large.read(offset, back);
      assert.ok(back.every((piece) => piece.every((byte) => byte === offset % 251)));
    }
    large.close();
  }));

Deno.test("scattered pieces of guest memory are read and written in order, past the end of the file too", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/image`, dice = new Dice(seededRandom(12)), size = 2 ** 20;
    const memory = new Uint8Array(new SharedArrayBuffer(4 * 2 ** 20)), model = new Uint8Array(size);
    await Deno.writeFile(path, crypto.getRandomValues(model.subarray(0, 65536)));
    await Deno.truncate(path, size - 200);
    const image = open(path, { format: "raw" });
    for (let round = 0; round < 200; round++) {
      const count = dice.pick(1, 2, 3, 100, 1024, 1500), pieces: Uint8Array[] = [];
      // No two of them overlap, and none follows the one before.
      const place = memory.length / count;
      for (let n = 0; n < count; n++) {
        const at = Math.floor(((n * 7919) % count) * place), most = Math.min(place, size / count) - 1;
        pieces.push(memory.subarray(at, at + 1 + dice.below(most)));
      }
      const bytes = pieces.reduce((sum, { length }) => sum + length, 0),
        offset = dice.pick(0, dice.below(size - bytes), size - bytes);
      if (dice.below(2) === 0) {
        for (const piece of pieces) piece.set(crypto.getRandomValues(new Uint8Array(Math.min(piece.length, 9))));
        image.write(offset, pieces);
        let at = offset;
        for (const piece of pieces) {
          model.set(piece, at);
          at += piece.length;
        }
      } else {
        image.read(offset, pieces);
        let at = offset;
        for (const piece of pieces) assert.deepEqual(piece.slice(), model.subarray(at, at += piece.length));
      }
    }
    image.close();
    const file = await Deno.readFile(path);
    assert.deepEqual(file, model.subarray(0, file.length));
  }));

Deno.test("a guest cannot turn a raw image whose format was found out into another", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/image`, magic = new Uint8Array(512);
    await Deno.writeFile(path, new Uint8Array(4096));
    magic.set([0x51, 0x46, 0x49, 0xfb]);
    const found = open(path);
    assert.throws(() => found.write(0, [magic]), /would look like qcow2/);
    found.write(512, [magic]);
    found.close();
    const said = open(path, { format: "raw" });
    said.write(0, [magic]);
    said.close();
  }));

Deno.test("what the host refuses is an error to the guest, and told to the user once", () => {
  const lines: string[] = [], image = open("/dev/full", { format: "raw" });
  const backend = new ImageBackend(image, { discard: false, unsafe: false, warn: (line) => lines.push(line) });
  const ends: boolean[] = [];
  for (let n = 0; n < 3; n++) backend.write(0, [new Uint8Array(512)], (good) => ends.push(good));
  assert.deepEqual(ends, [false, false, false]);
  assert.deepEqual(lines, ["cannot write /dev/full: No space left on device"]);
  image.close();
});

/** A file system of 4 MiB, where that can be had. */
const mountable = Deno.uid() === 0 && await hasTools("qemu-img") &&
  await inMount(async () => {}).then(() => true, () => false);
async function inMount(use: (path: string) => Promise<void>): Promise<void> {
  await inDirectory(async (directory) => {
    await runTool("mount", ["-t", "tmpfs", "-o", "size=4m", "none", directory]);
    try {
      await use(directory);
    } finally {
      await runTool("umount", [directory]);
    }
  });
}

Deno.test({
  name: "a full disk leaves a qcow2 image sound, and it goes on when there is room again",
  ignore: !mountable,
  fn: () =>
    inMount(async (directory) => {
      const path = `${directory}/image`;
      await runTool("qemu-img", ["create", "-q", "-f", "qcow2", path, "64M"]);
      await Deno.writeFile(`${directory}/ballast`, new Uint8Array(2 ** 20));
      const image = open(path), data = new Uint8Array(65536).fill(7), written: number[] = [];
      let failed = 0;
      for (let n = 0; n < 100; n++) {
        const at = ((n * 37) % 1000) * 65536;
        try {
          image.write(at, [data]);
          written.push(at);
        } catch (error) {
          assert.match((error as Error).message, /cannot write .*space/i);
          failed++;
        }
      }
      assert.ok(failed > 10 && written.length > 10);
      try {
        image.flush();
      } catch { /* There may be no room for tables. */ }
      await Deno.remove(`${directory}/ballast`);
      image.flush();
      image.write(63 * 2 ** 20, [data]);
      image.close();
      assert.match((await runTool("qemu-img", ["check", path])).output, /No errors were found/);
      const again = open(path), back = new Uint8Array(65536);
      for (const at of [...written, 63 * 2 ** 20]) {
        again.read(at, [back]);
        assert.deepEqual(back, data);
      }
      again.close();
    }),
});

/** Bytes that a file takes on the host's disk. */
const taken = async (path: string) => (await Deno.stat(path)).blocks! * 512;

Deno.test("discarding gives space back to the host; zeros are zeros with and without it", () =>
  inDirectory(async (directory) => {
    const path = `${directory}/image`, size = 4 * 2 ** 20, content = new Uint8Array(size).fill(5);
    await Deno.writeFile(path, content);
    const image = open(path, { format: "raw" });
    try {
      image.zero(512, 4096, false);
      content.fill(0, 512, 4608);
      image.zero(2 ** 20, 2 ** 20 + 512, true);
      content.fill(0, 2 ** 20, 2 ** 21 + 512);
      image.flush();
      assert.deepEqual(await Deno.readFile(path), content);
      if (!image.canDiscard) return;
      const before = await taken(path);
      image.discard(3 * 2 ** 20, 2 ** 20);
      image.flush();
      assert.ok(await taken(path) <= before - 2 ** 20, "a file system for tests makes holes");
      assert.deepEqual((await Deno.readFile(path)).subarray(0, 3 * 2 ** 20), content.subarray(0, 3 * 2 ** 20));
    } finally {
      image.close();
    }
    assert.equal((await Deno.stat(path)).size, size);
  }));

Deno.test({
  name: "what is discarded of a qcow2 image goes back to the host",
  ignore: !await hasTools("qemu-img"),
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/image`;
      await runTool("qemu-img", ["create", "-q", "-f", "qcow2", path, "16M"]);
      const image = open(path);
      image.write(0, [new Uint8Array(8 * 2 ** 20).fill(1)]);
      image.flush();
      const before = await taken(path);
      image.discard(2 ** 20, 6 * 2 ** 20);
      image.close();
      assert.ok(await taken(path) <= before - 5 * 2 ** 20);
      assert.match((await runTool("qemu-img", ["check", path])).output, /No errors were found/);
      const again = open(path), back = new Uint8Array(8 * 2 ** 20);
      again.read(0, [back]);
      again.close();
      assert.deepEqual(back, new Uint8Array(back.length).fill(1).fill(0, 2 ** 20, 7 * 2 ** 20));
    }),
});

Deno.test({
  name: "a full disk under a raw image, and under an overlay, is an error until there is room again",
  ignore: !mountable,
  fn: () =>
    inMount(async (directory) => {
      const path = `${directory}/image`, ballast = `${directory}/ballast`, piece = [new Uint8Array(65536).fill(7)];
      await Deno.writeFile(path, new Uint8Array(0));
      await Deno.truncate(path, 64 * 2 ** 20);
      const before = Deno.env.get("TMPDIR");
      Deno.env.set("TMPDIR", directory);
      try {
        for (const snapshot of [false, true]) {
          await Deno.writeFile(ballast, new Uint8Array(2 ** 20));
          const image = open(path, { format: "raw", snapshot }), lines: string[] = [];
          const backend = new ImageBackend(image, { discard: true, unsafe: false, warn: (line) => lines.push(line) });
          const write = (n: number) => {
            let good: boolean | undefined;
            backend.write(n * 2 * 65536, piece, (ended) => good = ended);
            return good;
          };
          const ends = Array.from({ length: 100 }, (_, n) => write(n));
          assert.ok(ends.slice(0, 10).every(Boolean) && ends.slice(-10).every((good) => good === false), ends.join());
          assert.equal(lines.length, 1);
          assert.match(lines[0]!, /^cannot write .*: No space left on device/);
          const written = ends.lastIndexOf(true), back = new Uint8Array(65536);
          backend.read(written * 2 * 65536, [back], (good) => assert.equal(good, true));
          assert.deepEqual(back, piece[0]);
          await Deno.remove(ballast);
          assert.equal(write(400), true);
          backend.discard(0, 64 * 2 ** 20, (good) => assert.equal(good, true));
          backend.close();
        }
      } finally {
        if (before === undefined) Deno.env.delete("TMPDIR");
        else Deno.env.set("TMPDIR", before);
      }
    }),
});
