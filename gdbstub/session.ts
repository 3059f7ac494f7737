// One debugger's session: what was negotiated, which threads it has selected, what it was told of stops. It listens to the
// target and words stop replies; the commands (commands/) act on it, the connection (connection.ts) feeds it packets.
//
// All-stop: a resume has no reply until the machine stops, and then exactly one. Non-stop: stops are queued, the first one
// is notified and the debugger fetches the others with vStopped ("Notification Packets").

import { assert } from "../src/base/errors.ts";
import { ascii, toHex, writeEscaped, writeHex } from "./bytes.ts";
import { finishFrame, frame, FRAME_DATA_AT, FRAME_OVERHEAD, PACKET_BYTES } from "./framing.ts";
import { MalformedPacket, type ThreadId } from "./packet.ts";
import {
  type AddressSpace,
  type Breakpoint,
  type Catchpoint,
  type Context,
  ERRNO,
  execPath,
  type FileRequest,
  type Place,
  Refusal,
  type Resumption,
  SIGNAL,
  type StopEvent,
  type Target,
  type TargetListener,
  type Thread,
  type Watchpoint,
} from "./target.ts";

/** The session's way to its debugger. */
export interface Wire {
  /** Sends a whole frame after all earlier ones. The bytes must not change until the promise is settled. */
  send(bytes: Uint8Array<ArrayBuffer>): Promise<void>;
  /** Bytes that wait to be sent. */
  readonly backlogBytes: number;
  /** A failure of our own: ends the session. */
  fail(error: unknown): void;
}

/**
 * What a command answers: text of plain characters; a Refusal; `filled`, the end of what it wrote to Session.buffer; or
 * null for no reply now.
 */
export type Reply = string | Refusal | { readonly filled: number } | null;

/** Registers of 64 bits that a stop reply carries, so that gdb need not ask: frame pointer, stack pointer, pc. */
const EXPEDITED = [29, 31, 32] as const;
/** Console text for a debugger that does not read is dropped beyond this. */
const MAX_BACKLOG_BYTES = 1 << 20;
/** Bytes of console text in one packet. */
const CONSOLE_BYTES = 4096;

const hex = (value: number | bigint): string => value.toString(16);
const keyOf = ({ context, thread }: Place): string => `${context}.${thread}`;

export class Session implements TargetListener {
  // Negotiated.
  multiprocess = false;
  errorMessages = false;
  reportsBreakpointKind = { swbreak: false, hwbreak: false };
  execEvents = false;
  extended = false;
  nonStop = false;
  threadEvents = false;
  noAck = false;

  /** Set by `monitor space`, for each context. */
  readonly spaces = new Map<number, AddressSpace>();
  stepIntoExceptions = false;
  readonly points = new Map<string, Breakpoint | Watchpoint>();
  readonly catches = new Map<number, Catchpoint>();
  /** Contexts that the debugger has let go of. */
  readonly detached = new Set<number>();
  /** Files opened with vFile. */
  readonly files = new Map<number, Uint8Array>();
  /** The document that is being read with qXfer, so that all its pieces come from the same one. */
  transfer: { readonly key: string; readonly data: Uint8Array } | null = null;
  /** The current command should end: a break has come, or the debugger has gone. */
  cancelled = false;
  /** A monitor command is being performed: its output is shown at once. */
  inMonitor = false;
  /** Place for replies that are built in place; see Reply. */
  readonly buffer = new Uint8Array(FRAME_OVERHEAD + PACKET_BYTES);
  /** Place for memory on its way into a reply. */
  readonly scratch = new Uint8Array(PACKET_BYTES);
  /** The vCPU whose file request the debugger's host performs. */
  fileCall: Place | null = null;

  #attached = false;
  #closed = false;
  /** The machine was powered off. */
  #ended = false;
  #lastId = 0;
  #lastStop: StopEvent | null = null;
  /** All-stop: a resume that has had no stop reply. */
  #running = false;
  /** Non-stop: threads that have stopped. */
  readonly #stopped = new Map<string, StopEvent>();
  /** Non-stop: stop replies that the debugger has not acknowledged; it knows of the first. */
  readonly #notifications: string[] = [];
  /** Non-stop: stops that `?` left for later, since gdb 13 fails on more than one there. */
  #initial: string[] = [];
  /** All-stop: what happened besides the stop that was reported; replies to the next resume. */
  readonly #pending: { readonly text: string; readonly place: Place | null }[] = [];
  /** All-stop: threads whose stop was reported, and which the debugger has not resumed since. */
  readonly #reported = new Set<string>();
  /** A stop of one of them, which is the reply to the next resume. */
  #withheld: StopEvent | null = null;
  /** The machine was interrupted by the session itself, to report what is pending. */
  #ownInterrupt = false;
  /** Contexts that the debugger has seen. */
  readonly #known = new Set<number>();
  #general: ThreadId = { context: null, thread: 0 };
  #resumed: ThreadId = { context: null, thread: -1 };

  constructor(readonly target: Target, private readonly wire: Wire) {}

  get running(): boolean {
    return this.#running;
  }

  /** Stops the machine for a debugger that has come, or comes back. */
  async attach(): Promise<void> {
    if (this.#attached) return;
    this.#attached = true;
    this.#ended = false;
    this.detached.clear();
    this.#setStopped(await this.target.attach(this));
  }

  /** The debugger has gone. Leaves nothing in the target. */
  async close(): Promise<void> {
    this.#closed = true;
    this.cancelled = true;
    await this.release();
  }

  /** Lets the machine run on without a debugger; the connection may stay. */
  async release(): Promise<void> {
    if (!this.#attached) return;
    this.#attached = false;
    this.#running = false;
    await this.endFileCall({ result: -1, errno: ERRNO.EIO, interrupted: false });
    this.points.clear();
    this.catches.clear();
    this.files.clear();
    this.transfer = null;
    this.#pending.length = this.#notifications.length = this.#initial.length = 0;
    this.#reported.clear();
    this.#withheld = null;
    this.#stopped.clear();
    this.#known.clear();
    await this.target.release();
  }

  newId(): number {
    return ++this.#lastId;
  }

  // Contexts and threads

  /** The contexts that the debugger works on. Without multiprocess extensions there is only the hypervisor. */
  contexts(): readonly Context[] {
    if (this.#ended || !this.#attached) return [];
    const contexts = this.target.contexts().filter(({ id }) => !this.detached.has(id));
    return this.multiprocess ? contexts : contexts.slice(0, 1);
  }

  threads(context: number): readonly Thread[] {
    this.#known.add(context);
    return this.target.threads(context);
  }

  /** Every thread that the debugger may see. */
  places(): Place[] {
    return this.contexts().flatMap(({ id }) => this.threads(id).map((thread) => ({ context: id, thread: thread.id })));
  }

  threadName({ context, thread }: { readonly context: number; readonly thread: number }): string {
    return this.multiprocess ? `p${hex(context)}.${hex(thread)}` : hex(thread);
  }

  /** The threads that an id means. */
  matching(id: ThreadId): Place[] {
    return this.places().filter((place) => {
      // Without a context, a number means a thread of the current one.
      const context = id.context ?? (id.thread > 0 ? this.#currentContext() : -1);
      return (context <= 0 || context === place.context) && (id.thread <= 0 || id.thread === place.thread);
    });
  }

  #currentContext(): number {
    return this.#lastStop?.context ?? 1;
  }

  #select(id: ThreadId): Place | undefined {
    const places = this.matching(id), last = this.#lastStop;
    return places.find((place) => last !== null && keyOf(place) === keyOf(last)) ?? places[0];
  }

  /** `Hg` and `Hc`; false when there is no such thread. */
  setThread(use: "g" | "c", id: ThreadId): boolean {
    // A debugger that ignores the answer must not get another thread's registers instead.
    if (use === "g") this.#general = id;
    else this.#resumed = id;
    return this.#select(id) !== undefined;
  }

  /** The thread that registers, memory and breakpoints belong to. */
  get place(): Place {
    const place = this.selected;
    if (place === undefined) throw new MalformedPacket("there is no thread");
    return place;
  }
  /** The same, undefined when it has gone. */
  get selected(): Place | undefined {
    // gdb reads names and buffers of the vCPU that asks, whichever thread it has selected.
    return this.fileCall ?? this.#select(this.#general);
  }

  /** What `c` and `s` resume. */
  get resumedThread(): ThreadId {
    return this.#resumed;
  }

  spaceOf(context: number): AddressSpace {
    return this.spaces.get(context) ?? "auto";
  }

  // Sending

  /** The reply's frame. `plainErrors`: a refusal is a number, unless the debugger said that it takes text anywhere. */
  frameOf(reply: Exclude<Reply, null>, plainErrors: boolean): Uint8Array<ArrayBuffer> {
    if (typeof reply === "string") return frame(ascii(reply));
    if (reply instanceof Refusal) return frame(ascii(this.#refusal(reply, plainErrors)));
    return finishFrame(this.buffer, reply.filled, "$");
  }

  #refusal({ text, errno }: Refusal, plain: boolean): string {
    // The text is not escaped: characters that have a meaning in a packet are replaced.
    return this.errorMessages || !plain
      ? `E.${text.replace(/[#$}*]|[^ -~]/g, "?")}`
      : `E${errno.toString(16).padStart(2, "0")}`;
  }

  /** A reply that is text of any kind, cut to what fits. */
  escaped(prefix: string, data: Uint8Array): { readonly reply: Reply; readonly taken: number } {
    const { buffer } = this, at = FRAME_DATA_AT + prefix.length;
    for (let i = 0; i < prefix.length; i++) buffer[FRAME_DATA_AT + i] = prefix.charCodeAt(i);
    const { taken, end } = writeEscaped(data, buffer, at, FRAME_DATA_AT + PACKET_BYTES);
    return { reply: { filled: end }, taken };
  }

  /** A reply of digits. At most PACKET_BYTES / 2 bytes. */
  digits(data: Uint8Array): Reply {
    assert(data.length <= PACKET_BYTES / 2, "digits fit into a packet");
    return { filled: writeHex(data, this.buffer, FRAME_DATA_AT) };
  }

  #post(text: string, start: "$" | "%" = "$"): void {
    if (this.#closed) return;
    this.wire.send(frame(ascii(text), start)).catch((error) => this.wire.fail(error));
  }

  /** Text for the user. gdb takes it only while it waits for a stop or for a monitor command. */
  output(text: string): void {
    if (this.nonStop ? !this.inMonitor : !this.#running && !this.inMonitor) return;
    const data = ascii(text);
    for (let at = 0; at < data.length && this.wire.backlogBytes < MAX_BACKLOG_BYTES; at += CONSOLE_BYTES) {
      this.#post(`O${toHex(data.subarray(at, at + CONSOLE_BYTES))}`);
    }
  }

  // Resuming

  /**
   * Whether the machine stops before a new virtual machine runs. gdb that learns of an inferior at another's stop turns to
   * the new one and forgets that stop. But it goes on by itself from an `exec` that it does not catch, and from a `hwbreak`
   * where it knows no breakpoint. By then it has loaded the symbols and inserted the breakpoints that waited for them; and
   * only after an `exec` does it read the description of another inferior than its first.
   */
  get #stopsAtNew(): boolean {
    return this.multiprocess && this.reportsBreakpointKind.hwbreak;
  }

  /** Lets threads run; the reply comes with the stop. */
  async resume(resumptions: readonly Resumption[]): Promise<Reply> {
    if (this.nonStop) return await this.#resumeNonStop(resumptions);
    if (this.#running) return new Refusal("the machine is running", ERRNO.EINVAL);
    if (this.#ended || !this.#attached) return new Refusal("there is nothing to run", ERRNO.EINVAL);
    this.#noteResumed(resumptions);
    if (this.#withheld !== null) return await this.#release(this.#withheld);
    // gdb never ends a step over a breakpoint that is answered by something else.
    const steps = resumptions.some(({ action }) => action.kind === "step" || action.kind === "range");
    if (this.#pending.length > 0 && !steps) return this.#takePending();
    this.#running = true;
    const outcome = await this.target.resume(resumptions, this.#stopsAtNew);
    if (outcome === undefined) return null;
    this.#running = false;
    return outcome;
  }

  #noteResumed(resumptions: readonly Resumption[]): void {
    for (const { context, thread } of resumptions) {
      for (const key of this.#reported) {
        const [ofContext, ofThread] = key.split(".").map(Number);
        if ((context ?? ofContext) === ofContext && (thread ?? ofThread) === ofThread) this.#reported.delete(key);
      }
    }
  }

  /** The stop for which gdb was made to resume the thread. */
  async #release(event: StopEvent): Promise<string> {
    this.#withheld = null;
    this.#running = true;
    if (event.text !== undefined) this.output(`${event.text}\n`);
    this.#running = false;
    return await this.stopReply(event);
  }

  async #resumeNonStop(resumptions: readonly Resumption[]): Promise<Reply> {
    const outcome = await this.target.resume(resumptions, this.#stopsAtNew);
    return outcome ?? "OK";
  }

  /** Non-stop: these threads run now. To be called before they do. */
  markRunning(places: readonly Place[]): void {
    for (const place of places) this.#stopped.delete(keyOf(place));
  }

  isStopped(place: Place): boolean {
    return this.nonStop ? this.#stopped.has(keyOf(place)) : !this.#running;
  }

  /** The break byte or vCtrlC. */
  async interrupt(): Promise<void> {
    if (!this.nonStop && !this.#running) return;
    this.#ownInterrupt = false;
    await this.target.interrupt(null);
  }

  async setNonStop(on: boolean): Promise<Reply> {
    if (on === this.nonStop) return "OK";
    const refusal = await this.target.setNonStop(on);
    if (refusal !== undefined) return refusal;
    this.nonStop = on;
    this.#notifications.length = 0;
    this.#stopped.clear();
    if (on && this.#lastStop !== null) this.#stopAll(this.#lastStop);
    return "OK";
  }

  /** Non-stop: everything stands still, after an all-stop stop. */
  #stopAll(event: StopEvent): void {
    for (const place of this.places()) {
      const mine = keyOf(place) === keyOf(event);
      this.#stopped.set(keyOf(place), mine ? event : { ...place, reason: { kind: "signal", signal: SIGNAL.NONE } });
    }
  }

  /** The machine was started again, or the debugger has come: it stands still. */
  #setStopped(event: StopEvent): void {
    this.#lastStop = event;
    this.#running = false;
    this.#ended = false;
    if (this.nonStop) this.#stopAll(event);
  }

  /** `R`, `vRun`: the machine from its first instruction on. */
  async restart(): Promise<Reply> {
    if (!this.#attached) await this.attach();
    if (this.#running) return new Refusal("the machine is running", ERRNO.EINVAL);
    const event = await this.target.restart();
    if (event instanceof Refusal) return event;
    this.detached.clear();
    this.#setStopped(event);
    return await this.stopReply(event);
  }

  async kill(context: number): Promise<Reply> {
    // One that has ended in the meantime needs no more.
    if (!this.target.contexts().some(({ id }) => id === context)) return "OK";
    const refusal = await this.target.kill(context);
    if (refusal !== undefined) return refusal;
    // The machine is what it was when it was switched on, and waits for vRun or for another debugger.
    this.#setStopped({ context: 1, thread: 1, reason: { kind: "signal", signal: SIGNAL.TRAP } });
    return "OK";
  }

  async detach(context: number): Promise<void> {
    for (const [key, point] of this.points) if (point.context === context) this.points.delete(key);
    this.detached.add(context);
    this.#known.delete(context);
    await this.target.detach(context);
    if (this.contexts().length === 0) await this.release();
  }

  // Stops

  stopped(event: StopEvent): void {
    if (this.nonStop) {
      if (this.#stopped.has(keyOf(event)) || this.detached.has(event.context)) return;
      this.#stopped.set(keyOf(event), event);
      this.#lastStop = event;
      this.stopReply(event).then((text) => this.#notify(text)).catch((error) => this.wire.fail(error));
      return;
    }
    if (!this.#running) return;
    const own = this.#ownInterrupt && event.reason.kind === "signal" && event.reason.signal === SIGNAL.INT;
    this.#ownInterrupt = false;
    this.#lastStop = event;
    const withheld = this.#surprises(event);
    if (event.text !== undefined && !withheld) this.output(`${event.text}\n`);
    this.#running = false;
    if (own && this.#pending.length > 0) this.#post(this.#takePending());
    else if (withheld) {
      this.#withheld = event;
      this.#post(`T05library:;thread:${this.threadName(this.#visible(event))};`);
    } else this.stopReply(event).then((text) => this.#post(text)).catch((error) => this.wire.fail(error));
  }

  /**
   * Whether a stop would be too much for gdb. With `schedule-multiple off` it resumes one inferior; a second stop of a thread
   * of another, which has run all the same, fails an assertion on frames that are inlined. But it takes word of new
   * libraries from any thread, looks for them, finds none, and resumes that one.
   */
  #surprises(event: StopEvent): boolean {
    if (!this.multiprocess || (event.reason.kind === "appeared" && this.execEvents)) return false;
    return this.#reported.has(keyOf(this.#visible(event)));
  }

  contextAppeared(context: Context): void {
    if (!this.threadEvents) return;
    for (const { id } of this.target.threads(context.id)) {
      const place = { context: context.id, thread: id };
      this.#report(`T05create:;thread:${this.threadName(place)};`, place);
    }
  }

  contextGone(context: number): void {
    this.detached.delete(context);
    this.spaces.delete(context);
    for (const [key, point] of this.points) if (point.context === context) this.points.delete(key);
    for (const key of this.#stopped.keys()) if (key.startsWith(`${context}.`)) this.#stopped.delete(key);
    if (!this.#known.delete(context) || !this.multiprocess) return;
    this.#report(`W00;process:${hex(context)}`);
  }

  ended(exitCode: number): void {
    const code = (exitCode & 0xff).toString(16).padStart(2, "0");
    const text = this.multiprocess ? `W${code};process:1` : `W${code}`;
    const running = this.#running;
    this.#ended = true;
    this.#running = false;
    if (this.nonStop) this.#notify(text);
    else if (running) this.#post(text);
  }

  /** Something that is no stop of a thread: makes the machine stop for it. */
  #report(text: string, place: Place | null = null): void {
    if (this.nonStop) return this.#notify(text);
    this.#pending.push({ text, place });
    if (!this.#running || this.#ownInterrupt) return;
    this.#ownInterrupt = true;
    Promise.resolve(this.target.interrupt(null)).catch((error) => this.wire.fail(error));
  }

  /** All-stop: something that the debugger hears of when it resumes next. */
  get hasReports(): boolean {
    return this.#pending.length > 0;
  }

  #takePending(): string {
    const { text, place } = this.#pending.shift()!;
    if (place !== null) this.#general = place;
    return text;
  }

  #notify(text: string): void {
    this.#notifications.push(text);
    if (this.#notifications.length === 1) this.#post(`Stop:${text}`, "%");
  }

  /** `vStopped`: the debugger has the first; the next one, or OK. */
  nextNotification(): string {
    this.#notifications.shift();
    const later = this.#notifications.length === 0 ? this.#initial.splice(0) : [];
    // After the OK.
    if (later.length > 0) setTimeout(() => later.forEach((text) => this.#notify(text)), 0);
    return this.#notifications[0] ?? "OK";
  }

  /** `?`: why the machine stands still. */
  async status(): Promise<string> {
    if (this.#ended || !this.#attached) return "W00";
    if (!this.nonStop) return this.#lastStop === null ? "W00" : await this.stopReply(this.#lastStop);
    const [first, ...others] = await Promise.all([...this.#stopped.values()].map((event) => this.stopReply(event)));
    this.#notifications.length = 0;
    this.#initial = others;
    if (first === undefined) return "OK";
    this.#notifications.push(first);
    return first;
  }

  /** A thread of one context, as stopped. */
  async statusOf(context: number): Promise<Reply> {
    const place = this.#select({ context, thread: 0 });
    if (place === undefined) return new Refusal(`there is no context ${context}`, ERRNO.ENOENT);
    const event: StopEvent = { ...place, reason: { kind: "signal", signal: SIGNAL.NONE } };
    this.#lastStop = event;
    return await this.stopReply(event);
  }

  /** A stop in a context that the debugger does not see is told of a vCPU that it sees. */
  #visible(event: StopEvent): StopEvent {
    const places = this.places();
    if (places.length === 0 || places.some((place) => keyOf(place) === keyOf(event))) return event;
    const place = places.find(({ thread }) => thread === event.thread) ?? places[0]!;
    return { ...event, ...place };
  }

  #appearance(id: number): string {
    const context = this.target.contexts().find((one) => one.id === id), path = context && execPath(context);
    return this.execEvents && path ? `exec:${toHex(ascii(path))};` : "hwbreak:;";
  }

  /** The words of a stop. */
  async stopReply(happened: StopEvent): Promise<string> {
    const event = this.#visible(happened), { reason } = event;
    this.#known.add(event.context);
    // All-stop: from now on that thread is selected, on both sides.
    if (!this.nonStop && !this.#running) this.#reported.add(keyOf(event));
    if (!this.nonStop) this.#general = { context: event.context, thread: event.thread };
    let text = `T${(reason.kind === "signal" ? reason.signal : SIGNAL.TRAP).toString(16).padStart(2, "0")}`;
    const general = await this.target.readGeneral(event);
    if (!(general instanceof Refusal)) {
      for (const n of EXPEDITED) text += `${hex(n)}:${toHex(general.subarray(n * 8, n * 8 + 8))};`;
    }
    switch (reason.kind) {
      case "swbreak":
      case "hwbreak":
        if (this.reportsBreakpointKind[reason.kind]) text += `${reason.kind}:;`;
        break;
      case "appeared":
        text += this.#appearance(event.context);
        break;
      case "watch":
      case "rwatch":
      case "awatch":
        text += `${reason.kind}:${hex(reason.address)};`;
    }
    text += `thread:${this.threadName(event)};`;
    const thread = this.target.threads(event.context).find(({ id }) => id === event.thread);
    return thread === undefined ? text : `${text}core:${hex(thread.core)};`;
  }

  // Semihosting

  fileRequest(place: Place, { call, args }: FileRequest): boolean {
    if (this.nonStop || !this.#running || this.fileCall !== null) return false;
    const words = args.map((arg) =>
      typeof arg === "bigint" ? hex(BigInt.asUintN(64, arg)) : `${hex(arg.address)}/${hex(arg.length)}`
    );
    this.fileCall = place;
    this.#post(`F${[call, ...words].join(",")}`);
    return true;
  }

  async endFileCall(reply: Parameters<Target["fileReply"]>[1]): Promise<void> {
    const place = this.fileCall;
    this.fileCall = null;
    if (place !== null) await this.target.fileReply(place, reply);
  }
}
