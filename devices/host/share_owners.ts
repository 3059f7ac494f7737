// Who owns what a guest has made in a shared directory, by QEMU's security models:
//
//   none          files belong to whom the guest says where the host lets us, else to us; no set-id bits
//   passthrough   the same, but a host that does not let us is an error, and set-id bits are as the guest says
//   mapped-xattr  files are ours, and theirs for the guest: owner and mode, links too, are in extended attributes
//
// The attributes are QEMU's own, so that a directory may be used by both.

import { ERRNO, type FileStat, MODE, type Owner } from "../virtio/p9_share.ts";
import { AT, cName, NO_NAME, procName, type ShareLibc } from "./share_libc.ts";

export const SECURITY_MODELS = ["none", "passthrough", "mapped-xattr"] as const;
export type SecurityModel = (typeof SECURITY_MODELS)[number];

const SET_ID = 0o6000;
/** Permissions of what is really there, where the guest's are in attributes. */
export const MAPPED_BITS = { file: 0o600, directory: 0o700 } as const;

const attribute = (name: string) => cName(`user.virtfs.${name}`);
const NAMES = { uid: attribute("uid"), gid: attribute("gid"), mode: attribute("mode") } as const;
/** What is changed; the rest stays. */
interface Changes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

const typeOf = (mode: number) => mode & MODE.TYPE;
const isPlain = ({ mode }: FileStat) => typeOf(mode) === MODE.REGULAR || typeOf(mode) === MODE.DIRECTORY;

export class Owners {
  readonly #bytes = new Uint8Array(4);
  readonly #view = new DataView(this.#bytes.buffer);

  constructor(private readonly libc: ShareLibc, readonly model: SecurityModel) {}

  get areMapped(): boolean {
    return this.model === "mapped-xattr";
  }

  /** What the guest sees of what is open at `fd`. */
  seen(fd: number, stat: FileStat): FileStat {
    if (!this.areMapped || !isPlain(stat)) return stat;
    const path = procName(fd),
      get = (name: Uint8Array<ArrayBuffer>) => {
        const count = this.libc.result(this.libc.c.getxattr(path, name, this.#bytes, 4n));
        return count === 4 ? this.#view.getUint32(0, true) : undefined;
      };
    const mode = get(NAMES.mode);
    return {
      ...stat,
      uid: get(NAMES.uid) ?? stat.uid,
      gid: get(NAMES.gid) ?? stat.gid,
      // A directory stays one, and nothing else becomes one.
      mode: mode === undefined || (typeOf(mode) === MODE.DIRECTORY) !== (typeOf(stat.mode) === MODE.DIRECTORY)
        ? stat.mode
        : mode & 0xffff,
    };
  }

  /** What was just made at `fd` gets its owner and mode, type included. 0 or the error. */
  adopt(fd: number, mode: number, owner: Owner): number {
    if (this.areMapped) return this.#map(fd, { mode, ...owner });
    const error = this.#own(fd, owner.uid, owner.gid);
    return error < 0 || typeOf(mode) === MODE.LINK ? error : this.#permit(fd, mode);
  }

  /** Changes owner and mode of what is open at `fd`, which is `stat`. 0 or the error. */
  change(fd: number, stat: FileStat, { mode, uid, gid }: Changes): number {
    if (this.areMapped && isPlain(stat)) {
      const before = typeOf(this.seen(fd, stat).mode);
      return this.#map(fd, {
        ...(mode === undefined ? {} : { mode: mode & MODE.BITS | before }),
        ...(uid === undefined ? {} : { uid }),
        ...(gid === undefined ? {} : { gid }),
      });
    }
    // First the owner: the host takes set-id bits away when it changes.
    const error = uid === undefined && gid === undefined ? 0 : this.#own(fd, uid ?? KEEP, gid ?? KEEP);
    if (error < 0 || mode === undefined) return error;
    return typeOf(stat.mode) === MODE.LINK ? -ERRNO.EOPNOTSUPP : this.#permit(fd, typeOf(stat.mode) | mode);
  }

  #own(fd: number, uid: number, gid: number): number {
    const error = this.libc.result(this.libc.c.fchownat(fd, NO_NAME, uid, gid, AT.EMPTY_PATH | AT.SYMLINK_NOFOLLOW));
    return this.model === "none" ? 0 : error;
  }
  #permit(fd: number, mode: number): number {
    const isDirectory = typeOf(mode) === MODE.DIRECTORY, bits = mode & MODE.BITS;
    const kept = this.model === "none" && !isDirectory ? bits & ~SET_ID : bits;
    return this.libc.result(this.libc.c.fchmodat(AT.FDCWD, procName(fd), kept, 0));
  }

  #map(fd: number, changes: Changes): number {
    const path = procName(fd);
    for (const name of ["uid", "gid", "mode"] as const) {
      const value = changes[name];
      if (value === undefined) continue;
      this.#view.setUint32(0, value, true);
      const error = this.libc.result(this.libc.c.setxattr(path, NAMES[name], this.#bytes, 4n, 0));
      if (error < 0) return error;
    }
    return 0;
  }
}
/** chown: leave it as it is. */
const KEEP = 0xffff_ffff;
