// The directories of a configuration that guests share, by the 9P devices that they stand behind.

import { HostShare } from "../../devices/host/share.ts";
import type { InputGate } from "../../devices/net/input.ts";
import type { VirtioP9Options } from "../../devices/virtio/p9.ts";
import { assert } from "../base/errors.ts";
import type { MachineConfig, VirtioConfig } from "./config.ts";

/** Numbers of the devices in the input log, of those that ports.ts leaves free. */
const FIRST_SHARE = 200;

/** What each 9P device is given. */
export type Shares = ReadonlyMap<VirtioConfig, VirtioP9Options>;

export const p9Devices = ({ virtio }: MachineConfig): (VirtioConfig & { readonly kind: "9p" })[] =>
  virtio.flatMap((device) => device.kind === "9p" ? [device] : []);

/** In place of directories, where nothing runs. */
const NOBODY: InputGate = { replaying: true, frame: () => null, frameTaken: () => {} };

/**
 * Opens the directories, one for each device; answers pass the gate when the run is recorded, and come from it when it is
 * repeated, without anything of the host. Throws HostError.
 */
export function openShares(config: MachineConfig, gate: InputGate): Map<VirtioConfig, VirtioP9Options> {
  const { record, replay, dumpDtb, shares } = config, isLogged = record !== null || replay !== null;
  return new Map(
    p9Devices(config).map((device, index) => {
      const share = shares.find(({ id }) => id === device.share);
      assert(share !== undefined, `directory ${device.share} is configured`);
      const port = FIRST_SHARE + index, { tag } = device;
      if (dumpDtb !== null) return [device, { tag, share: null, logged: { gate: NOBODY, port } }];
      const opened = replay === null ? new HostShare(share) : null;
      return [device, { tag, share: opened, logged: isLogged ? { gate, port } : null }];
    }),
  );
}
