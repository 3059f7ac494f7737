// `-netdev hubport`: the ports of one hub; what comes in at one goes out at all the others. A port is a network device's, or
// with `netdev=` another network's: then the hub stands where its guest would. A port without room loses a frame, so
// that one guest cannot hold up another.

import { giveFrame, type NetworkEnd, type PortSide, tookRecords } from "./end.ts";
import { clearHeader, NET_HEADER_BYTES, toPlainFrames } from "./offload.ts";
import { createPortMemory, NetPort } from "./port.ts";

/** What a hub asks of its ports. */
interface Member {
  /** False when there is no room. */
  give(frame: Uint8Array): boolean;
  /** Frames were given. */
  flush(): void;
  lostFrames: number;
}

export class Hub {
  readonly members = new Set<Member>();
  constructor(readonly number: number) {}

  /** A frame from one of the ports. */
  pass(from: Member, frame: Uint8Array): void {
    for (const member of this.members) if (member !== from && !member.give(frame)) member.lostFrames++;
  }
  flush(from: Member): void {
    for (const member of this.members) if (member !== from) member.flush();
  }
}

const stateOf = (hub: Hub, frames: number, lost: number): string =>
  `${hub.members.size} ports, ${frames} frames sent${lost > 0 ? `, ${lost} lost` : ""}`;

/** The port of a network device. */
export class HubPort implements NetworkEnd, Member {
  readonly name: string;
  sentFrames = 0;
  lostFrames = 0;

  constructor(private readonly side: PortSide, private readonly hub: Hub) {
    this.name = `hub ${hub.number}`;
    hub.members.add(this);
  }

  get state(): string {
    return stateOf(this.hub, this.sentFrames, this.lostFrames);
  }

  get idle(): boolean {
    return this.side.port.toHost.empty;
  }
  service(): void {
    const { port: { toHost } } = this.side;
    if (toHost.empty) return;
    for (let record = toHost.peek(); record !== null; record = toHost.peek()) {
      toPlainFrames(record, (frame) => {
        this.sentFrames++;
        this.hub.pass(this, frame);
      });
      toHost.release();
    }
    tookRecords(this.side);
    this.hub.flush(this);
  }

  give(frame: Uint8Array): boolean {
    return giveFrame(this.side.port, frame);
  }
  flush(): void {
    this.side.wake();
  }
  close(): void {
    this.hub.members.delete(this);
  }
}

/** The port of another network, which takes `side` for a guest's. */
export class HubUplink implements Member {
  readonly side: PortSide;
  /** The other network's end, when it is there. */
  end: NetworkEnd | null = null;
  lostFrames = 0;
  readonly #port = new NetPort(createPortMemory());

  constructor(private readonly hub: Hub) {
    this.side = { port: this.#port, wake: () => this.#take() };
    hub.members.add(this);
  }

  /** What the network gives to its guest is for the hub. It says nothing of its link there. */
  #take(): void {
    const { toGuest } = this.#port;
    if (toGuest.empty) return;
    for (let record = toGuest.peek(); record !== null; record = toGuest.peek()) {
      if (record.length > NET_HEADER_BYTES) toPlainFrames(record, (frame) => this.hub.pass(this, frame));
      toGuest.release();
    }
    this.hub.flush(this);
  }

  give(frame: Uint8Array): boolean {
    const { toHost } = this.#port, place = toHost.reserve(NET_HEADER_BYTES + frame.length);
    if (place === null) return false;
    clearHeader(place);
    place.set(frame, NET_HEADER_BYTES);
    toHost.commit(place.length);
    return true;
  }
  flush(): void {
    this.end?.service();
  }
}
