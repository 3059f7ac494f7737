// A program for the terminal's test: the daemon on this process's terminal, with the stand-in for the machine. The
// first argument is a file for its process id, the others are options.

import { runMachine } from "../../src/machine/daemon.ts";
import { parseCommandLine } from "../../src/machine/options.ts";

const [pidFile, ...options] = Deno.args;
await Deno.writeTextFile(pidFile!, String(Deno.pid));
const command = parseCommandLine(["-m", "16", ...options]);
if (command.kind !== "run") throw new Error("no run");
const config = { ...command.config, demo: false, append: "greet" };
Deno.exit(await runMachine(config, { workerUrl: new URL("./fake_worker.ts", import.meta.url) }));
