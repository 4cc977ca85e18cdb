import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";

import { type Rejection, TelemetryClient, TelemetryClientError } from "../../src/client/client.ts";
import type { TelemetryClientOptions } from "../../src/client/client.ts";
import { countsOf } from "../support/batches.ts";
import { addTokens, deviceAuthenticator, signJwt } from "../support/device_auth.ts";
import { packet, startTestIngest, temporaryStore } from "../support/harness.ts";
import { until } from "../support/until.ts";

/** grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed. */
const test = (title: string, body: () => Promise<void>) =>
  Deno.test(title, { sanitizeOps: false, sanitizeResources: false }, body);

function open(
  { port }: { port: number },
  options: Partial<TelemetryClientOptions>,
): Promise<TelemetryClient> {
  return TelemetryClient.open({ target: `127.0.0.1:${port}`, minBackoffMs: 5, maxBackoffMs: 50, ...options });
}

test("TelemetryClient.token is sent with each call, and other devices' packets are rejected", async () => {
  await using store = await temporaryStore();
  const [issued] = await addTokens(store, ["sensor-1"]);
  await using ingest = await startTestIngest({
    store,
    authenticator: await deviceAuthenticator(store, "token"),
  });
  const rejections: Rejection[] = [];
  const client = await open(ingest, {
    token: issued!.token,
    onRejected: (rejection) => rejections.push(rejection),
  });
  await client.send(packet("sensor-1"));
  await client.send(packet("sensor-2"));
  assertEquals((await client.close()).stored, 1);
  assertEquals(rejections, [{ reason: "DEVICE_NOT_ALLOWED", packets: 1 }]);
});

test("TelemetryClient fails for good with a token that is wrong, and without one", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({
    store,
    authenticator: await deviceAuthenticator(store, "token"),
  });
  for (
    const options of [{}, { token: `tally_${"A".repeat(43)}` }, { token: () => `tally_${"A".repeat(43)}` }]
  ) {
    const client = await open(ingest, options);
    await client.send(packet());
    const error = await assertRejects(() => client.close(), TelemetryClientError);
    assertEquals(error.code, "UNAUTHENTICATED");
    assertStringIncludes(error.message, "credentials are missing or wrong");
  }
  assert(ingest.counters.authFailures.get("unknown")! <= 2, "a refused token is not sent again");
});

test("TelemetryClient goes on with the next token when one is revoked, and nothing is lost or doubled", async () => {
  await using store = await temporaryStore();
  const [first, second] = await addTokens(store, ["sensor-1", "sensor-1"]);
  await using ingest = await startTestIngest({
    store,
    authenticator: await deviceAuthenticator(store, "token"),
  });
  let token = first!.token, fails = true, ended = 0;
  const client = await open(ingest, {
    token: async () => {
      await Promise.resolve();
      if (fails) throw new Error("the vault is sealed");
      return token;
    },
    onDisconnected: (error) => {
      if (error.message.includes("the vault is sealed")) fails = false;
      else if (error.code === "UNAUTHENTICATED") ended++;
    },
  });
  for (let i = 0; i < 100; i++) await client.send(packet("sensor-1"));
  await client.flush();
  token = second!.token;
  await store.revokeTokens([first!.record.id]);
  await until(async () => {
    await client.send(packet("sensor-1"));
    return ended > 0;
  }, "the stream ends");
  for (let i = 0; i < 100; i++) await client.send(packet("sensor-1"));
  const { accepted, stored, settledUnknown } = await client.close();
  assertEquals([ended, stored + settledUnknown], [1, accepted]);
  assertEquals(await countsOf(store), { "sensor-1": accepted });
});

test("TelemetryClient renews a JWT that expires", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({
    store,
    authenticator: await deviceAuthenticator(store, "jwt"),
  });
  let signed = 0;
  // The issuer's clock may be off by five seconds.
  const client = await open(ingest, {
    token: () => signJwt("sensor-1", Date.now() - 4500 + 10_000 * signed++),
  });
  await client.send(packet("sensor-1"));
  await until(() => signed === 2, "the second JWT is used");
  await client.send(packet("sensor-1"));
  assertEquals((await client.close()).accepted, 2);
  assertEquals(await countsOf(store), { "sensor-1": 2 });
});

Deno.test("TelemetryClient.open() refuses a token that cannot be sent, and does not show it", async () => {
  for (const token of ["", "a b", "a\nb", "ä"]) {
    const error = await assertRejects(
      () => TelemetryClient.open({ target: "localhost:1", token }),
      TypeError,
    );
    assertStringIncludes(error.message, "Cannot use the token");
    if (token !== "") assert(!error.message.includes(`"${token}"`));
  }
});
