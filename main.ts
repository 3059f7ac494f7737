// The command: `deno task run …`. Everything it does is in src/machine.

import { errorLine, EXIT_BAD_INPUT, HostError } from "./src/base/errors.ts";
import { runMachine } from "./src/machine/daemon.ts";
import { fetchLinux } from "./src/machine/fetch_linux.ts";
import { type Command, linuxConfig, parseCommandLine } from "./src/machine/options.ts";

async function perform(command: Command): Promise<number> {
  switch (command.kind) {
    case "show":
      console.log(command.text);
      return 0;
    case "run":
      return await runMachine(command.config);
    case "linux": {
      const { fetchOnly, kernel, initrd } = command.draft;
      const files = kernel !== null && initrd !== null ? { kernel, initrd } : await fetchLinux();
      if (fetchOnly) {
        console.log(`${files.kernel}\n${files.initrd}`);
        return 0;
      }
      return await runMachine(linuxConfig(command.draft, files));
    }
  }
}

let code: number;
try {
  code = await perform(parseCommandLine(Deno.args));
} catch (error) {
  console.error(errorLine(error));
  code = error instanceof HostError ? EXIT_BAD_INPUT : 1;
}
// A read of standard input may still be pending; it must not keep the process.
Deno.exit(code);
