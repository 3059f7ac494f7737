// The device tree, compared with the one that QEMU writes for the same machine. Differences are listed with a reason.

import assert from "node:assert/strict";
import { type Board, makeBoard } from "../../src/machine/board.ts";
import type { CpuModel } from "../../src/machine/config.ts";
import { addBoot, addMachine, boardTree } from "../../src/machine/device_tree.ts";
import {
  cells,
  child,
  type DeviceTree,
  type FdtNode,
  node,
  parseFdt,
  readCells,
  strings,
  writeFdt,
} from "../../src/machine/fdt.ts"; // deno-fmt-ignore

interface Machine {
  readonly model: CpuModel;
  readonly cpus: number;
  readonly ramMiB: number;
  readonly virtualization: boolean;
  readonly gicVersion: 2 | 3;
}

const MACHINES: readonly Machine[] = [
  { model: "cortex-a57", cpus: 1, ramMiB: 512, virtualization: true, gicVersion: 3 },
  { model: "cortex-a57", cpus: 2, ramMiB: 128, virtualization: false, gicVersion: 3 },
  { model: "cortex-a72", cpus: 4, ramMiB: 1024, virtualization: false, gicVersion: 3 },
  { model: "cortex-a76", cpus: 8, ramMiB: 3072, virtualization: true, gicVersion: 3 },
  { model: "max", cpus: 2, ramMiB: 256, virtualization: true, gicVersion: 3 },
  { model: "cortex-a57", cpus: 1, ramMiB: 128, virtualization: false, gicVersion: 2 },
  { model: "cortex-a76", cpus: 8, ramMiB: 256, virtualization: true, gicVersion: 2 },
];

/** Path (a pattern) → why QEMU's tree and ours differ there. */
const DIFFERENCES: readonly {
  readonly path: RegExp;
  readonly reason: string;
  readonly when?: (m: Machine) => boolean;
}[] = [
  { path: /^\/pcie@/, reason: "there is no PCIe yet" },
  {
    path: /^\/intc@8000000\/its@/,
    reason: "there is no ITS yet: it serves PCIe",
    when: (m) => m.gicVersion === 3,
  },
  { path: /^\/pmu\b/, reason: "performance monitors are not implemented, and ID_AA64DFR0_EL1 says so" },
  { path: /^\/platform-bus@/, reason: "nothing can be plugged into a platform bus" },
  {
    path: /^\/timer:interrupts$/,
    reason: "the hypervisor's virtual timer, which QEMU 7.2 has and does not announce (later versions do)",
    when: (m) => m.virtualization && (m.model === "cortex-a76" || m.model === "max"),
  },
  { path: /^\/cpus\/cpu@\d+:compatible$/, reason: "QEMU calls its max a Cortex-A57", when: (m) => m.model === "max" },
  { path: /^\/chosen:(rng|kaslr)-seed$/, reason: "random" },
];

function boardOf({ model, cpus, ramMiB, virtualization, gicVersion }: Machine): Board {
  return makeBoard({
    board: { gicVersion, virtualization },
    cpu: { model, features: [] },
    cpuCount: cpus,
    ramSizeBytes: ramMiB * 2 ** 20,
  });
}

const counting = (count: number) => Uint8Array.from({ length: count }, (_, i) => i + 1);

function ownTree(board: Board, bootargs: string | null = null): DeviceTree {
  const tree = boardTree(board);
  addMachine(tree, board, "tree");
  addBoot(tree, { bootargs, initrd: null }, counting, true);
  return tree;
}

/** All nodes and properties as path → value, with phandles replaced by the path they stand for. */
function flatten(tree: DeviceTree): Map<string, string> {
  const nodes: [string, FdtNode][] = [];
  const walk = (path: string, n: FdtNode) => {
    nodes.push([path || "/", n]);
    for (const c of n.children) walk(`${path}/${c.name}`, c);
  };
  walk("", tree.root);
  const targets = new Map<number, string>();
  for (const [path, n] of nodes) {
    const phandle = n.properties.get("phandle");
    if (phandle !== undefined) targets.set(readCells(phandle)[0]!, path);
  }
  const out = new Map<string, string>();
  for (const [path, n] of nodes) {
    out.set(path, "node");
    for (const [name, value] of n.properties) {
      const refers = ["interrupt-parent", "clocks", "gpios", "cpu"].includes(name);
      if (name === "phandle") continue;
      const text = refers
        ? readCells(value).map((c) => targets.get(c) ?? `0x${c.toString(16)}`).join(" ")
        : value.toString();
      out.set(`${path === "/" ? "" : path}:${name}`, text);
    }
  }
  return out;
}

async function run(
  command: string,
  args: readonly string[],
): Promise<{ code: number; stderr: string; stdout: string }> {
  const decoder = new TextDecoder();
  const result = await new Deno.Command(command, { args: [...args], stdout: "piped", stderr: "piped" }).output();
  return { code: result.code, stderr: decoder.decode(result.stderr), stdout: decoder.decode(result.stdout) };
}

async function has(command: string): Promise<boolean> {
  try {
    return (await run(command, ["--version"])).code === 0;
  } catch {
    return false;
  }
}

const qemu = await has("qemu-system-aarch64"), dtc = await has("dtc");

for (const machine of MACHINES) {
  const { model, cpus, ramMiB, virtualization, gicVersion } = machine;
  const title = `${model} × ${cpus}, ${ramMiB} MiB, ${virtualization ? "with" : "without"} EL2, GICv${gicVersion}`;
  Deno.test({
    name: `device tree is QEMU's but for listed differences: ${title}`,
    ignore: !qemu,
    async fn() {
      const file = await Deno.makeTempFile({ suffix: ".dtb" });
      try {
        const options = `virt,gic-version=${gicVersion},virtualization=${
          virtualization ? "on" : "off"
        },dumpdtb=${file}`;
        // deno-fmt-ignore
        const result = await run("qemu-system-aarch64", [
          "-display", "none", "-nic", "none", "-M", options, "-cpu", model, "-smp", `${cpus}`, "-m", `${ramMiB}`,
        ]);
        assert.equal(result.code, 0, result.stderr);
        const theirs = flatten(parseFdt(await Deno.readFile(file), "QEMU's tree"));
        const ours = flatten(ownTree(boardOf(machine)));
        const different = [...new Set([...theirs.keys(), ...ours.keys()])].filter((k) => theirs.get(k) !== ours.get(k));
        const unexplained = different.filter((k) =>
          !DIFFERENCES.some((d) => d.path.test(k) && (d.when === undefined || d.when(machine)))
        );
        assert.deepEqual(unexplained.map((k) => `${k}: QEMU ${theirs.get(k)}, we ${ours.get(k)}`), []);
        for (const { path, reason } of DIFFERENCES.filter((d) => d.when === undefined || d.when(machine))) {
          assert.ok(different.some((k) => path.test(k)), `listed difference is gone: ${reason}`);
        }
      } finally {
        await Deno.remove(file);
      }
    },
  });
}

Deno.test({
  name: "dtc accepts the tree without an error",
  ignore: !dtc,
  async fn() {
    const file = await Deno.makeTempFile({ suffix: ".dtb" });
    try {
      await Deno.writeFile(file, writeFdt(ownTree(boardOf(MACHINES[3]!), "console=ttyAMA0")));
      const result = await run("dtc", ["-I", "dtb", "-O", "dts", file]);
      assert.equal(result.code, 0, result.stderr);
      assert.match(result.stdout, /bootargs = "console=ttyAMA0";/);
      assert.doesNotMatch(result.stderr, /ERROR/);
    } finally {
      await Deno.remove(file);
    }
  },
});

Deno.test("a written tree reads back the same", () => {
  const tree = ownTree(boardOf(MACHINES[1]!), "quiet");
  const reservations = [{ address: 0x4000_0000n, size: 0x1000n }];
  const again = parseFdt(writeFdt({ ...tree, reservations, bootCpu: 3 }), "tree");
  assert.deepEqual(again, { ...tree, reservations, bootCpu: 3 });
});

Deno.test("a corrupt tree is a clear error, never an exception of ours", () => {
  const blob = writeFdt(ownTree(boardOf(MACHINES[0]!)));
  const broken = (change: (view: DataView) => void) => {
    const copy = blob.slice();
    change(new DataView(copy.buffer));
    return () => parseFdt(copy, "device tree x.dtb");
  };
  const error = (message: RegExp) => ({ name: "HostError", message });
  assert.throws(
    () => parseFdt(new Uint8Array(8), "device tree x.dtb"),
    error(/^cannot read device tree x.dtb: 8 bytes/),
  );
  assert.throws(broken((v) => v.setUint32(0, 0x1234)), error(/magic is 0x1234/));
  assert.throws(broken((v) => v.setUint32(4, blob.length + 1)), error(/truncated/));
  assert.throws(broken((v) => v.setUint32(8, 0xffff_fff0)), error(/structure block lies outside/));
  assert.throws(broken((v) => v.setUint32(32, 0xffff_fff0)), error(/strings block lies outside/));
  assert.throws(broken((v) => v.setUint32(16, 0xffff_fff0)), error(/reservations lie outside/));
  assert.throws(broken((v) => v.setUint32(20, 16)), error(/version is 16/));
  assert.throws(broken((v) => v.setUint32(v.getUint32(8), 7)), error(/token 0x7/));
  assert.throws(broken((v) => v.setUint32(36, v.getUint32(36) - 4)), error(/ends early/));
  // Any single damaged word of the structure gives a tree or a HostError.
  const view = new DataView(blob.buffer), start = view.getUint32(8), size = view.getUint32(36);
  for (let at = start; at < start + size; at += 4) {
    for (const value of [0, 2, 3, 0xffff_ffff]) {
      try {
        broken((v) => v.setUint32(at, value))();
      } catch (e) {
        assert.equal((e as Error).name, "HostError");
      }
    }
  }
});

Deno.test("a user's tree keeps what it says and gets memory, PSCI, command line and initrd", () => {
  const root = node("", { "#address-cells": 1, "#size-cells": 1, "model": "mine" }, [
    node("memory@80000000", { "device_type": "memory", "reg": cells(0x8000_0000, 1) }),
    node("chosen", { "kaslr-seed": cells(0, 0) }),
  ]);
  const tree: DeviceTree = { root, reservations: [], bootCpu: 0 };
  const board = boardOf(MACHINES[0]!);
  addMachine(tree, board, "device tree x");
  addBoot(tree, { bootargs: "a b", initrd: { start: 0x4800_0000, end: 0x4800_0004 } }, counting, false);
  assert.deepEqual(root.children.map((c) => c.name), ["chosen", "memory@40000000", "psci"]);
  assert.deepEqual(child(root, "memory")!.properties.get("reg"), cells(0x4000_0000, 512 * 2 ** 20));
  assert.deepEqual(child(root, "psci")!.properties.get("method"), strings("smc"));
  const chosen = child(root, "chosen")!.properties;
  assert.deepEqual(chosen.get("bootargs"), strings("a b"));
  assert.deepEqual(chosen.get("linux,initrd-start"), cells(0x4800_0000));
  assert.deepEqual(chosen.get("linux,initrd-end"), cells(0x4800_0004));
  assert.deepEqual(chosen.get("kaslr-seed"), counting(8));
  assert.equal(chosen.has("rng-seed"), false);

  root.properties.set("#address-cells", cells(0));
  assert.throws(
    () => addMachine(tree, board, "device tree x"),
    /cannot use device tree x: #address-cells of its root is 0/,
  );
});
