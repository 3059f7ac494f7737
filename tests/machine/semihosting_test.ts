// Semihosting inside a machine: whose memory a call may touch, and calls that make no sense by the thousand.

import assert from "node:assert/strict";
import { seededRandom } from "../../src/base/random.ts";
import type { Vcpu } from "../../src/cpu/core.ts";
import { HALT } from "../../src/cpu/vcpu.ts";
import type { Machine } from "../../src/machine/machine.ts";
import { DirectoryFiles } from "../../src/machine/semihosting/files.ts";
import { Semihosting } from "../../src/machine/semihosting/semihosting.ts";
import { TestMachine } from "../system/machine.ts";

const RAM = 0x4000_0000, RAM_BYTES = 16 * 2 ** 20, BLOCK = 0x4060_0000;

async function withCalls(...options: readonly string[]) {
  const start = `loader,addr=0x${(RAM + 0x20_0000).toString(16)},cpu-num=0`;
  const { machine } = await TestMachine.from(["-m", "16", "-device", start, ...options]);
  const vcpu = machine.vcpus[0]!;
  const put = (address: number, ...words: (number | bigint)[]) =>
    assert(machine.bus.writeBytes(address, new Uint8Array(BigUint64Array.from(words.map(BigInt)).buffer), true));
  return { machine, vcpu, put };
}

function perform(host: Semihosting, vcpu: Vcpu, number: bigint, pointer: bigint): bigint {
  vcpu.state.x[0] = number;
  vcpu.state.x[1] = pointer;
  host.call(vcpu);
  return BigInt.asIntN(64, vcpu.state.x[0]!);
}

/** EL1&0 with blocks of 2 MiB: the first four are memory of the kernel's, EL0's, EL0's to read, and EL0's. */
function mapBlocks(machine: Machine, vcpu: Vcpu, put: (address: number, ...words: number[]) => void): void {
  const { sys, state } = vcpu, level1 = RAM + 0x80_0000, level2 = level1 + 0x1000, FLAGS = 0x701, AP = [0, 1, 3, 1];
  put(level1, 0, level2 | 3);
  AP.forEach((ap, n) => put(level2 + 8 * n, RAM + n * 0x20_0000 + FLAGS + ap * 64));
  sys.TTBR0_EL1 = BigInt(level1);
  sys.TCR_EL1 = 25n | 1n << 23n;
  sys.MAIR_EL1 = 0xffn;
  sys.SCTLR_EL1 = sys.SCTLR_EL1 | 1n;
  sys.HCR_EL2 = 1n << 31n;
  state.el = 0;
  machine.mmus[0]!.registersChanged();
  machine.mmus[0]!.contextSwitched();
}

Deno.test("a call reaches what its exception level may, and no more", async () => {
  const { machine, vcpu, put } = await withCalls("-semihosting-config", "userspace=on,arg=words");
  const host = machine.semihosting!, GET_CMDLINE = 0x15n;
  mapBlocks(machine, vcpu, put);
  const at = (buffer: number, block = BLOCK) => {
    put(block, buffer, 100);
    const result = perform(host, vcpu, GET_CMDLINE, BigInt(block));
    return [result, result < 0n ? host.errno : 0];
  };
  const [kernel, own, readable] = [RAM + 0x1000, RAM + 0x20_1000, RAM + 0x40_1000];
  assert.deepEqual(at(own), [0n, 0]);
  assert.deepEqual(at(kernel), [-1n, 14]);
  assert.deepEqual(at(readable), [-1n, 14]);
  // From EL0's memory into the kernel's: not even a part of it.
  assert.deepEqual(at(RAM + 0x20_0000 - 2), [-1n, 14]);
  assert.deepEqual(machine.bus.readBytes(RAM + 0x20_0000 - 2, 2), new Uint8Array(2));
  // The arguments too must be EL0's to read.
  assert.deepEqual(at(own, RAM + 0x10_0000), [-1n, 14]);
  assert.deepEqual(at(own, readable), [-1n, 14], "where the length goes is read-only");
  // The kernel may do all of that.
  vcpu.state.el = 1;
  machine.mmus[0]!.contextSwitched();
  assert.deepEqual([at(own), at(kernel)], [[0n, 0], [0n, 0]]);
});

Deno.test("thousands of calls with arguments that make no sense end no machine and leave the directory", async () => {
  const folder = await Deno.makeTempDir();
  try {
    await Deno.mkdir(`${folder}/dir/inside`, { recursive: true });
    await Deno.writeTextFile(`${folder}/secret`, "secret");
    await Deno.symlink("../secret", `${folder}/dir/link`);
    const { machine, vcpu, put } = await withCalls("-semihosting");
    const complaints: string[] = [], files = new DirectoryFiles(`${folder}/dir`);
    const host = new Semihosting(
      machine,
      { ...machine.semihosting!.config },
      { console: null, output: null, files },
      (m) => complaints.push(m),
    );
    const random = seededRandom(4711), word = () => new DataView(random(8).slice().buffer).getBigUint64(0);
    const names = [
      "a",
      "b",
      "inside/c",
      "../secret",
      "link",
      "/etc/passwd",
      ":tt",
      ":semihosting-features",
      "inside",
      ".",
    ];
    const NAMES = RAM + 0x70_0000;
    names.forEach((name, n) => machine.bus.writeBytes(NAMES + 64 * n, new TextEncoder().encode(name + "\0"), true));
    const pick = <T>(from: readonly T[]): T => from[Number(word() % BigInt(from.length))]!;
    const numbers = [
      0n,
      1n,
      2n,
      5n,
      11n,
      12n,
      63n,
      64n,
      4096n,
      1n << 20n,
      1n << 32n,
      1n << 53n,
      1n << 63n,
      2n ** 64n - 1n,
    ];
    const places = [BLOCK, NAMES, RAM + RAM_BYTES - 4, 0, 0x900_0000, 0xffff_0000].map(BigInt);
    let opened = 0, errors = 0;
    for (let n = 0; n < 20_000; n++) {
      const name = Number(word() % BigInt(names.length)), sane = n % 3 === 0;
      const args = sane
        ? [BigInt(NAMES + 64 * name), word() % 12n, BigInt(names[name]!.length), word() % 64n]
        : Array.from({ length: 4 }, () => pick([pick(numbers), pick(places), word()]));
      // A sane SYS_READ or SYS_WRITE has a handle.
      if (sane && word() % 2n === 0n) args.splice(0, 3, word() % 8n, pick(places), word() % 300n);
      put(BLOCK, ...args);
      const number = word() % 4n === 0n ? pick([word(), 0x1n, 0x20n]) : word() % 0x34n;
      // It does end the program; that is tested elsewhere.
      if (number === 0x18n || number === 0x20n) continue;
      const result = perform(host, vcpu, number, sane ? BigInt(BLOCK) : pick([BigInt(BLOCK), pick(places), word()]));
      if (result < 0n) errors++;
      else if (number === 1n) opened++;
      assert.equal(vcpu.state.halt, HALT.RUNNING);
      assert.equal(machine.scheduler.blocked, 0, `call 0x${number.toString(16)} is finished`);
      assert.equal(machine.power, "on");
    }
    host.reset();
    assert(opened > 50 && errors > 5000 && complaints.length > 500, `${opened} opened, ${errors} errors`);
    assert.deepEqual([...Deno.readDirSync(folder)].map(({ name }) => name).sort(), ["dir", "secret"]);
    assert.equal(await Deno.readTextFile(`${folder}/secret`), "secret");
    assert.equal(Deno.lstatSync(`${folder}/dir/link`).isSymlink, true);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
