// qcow2 images against QEMU's: made by qemu-img in many shapes, used by us at random beside a plain array, then checked,
// read and compared by qemu-img.

import assert from "node:assert/strict";
import { type Image } from "../../devices/host/image.ts";
import { openImage } from "../../devices/host/image_open.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Dice, hasTools, inDirectory, runTool } from "./tools.ts";

const ignore = !await hasTools("qemu-img");
const MiB = 2 ** 20, SECTOR = 512;

const open = (path: string, more: Partial<Parameters<typeof openImage>[0]> = {}) =>
  openImage({ path, format: null, readOnly: false, snapshot: false, unsafe: true, ...more });

/** Bytes in which every sector says where it is and which round wrote it. */
function pattern(offset: number, bytes: number, round: number): Uint8Array {
  const out = new Uint8Array(bytes), view = new DataView(out.buffer);
  for (let at = 0; at < bytes; at += 8) {
    view.setUint32(at, offset + at);
    view.setUint32(at + 4, round);
  }
  return out;
}

/** The same bytes in pieces of random length. */
function inPieces(dice: Dice, bytes: Uint8Array): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let at = 0; at < bytes.length;) {
    const count = Math.min(bytes.length - at, dice.pick(SECTOR, 4096, 65536, 1 + dice.below(9000)));
    pieces.push(bytes.subarray(at, at + count));
    at += count;
  }
  return pieces;
}

function readAll(image: Image): Uint8Array {
  const out = new Uint8Array(image.sizeBytes);
  image.read(0, [out]);
  return out;
}

/** Uses the image at random and keeps `model` equal to what must be in it. */
function use(image: Image, model: Uint8Array, dice: Dice, steps: number): void {
  const sectors = image.sizeBytes / SECTOR;
  for (let step = 0; step < steps; step++) {
    const offset = dice.below(sectors) * SECTOR;
    const longest = dice.pick(8, 8, 128, 1024), count = 1 + dice.below(Math.min(longest, sectors - offset / SECTOR));
    const bytes = count * SECTOR;
    switch (dice.below(8)) {
      case 0:
        image.zero(offset, bytes, dice.below(2) === 0);
        model.fill(0, offset, offset + bytes);
        break;
      case 1: {
        image.discard(offset, bytes);
        // Whatever it reads as now.
        image.read(offset, [model.subarray(offset, offset + bytes)]);
        break;
      }
      case 2:
        image.flush();
        break;
      case 3:
      case 4: {
        const out = new Uint8Array(bytes);
        image.read(offset, inPieces(dice, out));
        assert.deepEqual(out, model.subarray(offset, offset + bytes), `read of ${bytes} bytes at ${offset}`);
        break;
      }
      default: {
        const data = pattern(offset, bytes, step);
        image.write(offset, inPieces(dice, data));
        model.set(data, offset);
      }
    }
  }
}

async function check(path: string): Promise<void> {
  const { output } = await runTool("qemu-img", ["check", path]);
  assert.match(output, /No errors were found/);
}

async function contents(path: string): Promise<Uint8Array> {
  await runTool("qemu-img", ["convert", "-O", "raw", path, `${path}.raw`]);
  return await Deno.readFile(`${path}.raw`);
}

async function exercise(path: string, seed: number, steps: number): Promise<void> {
  const dice = new Dice(seededRandom(seed)), model = await contents(path);
  for (let round = 0; round < 3; round++) {
    const image = open(path);
    try {
      assert.equal(image.sizeBytes, Math.ceil(model.length / SECTOR) * SECTOR);
      use(image, model, dice, steps);
      assert.deepEqual(readAll(image), model);
    } finally {
      image.close();
    }
    await check(path);
    assert.deepEqual(await contents(path), model);
  }
}

const SHAPES: Record<string, string> = {
  "version 3": "",
  "version 2": "compat=0.10",
  "clusters of 512 bytes": "cluster_size=512",
  "clusters of 2 MiB": "cluster_size=2M",
  "counts of 1 bit": "refcount_bits=1,cluster_size=4k",
  "counts of 4 bits": "refcount_bits=4,cluster_size=1k",
  "counts of 64 bits": "refcount_bits=64,cluster_size=1k",
  "all tables made before": "preallocation=metadata",
  "lazy counts": "lazy_refcounts=on",
};
for (const [name, options] of Object.entries(SHAPES)) {
  Deno.test({
    name: `a qcow2 image is used as QEMU would: ${name}`,
    ignore,
    fn: () =>
      inDirectory(async (directory) => {
        const path = `${directory}/image.qcow2`;
        await runTool("qemu-img", [
          ...["create", "-q", "-f", "qcow2", ...(options === "" ? [] : ["-o", options])],
          path,
          String(10 * MiB + 3 * SECTOR),
        ]);
        await exercise(path, name.length, 150);
      }),
  });
}

Deno.test({
  name: "the table of reference counts grows with the image",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/image.qcow2`, options = "cluster_size=512,refcount_bits=64";
      await runTool("qemu-img", ["create", "-q", "-f", "qcow2", "-o", options, path, "24M"]);
      const image = open(path), data = pattern(0, 24 * MiB, 1);
      for (let at = 0; at < data.length; at += MiB) image.write(at, [data.subarray(at, at + MiB)]);
      image.close();
      await check(path);
      assert.deepEqual(await contents(path), data);
      await exercise(path, 9, 100);
    }),
});

async function randomRaw(path: string, sizeBytes: number): Promise<void> {
  const bytes = new Uint8Array(sizeBytes);
  // Some of it compresses, some does not, some is zero.
  for (let at = 0; at + 65536 <= sizeBytes; at += 3 * 65536) bytes.set(pattern(at, 65536, 7), at);
  for (let at = 65536; at + 65536 <= sizeBytes; at += 5 * 65536) {
    crypto.getRandomValues(bytes.subarray(at, at + 65536));
  }
  await Deno.writeFile(path, bytes);
}

for (const type of ["zlib", "zstd"]) {
  for (const size of ["4k", "64k", "2M"]) {
    Deno.test({
      name: `compressed clusters are read, and written by moving them: ${type}, ${size}`,
      ignore,
      fn: () =>
        inDirectory(async (directory) => {
          const path = `${directory}/image.qcow2`;
          await randomRaw(`${directory}/source`, 6 * MiB);
          const options = `compression_type=${type},cluster_size=${size}`;
          await runTool("qemu-img", ["convert", "-c", "-O", "qcow2", "-o", options, `${directory}/source`, path]);
          const image = open(path, { readOnly: true });
          assert.deepEqual(readAll(image), await Deno.readFile(`${directory}/source`));
          image.close();
          await exercise(path, size.length, 60);
        }),
    });
  }
}

Deno.test({
  name: "an image over a chain of backing files, shorter and longer ones, leaves them alone",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      await randomRaw(`${directory}/base`, 3 * MiB + 5 * SECTOR);
      const create = (name: string, backing: string, format: string, size: string) =>
        runTool("qemu-img", ["create", "-q", "-f", "qcow2", "-b", backing, "-F", format, `${directory}/${name}`, size]);
      await create("middle", "base", "raw", "6M");
      await exercise(`${directory}/middle`, 1, 40);
      await create("top", "middle", "qcow2", "5M");
      const before = await Deno.readFile(`${directory}/middle`), base = await Deno.readFile(`${directory}/base`);
      await exercise(`${directory}/top`, 2, 100);
      assert.deepEqual(await Deno.readFile(`${directory}/middle`), before);
      assert.deepEqual(await Deno.readFile(`${directory}/base`), base);
    }),
});

Deno.test({
  name: "what internal snapshots share is copied before it is written",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/image.qcow2`;
      await randomRaw(`${directory}/source`, 6 * MiB);
      await runTool("qemu-img", ["convert", "-c", "-O", "qcow2", `${directory}/source`, path]);
      const source = await Deno.readFile(`${directory}/source`);
      await runTool("qemu-img", ["snapshot", "-c", "one", path]);
      await exercise(path, 3, 60);
      const second = await contents(path);
      await runTool("qemu-img", ["snapshot", "-c", "two", path]);
      await exercise(path, 4, 60);
      await runTool("qemu-img", ["snapshot", "-a", "one", path]);
      assert.deepEqual(await contents(path), source);
      await runTool("qemu-img", ["snapshot", "-a", "two", path]);
      assert.deepEqual(await contents(path), second);
      await exercise(path, 5, 60);
    }),
});

Deno.test({
  name: "a snapshot=on image keeps what is written to itself",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      await randomRaw(`${directory}/source`, 6 * MiB);
      await runTool("qemu-img", ["convert", "-c", "-O", "qcow2", `${directory}/source`, `${directory}/image`]);
      for (const path of [`${directory}/source`, `${directory}/image`]) {
        const before = await Deno.readFile(path), model = await Deno.readFile(`${directory}/source`);
        const image = open(path, { snapshot: true });
        use(image, model, new Dice(seededRandom(6)), 200);
        assert.deepEqual(readAll(image), model);
        image.close();
        assert.deepEqual(await Deno.readFile(path), before);
      }
    }),
});

Deno.test({
  name: "whatever was flushed is there when the process is gone, and nothing is corrupt",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      for (let seed = 1; seed <= 6; seed++) {
        const path = `${directory}/image${seed}.qcow2`, dice = new Dice(seededRandom(seed));
        await runTool("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", path, "4M"]);
        const image = open(path), model = new Uint8Array(4 * MiB);
        use(image, model, dice, 40);
        image.flush();
        const flushed = model.slice(), copy = `${path}.copy`;
        // Only clusters that were not touched before the flush.
        for (let n = 0; n < 30; n++) {
          const at = dice.below(1024) * 4096;
          if (flushed.subarray(at, at + 4096).some((byte) => byte !== 0)) continue;
          image.write(at, [pattern(at, 4096, 99)]);
        }
        await Deno.copyFile(path, copy);
        image.close();
        const { code, output } = await runTool("qemu-img", ["check", copy], [0, 3]);
        assert.ok(code === 0 || /leaked clusters/.test(output), output);
        const after = await contents(copy);
        for (let at = 0; at < flushed.length; at += 4096) {
          const expected = flushed.subarray(at, at + 4096);
          if (expected.some((byte) => byte !== 0)) assert.deepEqual(after.subarray(at, at + 4096), expected);
        }
      }
    }),
});

Deno.test({
  name: "an image that is open for writing is not opened again",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/image.qcow2`;
      await runTool("qemu-img", ["create", "-q", "-f", "qcow2", path, "4M"]);
      const image = open(path);
      assert.throws(() => open(path), /cannot open .*: somebody else has it open/);
      assert.throws(() => open(path, { readOnly: true }), /cannot open .*: somebody writes to it/);
      image.close();
      const one = open(path, { readOnly: true }), two = open(path, { readOnly: true });
      assert.throws(() => open(path), /somebody else has it open/);
      one.close();
      two.close();
      open(path).close();
    }),
});

Deno.test({
  name: "images that are damaged or not ours are refused with what is wrong",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/image.qcow2`;
      await runTool("qemu-img", ["create", "-q", "-f", "qcow2", path, "4M"]);
      const good = await Deno.readFile(path);
      const damages: [RegExp, (view: DataView) => void][] = [
        [/version 4 is not known/, (view) => view.setUint32(4, 4)],
        [/clusters have 2\^30 bytes/, (view) => view.setUint32(20, 30)],
        [/encrypted images/, (view) => view.setUint32(32, 1)],
        [/L1 table is too short/, (view) => view.setUint32(24, 1)],
        [/L1 table is not at a cluster/, (view) => view.setUint32(44, 77)],
        [/L1 table is too long/, (view) => view.setUint32(36, 0x7fffffff)],
        [/refcount table is too long/, (view) => view.setUint32(56, 0x7fffffff)],
        [/needs a repair/, (view) => view.setUint32(76, 1)],
        [/needs a repair/, (view) => view.setUint32(76, 2)],
        [/external data files/, (view) => view.setUint32(76, 4)],
        [/extended L2/, (view) => view.setUint32(76, 16)],
        [/features that are not known/, (view) => view.setUint32(72, 1)],
        [/header has/, (view) => view.setUint32(100, 8)],
        [/reference counts have/, (view) => view.setUint32(96, 7)],
        [/refcount table is corrupt/, (view) => view.setUint32(65536 + 4, 77)],
        [/L1 table is corrupt/, (view) => view.setUint32(3 * 65536, 0xff)],
        [/name of its backing file is too long/, (view) => {
          view.setUint32(12, 200);
          view.setUint32(16, 70000);
        }],
      ];
      for (const [message, damage] of damages) {
        const bytes = good.slice();
        damage(new DataView(bytes.buffer));
        await Deno.writeFile(path, bytes);
        assert.throws(() => open(path), message);
      }
      await Deno.writeFile(path, good);
      open(path).close();
      assert.throws(() => open(`${directory}/none`), /cannot open .*: no such file/);
      assert.throws(() => open(directory), /cannot open .*: is a directory/);
    }),
});

Deno.test({
  name: "no damage to an image's tables makes anything but an error",
  ignore,
  fn: () =>
    inDirectory(async (directory) => {
      const path = `${directory}/image.qcow2`;
      await randomRaw(`${directory}/source`, MiB);
      await runTool("qemu-img", ["convert", "-c", "-O", "qcow2", "-o", "cluster_size=4k", `${directory}/source`, path]);
      const good = await Deno.readFile(path), out = new Uint8Array(65536);
      for (let seed = 1; seed <= 400; seed++) {
        const dice = new Dice(seededRandom(seed)), bytes = good.slice(), view = new DataView(bytes.buffer);
        for (let n = 1 + dice.below(4); n > 0; n--) {
          view.setUint32(4 * dice.below(dice.pick(32, 8192, bytes.length / 4)), dice.word());
        }
        await Deno.writeFile(path, bytes);
        let image: Image | null = null;
        try {
          image = open(path);
          if (image.sizeBytes < 2 ** 40) {
            for (let n = 0; n < 20; n++) {
              const at = dice.below(Math.min(MiB, Math.max(SECTOR, image.sizeBytes - 65536)) / SECTOR) * SECTOR;
              const part = out.subarray(0, Math.min(out.length, image.sizeBytes - at));
              if (part.length === 0) continue;
              if (dice.below(2) === 0) image.read(at, [part]);
              else image.write(at, [part]);
            }
          }
        } catch (error) {
          assert.equal((error as Error).name, "HostError", `seed ${seed}: ${(error as Error).stack}`);
        }
        try {
          image?.close();
        } catch (error) {
          assert.equal((error as Error).name, "HostError", `seed ${seed}: ${(error as Error).stack}`);
        }
      }
    }),
});
