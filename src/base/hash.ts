// A fast hash of memory, to compare two runs. Four lanes of multiply and rotate (after xxHash32), mixed at the end to 64
// bits: good against chance, not against intent.

const PRIME1 = 0x9e3779b1 | 0, PRIME2 = 0x85ebca77 | 0, PRIME3 = 0xc2b2ae3d | 0;
const LANES = 4;

export class Hash {
  readonly #lanes = Int32Array.of(PRIME1, PRIME2, PRIME3, 0x27d4eb2f);
  #length = 0;

  /** Adds 32-bit words. */
  words(data: Uint32Array): this {
    const lanes = this.#lanes, whole = data.length - (data.length % LANES);
    let a = lanes[0]!, b = lanes[1]!, c = lanes[2]!, d = lanes[3]!;
    for (let i = 0; i < whole; i += LANES) {
      a = round(a, data[i]!);
      b = round(b, data[i + 1]!);
      c = round(c, data[i + 2]!);
      d = round(d, data[i + 3]!);
    }
    for (let i = whole; i < data.length; i++) a = round(a, data[i]!);
    lanes[0] = a;
    lanes[1] = b;
    lanes[2] = c;
    lanes[3] = d;
    this.#length += data.length;
    return this;
  }

  /** Adds numbers, each as 64 bits of floating point. */
  numbers(...values: number[]): this {
    return this.words(new Uint32Array(Float64Array.from(values).buffer));
  }

  /** Adds bytes, which are padded with zeros to whole words. */
  bytes(data: Uint8Array): this {
    const padded = new Uint8Array(Math.ceil(data.length / 4) * 4);
    padded.set(data);
    return this.numbers(data.length).words(new Uint32Array(padded.buffer));
  }

  /** 32 bits of what was added so far. */
  get low(): number {
    return this.#mixed(0);
  }

  /** 64 bits of what was added so far, as 16 hexadecimal digits. */
  get hex(): string {
    return [this.#mixed(PRIME2), this.low].map((word) => word.toString(16).padStart(8, "0")).join("");
  }

  #mixed(start: number): number {
    let h = (start + this.#length) | 0;
    for (const lane of this.#lanes) h = round(h, lane);
    h = Math.imul(h ^ (h >>> 15), PRIME2);
    h = Math.imul(h ^ (h >>> 13), PRIME3);
    return (h ^ (h >>> 16)) >>> 0;
  }
}

function round(lane: number, word: number): number {
  const x = (lane + Math.imul(word, PRIME2)) | 0;
  return Math.imul((x << 13) | (x >>> 19), PRIME1);
}
