// Takes chosen files out of a tar stream (POSIX ustar with GNU long names), as `dpkg-deb --fsys-tarfile` writes it.

const BLOCK = 512;

/** Bytes of a stream, in the pieces that a reader asks for. */
class Pieces {
  #held: Uint8Array = new Uint8Array(0);
  constructor(private readonly reader: ReadableStreamDefaultReader<Uint8Array>) {}

  /** Exactly `count` bytes, or null when the stream ends before. */
  async take(count: number): Promise<Uint8Array | null> {
    const parts: Uint8Array[] = [];
    let missing = count;
    while (missing > 0) {
      if (this.#held.length === 0) {
        const { value, done } = await this.reader.read();
        if (done) return null;
        this.#held = value;
        continue;
      }
      const part = this.#held.subarray(0, missing);
      parts.push(part);
      missing -= part.length;
      this.#held = this.#held.subarray(part.length);
    }
    if (parts.length === 1) return parts[0]!;
    const out = new Uint8Array(count);
    let at = 0;
    for (const part of parts) {
      out.set(part, at);
      at += part.length;
    }
    return out;
  }
}

const field = (header: Uint8Array, at: number, size: number) =>
  new TextDecoder().decode(header.subarray(at, at + size)).replace(/\0.*$/s, "");

/** The regular files whose path (without a leading `./`) is wanted. Reads the stream to its end. */
export async function filesFromTar(
  stream: ReadableStream<Uint8Array>,
  wanted: (path: string) => boolean,
): Promise<Map<string, Uint8Array>> {
  const pieces = new Pieces(stream.getReader()), found = new Map<string, Uint8Array>();
  let longName: string | null = null;
  for (let header = await pieces.take(BLOCK); header !== null; header = await pieces.take(BLOCK)) {
    if (header.every((byte) => byte === 0)) continue;
    const size = parseInt(field(header, 124, 12).trim() || "0", 8);
    if (!Number.isSafeInteger(size) || size < 0) throw new RangeError("Cannot read tar header: its size is no number");
    const padded = Math.ceil(size / BLOCK) * BLOCK, type = field(header, 156, 1);
    const prefix = field(header, 345, 155), name = field(header, 0, 100);
    const path = (longName ?? (prefix ? `${prefix}/${name}` : name)).replace(/^\.?\//, "");
    longName = null;
    const keep = type === "L" || ((type === "0" || type === "") && wanted(path));
    if (!keep) {
      for (let left = padded; left > 0;) left -= (await pieces.take(Math.min(left, 65536)))?.length ?? left;
      continue;
    }
    const data = await pieces.take(padded);
    if (data === null) throw new RangeError(`Cannot read ${path} from tar: the archive ends early`);
    if (type === "L") longName = field(data, 0, size);
    else found.set(path, data.slice(0, size));
  }
  return found;
}
