// How long events from outside wait for the guest: from the bell to the vector of the interrupt that they cause. Kept in
// shared memory beside the channel, since it is the host's matter: it is no state of the machine and repeats in no run.

import { struct, type View } from "../base/struct.ts";
import { HOST_MAP } from "../memory/host_map.ts";

export const LATENCY = struct("latency", {
  /** Interrupts that were taken when the vCPU next ran, and their times in nanoseconds. */
  taken: "f64",
  totalNs: "f64",
  maxNs: "f64",
  /** Interrupts that the guest had masked and took later: times until it acknowledged them. */
  masked: "f64",
  maskedTotalNs: "f64",
  maskedMaxNs: "f64",
});
export type Latency = View<typeof LATENCY.spec>;

/** Behind the channel's control block, before its rings. */
const OFFSET = 0x1000;

export const latencyIn = (buffer: ArrayBufferLike): Latency => LATENCY.at(buffer, HOST_MAP.channel.base + OFFSET);

/** For the statistics; empty when nothing was measured. */
export function latencyStats(buffer: ArrayBufferLike): Readonly<Record<string, number>> {
  const { taken, totalNs, maxNs, masked, maskedTotalNs, maskedMaxNs } = latencyIn(buffer);
  const us = (ns: number) => Math.round(ns / 100) / 10;
  return {
    ...(taken > 0 ? { taken, meanUs: us(totalNs / taken), maxUs: us(maxNs) } : {}),
    ...(masked > 0 ? { masked, maskedMeanUs: us(maskedTotalNs / masked), maskedMaxUs: us(maskedMaxNs) } : {}),
  };
}
