/**
 * Ports for servers that tests start.
 *
 * @module
 */

/** Ports below those that Linux gives to whoever asks for any: a server that is killed gets its port back. */
const FIRST_PORT = 10_000, LAST_PORT = 32_000;

/** A node of a cluster talks to others on the port that is so far above its own. */
const BUS_PORT_ABOVE = 10_000;

/** A port that was free a moment ago. */
export function freePort(lastPort = LAST_PORT): number {
  for (;;) {
    const port = FIRST_PORT + Math.floor(Math.random() * (lastPort - FIRST_PORT));
    if (isFree(port)) return port;
  }
}

/** One for a node of a cluster, whose second port is free too. */
export function freeNodePort(): number {
  for (;;) {
    const port = freePort(LAST_PORT - BUS_PORT_ABOVE);
    if (isFree(port + BUS_PORT_ABOVE)) return port;
  }
}

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.AddrInUse) return false;
    throw error;
  }
}
