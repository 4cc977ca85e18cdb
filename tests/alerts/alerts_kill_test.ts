/**
 * Rules with several api processes, of which the one that evaluates is killed or paused: real processes, a real Redis,
 * and a real receiver.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

import { AlertReceiver } from "../support/alert_receiver.ts";
import { reportIngest } from "../support/monitor.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { TallyProcess } from "../support/tally_process.ts";
import { addPackets } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const OWNER = "tally:{device_metrics}:alerts:owner";

for (const fault of ["killed with kill -9", "paused until another has taken over, and continued"]) {
  Deno.test(`Two apis: a rule fires and is resolved once, while the api that evaluates is ${fault}`, async () => {
    await using server = await startRedis();
    await using receiver = new AlertReceiver();
    const store = await openStore(server);
    const settings = {
      REDIS_URL: server.url,
      TALLY_ALERT_WEBHOOK_URL: `${receiver.url}/hook`,
      TALLY_ALERT_WEBHOOK_SECRET: `whsec_${Buffer.from(receiver.secret).toString("base64")}`,
      TALLY_OFFLINE_AFTER: "24h",
    };
    // Only while an ingest reports does silence count.
    const reporting = setInterval(() => void reportIngest(store).catch(() => {}), 1_000);
    const apis = [await TallyProcess.start("api", settings)];
    const [first] = apis as [TallyProcess];
    try {
      await addPackets(store, { a: 1, b: 1 });
      const response = await fetch(`http://127.0.0.1:${first.port}/rules`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify({
          ...{ name: "Silent", enabled: true, severity: "critical", devices: "*", tag: null, channels: null },
          condition: { kind: "offline", after_ms: 2_000 },
        }),
      });
      assertEquals((await response.json()).version, 1);
      await until(() => receiver.incidents.length === 1, "it fires", 30);
      const second = await TallyProcess.start("api", settings);
      apis.push(second);
      const incidents = async (): Promise<string[]> => {
        const list = await (await fetch(`http://127.0.0.1:${second.port}/incidents`)).json();
        return list.incidents.map(({ id, state, firing }: Record<string, unknown>) =>
          `${id} ${state} ${firing}`
        );
      };
      assertEquals(await incidents(), ["1 firing 2"]);

      const owner = await server.call("GET", OWNER);
      first.kill(fault.startsWith("killed") ? "SIGKILL" : "SIGSTOP");
      await until(
        async () => {
          const found = await server.call("GET", OWNER);
          return found !== null && found !== owner;
        },
        "the other takes over",
        30,
      );
      // Its next write is refused.
      first.kill("SIGCONT");
      assertEquals(await incidents(), ["1 firing 2"]);
      await until(
        async () => {
          await addPackets(store, { a: 1 });
          return (await incidents())[0] === "1 firing 1";
        },
        "one is back",
        20,
      );
      await until(
        async () => {
          await addPackets(store, { a: 1, b: 1 });
          return receiver.incidents.length > 1;
        },
        "it is resolved",
        20,
      );
      assertEquals(receiver.incidents, ["firing Silent 2", "resolved Silent 2"]);
      assertEquals(await incidents(), ["1 resolved 0"]);
      const sent = receiver.received.filter(({ body }) => body.type.startsWith("incident."));
      assertEquals(sent.length, 2, "each was sent once, not only counted once");
    } finally {
      clearInterval(reporting);
      for (const api of apis) api.kill("SIGKILL");
      await Promise.all(apis.map(({ ended }) => ended));
      await store.close();
    }
  });
}
