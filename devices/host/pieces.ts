// Pieces of memory that together are one range of bytes, as a request of a guest has them.

/** Takes bytes from the front of pieces. */
export class Pieces {
  #next = 0;
  #used = 0;
  constructor(private readonly pieces: readonly Uint8Array[]) {}

  /** The next `bytes` bytes, which must be there. */
  take(bytes: number): Uint8Array[] {
    const out: Uint8Array[] = [];
    for (let left = bytes; left > 0;) {
      const piece = this.pieces[this.#next]!, part = Math.min(left, piece.length - this.#used);
      if (part > 0) out.push(part === piece.length ? piece : piece.subarray(this.#used, this.#used + part));
      left -= part;
      this.#used += part;
      if (this.#used === piece.length) {
        this.#next++;
        this.#used = 0;
      }
    }
    return out;
  }
}

export const lengthOf = (pieces: readonly Uint8Array[]): number => pieces.reduce((sum, piece) => sum + piece.length, 0);

/** Copies as much of `from` as fits into the pieces, from byte `at` of them. */
export function scatter(pieces: readonly Uint8Array[], at: number, from: Uint8Array): void {
  let skip = at, done = 0;
  for (const piece of pieces) {
    if (done === from.length) return;
    if (skip >= piece.length) {
      skip -= piece.length;
      continue;
    }
    const part = Math.min(piece.length - skip, from.length - done);
    piece.set(from.subarray(done, done + part), skip);
    done += part;
    skip = 0;
  }
}

/** Copies bytes of the pieces, from byte `at` of them, into `into`; returns how many there were. */
export function gather(pieces: readonly Uint8Array[], at: number, into: Uint8Array): number {
  let skip = at, done = 0;
  for (const piece of pieces) {
    if (done === into.length) break;
    if (skip >= piece.length) {
      skip -= piece.length;
      continue;
    }
    const part = Math.min(piece.length - skip, into.length - done);
    into.set(piece.subarray(skip, skip + part), done);
    done += part;
    skip = 0;
  }
  return done;
}
