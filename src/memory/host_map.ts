// Where everything lies in the one shared Wasm memory. All state is here, so that the daemon thread (debugger, host I/O)
// reads it without a message, and a snapshot is a copy of ranges. Addresses are byte offsets into the Wasm memory.

/** Addresses below this never hold guest RAM: helpers may return small numbers as status codes. */
export const HOST_MAP = {
  /** Control block and byte rings between the daemon and the machine's Worker. */
  channel: { base: 0x0001_0000, size: 0x003f_0000 },
  /** One block per vCPU, see VCPU_BLOCK. */
  vcpus: { base: 0x0040_0000, size: 0x0040_0000, count: 8 },
  /** Device and interrupt controller state. */
  devices: { base: 0x0080_0000, size: 0x0040_0000 },
  /** u32 per 4 KiB page of RAM: the predecoded page that holds its code, 0 if none. */
  codeMap: { base: 0x00c0_0000, size: 0x0040_0000 },
  /** Predecoded pages. */
  codePool: { base: 0x0100_0000, size: 0x0600_0000 },
  /** What the debugger keeps: contexts, saved registers of virtual machines, messages. See machine/debug/area.ts. */
  debug: { base: 0x0700_0000, size: 0x0100_0000 },
  /** Guest RAM, then flash. */
  ram: { base: 0x0800_0000 },
} as const;

/** Layout of one vCPU block (512 KiB apart). */
export const VCPU_BLOCK = {
  size: 0x0008_0000,
  /** struct Vcpu (src/cpu/vcpu.ts), at most 64 KiB. */
  state: 0,
  /** struct Counters (src/cpu/counters.ts). */
  counters: 0x6000,
  /** The ranges that the debugger watches, then of those of the guest's watchpoints. */
  watches: 0x4000,
  /** TLBs: 4096 entries of 16 bytes each, see src/mmu/tlb.ts. */
  readTlb: 0x1_0000,
  writeTlb: 0x2_0000,
  fetchTlb: 0x3_0000,
} as const;

/** In the vCPU block: the watched ranges, and the bytes of one: a u64 for each size of an access, 1 to 16 bytes. */
export const WATCH_AREA = VCPU_BLOCK.watches, WATCH_BYTES = 5 * 8;
/**
 * A watched range of less than 2^32 bytes as generated code takes it, by the size of an access: the low word of the lowest
 * address from which such an access touches it, and how many such addresses there are.
 */
export const watchWords = (address: bigint, bytes: bigint): bigint[] =>
  [0n, 1n, 3n, 7n, 15n].map((more) => bytes + more << 32n | address - more & 0xffff_ffffn);
/** The words of a range that nothing touches. */
export const NO_WATCH_WORDS: readonly bigint[] = [0n, 0n, 0n, 0n, 0n];
/** How many of the ranges are the debugger's. */
export const DEBUGGER_WATCHES = 4;

export const TLB_ENTRIES = 4096;
export const PAGE_BYTES = 4096;

/** The largest guest RAM in bytes. */
export const MAX_RAM_BYTES = 3 * 2 ** 30;

/** Byte address of vCPU number `n`. */
export const vcpuBase = (n: number): number => HOST_MAP.vcpus.base + n * VCPU_BLOCK.size;
