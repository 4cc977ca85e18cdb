/**
 * Rules of alerts, incidents and their messages: apis on a real store, and a real receiver.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { AlertReceiver } from "../support/alert_receiver.ts";
import { temporaryStore } from "../support/harness.ts";
import { addPackets, RunningClock, startTestApi, type TestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

/** As in production, but quicker. */
const quick = { watchIntervalMs: 20, groupWaitMs: 0, updateAfterMs: 0, webhookRetryMs: 20 };

// deno-lint-ignore no-explicit-any
type Json = any;

async function call(api: TestApi, method: string, path: string, body?: unknown): Promise<Json> {
  const response = await fetch(api.url + path, {
    method,
    ...body === undefined
      ? {}
      : { body: JSON.stringify(body), headers: { "content-type": "application/json" } },
  });
  const json = response.status === 204 ? undefined : await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${json.error}`);
  return json;
}

const rule = (name: string, condition: Json, more: Json = {}) => ({
  ...{ name, enabled: true, severity: "critical", devices: "*", tag: null, channels: null, condition },
  ...more,
});

const incidentsOf = async (api: TestApi): Promise<string[]> => {
  const { incidents } = await call(api, "GET", "/incidents");
  return incidents.map((i: Json) => `${i.rule_name} ${i.state} ${i.firing}/${i.devices} ${i.first}`);
};

Deno.test("A rule fires when a device is offline, and is resolved when it comes back: one incident, two messages", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await addPackets(store, { "green-1": 1, "blue-1": 1 }, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...quick, ...clock.options, ...receiver.channels });
  const added = await call(
    api,
    "POST",
    "/rules",
    rule("Green", { kind: "offline", after_ms: 300_000 }, {
      devices: "green-*",
    }),
  );
  assertEquals([added.version, added.firing, added.pending], [1, 0, 0]);
  await delaySteps(store);
  clock.pass(290_000);
  await delaySteps(store);
  assertEquals(await incidentsOf(api), []);
  clock.pass(20_000);
  await until(() => receiver.incidents.length === 1, "it fires");
  assertEquals(receiver.incidents, ["firing Green 1"]);
  assertEquals(await incidentsOf(api), ["Green firing 1/1 green-1"]);
  await addPackets(store, { "green-1": 1 }, { receivedAtMs: clock.unixMs });
  await until(() => receiver.incidents.length === 2, "it is resolved");
  assertEquals(receiver.incidents, ["firing Green 1", "resolved Green 1"]);
  assertEquals(await incidentsOf(api), ["Green resolved 0/1 green-1"]);
  await until(() => receiver.received.filter(({ path }) => path === "/slack").length === 2, "Slack has both");
  assertEquals(
    receiver.received.filter(({ path }) => path === "/slack").map(({ body }) => body.text.split("\n")[0]),
    ["*Critical: Green: green-1*", "*Resolved: Green: green-1*"],
  );
  assert(receiver.received.some(({ path }) => path === "/am/api/v2/alerts"));
});

/** Waits until rules were evaluated several times more. */
async function delaySteps(store: { instances: (nowMs: number) => Promise<unknown> }): Promise<void> {
  const { instances } = store;
  let looks = 0;
  store.instances = (nowMs) => {
    looks++;
    return instances.call(store, nowMs);
  };
  await until(() => looks > 8, "rules are evaluated");
  store.instances = instances;
}
