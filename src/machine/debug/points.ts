// What breakpoints and watchpoints must be like, wherever that is asked.

import { HOST_MAP } from "../../memory/host_map.ts";
import { parseAgentExpression } from "../../../gdbstub/agent_expression.ts";
import { type Breakpoint, ERRNO, Refusal, type Watchpoint } from "../../../gdbstub/target.ts";

/** Why a point cannot be set; undefined when it can. */
export function unfitPoint(point: Breakpoint | Watchpoint): Refusal | undefined {
  const { space } = point, watches = "length" in point;
  if (space === "ipa" || space === "pa") {
    const words = watches ? "watchpoints" : "breakpoints";
    return new Refusal(`${words} have virtual addresses: monitor space auto`, ERRNO.EINVAL);
  }
  if (watches) {
    const fits = point.length >= 1 && point.length <= HOST_MAP.ram.base;
    return fits ? undefined : new Refusal("a watched range has a length", ERRNO.EINVAL);
  }
  for (const code of [...point.conditions, ...point.commands]) {
    const parsed = parseAgentExpression(code);
    if (parsed instanceof Refusal) return parsed;
  }
  return undefined;
}
