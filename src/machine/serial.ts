// The host's end of the serial port: from `-serial` to a character backend.

import { type CharacterBackend, FileBackend, NullBackend } from "../../devices/host/character.ts";
import { SocketClient, SocketServer } from "../../devices/host/socket.ts";
import type { SerialConfig } from "./config.ts";
import { Terminal } from "./terminal.ts";

export interface SerialHooks {
  /** Ctrl-A x was typed. */
  readonly quit: () => void;
  /** A line for the user, e.g. where a server listens. */
  readonly notice: (line: string) => void;
}

/** Opens the backend; a server with `wait` resolves when its first client is there. */
export async function openSerial(config: SerialConfig, hooks: SerialHooks): Promise<CharacterBackend> {
  switch (config.kind) {
    case "null":
      return new NullBackend();
    case "stdio":
      return new Terminal(hooks.quit);
    case "file":
      return await FileBackend.open(config.path);
    case "tcp":
    case "unix": {
      if (!config.server) return await SocketClient.connect(config);
      const server = SocketServer.listen(config);
      hooks.notice(`serial port on ${server.name}${config.wait ? ": waiting for a client" : ""}`);
      if (config.wait) await server.accept();
      return server;
    }
  }
}
