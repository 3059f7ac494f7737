// The numbers of the NBD protocol (doc/proto.md of the NBD project), and what a handshake tells of an export.

export const MAGIC = {
  INIT_HIGH: 0x4e42_444d,
  INIT_LOW: 0x4147_4943,
  OPTION_HIGH: 0x4948_4156,
  OPTION_LOW: 0x454f_5054,
  OPTION_REPLY_HIGH: 0x0003_e889,
  OPTION_REPLY_LOW: 0x0455_65a9,
  REQUEST: 0x2560_9513,
  SIMPLE_REPLY: 0x6744_6698,
  STRUCTURED_REPLY: 0x668e_33ef,
} as const;

/** Handshake flags, of server and client. */
export const HANDSHAKE = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const;
export const OPTION = { EXPORT_NAME: 1, GO: 7, STRUCTURED_REPLY: 8 } as const;
export const OPTION_REPLY = { ACK: 1, INFO: 3, ERROR: 2 ** 31, ERR_UNSUP: 2 ** 31 + 1 } as const;
/** Words for errors of the handshake. */
export const OPTION_ERRORS: Readonly<Record<number, string>> = {
  2: "policy forbids it",
  3: "the request makes no sense to it",
  4: "it cannot do that",
  5: "it wants TLS",
  6: "there is no such export",
  7: "it is shutting down",
  8: "it wants its block size to be known",
};
export const INFO = { EXPORT: 0, BLOCK_SIZE: 3 } as const;

/** Transmission flags. */
export const EXPORT_FLAG = {
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_TRIM: 32,
  SEND_WRITE_ZEROES: 64,
} as const;
export const COMMAND = { READ: 0, WRITE: 1, DISCONNECT: 2, FLUSH: 3, TRIM: 4, WRITE_ZEROES: 6 } as const;
export const COMMAND_FLAG = { FUA: 1, NO_HOLE: 2 } as const;
export const CHUNK = { NONE: 0, OFFSET_DATA: 1, OFFSET_HOLE: 2, ERROR: 2 ** 15 } as const;
export const CHUNK_FLAG_DONE = 1;
export const REQUEST_BYTES = 28, SIMPLE_REPLY_BYTES = 16, STRUCTURED_REPLY_BYTES = 20;

/** What the server said of the export. Plain data: it crosses to the machine's thread. */
export interface NbdExport {
  readonly sizeBytes: number;
  /** EXPORT_FLAG bits. */
  readonly flags: number;
  readonly structured: boolean;
  /** The least that can be read or written, the best, and the most. */
  readonly blocks: { readonly least: number; readonly preferred: number; readonly most: number };
}

/** Kinds of records from the daemon: bytes of the server; a connection, by its generation; none; and none for long. */
export const RECORD = { DATA: 0, CONNECTED: 1, LOST: 2, FAILING: 3 } as const;
/** Before the bytes of a record to the daemon: the generation of the connection that they are for. None: end it. */
export const GENERATION_BYTES = 4;
