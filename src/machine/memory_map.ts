// Where everything is on the board: QEMU's `virt` (hw/arm/virt.c, base_memmap and a15irqmap), as data. Rows that this
// machine does not fill yet are here too, so that nothing else takes their place.

export interface Window {
  readonly base: number;
  readonly size: number;
}

const MiB = 2 ** 20, GiB = 2 ** 30;

/** Guest physical addresses. */
export const MEMORY_MAP = {
  /** Two flash banks; the first holds the firmware. */
  flash0: { base: 0x0000_0000, size: 64 * MiB },
  flash1: { base: 0x0400_0000, size: 64 * MiB },
  gicDistributor: { base: 0x0800_0000, size: 0x1_0000 },
  gicV2Cpu: { base: 0x0801_0000, size: 0x1_0000 },
  gicV2m: { base: 0x0802_0000, size: 0x1000 },
  gicV2Hypervisor: { base: 0x0803_0000, size: 0x1_0000 },
  gicV2VirtualCpu: { base: 0x0804_0000, size: 0x1_0000 },
  gicIts: { base: 0x0808_0000, size: 0x2_0000 },
  /** 0x20000 for each of up to 123 CPUs. */
  gicRedistributors: { base: 0x080a_0000, size: 0xf6_0000 },
  uart: { base: 0x0900_0000, size: 0x1000 },
  rtc: { base: 0x0901_0000, size: 0x1000 },
  fwCfg: { base: 0x0902_0000, size: 0x18 },
  gpio: { base: 0x0903_0000, size: 0x1000 },
  secureUart: { base: 0x0904_0000, size: 0x1000 },
  smmu: { base: 0x0905_0000, size: 0x2_0000 },
  /** 32 transports of 0x200 bytes. */
  virtio: { base: 0x0a00_0000, size: 32 * 0x200 },
  platformBus: { base: 0x0c00_0000, size: 32 * MiB },
  secureMemory: { base: 0x0e00_0000, size: 16 * MiB },
  pcieMmio: { base: 0x1000_0000, size: 0x2eff_0000 },
  pciePio: { base: 0x3eff_0000, size: 0x1_0000 },
  pcieEcamLow: { base: 0x3f00_0000, size: 16 * MiB },
  /** The window; how much of it is there is the user's choice. */
  ram: { base: 0x4000_0000, size: 255 * GiB },
  pcieEcamHigh: { base: 0x40_1000_0000, size: 256 * MiB },
  pcieMmioHigh: { base: 0x80_0000_0000, size: 512 * GiB },
} as const satisfies Record<string, Window>;

export const VIRTIO_SLOTS = 32;

/** Shared peripheral interrupts, counted from 0; the INTID is 32 more. */
export const SPI = {
  uart: 1,
  rtc: 2,
  /** Four, INTA to INTD. */
  pcie: 3,
  gpio: 7,
  secureUart: 8,
  /** One per transport, edge-triggered. */
  virtio: 16,
  gicV2m: 48,
  smmu: 74,
  platformBus: 112,
} as const;

/** Private peripheral interrupts, counted from 0; the INTID is 16 more. */
export const PPI = {
  pmu: 7,
  gicMaintenance: 9,
  hypervisorTimer: 10,
  virtualTimer: 11,
  hypervisorVirtualTimer: 12,
  secureTimer: 13,
  physicalTimer: 14,
} as const;

/** INTIDs as the interrupt controller counts them. */
export const spiIntid = (spi: number): number => 32 + spi;
export const ppiIntid = (ppi: number): number => 16 + ppi;

/** The pin of the GPIO that the power button drives. */
export const POWER_BUTTON_PIN = 3;
/** Clock of the UART and the other PrimeCells. */
export const APB_CLOCK_HZ = 24_000_000;
