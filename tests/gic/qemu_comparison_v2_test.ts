// GICv2 against QEMU's: random operations of one CPU and of three in turns, see random_v2.ts.

import { BenchV2, C, FIQ, GICC, GICV, IRQ, VFIQ, VIRQ } from "./harness_v2.ts";
import { assemble, assertAgree, canRun, type Operation, Random, runOnQemu } from "./qemu_program.ts";
import { generate } from "./random_v2.ts";

const HPPIRS = [GICC + C.HPPIR, GICV + C.HPPIR];

function repeat(operations: readonly Operation[], cpus: number): bigint[] {
  const b = new BenchV2(cpus);
  return operations.flatMap((op) => {
    const { cpu = 0 } = op;
    let value = 0n;
    if (op.kind === "load") {
      value = BigInt(b.load(op.address, { cpu, bytes: op.bytes }));
      // QEMU's HPPIR does not tell who sent an SGI.
      if (HPPIRS.includes(op.address)) value &= 0x3ffn;
    } else if (op.kind === "store") b.store(op.address, Number(op.value), { cpu, bytes: op.bytes });
    // ISR_EL1: I is bit 7, F is bit 6; EL1 sees the virtual lines.
    const lines = b.lines[cpu]!, [i, f] = op.el === 1 ? [VIRQ, VFIQ] : [IRQ, FIQ];
    return [value, BigInt((lines & i ? 0x80 : 0) | (lines & f ? 0x40 : 0))];
  });
}

const ignore = !await canRun();
for (const cpus of [1, 3]) {
  Deno.test({
    name: `random operations of ${cpus} CPU${cpus > 1 ? "s" : ""} read the same values and lines as QEMU's GICv2`,
    ignore,
    async fn() {
      const first = Number(Deno.env.get("VITRINE_SEED") ?? 1);
      for (let seed = first; seed < first + 4; seed++) {
        const operations = generate(new Random(seed), cpus === 1 ? 4000 : 2000, cpus);
        const theirs = await runOnQemu(assemble(operations), "virt,gic-version=2,virtualization=on", cpus);
        assertAgree(operations, repeat(operations, cpus), theirs, `seed ${seed}`);
      }
    },
  });
}
