import { assertEquals, assertRejects } from "@std/assert";

import { TelemetryClient, TelemetryClientError } from "../../src/client/client.ts";
import { Certificates } from "../support/certificates.ts";
import { packet } from "../support/harness.ts";
import { startTlsIngest } from "../support/tls_ingest.ts";
import { until } from "../support/until.ts";

/** grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed. */
const test = (title: string, body: () => Promise<void>) =>
  Deno.test(title, { sanitizeOps: false, sanitizeResources: false }, body);

test("TelemetryClient.tls verifies a name and an IP address by the certificate's names", async () => {
  await using certificates = await Certificates.make();
  await using tally = await startTlsIngest(certificates);
  const tls = { ca: certificates.text("ca.pem") };
  for (const host of ["localhost", "127.0.0.1"]) {
    const client = await TelemetryClient.open({ target: `${host}:${tally.ingest.port}`, tls });
    await client.send(packet());
    assertEquals((await client.close()).stored, 1, host);
  }
});

test("TelemetryClient.tls does not send to an IP address, or a name, that is not in the certificate", async () => {
  await using certificates = await Certificates.make();
  await certificates.issue("server", { names: "DNS:tally.example,IP:10.0.0.1" });
  await using tally = await startTlsIngest(certificates);
  const tls = { ca: certificates.text("ca.pem") };
  for (const host of ["localhost", "127.0.0.1"]) {
    let message = "";
    const client = await TelemetryClient.open({
      target: `${host}:${tally.ingest.port}`,
      tls,
      onDisconnected: (error) => message = error.message,
    });
    await client.send(packet());
    await until(() => message.includes("altnames"), "the connection is refused for its names");
    await client.abort();
    await assertRejects(() => client.close(), TelemetryClientError);
  }
  assertEquals(tally.ingest.counters.received, 0);
});
