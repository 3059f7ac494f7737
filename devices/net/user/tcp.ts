// One TCP connection between the guest and a socket of the host, RFC 9293, with window scaling (RFC 7323), in both
// directions no faster than the slower side: the guest is given a window for what the host's socket has not taken yet, and
// the host's socket is read only when there is room for what the guest has not acknowledged. The way to the guest loses
// nothing, but the guest may: segments are sent again after a time, or when it says thrice what it misses. What comes out
// of order is dropped, and asked for again. A small piece of data is not acknowledged at once: an answer of the host's does
// that on its way, which saves the guest a packet. Left out: selective acknowledgements, timestamps, urgent data, congestion
// control other than after a loss.

import { ByteQueue } from "./byte_queue.ts";
import type { HostTcp } from "./host.ts";
import { TCP_BYTES } from "./packet.ts";
import { cutLater, type Ends, FLAG, headerBytesOf, putSegment, type Segment, segmentData } from "./tcp_segment.ts";

/** What a connection needs of the network that it is in. */
export interface TcpOwner {
  /** A place for a frame with `bytes` behind the IP header, both headers written; null when there is no way now. */
  beginFrame(ends: Ends, bytes: number): Uint8Array | null;
  commitFrame(frame: Uint8Array): void;
  readonly takesChecksums: boolean;
  readonly takesSegments: boolean;
  /** Whether everything that was sent has been taken by the guest. */
  readonly drained: boolean;
  nowMs(): number;
  random32(): number;
  /** `timeout` is to be called then, or before. */
  due(ms: number): void;
  /** The connection has something to send, or its state changed outside of a call from the network. */
  ready(connection: TcpConnection): void;
  ended(connection: TcpConnection): void;
}

const BUFFER_BYTES = 256 * 1024;
/** A window with which the guest can go on. */
const ENOUGH_BYTES = 32 * 1024;
/** The guest's window is a multiple of this many bytes. */
const OUR_SCALE = 4;
/** An Ethernet of 1500 bytes. */
const OUR_MSS = 1460, SMALLEST_MSS = 64, DEFAULT_MSS = 536;
/** An IP packet has 65535 bytes. */
const LARGEST_SEGMENT = 65535 - 20 - TCP_BYTES;
/** Data that waits for an acknowledgement so long, or is as much as two segments, gets one (RFC 9293 "Delayed Acknowledgment"). */
const ACKNOWLEDGE_MS = 5;
const FIRST_TIMEOUT_MS = 1000, LONGEST_TIMEOUT_MS = 30_000, MOST_TIMEOUTS = 8;
/** Room that makes a read of the host's socket worth while. */
const READ_AT_LEAST = 4096;

/** a − b, for sequence numbers that are near each other. */
const distance = (a: number, b: number): number => (a - b) | 0;

type State = "connecting" | "synSent" | "synReceived" | "open" | "closed";

export class TcpConnection {
  state: State;
  /** When something that was sent is to be sent again, and when something that came is to be acknowledged. */
  #resendMs = Infinity;
  #acknowledgeMs = Infinity;
  readonly #host: { tcp: HostTcp | null } = { tcp: null };
  /** From the host to the guest: not acknowledged yet, from #una on. */
  readonly #out = new ByteQueue(BUFFER_BYTES);
  /** From the guest to the host: not taken yet. */
  readonly #in = new ByteQueue(BUFFER_BYTES);
  /** Sequence numbers of what we send: first not acknowledged, next, and highest that was sent. */
  #una: number;
  #next: number;
  #highest: number;
  #window = 0;
  #peerScale = 0;
  #ourScale = 0;
  #mss = DEFAULT_MSS;
  /** What may be in flight after a loss. */
  #congestion = Infinity;
  #duplicates = 0;
  #timeouts = 0;
  #received = 0;
  /** What of it the guest knows. */
  #acknowledged = 0;
  /** The end of the window that the guest was told. */
  #promised = 0;
  #mustAcknowledge = false;
  #reading = false;
  #writing = false;
  /** The host has ended its direction; our FIN was sent (it stands behind all data). */
  #hostEnded = false;
  #finSent = false;
  /** The guest has ended its direction; that was passed on. */
  #guestEnded = false;
  #endPassedOn = false;

  /** `syn` is the guest's, or null when the host begins. */
  constructor(private readonly owner: TcpOwner, readonly ends: Ends, syn: Segment | null) {
    this.#una = this.#next = this.#highest = owner.random32();
    this.state = syn === null ? "synSent" : "connecting";
    if (syn !== null) this.#takeSyn(syn);
  }

  #takeSyn({ sequence, mss, scale, window }: Segment): void {
    this.#received = (sequence + 1) >>> 0;
    if (mss >= 0) this.#mss = Math.max(SMALLEST_MSS, Math.min(mss, OUR_MSS));
    this.#peerScale = Math.max(0, scale);
    this.#ourScale = scale >= 0 ? OUR_SCALE : 0;
    this.#window = window;
  }

  /** The host's socket is connected. */
  connected(tcp: HostTcp): void {
    if (this.state === "closed") return tcp.close();
    this.#host.tcp = tcp;
    if (this.state === "connecting") this.state = "synReceived";
    this.owner.ready(this);
  }

  /** Takes a segment from the guest. */
  segment(segment: Segment): void {
    const { flags } = segment;
    if (this.state === "closed" || this.state === "connecting") {
      if ((flags & FLAG.RST) !== 0 && distance(segment.sequence, this.#received) === 0) this.#close();
      return;
    }
    if (this.state === "synSent") return this.#answerToSyn(segment);
    const offset = distance(segment.sequence, this.#received);
    if ((flags & FLAG.RST) !== 0) {
      // RFC 5961: an exact one; others are answered, and a peer that meant it sends the exact one.
      if (offset === 0) this.#close();
      else this.#mustAcknowledge = true;
      return this.owner.ready(this);
    }
    if ((flags & FLAG.SYN) !== 0) {
      // The same one again: our answer was lost.
      if (this.state === "synReceived") this.#next = this.#una;
      else this.#mustAcknowledge = true;
      return this.owner.ready(this);
    }
    if ((flags & FLAG.ACK) === 0) return;
    if (!this.#takeAcknowledgement(segment)) return this.owner.ready(this);
    this.#takeData(segment, offset);
    this.#readHost();
    this.owner.ready(this);
    this.#checkEnd();
  }

  #answerToSyn(segment: Segment): void {
    const { flags, acknowledged } = segment;
    if ((flags & FLAG.ACK) === 0 || distance(acknowledged, this.#una) !== 1) return;
    if ((flags & FLAG.RST) !== 0) return this.#close();
    if ((flags & FLAG.SYN) === 0) return;
    this.#takeSyn(segment);
    this.#una = this.#next = this.#highest = acknowledged;
    this.state = "open";
    this.#stopTimer();
    this.#mustAcknowledge = true;
    this.#readHost();
    this.owner.ready(this);
  }

  /** False when the segment is of no use. */
  #takeAcknowledgement({ acknowledged, window, flags, data }: Segment): boolean {
    const fresh = distance(acknowledged, this.#una);
    if (fresh < 0) return true;
    if (distance(acknowledged, this.#highest) > 0) {
      this.#mustAcknowledge = true;
      return false;
    }
    const scaled = window << this.#peerScale;
    if (fresh > 0) {
      let bytes = fresh;
      if (this.state === "synReceived") {
        this.state = "open";
        bytes--;
      }
      // The last number may be that of our FIN.
      this.#out.drop(Math.min(bytes, this.#out.length));
      this.#una = acknowledged;
      if (distance(this.#next, this.#una) < 0) this.#next = this.#una;
      if (this.#congestion !== Infinity) this.#congestion += this.#mss;
      if (this.#congestion > BUFFER_BYTES) this.#congestion = Infinity;
      this.#duplicates = this.#timeouts = 0;
      if (this.#una === this.#highest) this.#stopTimer();
      else this.#startTimer();
    } else if (
      data.length === 0 && scaled === this.#window && (flags & FLAG.FIN) === 0 && this.#una !== this.#highest
    ) {
      // The third time the guest says the same, it misses something.
      if (++this.#duplicates === 3) this.#sendAgain(4 * this.#mss);
    }
    this.#window = scaled;
    return true;
  }

  #takeData({ data, flags }: Segment, offset: number): void {
    const fin = (flags & FLAG.FIN) !== 0;
    if (data.length === 0 && !fin) {
      // A probe for whether we are alive has an old sequence number.
      if (offset < 0) this.#mustAcknowledge = true;
      return;
    }
    if (offset !== 0 || fin) this.#mustAcknowledge = true;
    if (offset > 0 || -offset > data.length || this.#guestEnded) return;
    const fresh = data.subarray(-offset);
    const taken = this.#in.put(fresh);
    this.#received = (this.#received + taken) >>> 0;
    if (taken < fresh.length || distance(this.#received, this.#acknowledged) >= 2 * OUR_MSS) {
      this.#mustAcknowledge = true;
    } else if (this.#acknowledgeMs === Infinity) {
      this.owner.due(this.#acknowledgeMs = this.owner.nowMs() + ACKNOWLEDGE_MS);
    }
    if (fin && taken === fresh.length) {
      this.#received = (this.#received + 1) >>> 0;
      this.#guestEnded = true;
    }
    this.#writeHost();
  }

  /** Sends what can be sent: data, an answer, or nothing. False when there was no room for it. */
  send(): boolean {
    switch (this.state) {
      case "closed":
      case "connecting":
        return true;
      case "synSent":
      case "synReceived":
        return this.#next !== this.#una || this.#sendSyn();
    }
    for (;;) {
      const sent = distance(this.#next, this.#una), left = this.#out.length - sent;
      const window = Math.min(this.#window, this.#congestion), room = window - sent;
      const most = this.owner.takesSegments ? LARGEST_SEGMENT - LARGEST_SEGMENT % this.#mss : this.#mss;
      const count = Math.min(left, room, most);
      // Small pieces wait for what is in flight, so that a window that opens slowly does not make many of them.
      const silly = count < left && count < this.#mss && sent > 0;
      if (count > 0 && !silly) {
        if (!this.#sendData(sent, count)) return false;
        continue;
      }
      if (this.#hostEnded && !this.#finSent && left <= 0 && room >= 0) {
        if (!this.#emit(FLAG.FIN | FLAG.ACK, this.#next, 0)) return false;
        this.#finSent = true;
        this.#next = (this.#next + 1) >>> 0;
        this.#advance();
        continue;
      }
      // The guest has no room: the timer asks it from time to time.
      if (left > 0 && this.#una === this.#highest && this.#resendMs === Infinity) this.#startTimer();
      if (this.#mustAcknowledge || this.#windowGrew()) return this.#emit(FLAG.ACK, this.#next, 0);
      return true;
    }
  }

  #sendData(offset: number, count: number): boolean {
    const last = offset + count === this.#out.length;
    if (!this.#emit(FLAG.ACK | (last ? FLAG.PSH : 0), this.#next, count, offset)) return false;
    this.#next = (this.#next + count) >>> 0;
    this.#advance();
    return true;
  }

  #sendSyn(): boolean {
    const flags = this.state === "synSent" ? FLAG.SYN : FLAG.SYN | FLAG.ACK;
    if (!this.#emit(flags, this.#una, 0)) return false;
    this.#next = (this.#una + 1) >>> 0;
    this.#advance();
    return true;
  }

  /** Something was sent that is to be acknowledged. */
  #advance(): void {
    if (distance(this.#next, this.#highest) > 0) this.#highest = this.#next;
    if (this.#resendMs === Infinity) this.#startTimer();
  }

  /** Sends one segment with `count` bytes from `offset` of the outgoing ones. */
  #emit(flags: number, sequence: number, count: number, offset = 0): boolean {
    const syn = (flags & FLAG.SYN) !== 0, { owner, ends } = this;
    const record = owner.beginFrame(ends, headerBytesOf(flags) + count);
    if (record === null) return false;
    const window = syn ? 65535 : Math.min(65535, this.#in.space >>> this.#ourScale);
    this.#promised = (this.#received + (syn ? window : window << this.#ourScale)) >>> 0;
    if (!syn) this.#mustAcknowledge = false;
    this.#acknowledged = this.#received;
    this.#acknowledgeMs = Infinity;
    if (count > 0) this.#out.copy(offset, segmentData(record, flags));
    // Without an offer of the guest's in its SYN, ours must not be in the answer: no-operations instead.
    const scale = this.state === "synSent" || this.#ourScale > 0 ? OUR_SCALE : -1;
    const header = { flags, sequence, acknowledged: this.#received, window, mss: OUR_MSS, scale };
    putSegment(record, ends, header, !owner.takesChecksums);
    if (count > this.#mss) cutLater(record, this.#mss);
    owner.commitFrame(record);
    return true;
  }

  /**
   * Whether the guest, which knows of little room, is to be told of more. One that knows of enough hears of the rest when
   * what it sends is acknowledged.
   */
  #windowGrew(): boolean {
    const known = distance(this.#promised, this.#received);
    const now = Math.min(65535, this.#in.space >>> this.#ourScale) << this.#ourScale;
    return !this.#guestEnded && known < ENOUGH_BYTES && now - known >= Math.max(2 * OUR_MSS, known);
  }

  /** When the network is to call `timeout`; Infinity for never. */
  get deadlineMs(): number {
    return Math.min(this.#resendMs, this.#acknowledgeMs);
  }

  /** The network: `deadlineMs` has passed. */
  timeout(): void {
    const now = this.owner.nowMs();
    if (this.#acknowledgeMs <= now) {
      this.#acknowledgeMs = Infinity;
      this.#mustAcknowledge = true;
      this.owner.ready(this);
    }
    if (this.#resendMs <= now) this.#resendTimeout();
  }

  #resendTimeout(): void {
    this.#resendMs = Infinity;
    // What is still on its way is not lost, however long the guest takes.
    if (!this.owner.drained) return this.#startTimer();
    this.#timeouts++;
    if (this.state === "open" && this.#window === 0 && this.#out.length > 0) this.#probe();
    else if (this.#timeouts > MOST_TIMEOUTS) return this.abort();
    else if (this.#una !== this.#highest) this.#sendAgain(this.#mss);
    else this.#timeouts = 0;
    if (this.#una !== this.#highest || this.#timeouts > 0) this.#startTimer();
    this.owner.ready(this);
  }

  /** One byte beyond the window, which the guest answers with its window. */
  #probe(): void {
    if (!this.#emit(FLAG.ACK, this.#una, 1)) return;
    const end = (this.#una + 1) >>> 0;
    if (distance(end, this.#highest) > 0) this.#highest = end;
  }

  /** The network: what was sent so far has got lost. */
  lost(): void {
    if (this.#una !== this.#highest) this.#sendAgain(Infinity);
  }

  /** Goes back to what was not acknowledged, `most` bytes at once. */
  #sendAgain(most: number): void {
    this.#next = this.#una;
    this.#finSent = false;
    this.#congestion = most;
    this.owner.ready(this);
  }

  #startTimer(): void {
    const ms = Math.min(FIRST_TIMEOUT_MS * 2 ** Math.min(this.#timeouts, 10), LONGEST_TIMEOUT_MS);
    this.owner.due(this.#resendMs = this.owner.nowMs() + ms);
  }
  #stopTimer(): void {
    this.#resendMs = Infinity;
  }

  /** Reads from the host while there is room. */
  #readHost(): void {
    const { tcp } = this.#host;
    if (tcp === null || this.#reading || this.#hostEnded || this.state !== "open") return;
    if (this.#out.space < READ_AT_LEAST) return;
    this.#reading = true;
    tcp.read(this.#out.free()).then((count) => {
      this.#reading = false;
      if (this.state === "closed") return;
      if (count === null) this.#hostEnded = true;
      else this.#out.added(count);
      this.owner.ready(this);
      this.#readHost();
    }, () => this.abort());
  }

  /** Writes to the host what the guest has sent, then the end of it. */
  #writeHost(): void {
    const { tcp } = this.#host;
    if (tcp === null || this.#writing || this.state === "closed") return;
    if (this.#in.length > 0) {
      this.#writing = true;
      tcp.write(this.#in.first()).then((count) => {
        this.#writing = false;
        if (this.state === "closed") return;
        this.#in.drop(count);
        this.owner.ready(this);
        this.#writeHost();
      }, () => this.abort());
    } else if (this.#guestEnded && !this.#endPassedOn) {
      this.#endPassedOn = true;
      // A peer that is gone says so where it is read.
      tcp.closeWrite().catch(() => {}).then(() => this.#checkEnd());
    }
  }

  /** Both directions have ended, and both sides know. */
  #checkEnd(): void {
    const finAcknowledged = this.#finSent && this.#una === this.#highest && this.#out.length === 0;
    if (this.state === "open" && finAcknowledged && this.#guestEnded && this.#endPassedOn && !this.#mustAcknowledge) {
      this.#close();
    }
  }
  /** The network: after `send`. */
  sent(): void {
    this.#checkEnd();
  }

  /** Breaks the connection off, on both sides. */
  abort(): void {
    if (this.state === "closed") return;
    // Best effort: a guest that does not hear of it is told when it sends something.
    this.#emit(FLAG.RST | FLAG.ACK, this.state === "connecting" ? 0 : this.#next, 0);
    this.#close();
  }

  #close(): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.#resendMs = this.#acknowledgeMs = Infinity;
    this.#host.tcp?.close();
    this.#host.tcp = null;
    this.#in.clear();
    // Memory that a read is filling stays until that ends.
    if (!this.#reading) this.#out.clear();
    this.owner.ended(this);
  }
}
