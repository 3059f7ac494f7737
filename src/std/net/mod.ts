// Our own subset of @std/net, written from its public documentation, for networks where JSR cannot be reached.

/** Options for {@linkcode getAvailablePort}. */
export interface GetAvailablePortOptions {
  /** Tried first; another port is found if it is taken. */
  preferredPort?: number;
}

/** A TCP port that is free now. */
export function getAvailablePort(options: GetAvailablePortOptions = {}): number {
  const wanted = options.preferredPort;
  for (const port of wanted ? [wanted, 0] : [0]) {
    try {
      using listener = Deno.listen({ port });
      return listener.addr.port;
    } catch (error) {
      if (port === 0 || !(error instanceof Deno.errors.AddrInUse)) throw error;
    }
  }
  throw new Error("unreachable");
}
