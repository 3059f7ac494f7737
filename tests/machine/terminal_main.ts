// A program for the terminal's test: the daemon on this process's terminal, with the stand-in for the machine.

import { runMachine } from "../../src/machine/daemon.ts";
import { parseCommandLine } from "../../src/machine/options.ts";

const command = parseCommandLine(["-m", "16"]);
if (command.kind !== "run") throw new Error("no run");
const config = { ...command.config, demo: false, append: "greet" };
Deno.exit(await runMachine(config, { workerUrl: new URL("./fake_worker.ts", import.meta.url) }));
