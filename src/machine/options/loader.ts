// `-device loader` and `-device guest-loader`: what goes into memory at reset, and where CPUs start.

import { UsageError } from "../../base/errors.ts";
import { HOST_MAP } from "../../memory/host_map.ts";
import type { LoaderConfig } from "../config.ts";
import { field, type Given, type Variant, variant } from "./declare.ts";
import { ADDRESS, count, FILE, onOff, U64, WORDS } from "./values.ts";

export interface LoaderDraft {
  loaders: LoaderConfig[];
}
export const newLoaderDraft = (): LoaderDraft => ({ loaders: [] });

const LOADER_FIELDS = {
  file: field(FILE, "an ELF, gzip or raw image to put into memory"),
  addr: field(ADDRESS, "where to put it; without file and data, where the CPU starts"),
  "force-raw": field(onOff, "take the file's bytes as they are"),
  data: field(U64, "a value to put into memory"),
  "data-len": field(count("1…8", 1, 8), "its size in bytes"),
  "data-be": field(onOff, "store it big-endian"),
  "cpu-num": field(count("N", 0, HOST_MAP.vcpus.count - 1), "the CPU that starts there"),
};

const GUEST_LOADER_FIELDS = {
  addr: field(ADDRESS, "where to put it"),
  kernel: field(FILE, "the kernel"),
  initrd: field(FILE, "or its initial RAM disk"),
  bootargs: field(WORDS, "the kernel's command line"),
};

function applyGuestLoader(draft: LoaderDraft, given: Given<typeof GUEST_LOADER_FIELDS>): void {
  const { addr, kernel, initrd, bootargs } = given, file = kernel ?? initrd;
  if (addr === undefined) throw new UsageError("needs addr");
  if (file === undefined || (kernel !== undefined && initrd !== undefined)) {
    throw new UsageError("needs one of kernel and initrd");
  }
  if (bootargs !== undefined && kernel === undefined) throw new UsageError("bootargs needs kernel");
  const role = kernel === undefined ? "ramdisk" : "kernel";
  draft.loaders.push({ kind: "guest", file, address: addr, role, bootargs: bootargs ?? null });
}

function applyLoader(draft: LoaderDraft, given: Given<typeof LOADER_FIELDS>): void {
  const { file, addr, data } = given, dataBytes = given["data-len"], cpu = given["cpu-num"] ?? null;
  if (file !== undefined) {
    if (data !== undefined || dataBytes !== undefined) throw new UsageError("file and data exclude each other");
    const raw = given["force-raw"] === true;
    if (raw && addr === undefined) throw new UsageError("force-raw needs addr");
    draft.loaders.push({ kind: "file", file, address: addr ?? null, cpu, raw });
    return;
  }
  if (given["force-raw"] !== undefined) throw new UsageError("force-raw needs file");
  if (addr === undefined) throw new UsageError("needs addr");
  if (data !== undefined) {
    if (dataBytes === undefined) throw new UsageError("data needs data-len");
    if (cpu !== null) throw new UsageError("data and cpu-num exclude each other");
    const bytes = Array.from({ length: dataBytes }, (_, n) => Number(data >> BigInt(8 * n) & 0xffn));
    if (data >> BigInt(8 * dataBytes) !== 0n) throw new UsageError(`data does not fit in ${dataBytes} bytes`);
    draft.loaders.push({ kind: "data", address: addr, bytes: given["data-be"] === true ? bytes.reverse() : bytes });
    return;
  }
  if (dataBytes !== undefined || given["data-be"] !== undefined) throw new UsageError("data-len needs data");
  if (cpu === null) throw new UsageError("needs file, data or cpu-num");
  draft.loaders.push({ kind: "start", address: addr, cpu });
}

export function loaderDrivers<D extends LoaderDraft>(): readonly Variant<D>[] {
  return [
    variant("loader", LOADER_FIELDS, "put a file or a value into memory, or set where a CPU starts", applyLoader),
    variant(
      "guest-loader",
      GUEST_LOADER_FIELDS,
      "put the image of a hypervisor's first guest into memory and name it in the device tree",
      applyGuestLoader,
    ),
  ];
}
