// What a machine is made of, as plain data: the command line's result, what the Worker is started with, and what a
// snapshot records. Everything in it survives JSON; absent values are null.

import type { SocketAddress, SocketOptions } from "../../devices/host/socket.ts";
import type { UdpOptions } from "../../devices/host/udp.ts";
import type { StreamNetOptions } from "../../devices/host/net_stream.ts";
import type { SecurityModel } from "../../devices/host/share_owners.ts";
import type { UserNetConfig } from "../../devices/net/user/config.ts";
import type { Feature } from "../arch/features.ts";
import type { TraceFormat, TraceGroup } from "../base/trace.ts";
import type { LogHeader } from "./input_log.ts";
import type { PortsStart } from "./ports.ts";
import type { GdbAddress } from "../../gdbstub/address.ts";

/** CPU models by QEMU's names. */
export const CPU_MODELS = {
  "cortex-a57": "Armv8.0, no VHE",
  "cortex-a72": "Armv8.0, no VHE",
  "cortex-a76": "Armv8.2 with VHE and LSE",
  "max": "everything that is implemented",
} as const;
export type CpuModel = keyof typeof CPU_MODELS;

/** Features that `-cpu model,feature=on|off` can switch, with what each stands for in the manual's names. */
export const CPU_FEATURES = {
  aes: { help: "AES and PMULL instructions", features: ["FEAT_AES", "FEAT_PMULL"] },
  sha1: { help: "SHA1 instructions", features: ["FEAT_SHA1"] },
  sha2: { help: "SHA256 instructions", features: ["FEAT_SHA256"] },
  crc32: { help: "CRC32 instructions", features: ["FEAT_CRC32"] },
  lse: { help: "atomic instructions", features: ["FEAT_LSE"] },
  rdm: { help: "rounding doubling multiply-add", features: ["FEAT_RDM"] },
  fp16: { help: "half-precision arithmetic", features: ["FEAT_FP16"] },
  dotprod: { help: "dot product", features: ["FEAT_DotProd"] },
  lrcpc: { help: "LDAPR", features: ["FEAT_LRCPC"] },
  pan: { help: "privileged access never", features: ["FEAT_PAN", "FEAT_PAN2"] },
  uao: { help: "user access override", features: ["FEAT_UAO"] },
  vhe: { help: "virtualization host extensions", features: ["FEAT_VHE"] },
} as const satisfies Record<string, { help: string; features: readonly Feature[] }>;
export type CpuFeature = keyof typeof CPU_FEATURES;

/** What the options take away from the model, in the manual's names. */
export function featuresLeftOut(cpu: CpuConfig): Feature[] {
  return cpu.features.flatMap(({ name, on }) => on ? [] : CPU_FEATURES[name].features);
}

export interface BoardConfig {
  readonly gicVersion: 2 | 3;
  /** Whether the CPU has EL2. */
  readonly virtualization: boolean;
}

export interface CpuConfig {
  readonly model: CpuModel;
  /** Features switched by `-cpu model,feature=on|off`, each of which the model has. */
  readonly features: readonly { readonly name: CpuFeature; readonly on: boolean }[];
}

/** `-device loader,…`: a file or a datum put into memory at reset, or a start address for a CPU. */
export type LoaderConfig =
  | {
    readonly kind: "file";
    readonly file: string;
    /** Guest physical address; null takes the image's own (ELF). */
    readonly address: number | null;
    /** The CPU that starts at the image's entry, if any. */
    readonly cpu: number | null;
    /** Loads the file's bytes as they are, whatever they look like. */
    readonly raw: boolean;
  }
  /** `-device guest-loader,…`: an image for a hypervisor's guest, announced in the device tree's chosen node. */
  | {
    readonly kind: "guest";
    readonly file: string;
    readonly address: number;
    readonly role: "kernel" | "ramdisk";
    readonly bootargs: string | null;
  }
  | {
    readonly kind: "data";
    readonly address: number;
    /** The bytes as they go into memory, lowest address first. */
    readonly bytes: readonly number[];
  }
  | { readonly kind: "start"; readonly address: number; readonly cpu: number };

/** Where a character device leads on the host. */
export type ChardevBackend =
  | { readonly kind: "null" }
  | {
    readonly kind: "stdio";
    /** Whether Ctrl-C on the terminal ends the run. */
    readonly signal: boolean;
  }
  | { readonly kind: "file"; readonly path: string; readonly append: boolean; readonly inputPath: string | null }
  | { readonly kind: "pipe"; readonly path: string }
  | { readonly kind: "pty" }
  | { readonly kind: "ringbuf"; readonly sizeBytes: number }
  | { readonly kind: "udp" } & UdpOptions
  | {
    readonly kind: "socket";
    /** A server holds the machine's start until somebody has connected. */
    readonly wait: boolean;
  } & SocketOptions;

/** `-chardev`, or what `-serial` implies. */
export interface ChardevConfig {
  readonly id: string;
  readonly backend: ChardevBackend;
  /** Escape keys and several front ends; auto: when it is a terminal. */
  readonly mux: "on" | "off" | "auto";
  /** A file that gets a copy of the output. */
  readonly log: { readonly path: string; readonly append: boolean } | null;
}

/** Where a disk is. */
export type DriveSource =
  | { readonly kind: "file"; readonly path: string }
  | { readonly kind: "nbd"; readonly address: SocketAddress; readonly exportName: string };

/** `-drive`: a disk. */
export interface DriveConfig {
  readonly id: string;
  readonly source: DriveSource;
  /** Null: what the file looks like. */
  readonly format: "raw" | "qcow2" | null;
  readonly readOnly: boolean;
  /** What is written goes to a temporary overlay. */
  readonly snapshot: boolean;
  /** Discards reach the image. */
  readonly discard: boolean;
  /** Writes may be lost before a flush, until the guest says otherwise. */
  readonly writeBack: boolean;
  /** Flushes do nothing. */
  readonly unsafe: boolean;
  /** How long requests wait when the connection to a server is lost. */
  readonly reconnectDelayMs: number;
}

/** `-fsdev`: a directory of the host. */
export interface ShareConfig {
  readonly id: string;
  readonly path: string;
  readonly readOnly: boolean;
  readonly securityModel: SecurityModel;
}

/** A port of a console device. */
export interface ConsolePortConfig {
  readonly number: number;
  readonly isConsole: boolean;
  /** By which the guest finds it; "" for none. */
  readonly name: string;
  /** The id of its character device. */
  readonly chardev: string;
}

/** `-device virtio-*-device`. The order is that of the command line. */
export type VirtioConfig =
  & {
    /** What the user calls it; "" for nothing. */
    readonly id: string;
    /** The transport that was asked for; null takes the highest one that is free, as QEMU does. */
    readonly slot: number | null;
  }
  & (
    | { readonly kind: "rng" }
    | {
      readonly kind: "9p";
      /** The id of its directory. */
      readonly share: string;
      /** By which the guest mounts it. */
      readonly tag: string;
    }
    | { readonly kind: "serial"; readonly ports: readonly ConsolePortConfig[]; readonly maxPorts: number }
    | {
      readonly kind: "blk";
      /** The id of its drive. */
      readonly drive: string;
      readonly serial: string;
      readonly queues: number;
      readonly queueSize: number;
    }
    | {
      readonly kind: "net";
      /** The id of its other end. */
      readonly netdev: string;
      /** Six bytes. */
      readonly mac: readonly number[];
      /** What the guest is told, 0 for nothing. */
      readonly mtu: number;
    }
    | {
      readonly kind: "vsock";
      /** The guest's address. */
      readonly guestCid: number;
      /** The Unix socket of the host's end. */
      readonly path: string;
    }
    | { readonly kind: "balloon"; readonly deflateOnOom: boolean; readonly reportsFreePages: boolean }
  );

/** The other end of a network device. */
export type NetdevBackend =
  | { readonly kind: "user" } & UserNetConfig
  | { readonly kind: "stream" } & StreamNetOptions
  | { readonly kind: "dgram" } & UdpOptions
  /** With `netdev` that network is at the hub, else the network device is. */
  | { readonly kind: "hub"; readonly hub: number; readonly netdev: string | null };

/** `-object filter-dump`: a network's frames in a file. */
export interface FrameDumpConfig {
  readonly netdev: string;
  readonly file: string;
  /** How much of each frame is kept. */
  readonly mostBytes: number;
}

/** `-netdev`. */
export interface NetdevConfig {
  readonly id: string;
  readonly backend: NetdevBackend;
  readonly dumps: readonly FrameDumpConfig[];
}

/** `-icount`: virtual time follows the instruction count. */
export interface IcountConfig {
  /** An instruction takes 2 ** shift nanoseconds. */
  readonly shift: number;
  /** While all vCPUs wait, virtual time passes as fast as real time; without it, at once. */
  readonly sleep: boolean;
}

/** `-rtc`: what the real-time clock shows. */
export interface RtcConfig {
  /** The time at the start: now, now on the clock on the wall, or seconds since 1970. */
  readonly base: "utc" | "localtime" | number;
  /** What makes it go on: virtual time, or the host's. */
  readonly clock: "vm" | "host";
}

export interface TraceConfig {
  readonly groups: readonly TraceGroup[];
  readonly format: TraceFormat;
  /** Where trace lines go; null is stderr. */
  readonly file: string | null;
  /** As `-dfilter` has it, see src/base/trace_filter.ts. */
  readonly filter: string | null;
}

/** Where a debugger finds the symbols of a context. */
export interface SymbolFile {
  /** The debugger's number of the context, or null. */
  readonly context: number | null;
  /** The VMID of a virtual machine, or null. */
  readonly vmid: number | null;
  readonly file: string;
}

export interface DebugConfig {
  /** Where the debugger server listens; null for no debugger. */
  readonly gdb: GdbAddress | null;
  /** The machine waits for the debugger to let it run. */
  readonly startStopped: boolean;
  readonly symbols: readonly SymbolFile[];
}

/** `-semihosting`, `-semihosting-config`. */
export interface SemihostingConfig {
  /** EL0 may call too. */
  readonly userspace: boolean;
  /** Whose host it is: ours, the debugger's, or the debugger's while there is one. */
  readonly target: "native" | "gdb" | "auto";
  /** The character device of the console; null takes the standard streams. */
  readonly chardev: string | null;
  /** What the guest may reach of the host's files lies beneath; null for nothing. */
  readonly directory: string | null;
  /** What SYS_GET_CMDLINE says. */
  readonly commandLine: string;
}

export interface MachineConfig {
  readonly board: BoardConfig;
  readonly cpu: CpuConfig;
  readonly cpuCount: number;
  readonly ramSizeBytes: number;
  /** Nothing to run was named: run the built-in demo. */
  readonly demo: boolean;
  readonly kernel: string | null;
  readonly initrd: string | null;
  /** Kernel command line; null when none was given. */
  readonly append: string | null;
  /** A device tree blob that replaces the generated one. */
  readonly dtb: string | null;
  /** Firmware for the flash at address 0. */
  readonly bios: string | null;
  readonly loaders: readonly LoaderConfig[];
  readonly chardevs: readonly ChardevConfig[];
  /** The character device of the serial port. */
  readonly serial: string;
  /** The byte that begins an escape on a multiplexed character device; 0 for none. */
  readonly escapeKey: number;
  readonly drives: readonly DriveConfig[];
  readonly shares: readonly ShareConfig[];
  readonly virtio: readonly VirtioConfig[];
  readonly netdevs: readonly NetdevConfig[];
  /** PSCI SYSTEM_RESET does what SYSTEM_OFF does. */
  readonly noReboot: boolean;
  /** PSCI SYSTEM_OFF stops the machine and does not end the run. */
  readonly noShutdown: boolean;
  /** Null: time is the host's. */
  readonly icount: IcountConfig | null;
  readonly rtc: RtcConfig;
  /** Seed of the random numbers that the guest is given; null takes the host's. */
  readonly seed: number | null;
  /** The input log that is written or repeated; at most one of the two. */
  readonly record: string | null;
  readonly replay: string | null;
  readonly debug: DebugConfig;
  /** Null: there is none, HLT is UNDEFINED. */
  readonly semihosting: SemihostingConfig | null;
  readonly trace: TraceConfig;
  /** Where counters are written at the end; "-" is a table on stderr, null nothing. */
  readonly stats: string | null;
  /** Write the device tree to this file and exit. */
  readonly dumpDtb: string | null;
}

/** Data the Worker needs besides its configuration, by role. */
export interface MachineImages {
  /** ELF images of the built-in demo, in load order. */
  readonly demo: readonly Uint8Array[];
  readonly kernel: Uint8Array | null;
  readonly initrd: Uint8Array | null;
  readonly dtb: Uint8Array | null;
  readonly bios: Uint8Array | null;
  /** One per loader that names a file, in order; null for the others. */
  readonly loaders: readonly (Uint8Array | null)[];
}

/** The message that starts the machine's Worker. */
export interface StartMessage {
  readonly kind: "start";
  readonly config: MachineConfig;
  readonly memory: WebAssembly.Memory;
  readonly images: MachineImages;
  /** The header of the input log that is to be written, or the log that is to be repeated. */
  readonly logHeader: LogHeader | null;
  readonly log: Uint8Array | null;
  /** Memory of the network ports, one for each network device, in their order. */
  readonly netPorts: readonly SharedArrayBuffer[];
  readonly ports: PortsStart;
}

/** What the Worker tells the daemon. Bytes of the serial port go through the channel's rings instead. */
export type WorkerMessage =
  /** The machine is built and about to run. */
  | { readonly kind: "ready" }
  /** The guest powered off, or reset with `-no-reboot`: the exit code of the program. */
  | { readonly kind: "exit"; readonly code: number }
  /** Something that the user should know, which does not end the run. */
  | { readonly kind: "notice"; readonly line: string }
  /** The machine cannot be built from this input: one line. */
  | { readonly kind: "error"; readonly message: string }
  /** The program itself failed: an error with its stack. */
  | { readonly kind: "failure"; readonly message: string }
  /** The answer to `-machine dumpdtb=`. */
  | { readonly kind: "dtb"; readonly bytes: Uint8Array };
