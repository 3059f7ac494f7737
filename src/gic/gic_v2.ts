// GICv2: a distributor and CPU interfaces, all memory-mapped, with EL2 the virtualization interface, and a frame for
// messages. Architecture: Arm IHI 0048 without Security Extensions, as on QEMU's `virt` without `secure=on`.

import type { MmioRegion } from "../memory/bus.ts";
import { InterruptController } from "./controller.ts";
import { type GicOptions, GICV2 } from "./core.ts";
import { GICD_V2 } from "./distributor_v2.ts";
import { GICC, GICV } from "./gicc_registers.ts";
import { GICH } from "./gich_registers.ts";
import { INTERRUPTS } from "./state.ts";
import { V2M, V2M_FIRST_SPI, V2M_SPIS } from "./v2m.ts";

export interface GicV2Options extends GicOptions {
  /** Whether there is a virtualization interface. */
  readonly virtualization: boolean;
}

/** Guest physical addresses. */
export const GICV2_BASES = {
  distributor: 0x0800_0000,
  cpuInterface: 0x0801_0000,
  messages: 0x0802_0000,
  hypervisor: 0x0803_0000,
  virtualCpuInterface: 0x0804_0000,
} as const;

export class GicV2 extends InterruptController {
  readonly regions: readonly MmioRegion[];

  constructor(options: GicV2Options) {
    super(options, GICV2);
    const lines = Array.from({ length: V2M_SPIS }, (_, n) => this.spi(V2M_FIRST_SPI + n));
    const messages = this.region(V2M, GICV2_BASES.messages, V2M.size, (offset) => [lines, offset]);
    this.regions = [
      this.banked(GICD_V2, GICV2_BASES.distributor),
      this.banked(GICC, GICV2_BASES.cpuInterface),
      // A message may also be a halfword.
      {
        ...messages,
        write: (offset, bytes, value, cpu) => messages.write(offset, bytes === 2 ? 4 : bytes, value, cpu),
      },
      ...(options.virtualization
        ? [this.banked(GICH, GICV2_BASES.hypervisor), this.banked(GICV, GICV2_BASES.virtualCpuInterface)]
        : []),
    ];
    this.reset();
  }

  override reset(): void {
    super.reset();
    for (const p of this.core.privates) p.enabled[0] = 0xffff;
    // A single vCPU has all interrupts; of several none has any yet.
    if (this.core.privates.length > 1) return;
    for (let intid = 32; intid < INTERRUPTS; intid++) this.core.setTargets(intid, 1);
  }
}
