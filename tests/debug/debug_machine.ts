// A machine with its debugger in one thread: the target that the stub would see, and a run loop that lasts until it stops.

import assert from "node:assert/strict";
import type { MachineClock } from "../../src/base/clock.ts";
import { cpuModel } from "../../src/arch/models.ts";
import { DebugControl } from "../../src/machine/debug/control.ts";
import { LocalPort } from "../../src/machine/debug/port.ts";
import { NO_SYMBOLS } from "../../src/machine/debug/symbols.ts";
import { MachineTarget } from "../../src/machine/debug/target.ts";
import {
  type AddressSpace,
  type Breakpoint,
  type Context,
  type Place,
  Refusal,
  type Resumption,
  type StopEvent,
  type TargetListener,
  type Watchpoint,
} from "../../gdbstub/target.ts";
import { TestMachine } from "../system/machine.ts";

const LIMIT_MS = 20_000;

export class DebugMachine implements TargetListener {
  readonly control: DebugControl;
  readonly target: MachineTarget;
  readonly appeared: Context[] = [];
  readonly goneContexts: number[] = [];
  readonly printed: string[] = [];
  readonly stops: StopEvent[] = [];
  halted = false;
  #id = 1;

  constructor(readonly test: TestMachine) {
    const { machine } = test;
    this.control = new DebugControl(machine);
    this.control.run = {
      halt: () => this.#halt(true),
      proceed: () => this.#halt(false),
      reset: () => machine.reset(),
      quit: () => {},
      running: true,
    };
    const { model } = machine.vcpus[0]!;
    this.target = new MachineTarget({
      buffer: machine.around.memory.buffer,
      cpus: machine.vcpus.length,
      model: cpuModel(model.name, {
        el2: model.has("el2"),
        gicv3: model.has("gicv3"),
        cores: model.cores,
      }),
      port: new LocalPort(this.control),
      symbols: NO_SYMBOLS,
    });
  }
  static async from(options: readonly string[]): Promise<DebugMachine> {
    const debug = new DebugMachine(await TestMachine.from(options));
    await debug.target.attach(debug);
    return debug;
  }

  #halt(halted: boolean): void {
    const clock = this.test.machine.around.clock as MachineClock;
    this.halted = halted;
    if (halted) clock.stop();
    else clock.start();
  }

  stopped(event: StopEvent): void {
    this.stops.push(event);
  }
  contextAppeared(context: Context): void {
    this.appeared.push(context);
  }
  contextGone(context: number): void {
    this.goneContexts.push(context);
  }
  ended(): void {}
  output(text: string): void {
    this.printed.push(text);
  }
  fileRequest(): boolean {
    return false;
  }

  /** Resumes and runs until the next stop. */
  async go(...resumptions: Resumption[]): Promise<StopEvent> {
    const actions: Resumption[] = resumptions.length > 0
      ? resumptions
      : [{ context: null, thread: null, action: { kind: "continue" } }];
    assert.equal(await this.target.resume(actions), undefined);
    return this.wait();
  }
  /** Runs until the next stop. */
  wait(): StopEvent {
    const nap = new Int32Array(new SharedArrayBuffer(4)), end = performance.now() + LIMIT_MS, { machine } = this.test;
    while (this.stops.length === 0) {
      assert(
        machine.power === "on",
        `the machine went ${machine.power} without a stop:\n${this.test.output.slice(-500)}`,
      );
      assert(performance.now() < end, `no stop after:\n${this.test.output.slice(-500)}`);
      if (!this.control.runSlice()) Atomics.wait(nap, 0, 0, 1);
    }
    return this.stops.shift()!;
  }
  /** Runs for some slices; there must be no stop. */
  runOn(slices: number): void {
    for (let n = 0; n < slices && this.test.machine.power === "on"; n++) this.control.runSlice();
    assert.equal(this.stops.length, 0);
  }

  step(place: Place, intoExceptions = false): Promise<StopEvent> {
    return this.go({ ...place, action: { kind: "step", intoExceptions } });
  }
  async breakAt(context: number, address: bigint, more: Partial<Breakpoint> = {}): Promise<number> {
    const id = this.#id++;
    assert.equal(
      await this.target.insert({
        id,
        context,
        space: "auto",
        address,
        kind: "software",
        conditions: [],
        commands: [],
        ...more,
      }),
      undefined,
    );
    return id;
  }
  async watch(context: number, address: bigint, length: number, kind: Watchpoint["kind"]): Promise<number> {
    const id = this.#id++;
    assert.equal(await this.target.insert({ id, context, space: "auto", address, length, kind }), undefined);
    return id;
  }
  async register(place: Place, number: number): Promise<bigint> {
    const bytes = await this.target.readRegister(place, number);
    assert(!(bytes instanceof Refusal), bytes instanceof Refusal ? bytes.text : "");
    return bytes.reduceRight((value, byte) => value << 8n | BigInt(byte), 0n);
  }
  pc(place: Place): Promise<bigint> {
    return this.register(place, 32);
  }
  /** A register by its name. */
  async named(place: Place, name: string): Promise<bigint> {
    const found = this.target.registers(place.context).find((r) => r.name === name);
    assert(found !== undefined, `${name} is a register`);
    return await this.register(place, found.number);
  }
  memory(place: Place, address: bigint, count: number, space: AddressSpace = "auto"): Uint8Array {
    const into = new Uint8Array(count), read = this.target.readMemory(place, space, address, into);
    assert(!(read instanceof Refusal), read instanceof Refusal ? read.text : "");
    return into.subarray(0, read);
  }
  async monitor(line: string, place: Place = { context: 1, thread: 1 }): Promise<string> {
    const command = this.target.commands.find(({ name }) => line === name || line.startsWith(name + " "));
    assert(command !== undefined, `${line} is a command`);
    const result = await command.run(line.slice(command.name.length).trim(), {
      place,
      space: "auto",
      write: () => {},
      cancelled: false,
    });
    assert(!(result instanceof Refusal), result instanceof Refusal ? result.text : "");
    return result;
  }
}

/** The addresses of an ELF file's symbols. */
export function symbolsOf(path: string | URL): ReadonlyMap<string, bigint> {
  const bytes = Deno.readFileSync(path), view = new DataView(bytes.buffer), symbols = new Map<string, bigint>();
  const sections = Number(view.getBigUint64(0x28, true)), size = view.getUint16(0x3a, true);
  for (let n = 0; n < view.getUint16(0x3c, true); n++) {
    const at = sections + n * size;
    if (view.getUint32(at + 4, true) !== 2) continue;
    const names = sections + view.getUint32(at + 40, true) * size, text = Number(view.getBigUint64(names + 24, true));
    const start = Number(view.getBigUint64(at + 24, true)), end = start + Number(view.getBigUint64(at + 32, true));
    for (let entry = start; entry < end; entry += 24) {
      const name = text + view.getUint32(entry, true), stop = bytes.indexOf(0, name);
      symbols.set(new TextDecoder().decode(bytes.subarray(name, stop)), view.getBigUint64(entry + 8, true));
    }
  }
  return symbols;
}
