// The options by which a run tells about itself: `-d`, `-D`, `-dfilter`, `-stats`.

import { UsageError } from "../../base/errors.ts";
import { isTraceGroup, TRACE_GROUPS, type TraceFormat, type TraceGroup } from "../../base/trace.ts";
import { TraceFilter } from "../../base/trace_filter.ts";
import type { TraceConfig } from "../config.ts";
import { type Option, option } from "./declare.ts";
import { text, type ValueKind } from "./values.ts";

export interface ObserveDraft {
  traceGroups: TraceGroup[];
  traceFormat: TraceFormat;
  traceFile: string | null;
  traceFilter: string | null;
  statsFile: string | null;
  /** Print this and do nothing else. */
  show: "help" | "version" | "trace groups" | null;
}

export const newObserveDraft = (): ObserveDraft => ({
  traceGroups: [],
  traceFormat: "text",
  traceFile: null,
  traceFilter: null,
  statsFile: null,
  show: null,
});

/** What is no group among the items of `-d`. */
const MODIFIERS = { json: "each line is a JSON object" } as const;

/** The rows of `-d help`. */
export const traceHelp = (): [string, string][] => [...Object.entries(TRACE_GROUPS), ...Object.entries(MODIFIERS)];

type Item = TraceGroup | keyof typeof MODIFIERS;
const TRACE_ITEMS: ValueKind<Item[] | "help"> = {
  form: "GROUP[,GROUP…][,json]|help",
  choices: [...Object.keys(TRACE_GROUPS), ...Object.keys(MODIFIERS), "help"],
  parse(value) {
    if (value === "help" || value === "?") return "help";
    return value.split(",").map((name) => {
      if (name === "json" || isTraceGroup(name)) return name;
      throw new UsageError(`trace group "${name}" is not known: -d help lists them`);
    });
  },
};

const FILTER: ValueKind<string> = {
  form: "START+SIZE,…",
  parse(value) {
    new TraceFilter(value);
    return value;
  },
};

export function observeOptions<D extends ObserveDraft>(): readonly Option<D>[] {
  return [
    option("d", TRACE_ITEMS, "trace groups, see -d help", (draft: D, items) => {
      if (items === "help") {
        draft.show = "trace groups";
        return;
      }
      for (const item of items) {
        if (item === "json") draft.traceFormat = "json";
        else if (!draft.traceGroups.includes(item)) draft.traceGroups.push(item);
      }
    }),
    option("D", text("FILE"), "write the trace to FILE (stderr)", (draft: D, file) => {
      draft.traceFile = file;
    }),
    option(
      "dfilter",
      FILTER,
      "trace only what happens there: START+SIZE, END-SIZE, START..END, and of cpu=, el=, vmid=, asid=",
      (draft: D, filter) => {
        draft.traceFilter = draft.traceFilter === null ? filter : `${draft.traceFilter},${filter}`;
      },
    ),
    option("stats", text("FILE"), "write counters to FILE as JSON at the end; - prints a table", (draft: D, file) => {
      draft.statsFile = file;
    }),
  ];
}

/** The configuration that the draft asks for. Throws UsageError. */
export function traceConfig({ traceGroups, traceFormat, traceFile, traceFilter }: ObserveDraft): TraceConfig {
  if (traceGroups.length === 0) {
    if (traceFile !== null) throw new UsageError("option -D needs -d");
    if (traceFilter !== null) throw new UsageError("option -dfilter needs -d");
    if (traceFormat !== "text") throw new UsageError("option -d: json is no group: name one, -d help lists them");
  }
  return { groups: traceGroups, format: traceFormat, file: traceFile, filter: traceFilter };
}
