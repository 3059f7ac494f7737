// `-device vhost-vsock-device` and `-device virtio-balloon-device`: what only they know.

import { LEAST_GUEST_CID, MOST_GUEST_CID } from "../../../devices/virtio/vsock_packet.ts";
import { UsageError } from "../../base/errors.ts";
import type { VirtioConfig } from "../config.ts";
import { field, type Given } from "./declare.ts";
import { count, FILE, onOff } from "./values.ts";

export const VSOCK_FIELDS = {
  "guest-cid": field(count(`${LEAST_GUEST_CID}…`, LEAST_GUEST_CID, MOST_GUEST_CID), "the guest's address"),
  uds: field(FILE, "the Unix socket on which programs of this host ask for the guest's ports; FILE_PORT are theirs"),
};

export function vsockDevice({ "guest-cid": guestCid, uds }: Given<typeof VSOCK_FIELDS>) {
  if (guestCid === undefined) throw new UsageError("needs guest-cid");
  if (uds === undefined) throw new UsageError("needs uds");
  return { kind: "vsock", guestCid, path: uds } as const;
}

export const BALLOON_FIELDS = {
  "deflate-on-oom": field(onOff, "the guest takes memory back when it has no other (off)"),
  "free-page-reporting": field(onOff, "the guest tells which of its memory is free (off)"),
};

export const balloonDevice = (given: Given<typeof BALLOON_FIELDS>) =>
  ({
    kind: "balloon",
    deflateOnOom: given["deflate-on-oom"] ?? false,
    reportsFreePages: given["free-page-reporting"] ?? false,
  }) as const;

/** The input log has numbers for so many. Linux uses one. */
const MOST_VSOCKS = 8;

/** There is one balloon, and sockets are not shared. */
export function checkSingle(virtio: readonly VirtioConfig[]): void {
  if (virtio.filter(({ kind }) => kind === "balloon").length > 1) {
    throw new UsageError("option -device: there is one virtio-balloon-device at most");
  }
  const vsocks = virtio.filter((device) => device.kind === "vsock");
  if (vsocks.length > MOST_VSOCKS) {
    throw new UsageError(`option -device: there are ${MOST_VSOCKS} vhost-vsock-devices at most`);
  }
  for (const key of ["guestCid", "path"] as const) {
    const twice = vsocks.find((one, n) => vsocks.findIndex((other) => other[key] === one[key]) < n);
    if (twice !== undefined) throw new UsageError(`option -device: two vhost-vsock-devices have ${twice[key]}`);
  }
}
