// One machine: memory, bus, devices, vCPUs and the generated interpreter, put together from a configuration, and the loop
// that runs it. It lives in a Worker, but knows no threads: the outside hands in a serial port, clocks and randomness, and
// calls `runSlice` until the machine is off. Several vCPUs take turns, a slice each.

import { cpuModel } from "../arch/models.ts";
import type { Clock } from "../base/clock.ts";
import { assert } from "../base/errors.ts";
import { tracePoint, type Tracer } from "../base/trace.ts";
import { Vcpu } from "../cpu/core.ts";
import { interruptDeliverable, interruptPending, takePendingInterrupt } from "../cpu/exceptions.ts";
import { HALT } from "../cpu/vcpu.ts";
import { GIC_STATE_BYTES, GicV3 } from "../gic/gic_v3.ts";
import { A64 } from "../isa/a64/a64.ts";
import { Decoder } from "../isa/decoder.ts";
import { CodeCache } from "../jit/code_cache.ts";
import { hotShapes } from "../jit/hot_shapes.ts";
import { Interpreter } from "../jit/interpreter.ts";
import { PhysicalBus } from "../memory/bus.ts";
import { HOST_MAP, vcpuBase } from "../memory/host_map.ts";
import { Mmu } from "../mmu/access.ts";
import { featuresFromId } from "../mmu/controls.ts";
import { GenericTimers } from "../timer/generic_timer.ts";
import type { SerialBackend } from "../../devices/pl011.ts";
import { BOARD_STATE_BYTES, type BoardDevices, buildDevices, cpuAffinity, makeBoard } from "./board.ts";
import { featuresLeftOut, type MachineConfig, type MachineImages } from "./config.ts";
import type { RandomBytes } from "./device_tree.ts";
import { faultSink, machineEnvironment } from "./environment.ts";
import { type BootPlan, planBoot } from "./loaders/boot_plan.ts";
import { MEMORY_MAP } from "./memory_map.ts";
import { engineImports } from "./engine_imports.ts";

/** What a machine is handed. */
export interface Surroundings {
  readonly memory: WebAssembly.Memory;
  readonly serial: SerialBackend;
  readonly clock: Clock;
  /** Seconds since 1970. */
  readonly wallSeconds: () => number;
  readonly random: RandomBytes;
  readonly trace: Tracer;
  /** Counts executed shapes instead of running fast, see bench/profile.ts. */
  readonly profileAt?: number;
}

/** Instructions of a slice: the longest time (some 50 µs) that an event from outside waits. */
const SLICE_INSTRUCTIONS = 20_000;
/** Lowers a vCPU's limit so far that generated code leaves at the next taken branch: 2^26 instructions. */
const FORCE_INSTRUCTIONS = 1 << 26;
const FORCE_RECORDS = FORCE_INSTRUCTIONS << 4;

const GUEST_ERROR = tracePoint("guest_errors", "device", (message: string) => message);
const UNMAPPED = tracePoint(
  "guest_errors",
  "unmapped",
  (pa: number, bytes: number, write: boolean) =>
    `${write ? "write" : "read"} of ${bytes} bytes at 0x${pa.toString(16)}: nothing there`,
);

const ACCESS = tracePoint(
  "device",
  "access",
  (device: string, write: boolean, offset: number, bytes: number, value: number) =>
    `${device} ${write ? "write" : "read"} of ${bytes} bytes at 0x${offset.toString(16)}: 0x${value.toString(16)}`,
);

/** Why a machine no longer runs. */
export type Power = "on" | "off" | "reset";

export class Machine {
  readonly bus: PhysicalBus;
  readonly vcpus: readonly Vcpu[];
  readonly mmus: readonly Mmu[];
  readonly gic: GicV3;
  readonly timers: GenericTimers;
  readonly devices: BoardDevices;
  readonly plan: BootPlan;
  readonly code: CodeCache;
  readonly interpreter: Interpreter;
  /** Set by PSCI; `reset()` and the owner act on it between slices. */
  power: Power = "on";
  /** The vCPU that is in generated code, if any. */
  #running: Vcpu | undefined;
  #turn = 0;

  /** Builds the machine and resets it. Throws HostError when the images do not fit. */
  constructor(config: MachineConfig, images: MachineImages, readonly around: Surroundings) {
    const { memory, trace, clock } = around, { buffer } = memory;
    const board = makeBoard(config);
    const model = cpuModel(config.cpu.model, {
      el2: config.board.virtualization,
      gicv3: config.board.gicVersion === 3,
      cores: config.cpuCount,
      without: featuresLeftOut(config.cpu),
    });
    this.plan = planBoot(config, images, board, around.random);
    this.bus = new PhysicalBus(buffer);
    this.bus.onUnmapped = (pa, bytes, write) => trace.emit(UNMAPPED, pa, bytes, write);
    this.bus.addMemory({ name: "ram", ...board.ram, host: HOST_MAP.ram.base, writable: true });
    if (this.plan.firmwareBytes > 0) {
      const host = HOST_MAP.ram.base + board.ram.size;
      this.bus.addMemory({
        name: "flash",
        base: MEMORY_MAP.flash0.base,
        size: this.plan.firmwareBytes,
        host,
        writable: false,
      });
    }
    const environment = machineEnvironment(this, board.psciConduit);
    const numbers = Array.from({ length: config.cpuCount }, (_, n) => n);
    this.vcpus = numbers.map((n) => new Vcpu(buffer, vcpuBase(n), n, model, environment));
    const guestErrors = (message: string) => trace.emit(GUEST_ERROR, message);
    this.gic = new GicV3({
      buffer,
      base: HOST_MAP.devices.base,
      cpus: config.cpuCount,
      affinities: numbers.map(cpuAffinity),
      output: (cpu, lines) => this.#interruptLines(cpu, lines),
      guestError: guestErrors,
    });
    for (const region of this.gic.regions) this.bus.addRegion(region);
    this.timers = new GenericTimers({
      clock,
      registers: this.vcpus.map((v) => v.sys),
      line: (cpu, intid) => this.gic.ppi(cpu, intid),
    });
    const stateBase = HOST_MAP.devices.base + Math.ceil(GIC_STATE_BYTES / 4096) * 4096;
    assert(
      stateBase + BOARD_STATE_BYTES <= HOST_MAP.devices.base + HOST_MAP.devices.size,
      "the devices' state has room",
    );
    this.devices = buildDevices(board, {
      bus: this.bus,
      memory: buffer,
      stateBase,
      firmwareBytes: this.plan.firmwareBytes,
      line: (spi) => this.gic.spi(spi),
      serial: around.serial,
      wallSeconds: around.wallSeconds,
      fwCfgItems: this.plan.fwCfgItems,
      guestErrors,
      ...(trace.on("device") ? { onAccess: (...access) => trace.emit(ACCESS, ...access) } : {}),
    });

    const decoder = new Decoder(A64, model.features);
    this.interpreter = around.profileAt === undefined
      ? new Interpreter(memory, engineImports(this), hotShapes(decoder))
      : new Interpreter(memory, engineImports(this), [], around.profileAt);
    this.code = new CodeCache(
      buffer,
      decoder,
      this.interpreter,
      () => this.mmus.forEach((mmu) => mmu.flushFetchTlb()),
      (hostPage) => this.mmus.forEach((mmu) => mmu.protectPage(hostPage)),
    );
    this.bus.onCodeWrite = (host, bytes) => this.code.invalidate(host, bytes);
    const features = featuresFromId(
      model.values.ID_AA64PFR0_EL1 ?? 0n,
      model.values.ID_AA64MMFR0_EL1 ?? 0n,
      model.values.ID_AA64MMFR1_EL1 ?? 0n,
    );
    this.mmus = this.vcpus.map((vcpu) =>
      new Mmu({
        cpu: vcpu.index,
        base: vcpu.base,
        memory: buffer,
        state: vcpu.state,
        registers: vcpu.sys,
        features,
        bus: this.bus,
        code: this.code,
        faults: faultSink(vcpu),
        trace,
      })
    );
    this.reset();
  }

  /** Power-on: memory as the loaders say, devices and vCPUs at reset, CPU 0 at the entry. */
  reset(): void {
    this.power = "on";
    for (const { address, bytes, memoryBytes, clear } of this.plan.loads) {
      assert(this.bus.writeBytes(address, bytes, true), "loads were checked to lie in memory");
      if (clear) this.bus.writeBytes(address + bytes.length, new Uint8Array(memoryBytes - bytes.length), true);
    }
    this.gic.reset();
    this.devices.reset();
    for (const vcpu of this.vcpus) {
      vcpu.reset();
      const { index, state } = vcpu, entry = index === 0 ? this.plan.entry : this.plan.entries.get(index);
      if (entry === undefined) state.halt = HALT.OFF;
      else state.pc = BigInt(entry);
      if (index === 0) state.x[0] = BigInt(this.plan.x0);
      const mmu = this.mmus[index]!;
      mmu.tlb.flush();
      mmu.registersChanged();
      this.timers.update(index);
    }
  }

  /** Turns the next vCPU that can run for one slice. Returns false when all of them wait. */
  runSlice(): boolean {
    this.devices.pump();
    for (let i = 0; i < this.vcpus.length; i++) {
      const vcpu = this.vcpus[(this.#turn + i) % this.vcpus.length]!;
      this.timers.update(vcpu.index);
      if (!this.#awake(vcpu)) continue;
      this.#turn = vcpu.index + 1;
      this.#run(vcpu, SLICE_INSTRUCTIONS);
      return true;
    }
    return false;
  }

  /** The counter value at which a waiting machine must run again, Infinity if only an event from outside can wake it. */
  nextWakeUp(): number {
    let at = Infinity;
    for (const { index, state } of this.vcpus) {
      if (state.halt === HALT.OFF) continue;
      at = Math.min(at, this.timers.nextDeadline(index));
      if (state.halt === HALT.WFE) at = Math.min(at, this.timers.nextStreamEvent(index));
    }
    return at;
  }

  /** SEV, or an event from an event stream. */
  sendEvent(): void {
    for (const { state } of this.vcpus) state.event = 1;
  }

  /** Makes a vCPU leave generated code at its next taken branch. */
  kick(vcpu: Vcpu): void {
    if (this.#running !== vcpu || vcpu.state.forced) return;
    vcpu.state.forced = 1;
    vcpu.state.limit -= FORCE_RECORDS;
  }

  /** Ends waiting where its condition holds. */
  #awake(vcpu: Vcpu): boolean {
    const { state } = vcpu;
    switch (state.halt) {
      case HALT.RUNNING:
        return true;
      case HALT.OFF:
        return false;
      case HALT.WFI:
        if (!interruptPending(vcpu)) return false;
        break;
      case HALT.WFE:
        if (!state.event && !interruptDeliverable(vcpu)) {
          if (!this.#streamEvent(vcpu.index)) return false;
        }
        state.event = 0;
        break;
    }
    state.halt = HALT.RUNNING;
    return true;
  }
  readonly #streamEvents: number[] = [];
  /** Whether an event of the vCPU's event stream has come since it began to wait. */
  #streamEvent(index: number): boolean {
    const due = this.#streamEvents[index] ?? Infinity;
    if (this.around.clock.ticks() >= due) {
      this.#streamEvents[index] = Infinity;
      return true;
    }
    if (due === Infinity) this.#streamEvents[index] = this.timers.nextStreamEvent(index);
    return false;
  }

  #run(vcpu: Vcpu, instructions: number) {
    const { state } = vcpu;
    takePendingInterrupt(vcpu);
    // Another vCPU may have run meanwhile: the exclusive monitor does not survive that.
    if (this.vcpus.length > 1) state.exclusiveSize = 0;
    state.budget = instructions;
    state.forced = 0;
    this.#running = vcpu;
    this.interpreter.run(vcpu.base);
    this.#running = undefined;
    const left = state.forced ? state.budget + FORCE_INSTRUCTIONS : state.budget;
    state.forced = 0;
    state.retired += instructions - left;
  }

  #interruptLines(cpu: number, lines: number) {
    const vcpu = this.vcpus[cpu]!, { state } = vcpu, before = state.pending;
    state.pending = (before & ~GIC_LINES) | lines;
    if (lines & ~before) this.kick(vcpu);
  }
}

/** IRQ, FIQ, VIRQ and VFIQ: the lines that the interrupt controller drives. */
const GIC_LINES = 15;
