// The options of semihosting: `-semihosting`, and `-semihosting-config` with QEMU's sub-options and one of our own, `dir`: QEMU
// lets a guest open any file of the host, here there are only those beneath a directory that the user names.

import { UsageError } from "../../base/errors.ts";
import type { MachineConfig, SemihostingConfig } from "../config.ts";
import { field, fieldsOption, flag, type Given, type Option, repeatedField } from "./declare.ts";
import { choice, FILE, onOff, text, WORDS } from "./values.ts";

const FIELDS = {
  enable: field(onOff, "whether HLT #0xF000 is a call (on)"),
  target: field(
    choice("native", "gdb", "auto"),
    "whose host it is: gdb's, or by auto gdb's while one is attached (auto)",
  ),
  chardev: field(text("ID"), "the console, instead of standard input, output and error"),
  userspace: field(onOff, "calls from EL0 too (off)"),
  arg: repeatedField(WORDS, "a word of the program's command line, the name first (the kernel's, and -append)"),
  dir: field(FILE, "files may be opened beneath this directory; without it, none"),
};

export interface SemihostingDraft {
  semihosting: boolean;
  semihostingGiven: Given<typeof FIELDS>;
}

export const newSemihostingDraft = (): SemihostingDraft => ({ semihosting: false, semihostingGiven: {} });

export function semihostingOptions<D extends SemihostingDraft>(): readonly Option<D>[] {
  return [
    flag("semihosting", "semihosting calls of the guest: -semihosting-config enable=on", (draft: D) => {
      draft.semihosting = true;
    }),
    fieldsOption("semihosting-config", "enable", FIELDS, "semihosting: calls of the guest to the host", (
      draft: D,
      given,
    ) => {
      draft.semihosting = given.enable !== false;
      const { semihostingGiven: before } = draft, arg = [...before.arg ?? [], ...given.arg ?? []];
      draft.semihostingGiven = { ...before, ...given, ...(arg.length > 0 ? { arg } : {}) };
    }),
  ];
}

/** What else of the configuration it depends on. */
type Others = Pick<MachineConfig, "kernel" | "append" | "chardevs" | "debug" | "record" | "replay">;

/** Its part of the configuration. Throws UsageError. */
export function semihostingConfig(
  { semihosting, semihostingGiven: given }: SemihostingDraft,
  { kernel, append, chardevs, debug, record, replay }: Others,
): SemihostingConfig | null {
  if (!semihosting) return null;
  const option = "option -semihosting-config", { chardev = null, dir = null, target = "auto", arg } = given;
  if (chardev !== null && !chardevs.some(({ id }) => id === chardev)) {
    throw new UsageError(`${option}: there is no -chardev with id=${chardev}`);
  }
  if (target === "gdb" && debug.gdb === null) throw new UsageError(`${option}: target=gdb needs -gdb or -s`);
  const logged = record !== null ? "-record" : replay !== null ? "-replay" : null;
  // Neither is in the log, so that a replay would not be the same.
  if (logged !== null && dir !== null) throw new UsageError(`${option}: dir and ${logged} exclude each other`);
  if (logged !== null && target === "gdb") {
    throw new UsageError(`${option}: target=gdb and ${logged} exclude each other`);
  }
  // Without directories: where the user's files lie is not the guest's business.
  const words = arg ?? [kernel?.replace(/^.*\//, "") ?? "", append ?? ""].filter((word) => word !== "");
  return {
    userspace: given.userspace === true,
    target: logged !== null ? "native" : target,
    chardev,
    directory: dir,
    commandLine: words.join(" "),
  };
}
