// Images on the host: what goes wrong there reaches the guest as an error and the user as one line.

import assert from "node:assert/strict";
import { ImageBackend } from "../../devices/host/image.ts";
import { openImage } from "../../devices/host/image_open.ts";
import { hasTools, inDirectory, runTool } from "./tools.ts";

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
