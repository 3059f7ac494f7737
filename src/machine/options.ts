// Command line → MachineConfig, with help and documentation from the same table (options/table.ts). QEMU's spellings and
// defaults, one or two dashes; an option, sub-option or value that is not understood is an error that names it.

import { UsageError } from "../base/errors.ts";
import type { MachineConfig } from "./config.ts";
import { chardevConfig } from "./options/chardev.ts";
import { debugConfig } from "./options/debugger.ts";
import { withDefaultNic } from "./options/net.ts";
import { timeConfig } from "./options/time.ts";
import { type Option, within } from "./options/declare.ts";
import { semihostingConfig } from "./options/semihosting.ts";
import { traceConfig, traceHelp } from "./options/observe.ts";
import { virtioConfig } from "./options/virtio.ts";
import { type Draft, LINUX_OPTIONS, newDraft, OPTIONS } from "./options/table.ts";

export const VERSION = "0.1.0";

export type Command =
  | { readonly kind: "show"; readonly text: string }
  | { readonly kind: "run"; readonly config: MachineConfig }
  /** Debian's kernel, alone or under Xen: `draft` says what overrides the fetched files and defaults. */
  | { readonly kind: "linux" | "xen"; readonly draft: Draft };

/** Reads the arguments after `deno task run`. */
export function parseCommandLine(args: readonly string[]): Command {
  const words = args[0] === "--" ? args.slice(1) : args;
  const fetched = words[0] === "linux" || words[0] === "xen" ? words[0] : null;
  const draft = readOptions(fetched ? words.slice(1) : words, fetched ? [...LINUX_OPTIONS, ...OPTIONS] : OPTIONS);
  switch (draft.show) {
    case "help":
      return { kind: "show", text: helpText() };
    case "version":
      return { kind: "show", text: `vitrine ${VERSION}` };
    case "trace groups":
      return { kind: "show", text: columns(traceHelp()) };
  }
  if (fetched) {
    // Mistakes in the options come out before anything is fetched.
    fetchedConfig(fetched, draft, { kernel: "Image", initrd: "initrd", xen: "xen" });
    return { kind: fetched, draft };
  }
  return { kind: "run", config: completeConfig(draft) };
}

function readOptions(args: readonly string[], table: readonly Option<Draft>[]): Draft {
  const draft = newDraft();
  for (let index = 0; index < args.length; index++) {
    const word = args[index]!;
    const name = /^--?(.+)$/.exec(word)?.[1];
    if (word === "--" && index === 0) continue;
    if (name === undefined) throw new UsageError(`argument "${word}" is not an option`);
    const option = table.find((candidate) => candidate.names.includes(name));
    if (!option) throw new UsageError(`option ${word} is not known: --help lists them`);
    let argument = "";
    if (option.form !== null) {
      index++;
      if (index >= args.length) throw new UsageError(`option ${word} needs ${option.form}`);
      argument = args[index]!;
    }
    within(`option ${word}`, () => option.apply(draft, argument));
  }
  return draft;
}

const DEFAULT_RAM_BYTES = 128 * 2 ** 20;

/** Fills in the defaults and checks what no single option can see. */
export function completeConfig(draft: Draft): MachineConfig {
  const gicVersion = draft.gicVersion ?? (draft.explicitBoard ? 2 : 3);
  if (draft.kernel === null) {
    if (draft.append !== null) throw new UsageError("option -append needs -kernel");
    if (draft.initrd !== null) throw new UsageError("option -initrd needs -kernel");
  }
  for (const { cpu } of draft.loaders.flatMap((l) => "cpu" in l ? [l] : [])) {
    if (cpu !== null && cpu >= draft.cpuCount) {
      throw new UsageError(`option -device: cpu-num ${cpu}: there are ${draft.cpuCount} CPUs`);
    }
  }
  const virtualization = draft.virtualization ?? !draft.explicitBoard;
  const demo = draft.kernel === null && draft.bios === null && draft.loaders.length === 0 && draft.dumpDtb === null;
  if (demo && (gicVersion !== 3 || !virtualization)) {
    const needs = "gic-version=3,virtualization=on";
    throw new UsageError(`nothing to run: the built-in demo needs ${needs}; or name an image with -kernel`);
  }
  const common = {
    kernel: draft.kernel,
    append: draft.append,
    ...chardevConfig(draft),
    ...timeConfig(draft),
    debug: debugConfig(draft),
  };
  return {
    board: { gicVersion, virtualization },
    cpu: { model: draft.cpuModel ?? "cortex-a57", features: draft.features },
    cpuCount: draft.cpuCount,
    ramSizeBytes: draft.ramSizeBytes ?? DEFAULT_RAM_BYTES,
    demo,
    initrd: draft.initrd,
    dtb: draft.dtb,
    bios: draft.bios,
    loaders: draft.loaders,
    ...common,
    ...virtioConfig(draft),
    noReboot: draft.noReboot,
    noShutdown: draft.noShutdown,
    semihosting: semihostingConfig(draft, common),
    trace: traceConfig(draft),
    stats: draft.statsFile,
    dumpDtb: draft.dumpDtb,
  };
}

const MiB = 2 ** 20;
/** The defaults of `deno task run linux`: a machine with some room, and a shell on the serial port. */
const LINUX = { ramSizeBytes: 512 * MiB, append: "console=ttyAMA0 quiet" } as const;
/** Those of `deno task run xen`: the hypervisor's messages on the serial port, its first domain's shell behind them. */
const XEN = {
  ramSizeBytes: 1024 * MiB,
  append: "console=dtuart dom0_mem=512M",
  kernelAt: 0x4900_0000,
  initrdAt: 0x4d00_0000,
  bootargs: "console=hvc0 quiet",
} as const;

/** The configuration that boots the fetched files, where the options do not say otherwise. */
export function fetchedConfig(
  what: "linux" | "xen",
  draft: Draft,
  files: { readonly kernel: string; readonly initrd: string; readonly xen: string },
): MachineConfig {
  return what === "linux" ? linuxConfig(draft, files) : xenConfig(draft, files);
}

function xenConfig(draft: Draft, files: { kernel: string; initrd: string; xen: string }): MachineConfig {
  const guest = { kind: "guest" } as const;
  return completeConfig({
    ...draft,
    kernel: files.xen,
    initrd: null,
    append: draft.append ?? XEN.append,
    ramSizeBytes: draft.ramSizeBytes ?? XEN.ramSizeBytes,
    loaders: [
      { ...guest, file: draft.kernel ?? files.kernel, address: XEN.kernelAt, role: "kernel", bootargs: XEN.bootargs },
      { ...guest, file: draft.initrd ?? files.initrd, address: XEN.initrdAt, role: "ramdisk", bootargs: null },
      ...draft.loaders,
    ],
  });
}

/** A run that is to repeat has no network that it does not ask for. */
const repeats = ({ icount, record, replay }: Draft) => icount !== null || record !== null || replay !== null;

function linuxConfig(draft: Draft, files: { kernel: string; initrd: string }): MachineConfig {
  const connected = repeats(draft) ? null : withDefaultNic(draft);
  return completeConfig({
    ...(connected ?? draft),
    kernel: draft.kernel ?? files.kernel,
    initrd: draft.initrd ?? files.initrd,
    append: draft.append ?? `${LINUX.append}${connected === null ? "" : " ip=dhcp"}`,
    ramSizeBytes: draft.ramSizeBytes ?? LINUX.ramSizeBytes,
  });
}

function columns(rows: readonly (readonly [string, string])[], indent = "  "): string {
  const width = Math.min(34, Math.max(...rows.map(([left]) => left.length)));
  return rows.map(([left, right]) =>
    left.length > width
      ? `${indent}${left}\n${indent}${" ".repeat(width)}  ${right}`
      : `${indent}${left.padEnd(width)}  ${right}`
  ).join("\n");
}

const spelling = (option: Option<Draft>) =>
  option.names.map((name) => (name.length === 1 || name === option.names[0] ? `-${name}` : `--${name}`)).join(", ");

/** One row per option and sub-option: what to type, and what it does. */
function rows(option: Option<Draft>): [string, string][] {
  const head: [string, string] = [`${spelling(option)}${option.form === null ? "" : ` ${option.form}`}`, option.help];
  const fields = Object.entries(option.fields).filter(([name]) => name !== option.implied);
  const variants = (option.variants ?? []).flatMap((variant): [string, string][] => [
    [`  ${variant.names[0]}`, variant.help],
    ...Object.entries(variant.fields).map(([name, field]): [string, string] => [
      `    ${name}=${field.value.form}`,
      field.help,
    ]),
  ]);
  const subOptions = fields.map(([name, field]): [string, string] => [`  ${name}=${field.value.form}`, field.help]);
  return [head, ...subOptions, ...variants];
}

export function helpText(): string {
  return [
    "usage: deno task run [OPTIONS]                 run a machine; without an image, the built-in demo",
    "       deno task run linux [OPTIONS]           fetch Debian's arm64 kernel and boot it to a shell",
    "       deno task run xen [OPTIONS]             the same under Debian's Xen, as its first domain",
    "",
    "Options are QEMU's, with one or two dashes:",
    columns(OPTIONS.flatMap(rows)),
    "",
    "After linux and xen:",
    columns(LINUX_OPTIONS.flatMap(rows)),
    "",
    "On the terminal Ctrl-A x quits and Ctrl-A h helps.",
  ].join("\n");
}

/** The README's table of options. */
export function optionsMarkdown(): string {
  const cell = (words: string) => words.replaceAll("|", "\\|");
  const line = ([left, right]: [string, string]) => {
    const indent = "&emsp;".repeat((left.length - left.trimStart().length) / 2);
    return `| ${indent}\`${cell(left.trim())}\` | ${cell(right)} |`;
  };
  return ["| option | meaning |", "| --- | --- |", ...OPTIONS.flatMap(rows).map(line)].join("\n");
}
