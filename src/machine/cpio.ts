// Writes a cpio archive in the "newc" format that Linux takes as an initramfs (Documentation/driver-api/early-userspace/
// buffer-format.rst). Only what we pack: directories, files, symbolic links and character devices, all owned by root.

export type CpioEntry =
  | { readonly kind: "directory"; readonly path: string }
  | { readonly kind: "file"; readonly path: string; readonly data: Uint8Array; readonly mode: number }
  | { readonly kind: "link"; readonly path: string; readonly target: string }
  | { readonly kind: "device"; readonly path: string; readonly major: number; readonly minor: number };

const TYPE = { directory: 0o040000, file: 0o100000, link: 0o120000, device: 0o020000 } as const;

/** Packs entries in the given order; a directory comes before what is in it. Paths have no leading slash. */
export function packCpio(entries: readonly CpioEntry[]): Uint8Array<ArrayBuffer> {
  const text = new TextEncoder(), parts: Uint8Array[] = [];
  let length = 0;
  const put = (data: Uint8Array) => {
    parts.push(data);
    length += data.length;
  };
  const align = () => put(new Uint8Array(-length & 3));

  const record = (inode: number, mode: number, path: string, data: Uint8Array, major = 0, minor = 0) => {
    const name = text.encode(path + "\0");
    const links = (mode & TYPE.directory) === TYPE.directory ? 2 : 1;
    // c_ino c_mode c_uid c_gid c_nlink c_mtime c_filesize c_devmajor c_devminor c_rdevmajor c_rdevminor c_namesize c_check
    const fields = [inode, mode, 0, 0, links, 0, data.length, 0, 0, major, minor, name.length, 0];
    put(text.encode("070701" + fields.map((field) => field.toString(16).padStart(8, "0")).join("")));
    put(name);
    align();
    put(data);
    align();
  };

  entries.forEach((entry, index) => {
    const inode = index + 1, none = new Uint8Array(0);
    switch (entry.kind) {
      case "directory":
        return record(inode, TYPE.directory | 0o755, entry.path, none);
      case "file":
        return record(inode, TYPE.file | entry.mode, entry.path, entry.data);
      case "link":
        return record(inode, TYPE.link | 0o777, entry.path, text.encode(entry.target));
      case "device":
        return record(inode, TYPE.device | 0o600, entry.path, none, entry.major, entry.minor);
    }
  });
  record(0, 0, "TRAILER!!!", new Uint8Array(0));

  const out = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}
