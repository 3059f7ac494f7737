// State in shared memory. A struct is declared once as data (`{ pc: "u64", v: "u64[64]" }`); byte offsets for generated
// Wasm, accessors for TypeScript, reset and the snapshot codec all follow from that declaration. 64-bit fields read as
// bigint by their name and as unsigned 32-bit halves by name + "Lo" / "Hi", because a BigInt costs an allocation.

export type Scalar = "u8" | "u32" | "i32" | "u64" | "f64";
export type FieldType = Scalar | `${Scalar}[${number}]`;
export type StructSpec = Readonly<Record<string, FieldType>>;

type ScalarValue<T> = T extends "u64" ? bigint : number;
type ArrayValue<T> = T extends "u8" ? Uint8Array : T extends "u32" ? Uint32Array : T extends "i32" ? Int32Array
: T extends "f64" ? Float64Array
: BigUint64Array;
type Halves<S, K extends keyof S & string> = S[K] extends "u64" ? `${K}Lo` | `${K}Hi`
  : S[K] extends `u64[${number}]` ? never
  : never;
type Words<S, K extends keyof S & string> = S[K] extends `u64[${number}]` ? `${K}Words` : never;
/** The accessors of one struct in memory. `u64[n]` fields are also seen as 2n little-endian words under name + "Words". */
export type View<S extends StructSpec> =
  & { -readonly [K in keyof S]: S[K] extends `${infer T}[${number}]` ? ArrayValue<T> : ScalarValue<S[K]> }
  & { -readonly [K in keyof S & string as Halves<S, K>]: number }
  & { -readonly [K in keyof S & string as Words<S, K>]: Uint32Array }
  & { readonly bytes: Uint8Array };

export interface Struct<S extends StructSpec> {
  readonly name: string;
  readonly spec: S;
  /** Size in bytes, a multiple of 16. */
  readonly size: number;
  /** Byte offset of each field. */
  readonly offset: { readonly [K in keyof S]: number };
  /** A view of the struct that lies at byte `base` (16-aligned) of `buffer`. */
  at(buffer: ArrayBufferLike, base: number): View<S>;
}

const SCALAR_BYTES: Record<Scalar, number> = { u8: 1, u32: 4, i32: 4, u64: 8, f64: 8 };

function parse(name: string, type: string): { scalar: Scalar; count: number; array: boolean } {
  const match = /^(u8|u32|i32|u64|f64)(?:\[(\d+)\])?$/.exec(type);
  if (!match) {
    throw new RangeError(`Cannot declare field ${name}: type must be a scalar or an array: type is "${type}"`);
  }
  return { scalar: match[1] as Scalar, count: Number(match[2] ?? 1), array: match[2] !== undefined };
}

interface Backing {
  u8: Uint8Array;
  u32: Uint32Array;
  i32: Int32Array;
  u64: BigUint64Array;
  f64: Float64Array;
}

/** Declares a struct. Fields are laid out in order, each aligned to its size; arrays of 8-byte elements to 16 bytes. */
export function struct<const S extends StructSpec>(name: string, spec: S): Struct<S> {
  const offset: Record<string, number> = {};
  const arrays: { key: string; scalar: Scalar; at: number; count: number }[] = [];
  const prototype = {};
  const define = (key: string, get: (this: Backing) => unknown, set?: (this: Backing, v: never) => void) =>
    Object.defineProperty(prototype, key, set ? { get, set } : { get });
  let end = 0;
  for (const [key, type] of Object.entries(spec)) {
    const { scalar, count, array } = parse(key, type);
    const bytes = SCALAR_BYTES[scalar], align = array && bytes === 8 ? 16 : bytes;
    const at = Math.ceil(end / align) * align;
    offset[key] = at;
    end = at + bytes * count;
    const index = at / bytes;
    if (array) {
      arrays.push({ key, scalar, at, count });
      if (scalar === "u64") arrays.push({ key: key + "Words", scalar: "u32", at, count: count * 2 });
      continue;
    }
    switch (scalar) {
      case "u64":
        define(key, function () {
          return this.u64[index];
        }, function (v: bigint) {
          this.u64[index] = v;
        });
        for (const [suffix, word] of [["Lo", index * 2], ["Hi", index * 2 + 1]] as const) {
          define(key + suffix, function () {
            return this.u32[word];
          }, function (v: number) {
            this.u32[word] = v;
          });
        }
        break;
      default:
        define(key, function () {
          return this[scalar][index];
        }, function (v: number) {
          this[scalar][index] = v;
        });
    }
  }
  const size = Math.ceil(end / 16) * 16;
  const at = (buffer: ArrayBufferLike, base: number) => {
    const view = Object.create(prototype);
    view.bytes = view.u8 = new Uint8Array(buffer, base, size);
    view.u32 = new Uint32Array(buffer, base, size / 4);
    view.i32 = new Int32Array(buffer, base, size / 4);
    view.u64 = new BigUint64Array(buffer, base, size / 8);
    view.f64 = new Float64Array(buffer, base, size / 8);
    for (const { key, scalar, at, count } of arrays) {
      const first = at / SCALAR_BYTES[scalar];
      view[key] = (view as Backing)[scalar].subarray(first, first + count);
    }
    return view as View<S>;
  };
  return { name, spec, size, offset: offset as Struct<S>["offset"], at };
}
