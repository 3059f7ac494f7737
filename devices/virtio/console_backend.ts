// What a port of the console device stands on: bytes both ways, with a limit in each.

export interface PortBackend {
  /** Takes as many of `data` as there is room for now, and says how many. */
  transmit(data: Uint8Array): number;
  /** Bytes were transmitted: whoever moves them on may look. */
  flush(): void;
  /** Between slices: the next bytes from outside; null when there are none. */
  receive(): Uint8Array | null;
  /** Whether something has come from outside; and whether bytes can be transmitted. */
  readonly hasInput: boolean;
  readonly hasRoom: boolean;
}
