// How a semihosting call goes on when it cannot be finished at once: a generator that says what it waits for, and is resumed
// between slices. What it answers in the end is a number; what went wrong is a negative error number of Linux.

import type { FileReply, FileRequest } from "../../../gdbstub/target.ts";

/** Whether going on between slices would find something new; or what the debugger's host is to do. */
export type Wait = (() => boolean) | FileRequest;
/** A request is resumed with its reply, null when there is no debugger that takes it. */
export type Progress<T> = Generator<Wait, T, FileReply | null | undefined>;

export const ERROR = {
  EPERM: 1,
  ENOENT: 2,
  EINTR: 4,
  EIO: 5,
  E2BIG: 7,
  EBADF: 9,
  EACCES: 13,
  EFAULT: 14,
  EBUSY: 16,
  EEXIST: 17,
  ENOTDIR: 20,
  EISDIR: 21,
  EINVAL: 22,
  EMFILE: 24,
  ETXTBSY: 26,
  EFBIG: 27,
  ENOSPC: 28,
  ESPIPE: 29,
  EROFS: 30,
  ENAMETOOLONG: 36,
  ENOSYS: 38,
  ENOTEMPTY: 39,
  ELOOP: 40,
  EDQUOT: 122,
} as const;

/** The number of what a function of Deno threw. */
export function errorOf(error: unknown): number {
  const { code } = error as { code?: unknown };
  if (typeof code === "string" && code in ERROR) return -ERROR[code as keyof typeof ERROR];
  if (error instanceof Deno.errors.NotFound) return -ERROR.ENOENT;
  if (error instanceof Deno.errors.AlreadyExists) return -ERROR.EEXIST;
  if (error instanceof Deno.errors.PermissionDenied || error instanceof Deno.errors.NotCapable) return -ERROR.EACCES;
  return -ERROR.EIO;
}

/** gdb's numbers are Linux's where both have one. */
const GDB_ENAMETOOLONG = 91, GDB_EUNKNOWN = 9999;

/** What the debugger's host answered, as a result of ours. */
export function resultOf(reply: FileReply | null | undefined): number {
  if (reply === null || reply === undefined) return -ERROR.EIO;
  if (reply.result >= 0) return reply.result;
  const { errno } = reply;
  if (errno === GDB_ENAMETOOLONG) return -ERROR.ENAMETOOLONG;
  return errno <= 0 || errno >= GDB_EUNKNOWN ? -ERROR.EIO : -errno;
}

/** A result that is there at once. */
// deno-lint-ignore require-yield
export function* at<T>(result: T): Progress<T> {
  return result;
}
