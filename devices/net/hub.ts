// `-netdev hubport`: the ports of one hub; what one guest sends goes to all the others. A port without room loses it, so
// that one guest cannot hold up another.

import { giveFrame, type NetworkEnd, type PortSide, tookRecords } from "./end.ts";
import { toPlainFrames } from "./offload.ts";

export class Hub {
  readonly ports = new Set<HubPort>();
  constructor(readonly number: number) {}
}

export class HubPort implements NetworkEnd {
  readonly name: string;
  readonly counters = { sentFrames: 0, lostFrames: 0 };

  constructor(private readonly side: PortSide, private readonly hub: Hub) {
    this.name = `hub ${hub.number}`;
    hub.ports.add(this);
  }

  get state(): string {
    const { sentFrames, lostFrames } = this.counters;
    return `${this.hub.ports.size} ports, ${sentFrames} frames sent${lostFrames > 0 ? `, ${lostFrames} lost` : ""}`;
  }

  get idle(): boolean {
    return this.side.port.toHost.empty;
  }
  service(): void {
    const { port: { toHost } } = this.side;
    if (toHost.empty) return;
    for (let record = toHost.peek(); record !== null; record = toHost.peek()) {
      toPlainFrames(record, (frame) => {
        this.counters.sentFrames++;
        for (const other of this.hub.ports) {
          if (other !== this && !giveFrame(other.side.port, frame)) other.counters.lostFrames++;
        }
      });
      toHost.release();
    }
    tookRecords(this.side);
    for (const other of this.hub.ports) if (other !== this) other.side.wake();
  }

  close(): void {
    this.hub.ports.delete(this);
  }
}
