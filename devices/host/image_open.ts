// Opens disk images: finds out their format, follows chains of backing files, puts a temporary overlay in front.

import { HostError, reason } from "../../src/base/errors.ts";
import { type Image, RawImage } from "./image.ts";
import { ImageFile } from "./image_file.ts";
import { Qcow2Image } from "./image_qcow2.ts";
import { looksLikeQcow2, writeEmptyImage } from "./image_qcow2_header.ts";

export type ImageFormat = "raw" | "qcow2";

export interface ImageOptions {
  readonly path: string;
  /** Null: what the file looks like. */
  readonly format: ImageFormat | null;
  readonly readOnly: boolean;
  /** What is written goes to an overlay that is gone when it is closed. */
  readonly snapshot: boolean;
  /** Flushes do nothing. */
  readonly unsafe: boolean;
}

/** More images in a chain have a loop, or no purpose. */
const LONGEST_CHAIN = 200;

/** Throws HostError, with nothing left open. */
export function openImage({ path, format, readOnly, snapshot, unsafe }: ImageOptions): Image {
  if (!snapshot) return open(path, format, readOnly, unsafe, 0);
  const base = open(path, format, true, true, 0);
  try {
    const overlay = temporaryOverlay(base.sizeBytes);
    return new Qcow2Image(overlay, { openBacking: () => base, unsafe: true });
  } catch (error) {
    base.close();
    throw error;
  }
}

/** A new overlay without a name. */
function temporaryOverlay(sizeBytes: number): ImageFile {
  let directory: string;
  try {
    directory = Deno.makeTempDirSync({ prefix: "vitrine-" });
  } catch (error) {
    throw new HostError(`cannot make a temporary overlay: ${reason(error)}`);
  }
  const file = ImageFile.create(`${directory}/overlay`);
  try {
    file.unlink();
    Deno.removeSync(directory);
    writeEmptyImage(file, sizeBytes, { name: "base", format: "raw" });
    return file;
  } catch (error) {
    file.close();
    throw error;
  }
}

function open(path: string, format: ImageFormat | null, readOnly: boolean, unsafe: boolean, depth: number): Image {
  if (depth > LONGEST_CHAIN) throw new HostError(`cannot open ${path}: its chain of backing files has no end`);
  const file = ImageFile.open(path, readOnly);
  try {
    if ((format ?? formatOf(file)) === "raw") return new RawImage(file, format === null);
    return new Qcow2Image(file, {
      unsafe,
      openBacking: (name, backingFormat) => {
        if (backingFormat !== null && backingFormat !== "raw" && backingFormat !== "qcow2") {
          throw new HostError(`cannot open ${path}: its backing file's format is ${backingFormat}`);
        }
        return open(beside(path, name), backingFormat, true, true, depth + 1);
      },
    });
  } catch (error) {
    file.close();
    throw error;
  }
}

function formatOf(file: ImageFile): ImageFormat {
  const start = new Uint8Array(4);
  file.readAt(0, start);
  return looksLikeQcow2(start) ? "qcow2" : "raw";
}

/** The backing file that `path` calls `name`. */
function beside(path: string, name: string): string {
  if (name.startsWith("json:") || /^(nbd|https?|ftps?|ssh|rbd|iscsi):/.test(name)) {
    throw new HostError(`cannot open ${path}: its backing file ${name} is not a file`);
  }
  const plain = name.startsWith("file:") ? name.slice(5) : name;
  if (plain === "") throw new HostError(`cannot open ${path}: its backing file has no name`);
  return plain.startsWith("/") ? plain : path.replace(/[^/]*$/, "") + plain;
}
