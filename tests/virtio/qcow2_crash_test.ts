// A power failure under a qcow2 image, at any moment: of what was written since the host's last flush any sectors may be on
// the disk, in any combination. QEMU must find the image sound, and everything in it that the guest had flushed.

import assert from "node:assert/strict";
import { ImageFile } from "../../devices/host/image_file.ts";
import { openImage } from "../../devices/host/image_open.ts";
import { Qcow2Image } from "../../devices/host/image_qcow2.ts";
import { seededRandom } from "../../src/base/random.ts";
import { Dice, hasTools, inDirectory, runTool } from "./tools.ts";

const MiB = 2 ** 20, SECTOR = 512, SIZE = 4 * MiB;

/** What happens to the file, and what the guest has been promised. */
type Event =
  | { readonly kind: "write"; readonly offset: number; readonly data: Uint8Array }
  | { readonly kind: "flush" }
  /** The guest wrote, discarded or cleared these bytes: until it flushes they may be anything of then and now. */
  | { readonly kind: "touched"; readonly offset: number; readonly bytes: number }
  /** The guest's flush was answered when the disk had this content. */
  | { readonly kind: "promised"; readonly content: Uint8Array };

/** Tells `log` of everything that the image does to its file. */
function watch(file: ImageFile, log: Event[]): void {
  const { writeAt, flush, punch, zeroRange } = file;
  file.writeAt = (offset, data) => {
    log.push({ kind: "write", offset, data: data.slice() });
    writeAt.call(file, offset, data);
  };
  file.flush = () => {
    flush.call(file);
    log.push({ kind: "flush" });
  };
  const cleared = (make: typeof punch) => (offset: number, bytes: number) => {
    const made = make.call(file, offset, bytes);
    if (made) log.push({ kind: "write", offset, data: new Uint8Array(bytes) });
    return made;
  };
  file.punch = cleared(punch);
  file.zeroRange = cleared(zeroRange);
}

/** A guest that writes, clears and discards, and flushes now and then. */
function useDisk(image: Qcow2Image, dice: Dice, log: Event[]): void {
  const read = () => {
    const out = new Uint8Array(SIZE);
    image.read(0, [out]);
    return out;
  };
  log.push({ kind: "promised", content: read() });
  for (let step = 0; step < 150; step++) {
    const bytes = SECTOR * (1 + dice.below(dice.pick(2, 16, 80)));
    const offset = SECTOR * dice.below((SIZE - bytes) / SECTOR);
    log.push({ kind: "touched", offset, bytes });
    switch (dice.below(6)) {
      case 0:
        image.discard(offset, bytes);
        break;
      case 1:
        image.zero(offset, bytes, dice.below(2) === 0);
        break;
      default:
        image.write(offset, [new Uint8Array(bytes).fill(1 + step)]);
    }
    if (dice.below(8) !== 0) continue;
    image.flush();
    log.push({ kind: "promised", content: read() });
  }
}

/** The file as a failure at `moment` leaves it, what was promised then, and which sectors it holds for. */
function crash(before: Uint8Array, log: readonly Event[], moment: number, dice: Dice) {
  const past = log.slice(0, moment), lastFlush = past.findLastIndex(({ kind }) => kind === "flush");
  const lastPromise = past.findLastIndex(({ kind }) => kind === "promised"), promise = past[lastPromise];
  const end = past.reduce(
    (most, event) => event.kind === "write" ? Math.max(most, event.offset + event.data.length) : most,
    0,
  );
  const file = new Uint8Array(Math.max(before.length, end));
  file.set(before);
  // Neither all nor nothing, as a rule.
  const share = dice.pick(0, 2, 5, 8, 10);
  past.forEach((event, index) => {
    if (event.kind !== "write") return;
    for (let at = 0; at < event.data.length; at += SECTOR) {
      if (index < lastFlush || dice.below(10) < share) {
        file.set(event.data.subarray(at, at + SECTOR), event.offset + at);
      }
    }
  });
  const holds = new Array<boolean>(SIZE / SECTOR).fill(true);
  for (const event of past.slice(lastPromise)) {
    if (event.kind === "touched") holds.fill(false, event.offset / SECTOR, (event.offset + event.bytes) / SECTOR);
  }
  return { file, content: promise?.kind === "promised" ? promise.content.slice() : new Uint8Array(SIZE), holds };
}

const SHAPES: Record<string, (path: string) => Promise<unknown>> = {
  "empty, small clusters": (path) =>
    runTool("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", path, String(SIZE)]),
  "version 2": (path) =>
    runTool("qemu-img", ["create", "-q", "-f", "qcow2", "-o", "compat=0.10,cluster_size=512", path, String(SIZE)]),
  "compressed": (path) =>
    runTool("qemu-img", ["convert", "-c", "-O", "qcow2", "-o", "cluster_size=8k", `${path}.base`, path]),
  "over a backing file": (path) =>
    runTool("qemu-img", [
      "create",
      "-q",
      "-f",
      "qcow2",
      "-o",
      "cluster_size=16k",
      "-b",
      `${path}.base`,
      "-F",
      "raw",
      path,
    ]),
};
for (const [name, create] of Object.entries(SHAPES)) {
  Deno.test({
    name: `no power failure harms a qcow2 image or what was flushed: ${name}`,
    ignore: !await hasTools("qemu-img"),
    fn: () =>
      inDirectory(async (directory) => {
        const path = `${directory}/image`, copy = `${directory}/copy`, log: Event[] = [];
        const dice = new Dice(seededRandom(name.length));
        await Deno.writeFile(`${path}.base`, Uint8Array.from({ length: SIZE }, (_, n) => (n >> 9) & 0x7f));
        await create(path);
        const before = await Deno.readFile(path), file = ImageFile.open(path, false);
        watch(file, log);
        const openBacking = (base: string) =>
          openImage({ path: base, format: "raw", readOnly: true, snapshot: false, unsafe: false });
        const image = new Qcow2Image(file, { openBacking, unsafe: false });
        useDisk(image, dice, log);
        image.close();
        // Any moment, and those at which most is not on the disk yet.
        const flushes = log.flatMap(({ kind }, index) => kind === "flush" ? [index] : []);
        let unsafe = 0;
        for (let n = 0; n < 25; n++) {
          const { file, content, holds } = crash(
            before,
            log,
            dice.pick(1 + dice.below(log.length), dice.pick(...flushes)),
            dice,
          );
          await Deno.writeFile(copy, file);
          // 3: nothing but clusters that nobody owns.
          const { code } = await runTool("qemu-img", ["check", "-q", "-f", "qcow2", copy], [0, 3]);
          if (code !== 0) unsafe++;
          await runTool("qemu-img", ["convert", "-f", "qcow2", "-O", "raw", copy, `${copy}.raw`]);
          const after = await Deno.readFile(`${copy}.raw`);
          // What does not hold any more is taken as it is.
          holds.forEach((hold, n) => {
            if (!hold) content.set(after.subarray(n * SECTOR, (n + 1) * SECTOR), n * SECTOR);
          });
          const wrong = after.findIndex((byte, at) => byte !== content[at]);
          assert.equal(wrong, -1, `crash ${n}: byte ${wrong} is not what was flushed`);
        }
        assert.ok(unsafe > 0, "some of the failures came at a bad moment");
      }),
  });
}
