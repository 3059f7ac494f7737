// Writing to somebody who may not read. A slow reader is waited for: the guest sees a busy transmitter, and nothing is
// lost. A reader that takes nothing at all for a second has stalled: what comes then is dropped, and the guest goes on as
// if it were read, until the reader takes bytes again. So a forgotten connection costs a second once, and no memory.

/** How long nothing may be taken. */
export const STALL_MS = 1000;

/** Resolves to the promise's value, or to null after `limitMs`. */
export async function withinTime<T>(promise: Promise<T>, limitMs: number): Promise<T | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const limit = new Promise<null>((resolve) => timer = setTimeout(resolve, limitMs, null));
  try {
    return await Promise.race([promise, limit]);
  } finally {
    clearTimeout(timer);
  }
}

/** One writer at a time. */
export class PatientWriter {
  #stalled = false;
  #dropped = 0;

  constructor(
    private readonly sink: { write(data: Uint8Array): Promise<number> },
    /** Told when the reader stalls. */
    private readonly onStall: () => void,
    private readonly stallMs: number = STALL_MS,
  ) {}

  /** Bytes that nobody took. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Whether output is being dropped. */
  get stalled(): boolean {
    return this.#stalled;
  }

  /** Rejects when the sink does. */
  async write(data: Uint8Array): Promise<void> {
    for (let done = 0; done < data.length;) {
      if (this.#stalled) {
        this.#dropped += data.length - done;
        return;
      }
      // The piece that the reader stalls on is with the host; it may still get there, or in part.
      const piece = data.subarray(done), writing = this.sink.write(piece);
      const count = await withinTime(writing, this.stallMs);
      if (count === null) {
        this.#stalled = true;
        this.onStall();
        const goOn = (taken: number) => {
          this.#stalled = false;
          this.#dropped += piece.length - taken;
        };
        writing.then(goOn, () => goOn(0));
        return;
      }
      done += count;
    }
  }
}
