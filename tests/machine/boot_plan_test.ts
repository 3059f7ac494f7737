// Loaders and placement: what is taken, where it goes, and the one clear line for everything else.

import assert from "node:assert/strict";
import { gzipSync, zstdCompressSync } from "node:zlib";
import { type Board, makeBoard } from "../../src/machine/board.ts";
import type { LoaderConfig, MachineConfig, MachineImages } from "../../src/machine/config.ts";
import { child, parseFdt, readCells, readStrings } from "../../src/machine/fdt.ts";
import { type BootPlan, planBoot } from "../../src/machine/loaders/boot_plan.ts";

const MiB = 2 ** 20, RAM = 0x4000_0000;

const board = (ramMiB = 512, cpuCount = 1): Board =>
  makeBoard({
    board: { gicVersion: 3, virtualization: true },
    cpu: { model: "cortex-a57", features: [] },
    cpuCount,
    ramSizeBytes: ramMiB * MiB,
  });

interface Given {
  kernel?: Uint8Array;
  initrd?: Uint8Array;
  bios?: Uint8Array;
  dtb?: Uint8Array;
  append?: string;
  demo?: Uint8Array[];
  loaders?: [LoaderConfig, Uint8Array | null][];
}

function plan(given: Given, on: Board = board()): BootPlan {
  const config: Pick<MachineConfig, "kernel" | "initrd" | "append" | "dtb" | "bios" | "loaders"> = {
    kernel: given.kernel ? "k" : null,
    initrd: given.initrd ? "i" : null,
    append: given.append ?? null,
    dtb: given.dtb ? "t" : null,
    bios: given.bios ? "b" : null,
    loaders: (given.loaders ?? []).map(([l]) => l),
  };
  const images: MachineImages = {
    demo: given.demo ?? [],
    kernel: given.kernel ?? null,
    initrd: given.initrd ?? null,
    dtb: given.dtb ?? null,
    bios: given.bios ?? null,
    loaders: (given.loaders ?? []).map(([, bytes]) => bytes),
  };
  return planBoot(config, images, on, (count) => new Uint8Array(count).fill(7));
}

const refused = (given: Given, message: RegExp, on?: Board) =>
  assert.throws(() => plan(given, on), { name: "HostError", message });
const find = (p: BootPlan, name: RegExp) => p.loads.find((l) => name.test(l.name));

/** An arm64 Image of `size` bytes. */
function image({ size = 4096, textOffset = 0n, imageSize = 0x10_0000n } = {}): Uint8Array {
  const bytes = new Uint8Array(size), view = new DataView(bytes.buffer);
  view.setUint32(0, 0x1400_0010, true);
  view.setBigUint64(8, textOffset, true);
  view.setBigUint64(16, imageSize, true);
  view.setUint32(56, 0x644d_5241, true);
  return bytes;
}

interface Segment {
  vaddr: bigint;
  paddr: bigint;
  data: Uint8Array;
  memsz?: bigint;
}
function elf(
  segments: Segment[],
  { entry = segments[0]?.vaddr ?? 0n, machine = 183, elfClass = 2, data = 1, type = 2 } = {},
): Uint8Array {
  const headers = 64 + segments.length * 56;
  const bytes = new Uint8Array(headers + segments.reduce((n, s) => n + s.data.length, 0)),
    view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, elfClass, data, 1]);
  view.setUint16(16, type, true);
  view.setUint16(18, machine, true);
  view.setBigUint64(24, entry, true);
  view.setBigUint64(32, 64n, true);
  view.setUint16(54, 56, true);
  view.setUint16(56, segments.length, true);
  let at = headers;
  segments.forEach((s, i) => {
    const h = 64 + i * 56;
    view.setUint32(h, 1, true);
    view.setBigUint64(h + 8, BigInt(at), true);
    view.setBigUint64(h + 16, s.vaddr, true);
    view.setBigUint64(h + 24, s.paddr, true);
    view.setBigUint64(h + 32, BigInt(s.data.length), true);
    view.setBigUint64(h + 40, s.memsz ?? BigInt(s.data.length), true);
    bytes.set(s.data, at);
    at += s.data.length;
  });
  return bytes;
}
const code = Uint8Array.of(1, 2, 3, 4);
const simpleElf = (paddr = BigInt(RAM)) => elf([{ vaddr: paddr, paddr, data: code }]);

Deno.test("an Image starts 2 MiB into RAM by the Linux boot protocol, with initrd and tree where QEMU puts them", () => {
  const p = plan({ kernel: image(), initrd: new Uint8Array(5000).fill(9), append: "console=ttyAMA0" });
  assert.equal(p.entry, RAM + 2 * MiB);
  assert.equal(find(p, /^kernel k$/)!.address, p.entry);
  assert.equal(find(p, /^initrd i$/)!.address, RAM + 128 * MiB);
  assert.equal(p.x0, RAM + 130 * MiB);
  assert.equal(find(p, /device tree/)!.address, p.x0);
  assert.equal(p.firmwareBytes, 0);
  const chosen = child(parseFdt(p.deviceTree, "tree").root, "chosen")!.properties;
  assert.deepEqual(readCells(chosen.get("linux,initrd-start")!), [RAM + 128 * MiB]);
  assert.deepEqual(readCells(chosen.get("linux,initrd-end")!), [RAM + 128 * MiB + 5000]);
  assert.deepEqual(readStrings(chosen.get("bootargs")!), ["console=ttyAMA0"]);
});

Deno.test("an Image's text_offset and image_size are honoured", () => {
  assert.equal(plan({ kernel: image({ textOffset: 0x8_0000n }) }).entry, RAM + 0x8_0000);
  assert.equal(plan({ kernel: image({ imageSize: 0n }) }).entry, RAM + 0x8_0000, "before Linux 3.17");
  const large = plan({ kernel: image({ imageSize: BigInt(200 * MiB) }), initrd: code });
  assert.equal(find(large, /initrd/)!.address, RAM + 202 * MiB, "the initrd is behind the kernel's .bss");
  assert.equal(find(plan({ kernel: image(), initrd: code }, board(64)), /initrd/)!.address, RAM + 32 * MiB);
});

Deno.test("a kernel without a header is a raw program at 0x80000 with the Linux protocol", () => {
  const p = plan({ kernel: code });
  assert.equal(p.entry, RAM + 0x8_0000);
  assert.notEqual(p.x0, 0);
});

Deno.test("gzip and EFI zboot kernels are unpacked, damaged ones refused", () => {
  const packed = new Uint8Array(gzipSync(image()));
  assert.deepEqual(find(plan({ kernel: packed }), /kernel/)!.bytes.slice(), image());
  refused({ kernel: packed.slice(0, packed.length - 12) }, /^cannot load kernel k: its gzip data is truncated$/);
  const damaged = packed.slice();
  damaged[20]! ^= 0xff;
  damaged[14]! ^= 0xff;
  refused({ kernel: damaged }, /gzip data is damaged/);
  refused({ kernel: new Uint8Array(gzipSync(new Uint8Array(17 * MiB))) }, /unpacked it is larger than RAM/, board(16));
  for (const [how, payload] of [["gzip", packed], ["zstd20", new Uint8Array(zstdCompressSync(image()))]] as const) {
    const zboot = new Uint8Array(64 + payload.length), view = new DataView(zboot.buffer);
    zboot.set(new TextEncoder().encode("MZ\0\0zimg"));
    view.setUint32(8, 64, true);
    view.setUint32(12, payload.length, true);
    zboot.set(new TextEncoder().encode(how), 24);
    zboot.set(payload, 64);
    assert.deepEqual(find(plan({ kernel: zboot }), /kernel/)!.bytes.slice(), image());
    refused({ kernel: zboot.slice(0, zboot.length - 1) }, /it is truncated/);
    zboot.set(new TextEncoder().encode("lzma\0\0"), 24);
    refused({ kernel: zboot }, /compression "lzma" is not supported/);
  }
});

Deno.test("an Image with an EFI stub that ends early is refused", () => {
  const bytes = image({ size: 4096 }), view = new DataView(bytes.buffer);
  bytes.set([0x4d, 0x5a]);
  view.setUint32(60, 64, true);
  bytes.set([0x50, 0x45, 0, 0], 64);
  view.setUint16(70, 1, true);
  view.setUint32(64 + 24 + 16, 3072, true);
  view.setUint32(64 + 24 + 20, 1024, true);
  plan({ kernel: bytes });
  refused({ kernel: bytes.slice(0, 4000) }, /^cannot load kernel k: it is truncated: 4000 of 4096 bytes$/);
});

Deno.test("an ELF kernel goes to its physical addresses, enters at the physical entry, X0 is 0", () => {
  const p = plan({
    kernel: elf([
      { vaddr: 0xffff_0000_0000_0000n, paddr: BigInt(RAM + MiB), data: code, memsz: 64n },
      { vaddr: 0xffff_0000_0010_0000n, paddr: BigInt(RAM + 2 * MiB), data: code },
    ], { entry: 0xffff_0000_0010_0004n - 4n }),
  });
  assert.equal(p.entry, RAM + 2 * MiB);
  assert.equal(p.x0, 0);
  const first = p.loads[0]!;
  assert.deepEqual([first.address, first.bytes.length, first.memoryBytes, first.clear], [RAM + MiB, 4, 64, true]);
  assert.equal(find(p, /device tree/)!.address, RAM);
  assert.equal(
    find(plan({ kernel: simpleElf() }), /device tree/),
    undefined,
    "the program lies where the tree would go",
  );
});

Deno.test("an ELF file that cannot run here says why", () => {
  const segment = [{ vaddr: BigInt(RAM), paddr: BigInt(RAM), data: code }];
  refused(
    { kernel: elf(segment, { machine: 62 }) },
    /^cannot load kernel k: it is an ELF file for x86-64, not AArch64$/,
  );
  refused({ kernel: elf(segment, { machine: 40, elfClass: 1 }) }, /for 32-bit Arm/);
  refused({ kernel: elf(segment, { elfClass: 1 }) }, /32-bit ELF/);
  refused({ kernel: elf(segment, { data: 2 }) }, /big-endian/);
  refused({ kernel: elf(segment, { type: 1 }) }, /a relocatable object, not an executable/);
  refused({ kernel: elf([]) }, /no program headers/);
  refused({ kernel: elf(segment).slice(0, 30) }, /truncated/);
  refused({ kernel: elf(segment).slice(0, 100) }, /truncated: its program headers/);
  refused({ kernel: elf(segment).slice(0, -1) }, /truncated: segment 0 ends behind/);
  refused({ kernel: elf([{ ...segment[0]!, memsz: 2n }]) }, /more bytes in the file than in memory/);
  refused({ kernel: elf([{ ...segment[0]!, paddr: 1n << 60n }]) }, /beyond the address space/);
  // Random damage in the headers gives a plan or a HostError.
  const good = elf(segment);
  for (let at = 4; at < 120; at++) {
    for (const value of [0, 0xff]) {
      const bad = good.slice();
      bad[at] = value;
      try {
        plan({ kernel: bad });
      } catch (e) {
        assert.equal((e as Error).name, "HostError", `${at}: ${e}`);
      }
    }
  }
});

Deno.test("what does not fit into RAM is refused", () => {
  refused(
    { kernel: elf([{ vaddr: 0x1_0000_0000n, paddr: 0x1_0000_0000n, data: code }]) },
    /^cannot load segment 0 of kernel k: 0x100000000-0x100000003 is not all memory: RAM is 0x40000000-0x5fffffff, flash is/,
  );
  refused({ kernel: image({ imageSize: BigInt(300 * MiB) }) }, /cannot load kernel k/, board(256));
  refused({ kernel: image(), initrd: new Uint8Array(20 * MiB) }, /cannot load initrd i/, board(32));
  refused({ bios: new Uint8Array(65 * MiB) }, /exceed the flash's/);
  refused({ kernel: Uint8Array.of(1) }, /has only 1 bytes/);
  refused({ kernel: Uint8Array.of(0x27, 5, 0x19, 0x56, 0, 0, 0, 0) }, /uImage, which is not supported/);
});

const file = (name: string, address: number | null, more: { cpu?: number; raw?: boolean } = {}): LoaderConfig => ({
  kind: "file",
  file: name,
  address,
  cpu: more.cpu ?? null,
  raw: more.raw ?? false,
});

Deno.test("overlapping loads name both", () => {
  refused(
    { kernel: image(), loaders: [[file("x.bin", RAM + 2 * MiB + 8), code]] },
    /^cannot load loader file x.bin at 0x40200008-0x4020000b: it overlaps kernel k at 0x40200000-0x402fffff$/,
  );
  refused({
    loaders: [[file("a", RAM + 0x100), new Uint8Array(0x100)], [file("b", RAM + 0x1f0), new Uint8Array(4)], [
      file("c", RAM + 0x1f8),
      new Uint8Array(4),
    ]],
  }, /b at .* overlaps loader file a/);
  const dtb = plan({}).deviceTree;
  refused({ kernel: simpleElf(), dtb }, /overlaps device tree t|device tree t at .* overlaps segment 0 of kernel k/);
});

Deno.test("-device loader takes files, data and start addresses", () => {
  const p = plan({
    loaders: [
      [file("raw.bin", RAM + 0x1000, { cpu: 0 }), code],
      [file("e.elf", null, { cpu: 1 }), simpleElf(BigInt(RAM + MiB))],
      [file("as-is.elf", RAM + 2 * MiB, { raw: true }), simpleElf()],
      [{ kind: "data", address: RAM + 4 * MiB, bytes: [0x78, 0x56, 0x34, 0x12] }, null],
      [{ kind: "start", address: 0x1234, cpu: 2 }, null],
    ],
  }, board(512, 3));
  assert.equal(p.entry, RAM + 0x1000, "cpu-num=0 goes before the kernel's entry");
  assert.deepEqual([...p.entries], [[0, RAM + 0x1000], [1, RAM + MiB], [2, 0x1234]]);
  assert.equal(find(p, /as-is/)!.address, RAM + 2 * MiB);
  assert.deepEqual([...find(p, /loader data/)!.bytes], [0x78, 0x56, 0x34, 0x12]);
  refused({ loaders: [[file("x", null), code]] }, /needs addr=/);
  refused({ loaders: [[{ kind: "start", address: 0, cpu: 1 }, null]] }, /cannot start CPU 1/);
});

Deno.test("firmware goes to the flash, is started at 0 and finds the kernel in fw_cfg", () => {
  const p = plan({ bios: new Uint8Array(5000).fill(1), kernel: image(), initrd: code, append: "x" });
  assert.equal(p.entry, 0);
  assert.equal(p.x0, 0);
  assert.equal(p.firmwareBytes, 8192);
  assert.equal(find(p, /firmware b/)!.address, 0);
  assert.equal(find(p, /device tree/)!.address, RAM);
  assert.equal(find(p, /kernel/), undefined);
  assert.deepEqual(p.fwCfgItems.get(0x11), image());
  assert.deepEqual(p.fwCfgItems.get(0x15), new TextEncoder().encode("x\0"));
});

Deno.test("the demo's images are loaded, the first is entered", () => {
  const p = plan({ demo: [simpleElf(BigInt(RAM + MiB)), simpleElf(BigInt(RAM + 2 * MiB))] });
  assert.equal(p.entry, RAM + MiB);
  assert.equal(p.loads.length, 3);
});

async function qemuInitrdStart(kernel: Uint8Array, ramMiB: number): Promise<number | undefined> {
  const directory = await Deno.makeTempDir();
  try {
    const [k, i, t] = ["kernel", "initrd", "tree"].map((name) => `${directory}/${name}`) as [string, string, string];
    await Deno.writeFile(k, kernel);
    await Deno.writeFile(i, code);
    const M = `virt,gic-version=3,dumpdtb=${t}`;
    const args = ["-display", "none", "-nic", "none", "-M", M, "-m", `${ramMiB}`, "-kernel", k, "-initrd", i];
    const options: Deno.CommandOptions = { args: [...args, "-cpu", "cortex-a57"], stdout: "null", stderr: "null" };
    if (!(await new Deno.Command("qemu-system-aarch64", options).output()).success) return undefined;
    const chosen = child(parseFdt(await Deno.readFile(t), "QEMU's tree").root, "chosen")!;
    return readCells(chosen.properties.get("linux,initrd-start")!)[0];
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

Deno.test("the initrd lies where QEMU puts it", async () => {
  const cases: [Uint8Array, number][] = [[image(), 512], [image(), 64], [image({ imageSize: BigInt(200 * MiB) }), 512]];
  for (const [kernel, ramMiB] of cases) {
    const theirs = await qemuInitrdStart(kernel, ramMiB);
    if (theirs === undefined) continue; // no QEMU here
    assert.equal(find(plan({ kernel, initrd: code }, board(ramMiB)), /initrd/)!.address, theirs);
  }
});
