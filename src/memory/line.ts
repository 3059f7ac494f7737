// An interrupt line: a device drives it, an interrupt controller listens. Level, not edge: a device calls it with the new
// level, and calling it again with the same level changes nothing.

export type Line = (level: boolean) => void;
