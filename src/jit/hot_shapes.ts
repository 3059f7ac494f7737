// Which handlers are inside the interpreter's main function: the most frequent shapes, measured by bench/profile.ts over
// Debian's boot, its userland and the kernels of bench/. A row of hot_shapes.json is a word of the shape, whether its
// branch stays in the page, and the shape's key for the reader.

import type { Decoder } from "../isa/decoder.ts";
import { UNALLOCATED } from "../isa/decoder.ts";
import rows from "./hot_shapes.json" with { type: "json" };
import { type Shape, shapeOf } from "./shape.ts";

/** The inline shapes that exist on this CPU model. */
export function hotShapes(decoder: Decoder): Shape[] {
  const shapes = (rows as [number, number, string][]).map(([word, near]) => ({
    definition: decoder.decode(word),
    word,
    near: near === 1,
  }))
    .filter(({ definition }) => definition !== UNALLOCATED)
    .map(({ definition, word, near }) => shapeOf(definition, word, near));
  return [...new Map(shapes.map((shape) => [shape.key, shape])).values()];
}
