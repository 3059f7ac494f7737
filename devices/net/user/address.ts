// IPv4 addresses as unsigned 32-bit numbers.

/** "10.0.2.15" as a number; null when it is not one. */
export function parseIp(text: string): number | null {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return null;
  const bytes = match.slice(1).map(Number);
  return bytes.some((byte) => byte > 255) ? null : bytes.reduce((ip, byte) => ip * 256 + byte, 0);
}

export const formatIp = (ip: number): string => [ip >>> 24, ip >>> 16 & 255, ip >>> 8 & 255, ip & 255].join(".");

export const LOOPBACK_IP = 0x7f00_0001;
export const BROADCAST_IP = 0xffff_ffff;
