// Register behaviour compared with QEMU's devices, driven over its qtest protocol without a CPU in between.

import assert from "node:assert/strict";
import { buildDevices, makeBoard } from "../../src/machine/board.ts";
import { PhysicalBus } from "../../src/memory/bus.ts";

/** One access: read (`r`) or write (`w`) of 1, 2 or 4 bytes. A value given with a read masks what is compared. */
type Step =
  | readonly ["r", bytes: 1 | 2 | 4, address: number, mask?: number]
  | readonly ["w", 1 | 2 | 4, number, number];
const SUFFIX = { 1: "b", 2: "w", 4: "l" } as const;

const UART = 0x0900_0000, RTC = 0x0901_0000, FW_CFG = 0x0902_0000, GPIO = 0x0903_0000, VIRTIO = 0x0a00_0000;
const each = (base: number, offsets: readonly number[]): Step[] => offsets.map((o): Step => ["r", 4, base + o]);
const words = (from: number, to: number) => Array.from({ length: (to - from) / 4 + 1 }, (_, i) => from + i * 4);

const UART_REGISTERS = [0x04, 0x18, 0x20, 0x24, 0x28, 0x2c, 0x30, 0x34, 0x38, 0x3c, 0x40, 0x48, ...words(0xfe0, 0xffc)];
const GPIO_REGISTERS = [0x3fc, ...words(0x400, 0x420).filter((o) => o !== 0x41c), ...words(0xfd0, 0xffc)];
const RTC_REGISTERS = [0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, ...words(0xfe0, 0xffc)];

const SCRIPTS: Readonly<Record<string, readonly Step[]>> = {
  "pl011 after reset": each(UART, UART_REGISTERS),
  "pl011 after set-up and output": [
    ["w", 4, UART + 0x24, 13],
    ["w", 4, UART + 0x28, 1],
    ["w", 4, UART + 0x2c, 0x70],
    ["w", 4, UART + 0x34, 0x0d],
    ["w", 4, UART + 0x38, 0x7f0],
    ["w", 4, UART + 0x30, 0x301],
    ["w", 4, UART, 0x41],
    ...each(UART, UART_REGISTERS),
    ["w", 4, UART + 0x38, 0x20],
    ...each(UART, [0x38, 0x3c, 0x40]),
    ["w", 4, UART + 0x44, 0x20],
    ...each(UART, [0x38, 0x3c, 0x40]),
    ["w", 1, UART, 0x42],
    ...each(UART, [0x18, 0x3c]),
  ],
  "pl031": [
    ...each(RTC, [0x04, 0x08, 0x0c, 0x10, 0x14, 0x18, ...words(0xfe0, 0xffc)]),
    ["w", 4, RTC + 0x08, 0x1000_0000],
    ["r", 4, RTC, 0xffff_fff0],
    ["w", 4, RTC + 0x10, 1],
    ["w", 4, RTC + 0x04, 0x0fff_ffff],
    ...each(RTC, RTC_REGISTERS),
  ],
  "pl061": [
    ...each(GPIO, GPIO_REGISTERS),
    ["w", 4, GPIO + 0x400, 0xf0],
    ["w", 4, GPIO + 0x3fc, 0xff],
    ...each(GPIO, [0x3fc, 0x040, 0x3c0]),
    ["w", 4, GPIO + 0x040 * 4, 0x00],
    ...each(GPIO, [0x3fc]),
    ["w", 4, GPIO + 0x408, 0x0f],
    ["w", 4, GPIO + 0x410, 0x0f],
    ...each(GPIO, GPIO_REGISTERS),
  ],
  "fw_cfg": [
    ...each(FW_CFG, [0x10, 0x14]),
    ["w", 2, FW_CFG + 8, 0x0000],
    ["r", 4, FW_CFG],
    ["w", 2, FW_CFG + 8, 0x0100],
    ["r", 4, FW_CFG],
    ["w", 2, FW_CFG + 8, 0x0500],
    ["r", 2, FW_CFG],
    ["w", 2, FW_CFG + 8, 0xff00],
    ["r", 4, FW_CFG],
  ],
  // Version is 2 here and 1 with QEMU's force-legacy default.
  "an empty virtio slot": each(VIRTIO + 31 * 0x200, [0x00, 0x08, 0x0c, 0x70, 0x100]),
  "flash without firmware": each(0, [0, 0x1000]),
};

async function runQemu(steps: readonly Step[]): Promise<number[]> {
  const args = ["-qtest", "stdio", "-display", "none", "-nic", "none", "-serial", "null", "-monitor", "none"];
  const child = new Deno.Command("qemu-system-aarch64", {
    args: [...args, "-M", "virt,gic-version=3", "-cpu", "cortex-a57"],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  try {
    const commands = steps.map((step) => {
      const [kind, bytes, address] = step, at = "0x" + address.toString(16);
      return kind === "r" ? `read${SUFFIX[bytes]} ${at}` : `write${SUFFIX[bytes]} ${at} 0x${step[3].toString(16)}`;
    });
    const writer = child.stdin.getWriter();
    await writer.write(new TextEncoder().encode(commands.join("\n") + "\n"));
    const values: number[] = [];
    let text = "", answers = 0;
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (text + chunk).split("\n");
      text = lines.pop()!;
      for (const line of lines.filter((l) => l.startsWith("OK"))) {
        answers++;
        const value = line.split(" ")[1];
        if (value !== undefined) values.push(Number(value));
      }
      if (answers === steps.length) break;
    }
    await writer.abort().catch(() => {});
    return values;
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

function runOurs(steps: readonly Step[]): number[] {
  const memory = new SharedArrayBuffer(0x10000), bus = new PhysicalBus(memory);
  const board = makeBoard({
    board: { gicVersion: 3, virtualization: false },
    cpu: { model: "cortex-a57", features: [] },
    cpuCount: 1,
    ramSizeBytes: 128 * 2 ** 20,
  });
  buildDevices(board, {
    bus,
    memory,
    stateBase: 0,
    firmwareBytes: 0,
    line: () => () => {},
    serial: { transmit: () => true, receive: () => -1 },
    wallSeconds: () => Date.now() / 1000,
    guestErrors: () => {},
  });
  const values: number[] = [];
  for (const step of steps) {
    if (step[0] === "r") values.push(bus.read(step[2], step[1], 0));
    else assert.ok(bus.write(step[2], step[1], step[3], 0));
  }
  return values;
}

const qemu = await new Deno.Command("qemu-system-aarch64", { args: ["--version"], stdout: "null" }).output()
  .then((r) => r.success, () => false);

for (const [name, steps] of Object.entries(SCRIPTS)) {
  Deno.test({
    name: `registers answer as QEMU's: ${name}`,
    ignore: !qemu,
    async fn() {
      const reads = steps.filter((step) => step[0] === "r");
      const show = (values: number[]) =>
        reads.map(([, , at, mask], i) =>
          `${at.toString(16)}: ${((values[i]! & (mask ?? 0xffff_ffff)) >>> 0).toString(16)}`
        );
      assert.deepEqual(show(runOurs(steps)), show(await runQemu(steps)));
    },
  });
}
