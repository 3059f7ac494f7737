// The frame that turns messages of PCI devices into edges of GICv2's SPIs ("GICv2m", Arm SBSA, appendix "Non-secure MSI
// register frame"). Which SPIs are its own is told in a register and, on QEMU's `virt`, fixed.

import type { Line } from "../memory/line.ts";
import { MmioTable, zero } from "./mmio_table.ts";

/** SPIs of the frame, counted from 0. */
export const V2M_FIRST_SPI = 48;
export const V2M_SPIS = 64;

const FIRST_INTID = 32 + V2M_FIRST_SPI;
/** Product "Q" of no implementer, as QEMU's. */
const IIDR = 0x51 << 20;

/** The input lines of the frame's SPIs. */
export type V2mLines = readonly Line[];

export const V2M = new MmioTable<V2mLines>("V2M", 0x1000, [
  { name: "MSI_TYPER", offset: 0x008, read: () => (FIRST_INTID << 16) | V2M_SPIS },
  {
    name: "MSI_SETSPI_NS",
    offset: 0x040,
    write: (lines, _, value) => {
      const line = lines[(value & 0x3ff) - FIRST_INTID];
      line?.(true);
      line?.(false);
    },
  },
  { name: "MSI_IIDR", offset: 0xfcc, read: () => IIDR },
  { name: "MSI_PIDR", offset: 0xfd0, count: 12, read: zero },
]);
