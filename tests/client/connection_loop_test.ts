import { assertEquals } from "@std/assert";

import { resolveOptions } from "../../src/client/client_options.ts";
import { ConnectionLoop } from "../../src/client/connection_loop.ts";

/** A port on which nothing listens. */
function closedPort(): number {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  return listener.addr.port;
}

Deno.test({
  name:
    "ConnectionLoop waits longer after each failed attempt, up to a maximum, and starts again after a success",
  // grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed.
  sanitizeOps: false,
  sanitizeResources: false,
  async fn() {
    const waits: number[] = [];
    const done = Promise.withResolvers<void>();
    const options = resolveOptions({
      target: `127.0.0.1:${closedPort()}`,
      minBackoffMs: 4,
      maxBackoffMs: 20,
      onDisconnected: (_error, retryInMs) => {
        waits.push(retryInMs);
        if (waits.length === 5) loop.succeeded();
        if (waits.length === 7) done.resolve();
      },
    });
    const loop = new ConnectionLoop(options, "s", false, {
      nextStart: () => ({ offset: 0, oldest: undefined, claim: undefined }),
      awaitsAck: () => false,
      opened: () => {},
      acked: () => {},
      writable: () => {},
      ended: () => {},
      failed: () => {},
      finished: () => {},
    }, () => 0.25);
    loop.connect();
    await done.promise;
    loop.close();
    assertEquals(waits, [3, 6, 12, 15, 15, 3, 6]);
  },
});
