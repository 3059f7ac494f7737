// Shared directories on the command line: -fsdev with its -device virtio-9p-device, and -virtfs, which is both, in QEMU's
// spelling. Unlike QEMU's they are read-only unless readonly=off is said, and need no security model.

import { SECURITY_MODELS } from "../../../devices/host/share_owners.ts";
import { MOST_TAG_BYTES } from "../../../devices/virtio/p9.ts";
import { UsageError } from "../../base/errors.ts";
import type { ShareConfig, VirtioConfig } from "../config.ts";
import { field, type Given, type Option, variant, variantsOption } from "./declare.ts";
import { choice, FILE, onOff, text, type ValueKind } from "./values.ts";

export interface ShareDraft {
  shares: ShareConfig[];
  /** Devices that -virtfs makes, behind all that are named. */
  sharedDevices: { readonly share: string; readonly tag: string }[];
}
export const newShareDraft = (): ShareDraft => ({ shares: [], sharedDevices: [] });

const TAG: ValueKind<string> = {
  form: "TAG",
  parse(value) {
    const bytes = new TextEncoder().encode(text("TAG").parse(value)).length;
    if (bytes > MOST_TAG_BYTES) throw new UsageError(`"${value}" has more than ${MOST_TAG_BYTES} bytes`);
    return value;
  },
};

const SHARE_FIELDS = {
  id: field(text("ID"), "its name"),
  path: field(FILE, "the directory"),
  readonly: field(onOff, "the guest cannot change it (on, unlike QEMU's)"),
  security_model: field(
    choice(...SECURITY_MODELS),
    "whose files are that the guest makes: its, as far as the host lets us (none) or always; or only in attributes (none)",
  ),
  multidevs: field(choice("remap"), "accepted: files of all devices are told apart"),
};
const FSDEV_FIELDS = SHARE_FIELDS, VIRTFS_FIELDS = { mount_tag: field(TAG, "what the guest mounts"), ...SHARE_FIELDS };

export const P9_FIELDS = {
  fsdev: field(text("ID"), "its -fsdev"),
  mount_tag: field(TAG, "what the guest mounts"),
};

export function p9Device(
  { fsdev, mount_tag: tag }: Given<typeof P9_FIELDS>,
  common: Pick<VirtioConfig, "id" | "slot">,
): VirtioConfig {
  if (fsdev === undefined) throw new UsageError("needs fsdev");
  if (tag === undefined) throw new UsageError("needs mount_tag");
  return { ...common, kind: "9p", share: fsdev, tag };
}

function addShare(draft: ShareDraft, given: Given<typeof SHARE_FIELDS>, id: string): void {
  if (given.path === undefined) throw new UsageError("needs path");
  if (draft.shares.some((share) => share.id === id)) throw new UsageError(`there are two with id=${id}`);
  const { path, readonly: readOnly = true, security_model: securityModel = "none" } = given;
  draft.shares.push({ id, path, readOnly, securityModel });
}

function addFsdev(draft: ShareDraft, given: Given<typeof FSDEV_FIELDS>): void {
  if (given.id === undefined) throw new UsageError("needs id");
  addShare(draft, given, given.id);
}

function addVirtfs(draft: ShareDraft, given: Given<typeof VIRTFS_FIELDS>): void {
  const { mount_tag: tag } = given;
  if (tag === undefined) throw new UsageError("needs mount_tag");
  const id = given.id ?? tag;
  addShare(draft, given, id);
  draft.sharedDevices.push({ share: id, tag });
}

export function shareOptions<D extends ShareDraft>(): readonly Option<D>[] {
  return [
    variantsOption("fsdev", "fsdriver", "a directory for a virtio-9p-device", [
      variant<D, typeof FSDEV_FIELDS>("local", FSDEV_FIELDS, "on this host", addFsdev),
    ]),
    variantsOption("virtfs", "fsdriver", "a directory and its virtio-9p-device", [
      variant<D, typeof VIRTFS_FIELDS>("local", VIRTFS_FIELDS, "on this host", addVirtfs),
    ]),
  ];
}

/** The devices of -virtfs. */
export const sharedDevices = ({ sharedDevices }: ShareDraft): VirtioConfig[] =>
  sharedDevices.map(({ share, tag }) => ({ id: "", slot: null, kind: "9p", share, tag }));

/** The directories, each of which a device may use, and each tag of which is another. */
export function shareConfig(draft: ShareDraft, virtio: readonly VirtioConfig[]): ShareConfig[] {
  const tags = new Set<string>();
  for (const device of virtio) {
    if (device.kind !== "9p") continue;
    if (!draft.shares.some(({ id }) => id === device.share)) {
      throw new UsageError(`option -device: virtio-9p-device: there is no -fsdev called ${device.share}`);
    }
    if (tags.has(device.tag)) throw new UsageError(`option -device: two devices have mount_tag=${device.tag}`);
    tags.add(device.tag);
  }
  return draft.shares;
}
