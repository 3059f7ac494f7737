// The options about time and its repetition: -icount, -rtc, -seed, -record, -replay, and what they mean together.

import { UsageError } from "../../base/errors.ts";
import type { IcountConfig, MachineConfig, RtcConfig } from "../config.ts";
import { field, type Given } from "./declare.ts";
import { choice, count, FILE, onOff, type ValueKind } from "./values.ts";

/**
 * `auto` is 4 ns: 250 million instructions in a second of virtual time, about what a guest that is busy gets here, so that
 * it sees time pass much as on the host. QEMU's auto follows the host's speed instead, and no two of its runs are alike.
 */
const AUTO_SHIFT = 2;
/** The seed of runs that are to repeat, when none is given. */
const DEFAULT_SEED = 0;

const SHIFT = count("0…10", 0, 10);
const ICOUNT_SHIFT: ValueKind<number> = {
  form: "auto|0…10",
  choices: ["auto"],
  parse: (text) => text === "auto" ? AUTO_SHIFT : SHIFT.parse(text),
};

export const ICOUNT_FIELDS = {
  shift: field(ICOUNT_SHIFT, `an instruction takes 2^N ns; auto is ${AUTO_SHIFT}`),
  sleep: field(onOff, "whether waiting takes real time (on)"),
  align: field(onOff, "off is accepted"),
  rr: field(choice("record", "replay"), "as -record and -replay"),
  rrfile: field(FILE, "the log"),
};

export function icountOf(given: Given<typeof ICOUNT_FIELDS>): IcountConfig {
  if (given.align === true) throw new UsageError("align=on is not implemented");
  return { shift: given.shift ?? AUTO_SHIFT, sleep: given.sleep ?? true };
}

/** utc, localtime, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss. */
export const RTC_BASE: ValueKind<RtcConfig["base"]> = {
  form: "utc|localtime|DATE",
  choices: ["utc", "localtime"],
  parse(text) {
    if (text === "utc" || text === "localtime") return text;
    const ms = /^\d{4}-\d\d-\d\d(T\d\d:\d\d:\d\d)?$/.test(text)
      ? Date.parse(text.length > 10 ? text + "Z" : text)
      : NaN;
    // Date.parse() takes the 31st of any month.
    if (Number.isNaN(ms) || !new Date(ms).toISOString().startsWith(text)) {
      throw new UsageError(`"${text}" is not utc, localtime, YYYY-MM-DD or YYYY-MM-DDThh:mm:ss`);
    }
    if (ms < 0 || ms / 1000 >= 2 ** 32) throw new UsageError(`"${text}" does not fit the real-time clock`);
    return ms / 1000;
  },
};

/** Where the real-time clock starts when it is now `now`: both in seconds since 1970. */
export function startOfRtc(base: RtcConfig["base"], now: number): number {
  if (base === "utc") return now;
  return base === "localtime" ? now - new Date(now * 1000).getTimezoneOffset() * 60 : base;
}

/** What the options say. */
interface TimeDraft {
  readonly icount: IcountConfig | null;
  readonly rtcBase: RtcConfig["base"];
  readonly rtcClock: RtcConfig["clock"] | null;
  readonly seed: number | null;
  readonly record: string | null;
  readonly replay: string | null;
}

/** Their part of the configuration. A log brings its own icount, rtc and seed, see input_log.ts. */
export function timeConfig(
  { icount, rtcBase, rtcClock, seed, record, replay }: TimeDraft,
): Pick<MachineConfig, "icount" | "rtc" | "seed" | "record" | "replay"> {
  if (record !== null && replay !== null) throw new UsageError("options -record and -replay exclude each other");
  const option = record !== null ? "-record" : "-replay";
  const logged = record !== null || replay !== null;
  if (logged && rtcClock === "host") throw new UsageError(`option ${option} needs -rtc clock=vm`);
  const counted = icount ?? (logged ? { shift: AUTO_SHIFT, sleep: true } : null);
  return {
    icount: counted,
    rtc: { base: rtcBase, clock: rtcClock ?? (counted === null ? "host" : "vm") },
    seed: seed ?? (counted === null ? null : DEFAULT_SEED),
    record,
    replay,
  };
}
