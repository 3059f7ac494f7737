// The command: `deno task run …`. Everything it does is in src/machine.

import { errorLine, EXIT_BAD_INPUT, HostError } from "./src/base/errors.ts";
import { runMachine } from "./src/machine/daemon.ts";
import { fetchLinux } from "./src/machine/fetch_linux.ts";
import { type Command, fetchedConfig, parseCommandLine } from "./src/machine/options.ts";

async function perform(command: Command): Promise<number> {
  switch (command.kind) {
    case "show":
      console.log(command.text);
      return 0;
    case "run":
      return await runMachine(command.config);
    case "linux":
    case "xen": {
      const { kind, draft } = command, { fetchOnly, kernel, initrd, generic } = draft;
      // With both files given, nothing of Debian's is needed for Linux alone.
      const own = kind === "linux" && kernel !== null && initrd !== null;
      const files = own ? { kernel, initrd, xen: "" } : await fetchLinux(generic ? "generic" : "cloud");
      if (fetchOnly) {
        console.log(`${files.kernel}\n${files.initrd}${kind === "xen" ? `\n${files.xen}` : ""}`);
        return 0;
      }
      return await runMachine(fetchedConfig(kind, draft, files));
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
