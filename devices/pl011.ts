// The PL011 UART, by Arm DDI 0183 (r1p3, whose FIFOs hold 16 entries; the identification registers are QEMU's). A pure
// core: bytes go to and come from a backend, the interrupt goes to a line, all state is in shared memory.
// Differences to the hardware, all as in QEMU and relied upon by its guests: time on the wire is zero, data passes while the UART is
// not enabled, and the receive interrupt comes with the first byte whatever UARTIFLS says (so that a guest that unmasks
// only RXIM sees every key). For the same reason the receive timeout is due as soon as no more input waits. DMA requests,
// IrDA and the integration test registers are left out.

import type { MmioRegion } from "../src/memory/bus.ts";
import type { Line } from "../src/memory/line.ts";
import { struct, type View } from "../src/base/struct.ts";
import { type GuestErrors, primeCellIdentification, RegisterMap } from "./registers.ts";

/** The host's side of a UART. */
export interface SerialBackend {
  /** Takes one byte; false when there is no room now (the byte stays in the FIFO until `pump`). */
  transmit(byte: number): boolean;
  /** The next byte of input, RECEIVED_BREAK, or -1 when none waits. */
  receive(): number;
}

/** What `receive` returns for a break. */
export const RECEIVED_BREAK = 0x100;

const FIFO_ENTRIES = 16;

export const PL011_STATE = struct("pl011", {
  rsr: "u32",
  ilpr: "u32",
  ibrd: "u32",
  fbrd: "u32",
  lcrh: "u32",
  cr: "u32",
  ifls: "u32",
  imsc: "u32",
  ris: "u32",
  dmacr: "u32",
  /** Level of the interrupt line. */
  level: "u32",
  /** 1 after a byte found the receive FIFO full, until the next one is taken in. */
  overrun: "u32",
  /** 1 after the guest was told that it writes to a disabled UART. */
  warned: "u32",
  receiveHead: "u32",
  receiveCount: "u32",
  transmitHead: "u32",
  transmitCount: "u32",
  /** Received characters with their error bits 11..8. */
  receiveFifo: `u32[${FIFO_ENTRIES}]`,
  transmitFifo: `u32[${FIFO_ENTRIES}]`,
});

const FR = {
  CTS: 1 << 0,
  DSR: 1 << 1,
  DCD: 1 << 2,
  BUSY: 1 << 3,
  RXFE: 1 << 4,
  TXFF: 1 << 5,
  RXFF: 1 << 6,
  TXFE: 1 << 7,
  RI: 1 << 8,
} as const; // deno-fmt-ignore
const DATA = { FE: 1 << 8, PE: 1 << 9, BE: 1 << 10, OE: 1 << 11 } as const;
const LCRH = { BRK: 1 << 0, FEN: 1 << 4 } as const;
const CR = {
  UARTEN: 1 << 0,
  LBE: 1 << 7,
  TXE: 1 << 8,
  RXE: 1 << 9,
  DTR: 1 << 10,
  RTS: 1 << 11,
  OUT1: 1 << 12,
  OUT2: 1 << 13,
} as const; // deno-fmt-ignore
const INTERRUPT = { RI: 1 << 0, CTS: 1 << 1, DCD: 1 << 2, DSR: 1 << 3, RX: 1 << 4, TX: 1 << 5, RT: 1 << 6, FE: 1 << 7, PE: 1 << 8, BE: 1 << 9, OE: 1 << 10 } as const; // deno-fmt-ignore

const CR_RESET = CR.TXE | CR.RXE;
const IFLS_RESET = 0b010_010;

const INTERRUPT_BITS = "RES0:21 OE:1 BE:1 PE:1 FE:1 RT:1 TX:1 RX:1 DSR:1 DCD:1 CTS:1 RI:1";

const REGISTERS = new RegisterMap<Pl011>(0x1000, [
  {
    at: 0x000,
    name: "UARTDR",
    bits: "RES0:20 OE:1 BE:1 PE:1 FE:1 DATA:8",
    read: (d) => d.readData(),
    write: (d, v) => d.writeData(v & 0xff),
  },
  {
    at: 0x004,
    name: "UARTRSR/UARTECR",
    bits: "RES0:24 ANY:4 OE:1 BE:1 PE:1 FE:1",
    read: (d) => d.state.rsr,
    write: (d) => d.state.rsr = 0,
  },
  {
    at: 0x018,
    name: "UARTFR",
    bits: "RES0:23 RI:1 TXFE:1 RXFF:1 TXFF:1 RXFE:1 BUSY:1 DCD:1 DSR:1 CTS:1",
    read: (d) => d.flags(),
  },
  {
    at: 0x020,
    name: "UARTILPR",
    bits: "RES0:24 ILPDVSR:8",
    read: (d) => d.state.ilpr,
    write: (d, v) => d.state.ilpr = v,
  },
  {
    at: 0x024,
    name: "UARTIBRD",
    bits: "RES0:16 BAUDDIVINT:16",
    read: (d) => d.state.ibrd,
    write: (d, v) => d.state.ibrd = v,
  },
  {
    at: 0x028,
    name: "UARTFBRD",
    bits: "RES0:26 BAUDDIVFRAC:6",
    read: (d) => d.state.fbrd,
    write: (d, v) => d.state.fbrd = v,
  },
  {
    at: 0x02c,
    name: "UARTLCR_H",
    bits: "RES0:24 SPS:1 WLEN:2 FEN:1 STP2:1 EPS:1 PEN:1 BRK:1",
    read: (d) => d.state.lcrh,
    write: (d, v) => d.writeLineControl(v),
  },
  {
    at: 0x030,
    name: "UARTCR",
    bits: "RES0:16 CTSEN:1 RTSEN:1 OUT2:1 OUT1:1 RTS:1 DTR:1 RXE:1 TXE:1 LBE:1 RES0:4 SIRLP:1 SIREN:1 UARTEN:1",
    read: (d) => d.state.cr,
    write: (d, v) => d.writeControl(v),
  },
  {
    at: 0x034,
    name: "UARTIFLS",
    bits: "RES0:26 RXIFLSEL:3 TXIFLSEL:3",
    read: (d) => d.state.ifls,
    write: (d, v) => d.state.ifls = v,
  },
  {
    at: 0x038,
    name: "UARTIMSC",
    bits: INTERRUPT_BITS,
    read: (d) => d.state.imsc,
    write: (d, v) => d.writeMask(v),
  },
  { at: 0x03c, name: "UARTRIS", bits: INTERRUPT_BITS, read: (d) => d.state.ris },
  { at: 0x040, name: "UARTMIS", bits: INTERRUPT_BITS, read: (d) => d.state.ris & d.state.imsc },
  { at: 0x044, name: "UARTICR", bits: INTERRUPT_BITS, write: (d, v) => d.clear(v) },
  {
    at: 0x048,
    name: "UARTDMACR",
    bits: "RES0:29 DMAONERR:1 TXDMAE:1 RXDMAE:1",
    read: (d) => d.state.dmacr,
    write: (d, v) => d.state.dmacr = v,
  },
  ...primeCellIdentification<Pl011>([0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]),
]);

export interface Pl011Options {
  readonly name?: string;
  /** Guest physical address. */
  readonly base: number;
  readonly memory: ArrayBufferLike;
  /** Byte address of PL011_STATE in `memory`. */
  readonly stateBase: number;
  readonly line: Line;
  readonly backend: SerialBackend;
  readonly guestErrors: GuestErrors;
}

export class Pl011 implements MmioRegion {
  readonly name: string;
  readonly base: number;
  readonly size = 0x1000;
  readonly state: View<typeof PL011_STATE.spec>;
  readonly guestErrors: GuestErrors;
  readonly #line: Line;
  readonly #backend: SerialBackend;

  constructor(options: Pl011Options) {
    this.name = options.name ?? "pl011";
    this.base = options.base;
    this.state = PL011_STATE.at(options.memory, options.stateBase);
    this.guestErrors = options.guestErrors;
    this.#line = options.line;
    this.#backend = options.backend;
    this.reset();
  }

  reset(): void {
    this.state.bytes.fill(0);
    this.state.cr = CR_RESET;
    this.state.ifls = IFLS_RESET;
    this.#line(false);
  }

  read(offset: number, bytes: number): number {
    return REGISTERS.read(this, offset, bytes);
  }

  write(offset: number, bytes: number, value: number): void {
    REGISTERS.write(this, offset, bytes, value);
  }

  /** Between slices: moves what the backend now takes and has. True when anything moved. */
  pump(): boolean {
    const state = this.state, waiting = state.transmitCount;
    let moved = this.#drain();
    while (state.receiveCount < this.#depth && (state.cr & CR.LBE) === 0) {
      const byte = this.#backend.receive();
      if (byte < 0) break;
      this.#accept(byte === RECEIVED_BREAK ? DATA.BE : byte & 0xff);
      moved = true;
    }
    if (moved || waiting !== 0) this.#update();
    return moved;
  }

  /** Whether `pump` could take input now. */
  get canReceive(): boolean {
    return this.state.receiveCount < this.#depth && (this.state.cr & CR.LBE) === 0;
  }

  /** The host's side sends a break. */
  receiveBreak(): void {
    if ((this.state.cr & CR.LBE) !== 0) return;
    this.#accept(DATA.BE);
    this.#update();
  }

  /** Characters that a FIFO holds: one when they are not enabled. */
  get #depth(): number {
    return (this.state.lcrh & LCRH.FEN) !== 0 ? FIFO_ENTRIES : 1;
  }

  /** Level at or below which the transmit interrupt is raised. */
  get #transmitTrigger(): number {
    if ((this.state.lcrh & LCRH.FEN) === 0) return 0;
    return [2, 4, 8, 12, 14][this.state.ifls & 7] ?? 8; // 0b101 and above are reserved: the reset level
  }

  readData(): number {
    const state = this.state;
    if (state.receiveCount === 0) return 0;
    const entry = state.receiveFifo[state.receiveHead]!;
    state.receiveHead = (state.receiveHead + 1) % FIFO_ENTRIES;
    state.receiveCount--;
    state.rsr = (state.rsr & (DATA.OE >> 8)) | (entry >> 8);
    if (state.receiveCount === 0) state.ris &= ~(INTERRUPT.RX | INTERRUPT.RT);
    this.#update();
    return entry;
  }

  writeData(byte: number): void {
    const state = this.state;
    if ((state.cr & (CR.UARTEN | CR.TXE)) !== (CR.UARTEN | CR.TXE) && state.warned === 0) {
      state.warned = 1;
      this.guestErrors(`${this.name}: data written while the UART or its transmitter is disabled (told once)`);
    }
    if (state.transmitCount >= this.#depth) {
      this.guestErrors(`${this.name}: data written to the full transmit FIFO is lost`);
      return;
    }
    state.transmitFifo[(state.transmitHead + state.transmitCount) % FIFO_ENTRIES] = byte;
    state.transmitCount++;
    if (state.transmitCount > this.#transmitTrigger) state.ris &= ~INTERRUPT.TX;
    this.#drain();
    this.#update();
  }

  flags(): number {
    const { cr, receiveCount, transmitCount } = this.state, depth = this.#depth;
    return (receiveCount === 0 ? FR.RXFE : 0) | (receiveCount >= depth ? FR.RXFF : 0) |
      (transmitCount === 0 ? FR.TXFE : FR.BUSY) | (transmitCount >= depth ? FR.TXFF : 0) | modemInputs(cr);
  }

  writeLineControl(value: number): void {
    const state = this.state, changed = state.lcrh ^ value;
    state.lcrh = value;
    if ((changed & LCRH.FEN) !== 0) {
      // Switching the FIFOs flushes them. Output that only waits for the host is not the guest's loss: it goes first.
      this.#drain();
      state.receiveHead =
        state.receiveCount =
        state.transmitHead =
        state.transmitCount =
          0;
      state.ris &= ~(INTERRUPT.RX | INTERRUPT.RT);
    }
    if ((changed & value & LCRH.BRK) !== 0 && (state.cr & CR.LBE) !== 0) this.#accept(DATA.BE);
    this.#update();
  }

  writeControl(value: number): void {
    const changed = modemInputs(this.state.cr) ^ modemInputs(value);
    this.state.cr = value;
    this.state.ris |= ((changed & FR.RI) !== 0 ? INTERRUPT.RI : 0) | ((changed & FR.CTS) !== 0 ? INTERRUPT.CTS : 0) |
      ((changed & FR.DCD) !== 0 ? INTERRUPT.DCD : 0) | ((changed & FR.DSR) !== 0 ? INTERRUPT.DSR : 0);
    this.#drain();
    this.#update();
  }

  writeMask(value: number): void {
    this.state.imsc = value;
    this.#update();
  }

  clear(bits: number): void {
    this.state.ris &= ~bits;
    this.#update();
  }

  /** Sends what the other side takes. True when anything was sent. */
  #drain(): boolean {
    const state = this.state, loopback = (state.cr & CR.LBE) !== 0;
    let sent = false;
    while (state.transmitCount > 0) {
      const byte = state.transmitFifo[state.transmitHead]!;
      if (loopback) this.#accept(byte);
      else if (!this.#backend.transmit(byte)) break;
      state.transmitHead = (state.transmitHead + 1) % FIFO_ENTRIES;
      state.transmitCount--;
      sent = true;
    }
    if (sent && state.transmitCount <= this.#transmitTrigger) state.ris |= INTERRUPT.TX;
    return sent;
  }

  /** Takes a received character with its error bits. */
  #accept(entry: number): void {
    const state = this.state;
    if (state.receiveCount >= this.#depth) {
      state.overrun = 1;
      state.rsr |= DATA.OE >> 8;
      state.ris |= INTERRUPT.OE;
      return;
    }
    if (state.overrun !== 0) entry |= DATA.OE;
    state.overrun = 0;
    state.receiveFifo[(state.receiveHead + state.receiveCount) % FIFO_ENTRIES] = entry;
    state.receiveCount++;
    state.ris |= INTERRUPT.RX | INTERRUPT.RT | ((entry & DATA.BE) !== 0 ? INTERRUPT.BE : 0);
  }

  #update(): void {
    const state = this.state, level = (state.ris & state.imsc) !== 0 ? 1 : 0;
    if (state.level === level) return;
    state.level = level;
    this.#line(level === 1);
  }
}

/** The modem inputs in UARTFR: not connected, or the outputs of UARTCR in loopback. */
function modemInputs(cr: number): number {
  if ((cr & CR.LBE) === 0) return 0;
  return ((cr & CR.RTS) !== 0 ? FR.CTS : 0) | ((cr & CR.DTR) !== 0 ? FR.DSR : 0) |
    ((cr & CR.OUT1) !== 0 ? FR.DCD : 0) | ((cr & CR.OUT2) !== 0 ? FR.RI : 0);
}
