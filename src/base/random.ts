// Random numbers that follow from a seed, for runs that are to repeat: xoshiro128** (Blackman and Vigna), its state filled
// from the seed by splitmix32. Nothing that must be secret comes from here.

/** A source of bytes, the same for the same seed; each call goes on where the last one ended. */
export function seededRandom(seed: number): (count: number) => Uint8Array<ArrayBuffer> {
  let mix = (seed ^ Math.floor(seed / 2 ** 32)) | 0;
  const splitmix = () => {
    mix = (mix + 0x9e3779b9) | 0;
    let z = Math.imul(mix ^ (mix >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return z ^ (z >>> 16);
  };
  const s = Int32Array.of(splitmix(), splitmix(), splitmix(), splitmix());
  const rotate = (x: number, n: number) => (x << n) | (x >>> (32 - n));
  const next = () => {
    const result = Math.imul(rotate(Math.imul(s[1]!, 5), 7), 9), t = s[1]! << 9;
    s[2]! ^= s[0]!;
    s[3]! ^= s[1]!;
    s[1]! ^= s[2]!;
    s[0]! ^= s[3]!;
    s[2]! ^= t;
    s[3] = rotate(s[3]!, 11);
    return result;
  };
  return (count) => Uint8Array.from({ length: count }, () => next() >>> 24);
}
