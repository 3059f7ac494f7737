// The arm64 kernel `Image`, by Linux's Documentation/arch/arm64/booting.rst: a 64-byte header, then code that runs from
// its first byte. Also unpacks a gzip file and the EFI zboot wrapper. A file without the header's magic is taken for an old
// kernel or any raw program, at 0x80000 into RAM, as QEMU does.

import { gunzipSync, zstdDecompressSync } from "node:zlib";
import { HostError, reason } from "../../base/errors.ts";

export interface KernelImage {
  readonly bytes: Uint8Array;
  /** Distance from the start of RAM. */
  readonly offset: number;
  /** Bytes of memory that it uses from there, with its .bss. */
  readonly memoryBytes: number;
}

const MAGIC = 0x644d_5241;
const HEADER_BYTES = 64;
/** Where images without a usable header go. */
const LEGACY_OFFSET = 0x8_0000;
const MiB = 2 ** 20;
/** QEMU keeps its boot code in the first page of RAM; an image that wants that place goes to the next 2 MiB. */
const RESERVED_BYTES = 4096;
const UIMAGE_MAGIC = 0x2705_1956;

const text = (bytes: Uint8Array, at: number, length: number): string =>
  new TextDecoder("latin1").decode(bytes.subarray(at, at + length)).replace(/\0.*$/s, "");
const isGzip = (bytes: Uint8Array): boolean => bytes.length >= 3 && bytes[0] === 0x1f && bytes[1] === 0x8b;

function unpack(bytes: Uint8Array, how: "gzip" | "zstd", limitBytes: number, what: string): Uint8Array {
  try {
    const out = (how === "gzip" ? gunzipSync : zstdDecompressSync)(bytes, { maxOutputLength: limitBytes });
    return new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code === "ERR_BUFFER_TOO_LARGE") throw new HostError(`cannot load ${what}: unpacked it is larger than RAM`);
    const truncated = code === "Z_BUF_ERROR" || /unexpected end|incomplete/i.test(reason(error));
    throw new HostError(
      `cannot load ${what}: ${
        truncated ? `its ${how} data is truncated` : `its ${how} data is damaged: ${reason(error)}`
      }`,
    );
  }
}

/** Takes a gzip file or an EFI zboot image apart; other files come back as they are. */
export function unpackKernel(bytes: Uint8Array, limitBytes: number, what: string): Uint8Array {
  if (isGzip(bytes)) return unpack(bytes, "gzip", limitBytes, what);
  if (bytes.length < HEADER_BYTES || text(bytes, 0, 2) !== "MZ" || text(bytes, 4, 4) !== "zimg") return bytes;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const at = view.getUint32(8, true), size = view.getUint32(12, true), how = text(bytes, 24, 32);
  if (at + size > bytes.length) {
    throw new HostError(`cannot load ${what}: it is truncated: ${bytes.length} of ${at + size} bytes`);
  }
  if (how !== "gzip" && how !== "zstd20" && how !== "zstd") {
    throw new HostError(`cannot load ${what}: its compression "${how}" is not supported, only gzip and zstd`);
  }
  return unpack(bytes.subarray(at, at + size), how === "gzip" ? "gzip" : "zstd", limitBytes, what);
}

/**
 * Size that the PE header in a kernel with an EFI stub says the file has (its sections and, in a signed one, the
 * certificates behind them), or 0. image_size counts the .bss and cannot tell.
 */
function sizeByPeHeader(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const pe = view.getUint32(60, true);
  if (text(bytes, 0, 2) !== "MZ" || pe + 24 > bytes.length || text(bytes, pe, 4) !== "PE") return 0;
  const sections = view.getUint16(pe + 6, true), header = pe + 24, first = header + view.getUint16(pe + 20, true);
  const certificates = header + 112 + 4 * 8;
  let end = 0;
  if (certificates + 8 <= Math.min(first, bytes.length) && view.getUint32(header + 108, true) > 4) {
    end = view.getUint32(certificates, true) + view.getUint32(certificates + 4, true);
  }
  for (let i = 0, at = first; i < sections && at + 40 <= bytes.length; i++, at += 40) {
    end = Math.max(end, view.getUint32(at + 20, true) + view.getUint32(at + 16, true));
  }
  return end;
}

/** Reads an (unpacked) kernel that is not an ELF file; `what` names it in messages. */
export function loadKernelImage(bytes: Uint8Array, what: string): KernelImage {
  if (bytes.length < 4) throw new HostError(`cannot load ${what}: it has only ${bytes.length} bytes`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (view.getUint32(0) === UIMAGE_MAGIC) {
    throw new HostError(`cannot load ${what}: it is a U-Boot uImage, which is not supported: give the Image itself`);
  }
  if (bytes.length < HEADER_BYTES || view.getUint32(56, true) !== MAGIC) {
    return { bytes, offset: LEGACY_OFFSET, memoryBytes: bytes.length };
  }
  const textOffset = view.getBigUint64(8, true), imageSize = view.getBigUint64(16, true);
  for (const [name, value] of [["text_offset", textOffset], ["image_size", imageSize]] as const) {
    if (value >> 40n !== 0n) throw new HostError(`cannot load ${what}: its ${name} 0x${value.toString(16)} is absurd`);
  }
  const whole = sizeByPeHeader(bytes);
  if (whole > bytes.length) {
    throw new HostError(`cannot load ${what}: it is truncated: ${bytes.length} of ${whole} bytes`);
  }
  // Kernels before 3.17 have no image_size, and a text_offset of unknown byte order that was always 0x80000.
  if (imageSize === 0n) return { bytes, offset: LEGACY_OFFSET, memoryBytes: bytes.length };
  const offset = Number(textOffset);
  return {
    bytes,
    offset: offset < RESERVED_BYTES ? offset + 2 * MiB : offset,
    memoryBytes: Math.max(bytes.length, Number(imageSize)),
  };
}
