// One machine: memory, bus, devices, vCPUs and the generated interpreter, put together from a configuration. It lives in a
// Worker, but knows no threads: the outside hands in a serial port, clocks and randomness, and calls `runSlice` until the
// machine is off (runner.ts). Several vCPUs take turns, see scheduler.ts.

import { cpuModel } from "../arch/models.ts";
import type { Clock } from "../base/clock.ts";
import { assert } from "../base/errors.ts";
import type { Tracer } from "../base/trace.ts";
import { Vcpu } from "../cpu/core.ts";
import { HALT } from "../cpu/vcpu.ts";
import type { InterruptController } from "../gic/controller.ts";
import type { GicOptions } from "../gic/core.ts";
import { GicV2 } from "../gic/gic_v2.ts";
import { GicV3 } from "../gic/gic_v3.ts";
import { GIC_STATE_BYTES } from "../gic/state.ts";
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
import { type BoardDevices, boardStateBytes, buildDevices, cpuAffinity, makeBoard } from "./board.ts";
import { featuresLeftOut, type MachineConfig, type MachineImages } from "./config.ts";
import type { RandomBytes } from "./device_tree.ts";
import { faultSink, machineEnvironment } from "./environment.ts";
import { type BootPlan, planBoot } from "./loaders/boot_plan.ts";
import { MEMORY_MAP } from "./memory_map.ts";
import { GuestDebug } from "./guest_debug.ts";
import { engineImports } from "./engine_imports.ts";
import { Scheduler, SCHEDULER_STATE } from "./scheduler.ts";
import { NO_HOST, Semihosting, type SemihostingHost } from "./semihosting/semihosting.ts";
import { countCalls } from "./stats.ts";
import { DEVICE_ACCESS, GUEST_ERROR, placeOf, traceBlock, UNMAPPED } from "./tracing.ts";

import type { NetBackend } from "../../devices/net/port.ts";
import type { BalloonBackend } from "../../devices/virtio/balloon.ts";
import type { Shares } from "./shares.ts";
import { type Consoles, type Drives, makeVirtioDevices, type Vsocks } from "./virtio.ts";

/** What a machine is handed. */
export interface Surroundings {
  readonly memory: WebAssembly.Memory;
  readonly serial: SerialBackend;
  /** The disks that the configuration names. */
  readonly drives?: Drives;
  /** The network ports that the configuration names. */
  readonly networks?: ReadonlyMap<string, NetBackend>;
  readonly consoles?: Consoles;
  readonly semihosting?: SemihostingHost;
  readonly shares?: Shares;
  readonly vsocks?: Vsocks;
  readonly balloon?: BalloonBackend | null;
  readonly clock: Clock;
  /** Seconds since 1970. */
  readonly wallSeconds: () => number;
  readonly random: RandomBytes;
  readonly trace: Tracer;
  /** Counts executed shapes instead of running fast, see bench/profile.ts. */
  readonly profileAt?: number;
}

/** Why a machine no longer runs. */
export type Power = "on" | "off" | "reset";

export class Machine {
  readonly bus: PhysicalBus;
  readonly vcpus: readonly Vcpu[];
  readonly mmus: readonly Mmu[];
  readonly gic: InterruptController;
  readonly timers: GenericTimers;
  readonly devices: BoardDevices;
  readonly plan: BootPlan;
  readonly code: CodeCache;
  readonly interpreter: Interpreter;
  readonly scheduler: Scheduler;
  readonly guestDebug: GuestDebug;
  /** Null: HLT is UNDEFINED. */
  readonly semihosting: Semihosting | null;
  /** Where each run of instructions is told, while something traces them. */
  readonly onBlock: ((vcpu: Vcpu) => void) | undefined;
  /** State of everything but vCPUs and RAM: interrupt controller, devices, scheduler. */
  readonly deviceWords: Uint32Array;
  /** Told of every reset, when it is done; the debugger's. */
  wasReset: () => void = () => {};
  /** The program's exit code when the guest ended with one; such an end is none that keeps the machine. */
  exitCode: number | null = null;
  #power: Power = "on";

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
    this.bus.onUnmapped = (pa, bytes, write) => trace.emit(UNMAPPED, { pa: BigInt(pa), bytes, write });
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
    const guestErrors = (message: string) => trace.emit(GUEST_ERROR, { message });
    const gicOptions: GicOptions = {
      buffer,
      base: HOST_MAP.devices.base,
      cpus: config.cpuCount,
      affinities: numbers.map(cpuAffinity),
      output: (cpu, lines) => this.#interruptLines(cpu, lines),
      guestError: guestErrors,
      trace,
    };
    this.gic = config.board.gicVersion === 3
      ? new GicV3(gicOptions)
      : new GicV2({ ...gicOptions, virtualization: config.board.virtualization });
    for (const region of this.gic.regions) this.bus.addRegion(region);
    this.timers = new GenericTimers({
      clock,
      registers: this.vcpus.map((v) => v.sys),
      line: (cpu, intid) => this.gic.ppi(cpu, intid),
      trace,
      rearmed: (cpu) => this.scheduler.rearmed(cpu),
    });
    const stateBase = HOST_MAP.devices.base + Math.ceil(GIC_STATE_BYTES / 4096) * 4096;
    const virtio = makeVirtioDevices(config, {
      random: around.random,
      drives: around.drives ?? new Map(),
      networks: around.networks ?? new Map(),
      consoles: around.consoles ?? new Map(),
      vsocks: around.vsocks ?? new Map(),
      balloon: around.balloon ?? null,
      shares: around.shares ?? new Map(),
    });
    const schedulerBase = stateBase + boardStateBytes(virtio),
      stateBytes = schedulerBase + SCHEDULER_STATE.size - HOST_MAP.devices.base;
    assert(stateBytes <= HOST_MAP.devices.size, "the devices' state has room");
    this.deviceWords = new Uint32Array(buffer, HOST_MAP.devices.base, stateBytes / 4);
    this.scheduler = new Scheduler(this, clock, buffer, schedulerBase);
    this.semihosting = config.semihosting === null
      ? null
      : new Semihosting(this, config.semihosting, around.semihosting ?? NO_HOST, guestErrors);
    this.devices = buildDevices(board, {
      bus: this.bus,
      memory: buffer,
      stateBase,
      firmwareBytes: this.plan.firmwareBytes,
      line: (spi) => this.gic.spi(spi),
      serial: around.serial,
      virtio,
      semihosting: this.semihosting,
      wallSeconds: around.wallSeconds,
      fwCfgItems: this.plan.fwCfgItems,
      guestErrors,
      ...(trace.on("device")
        ? {
          onAccess: (device, write, offset, bytes, value) =>
            trace.emit(DEVICE_ACCESS, { device, write, offset, bytes, value }),
        }
        : {}),
    });

    const decoder = new Decoder(A64, model.features);
    const imports = countCalls(engineImports(this), buffer);
    this.interpreter = around.profileAt === undefined
      ? new Interpreter(memory, imports, hotShapes(decoder))
      : new Interpreter(memory, imports, [], around.profileAt);
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
    this.guestDebug = new GuestDebug(this);
    trace.place = (cpu) => {
      const vcpu = cpu === undefined ? this.scheduler.running : this.vcpus[cpu];
      return vcpu && placeOf(vcpu);
    };
    this.onBlock = trace.on("exec") || trace.on("cpu") ? (vcpu) => traceBlock(this, vcpu) : undefined;
    this.reset();
  }

  /** Power-on: memory as the loaders say, devices and vCPUs at reset, CPU 0 at the entry. */
  reset(): void {
    this.#power = "on";
    this.code.flush();
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
      this.mmus[index]!.flush();
      this.timers.update(index);
    }
    this.scheduler.reset();
    this.semihosting?.reset();
    this.wasReset();
  }

  /** "off" or "reset": the guest asks for that, and the owner acts on it between slices. */
  get power(): Power {
    return this.#power;
  }
  set power(wish: Power) {
    assert(this.#power === "on" && wish !== "on", "only a machine that is on asks to be reset or switched off");
    this.#power = wish;
  }

  /** The guest ends the program. */
  exit(code: number): void {
    this.exitCode = code;
    this.power = "off";
  }

  /** Turns the next vCPU that can run for one slice. Returns false when all of them wait. */
  runSlice(): boolean {
    assert(this.#power === "on", "the machine is on");
    return this.scheduler.runSlice();
  }

  /** The counter value at which a waiting machine must run again, Infinity if only an event from outside can wake it. */
  nextWakeUp(): number {
    return this.scheduler.nextWakeUp();
  }

  /** SEV, or an event from an event stream. */
  sendEvent(): void {
    for (const { state } of this.vcpus) state.event = 1;
  }

  /** Makes a vCPU leave generated code at its next taken branch. */
  kick(vcpu: Vcpu): void {
    this.scheduler.kick(vcpu);
  }

  #interruptLines(cpu: number, lines: number) {
    const vcpu = this.vcpus[cpu]!, { state } = vcpu, before = state.pending;
    state.pending = (before & ~GIC_LINES) | lines;
    if (lines & ~before) this.scheduler.kick(vcpu);
    if (before & GIC_LINES & ~lines) this.scheduler.lowered(vcpu);
  }
}

/** IRQ, FIQ, VIRQ and VFIQ: the lines that the interrupt controller drives. */
const GIC_LINES = 15;
