// The `desc` argument of the slow-path accesses that generated code makes: the size in bytes with these flags.

export const ACCESS = {
  SIZE: 0x1f,
  /** With the permissions of EL0 (LDTR, STTR). */
  UNPRIVILEGED: 0x20,
  /** Must be aligned to its size: exclusives, atomics, acquire and release. */
  ALIGNED: 0x40,
  /** A read-modify-write: needs read and write permission, and RAM. */
  RMW: 0x80,
  /** From this bit on, the bytes (1 to 8) of an element where there are several: alignment is that of an element. */
  ELEMENT_SHIFT: 8,
} as const;
