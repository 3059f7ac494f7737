// Memory attributes of a finished walk: stage 1 and stage 2 combined, as PAR_EL1 reports them. DDI 0487 "Combining stage 1
// and stage 2 memory type attributes", S2CombineS1MemAttrs(), EncodePARAttrs(). Nothing else depends on cacheability here:
// the machine has no caches.

import type { Controls } from "./controls.ts";
import { ATTR_NORMAL_NC, type Walker } from "./walk.ts";

const OUTER_SHAREABLE = 2, INNER_SHAREABLE = 3;

/** MAIR encoding and PAR_EL1.SH of what `walker` found; `both`: stage 2 was part of it. */
export function finalAttributes(
  c: Controls,
  walker: Walker,
  both: boolean,
): { attributes: number; shareability: number } {
  let attributes = walker.attributes, shareability = walker.shareability;
  // With its caches off, Normal memory is Non-cacheable.
  if (c.stage1 && !c.dataCache && (attributes & 0xf0) !== 0) attributes = ATTR_NORMAL_NC;
  if (both && c.stage2) {
    const second = stage2Attributes(walker.attributes2, c.cacheDisable);
    attributes = combine(attributes, second);
    shareability = combineShareability(shareability, walker.shareability2);
  }
  const device = (attributes & 0xf0) === 0;
  if (device) attributes &= 0x0c;
  if (device || attributes === ATTR_NORMAL_NC) shareability = OUTER_SHAREABLE;
  return { attributes, shareability };
}

/** A stage 2 MemAttr field as a MAIR encoding. */
function stage2Attributes(field: number, cacheDisable: boolean): number {
  const outer = field >> 2, inner = field & 3;
  if (outer === 0) return inner << 2;
  if (cacheDisable) return ATTR_NORMAL_NC;
  const nibble = (x: number) => x <= 1 ? 4 : (x << 2) | 3;
  return nibble(outer) << 4 | nibble(inner);
}

function combine(first: number, second: number): number {
  const device1 = (first & 0xf0) === 0, device2 = (second & 0xf0) === 0;
  if (device1 && device2) return Math.min(first, second);
  if (device1) return first;
  if (device2) return second;
  return combineNibble(first >> 4, second >> 4) << 4 | combineNibble(first & 15, second & 15);
}

/** The weaker of two cacheabilities, with stage 1's allocation hints. */
function combineNibble(first: number, second: number): number {
  if (first === 4 || second === 4) return 4;
  const through1 = (first & 12) === 0 || (first & 12) === 8;
  if (through1) return first;
  return (second & 12) === 8 ? 8 | (first & 3) : first;
}

function combineShareability(first: number, second: number): number {
  if (first === OUTER_SHAREABLE || second === OUTER_SHAREABLE) return OUTER_SHAREABLE;
  return first === INNER_SHAREABLE || second === INNER_SHAREABLE ? INNER_SHAREABLE : 0;
}
