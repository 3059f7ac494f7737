// PSCI calls against CPUs that only take notes.

import assert from "node:assert/strict";
import { PSCI_RETURN, psciCall, type PsciHost, psciName } from "../../src/machine/psci.ts";

function host(count = 2) {
  const log: string[] = [];
  const cpus = Array.from({ length: count }, (_, index) => ({
    index,
    mpidr: index < 16 ? index : 0x100 | (index - 16),
    isOn: index === 0,
    turnOn(entry: bigint, contextId: bigint) {
      this.isOn = true;
      log.push(`on ${index} ${entry.toString(16)} ${contextId.toString(16)}`);
    },
    turnOff() {
      this.isOn = false;
      log.push(`off ${index}`);
    },
    suspend: () => void log.push(`suspend ${index}`),
  }));
  const machine: PsciHost = { cpus, systemOff: () => log.push("system off"), systemReset: () => log.push("reset") };
  const call = (id: number, a = 0n, b = 0n, c = 0n, cpu = 0) => psciCall(machine, cpu, id, [a, b, c]);
  return { log, call };
}

Deno.test("PSCI tells its version, features and that there is no Trusted OS", () => {
  const { call } = host();
  assert.equal(call(0x8400_0000), 0x1_0001);
  assert.equal(call(0x8400_0006), 2);
  for (const id of [0x8400_0000, 0x8400_0001, 0xc400_0001, 0xc400_0003, 0x8400_0008, 0x8400_000a, 0x8000_0000]) {
    assert.equal(call(0x8400_000a, BigInt(id)), 0, id.toString(16));
  }
  for (const id of [0x8400_0005, 0xc400_0008, 0x8400_000e, 0xc400_0012, 0x8000_0001, 0]) {
    assert.equal(call(0x8400_000a, BigInt(id)), PSCI_RETURN.NOT_SUPPORTED, id.toString(16));
  }
});

Deno.test("CPU_ON starts a CPU that is off and refuses others", () => {
  const { call, log } = host();
  assert.equal(call(0xc400_0003, 1n, 0x1_4020_0000n, 0xffff_0000_1234_5678n), 0);
  assert.deepEqual(log, ["on 1 140200000 ffff000012345678"]);
  assert.equal(call(0xc400_0003, 1n, 0n), PSCI_RETURN.ALREADY_ON);
  assert.equal(call(0xc400_0003, 0n, 0n), PSCI_RETURN.ALREADY_ON);
  assert.equal(call(0xc400_0003, 2n, 0n), PSCI_RETURN.INVALID_PARAMETERS);
  assert.equal(call(0xc400_0003, 0x8000_0001n, 0n), PSCI_RETURN.INVALID_PARAMETERS);
  assert.equal(call(0x8400_0002, 0n, 0n, 0n, 1), undefined);
  assert.equal(call(0xc400_0003, 1n, 2n), PSCI_RETURN.INVALID_ADDRESS);
  assert.equal(call(0x8400_0003, 0xffff_ffff_0000_0001n, 0xffff_ffff_4000_0000n, 0xffff_ffff_0000_0007n), 0);
  assert.deepEqual(log.slice(1), ["off 1", "on 1 40000000 7"], "the 32-bit form takes W registers");
});

Deno.test("AFFINITY_INFO answers for CPUs and groups", () => {
  const { call } = host(18);
  assert.equal(call(0xc400_0004, 0n, 0n), 0);
  assert.equal(call(0xc400_0004, 5n, 0n), 1);
  assert.equal(call(0xc400_0004, 0x102n, 0n), PSCI_RETURN.INVALID_PARAMETERS);
  assert.equal(call(0xc400_0004, 0n, 1n), 0);
  assert.equal(call(0xc400_0004, 0x100n, 1n), 1);
  assert.equal(call(0xc400_0004, 0x100n, 2n), 0);
  assert.equal(call(0xc400_0004, 0x200n, 1n), PSCI_RETURN.INVALID_PARAMETERS);
  assert.equal(call(0xc400_0004, 0n, 4n), PSCI_RETURN.INVALID_PARAMETERS);
});

Deno.test("CPU_SUSPEND is standby, SYSTEM_OFF and SYSTEM_RESET do not return", () => {
  const { call, log } = host();
  assert.equal(call(0xc400_0001, 0n), 0);
  assert.equal(call(0x8400_0001, 0x1_0000n, 0x4000_0000n), 0);
  assert.equal(call(0x8400_0001, 0x2_0000n), PSCI_RETURN.INVALID_PARAMETERS);
  assert.equal(call(0x8400_0008), undefined);
  assert.equal(call(0x8400_0009), undefined);
  assert.deepEqual(log, ["suspend 0", "suspend 0", "system off", "reset"]);
});

Deno.test("the calling convention's own functions and unknown numbers", () => {
  const { call } = host();
  assert.equal(call(0x8000_0000), 0x1_0001);
  assert.equal(call(0x8000_0001, 0x8000_0000n), 0);
  assert.equal(call(0x8000_0001, 0x8000_8000n), 1);
  assert.equal(call(0x8000_0001, 0x8000_7fffn), -2);
  assert.equal(call(0x8000_0001, 0x8000_0002n), -1);
  assert.equal(call(0x8000_8000), 0);
  for (const id of [0, 0x8400_0005, 0xc400_0000, 0x8400_0012, 0xffff_ffff, -1]) assert.equal(call(id), -1);
  assert.equal(psciName(0xc400_0003), "CPU_ON");
  assert.equal(psciName(-1), "0xffffffff");
});
