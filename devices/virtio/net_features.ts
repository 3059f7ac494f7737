// Feature bits of the network device, VIRTIO 1.2 §5.1.3, and which of them go only together.

/** Feature bits, §5.1.3. */
export const NET_F = {
  CSUM: 1n << 0n,
  GUEST_CSUM: 1n << 1n,
  CTRL_GUEST_OFFLOADS: 1n << 2n,
  MTU: 1n << 3n,
  MAC: 1n << 5n,
  GUEST_TSO4: 1n << 7n,
  GUEST_TSO6: 1n << 8n,
  GUEST_ECN: 1n << 9n,
  HOST_TSO4: 1n << 11n,
  HOST_TSO6: 1n << 12n,
  HOST_ECN: 1n << 13n,
  MRG_RXBUF: 1n << 15n,
  STATUS: 1n << 16n,
  CTRL_VQ: 1n << 17n,
  CTRL_RX: 1n << 18n,
  CTRL_VLAN: 1n << 19n,
  CTRL_RX_EXTRA: 1n << 20n,
  CTRL_MAC_ADDR: 1n << 23n,
} as const;
/** Features that go only with another (§5.1.3.1). */
export const NET_NEEDS: readonly (readonly [keyof typeof NET_F, keyof typeof NET_F])[] = [
  ["GUEST_TSO4", "GUEST_CSUM"],
  ["GUEST_TSO6", "GUEST_CSUM"],
  ["HOST_TSO4", "CSUM"],
  ["HOST_TSO6", "CSUM"],
  ["CTRL_RX", "CTRL_VQ"],
  ["CTRL_VLAN", "CTRL_VQ"],
  ["CTRL_MAC_ADDR", "CTRL_VQ"],
  ["CTRL_RX_EXTRA", "CTRL_VQ"],
  ["CTRL_GUEST_OFFLOADS", "CTRL_VQ"],
];
