// Monitor commands that concern the host's side of devices. They run on the daemon's thread, where sockets are.

import { ERRNO, type MonitorCommand, Refusal } from "../../../gdbstub/target.ts";
import { BALLOON_PAGE_BYTES, POLL } from "../../../devices/virtio/balloon.ts";
import type { MachineConfig } from "../config.ts";
import type { Networks } from "../network.ts";
import type { Ports } from "../ports.ts";
import { virtioSlots } from "../virtio.ts";
import { NO_BALLOON, toMebibytes } from "./commands/balloon.ts";
import { NETWORK_COLUMNS } from "./commands/devices.ts";
import { tabulate } from "./commands/row.ts";
import type { Port } from "./port.ts";

/** A network device as the configuration has it. */
interface Nic {
  /** The transport it is in. */
  readonly device: string;
  /** What the user calls it; "" for nothing. */
  readonly id: string;
  readonly netdev: string;
}

const nicsOf = ({ virtio }: MachineConfig): Nic[] =>
  virtioSlots(virtio).flatMap((device, slot) =>
    device?.kind === "net" ? [{ device: `virtio-mmio.${slot}`, id: device.id, netdev: device.netdev }] : []
  );

const refuse = (text: string) => new Refusal(text, ERRNO.EINVAL);

/** The memory balloon. What it is told goes through the input gate, so that a log has it. */
function balloonCommands(config: MachineConfig, ports: Ports, port: Port): readonly MonitorCommand[] {
  const there = config.virtio.some(({ kind }) => kind === "balloon"), ramMiB = toMebibytes(config.ramSizeBytes);
  return [
    {
      name: "balloon",
      args: "MIB",
      help: "asks the guest to do with so much memory",
      run: (args) => {
        const wanted = /^\d{1,9}$/.test(args) ? Number(args) : 0;
        if (!there) return refuse(NO_BALLOON);
        if (wanted === 0) return refuse("balloon takes a number of mebibytes, one or more");
        if (config.replay !== null) return refuse("in a replay the log says what the balloon is told");
        const left = Math.min(wanted, ramMiB), pages = (config.ramSizeBytes - left * 2 ** 20) / BALLOON_PAGE_BYTES;
        if (!ports.tellBalloon(Math.max(0, pages))) return refuse("the machine has not heard what was asked before");
        return `the guest is asked to do with ${left} MiB`;
      },
    },
    {
      name: "info balloon",
      args: "",
      help: "how much memory the guest has, and what it said of it when it was last asked: it is asked again",
      run: (args, { place, space }) => {
        if (there && config.replay === null) ports.tellBalloon(POLL);
        return port.call("command", "info balloon", args, place, space);
      },
    },
  ];
}

export function hostCommands(
  config: MachineConfig,
  networks: Networks,
  ports: Ports,
  port: Port,
): readonly MonitorCommand[] {
  const nics = nicsOf(config);
  const find = (name: string) =>
    nics.find(({ id }) => id === name && id !== "") ??
      nics.find(({ device, netdev }) => device === name || netdev === name);
  return [
    ...balloonCommands(config, ports, port),
    {
      name: "info vsock",
      args: "",
      help: "sockets between the guest and this host",
      run: () => ports.vsockInfo().join("\n") || "there are none",
    },
    {
      name: "info network",
      args: "",
      help: "network devices, their other ends, and whether their links are up",
      run: async () => {
        if (nics.length === 0) return "there are no network devices";
        const rows = await port.call("table", "networks"), ends = networks.info();
        const named = rows.map((row) => {
          const { id, netdev } = nics.find(({ device }) => device === row[0])!;
          return [id === "" ? "-" : id, netdev, ...row];
        });
        const lines = ends.length > 0 ? ["", ...ends] : ["", "in a replay there are no other ends"];
        return [tabulate([["Id", "Netdev", ...NETWORK_COLUMNS], ...named]), ...lines].join("\n");
      },
    },
    {
      name: "set_link",
      args: "NIC on|off",
      help: "plugs a network device's cable in, or pulls it; NIC is its id, its netdev's, or its transport",
      run: (args) => {
        const [name = "", wish = "", ...rest] = args.split(/\s+/), nic = find(name);
        if (rest.length > 0 || (wish !== "on" && wish !== "off")) return refuse("set_link takes a name, and on or off");
        if (nic === undefined) return refuse(`there is no network device ${name}: info network`);
        if (config.replay !== null) return refuse("in a replay the log says when links change");
        networks.setLink(nic.netdev, wish === "on");
        return `${name} is told when the machine runs: the cable is ${wish === "on" ? "plugged in" : "pulled"}`;
      },
    },
  ];
}
