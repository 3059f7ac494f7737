// The part of a CFI flash bank that holds nothing. Firmware given with `-bios` is mapped as ROM pages in front of it, so
// that it can be executed; this region answers for the rest, with zeros as QEMU's flash without a file. Left out: the CFI
// command set (query, erase, program): writes are ignored, so that a driver's probe finds no flash.

import type { MmioRegion } from "../src/memory/bus.ts";
import type { GuestErrors } from "./registers.ts";

export class EmptyFlash implements MmioRegion {
  #told = false;

  constructor(
    readonly name: string,
    readonly base: number,
    readonly size: number,
    private readonly guestErrors: GuestErrors,
  ) {}

  read(): number {
    return 0;
  }

  write(offset: number, _bytes: number, value: number): void {
    if (this.#told) return;
    this.#told = true;
    this.guestErrors(
      `${this.name}: write of 0x${value.toString(16)} at offset 0x${offset.toString(16)} ignored: ` +
        "flash commands are not implemented (told once)",
    );
  }
}
