/**
 * Rules of alerts, incidents and their messages: apis on a real store, and a real receiver.
 *
 * @module
 */
import { assert, assertEquals, assertRejects } from "@std/assert";

import type { Store } from "../../src/store/store.ts";
import { unmeasuredHealth } from "../../src/store/store_clock.ts";
import { AlertReceiver } from "../support/alert_receiver.ts";
import { delta } from "../support/batches.ts";
import { temporaryStore } from "../support/harness.ts";
import { numberedIds, receive, reportIngest } from "../support/monitor.ts";
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

Deno.test("A rule takes no silence for certain in which packets of the device may wait to be counted", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  let countsLateMs = 30_000;
  const storeHealth = () => ({ ...unmeasuredHealth, countsLateMs });
  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...quick, ...clock.options, storeHealth });
  await call(api, "POST", "/rules", rule("Device", { kind: "offline", after_ms: 300_000 }));
  await call(api, "POST", "/rules", rule("Group", { kind: "group", after_ms: 300_000 }));
  await delaySteps(store);
  clock.pass(320_000);
  await delaySteps(store);
  assertEquals(await incidentsOf(api), []);
  countsLateMs = 0;
  clock.pass(30_000); // It is looked at again when it would have been certain.
  await until(async () => (await incidentsOf(api)).length === 2, "both fire");
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

Deno.test("A storm of 10,000 silent devices is one incident and one message, and one more when all are back", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const clock = new RunningClock();
  const ids = numberedIds(10_000);
  await receive(store, ids.map((id) => delta(id, 1)), clock.unixMs);
  const { webhook } = receiver.channels;
  await using api = await startTestApi(store, {
    ...{ ...quick, groupWaitMs: 500, updateAfterMs: 60_000, ...clock.options, webhook },
    publicUrl: "https://tally.example/fleet/",
  });
  await call(api, "POST", "/rules", rule("Silent", { kind: "offline", after_ms: 300_000 }));
  await delaySteps(store);
  clock.pass(299_500);
  await until(() => receiver.incidents.length === 1, "it fires");
  assertEquals(receiver.incidents, ["firing Silent 10000"]);
  const { data } = receiver.received.find(({ body }) => body.type === "incident.firing")!.body;
  assertEquals(data.title, "Critical: Silent: 10,000 devices");
  assertEquals(data.text.endsWith(" and 9,990 more"), true, data.text);
  const [{ id }] = (await call(api, "GET", "/incidents")).incidents;
  assertEquals(data.link, `https://tally.example/fleet/?view=alerts&incident=${id}`);
  assertEquals((await call(api, "GET", `/incidents/${id}`)).firing_devices.length, 10_000);
  await receive(store, ids.map((id) => delta(id, 1)), clock.unixMs);
  await until(() => receiver.incidents.length === 2, "it is resolved");
  assertEquals(receiver.incidents[1], "resolved Silent 10000");
  assertEquals((await call(api, "GET", "/incidents")).incidents.length, 1);
});

Deno.test("An outage of a group is one incident with its devices; one device that sends ends it, and tags choose the group", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const clock = new RunningClock();
  const { webhook } = receiver.channels;
  await addPackets(store, { a: 1, b: 1, other: 1 }, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...quick, ...clock.options, webhook });
  for (const id of ["a", "b"]) await call(api, "PATCH", `/devices/${id}`, { tags: { site: "oslo" } });
  await call(api, "POST", "/rules", rule("Oslo", { kind: "group", after_ms: 60_000 }, { tag: "site=oslo" }));
  await delaySteps(store);
  clock.pass(50_000);
  await addPackets(store, { b: 1 }, { receivedAtMs: clock.unixMs });
  await delaySteps(store);
  clock.pass(50_000);
  await addPackets(store, { other: 1 }, { receivedAtMs: clock.unixMs });
  await delaySteps(store);
  assertEquals(receiver.incidents, []);
  clock.pass(20_000);
  await until(() => receiver.incidents.length === 1, "it fires");
  assertEquals(await incidentsOf(api), ["Oslo firing 2/2 a,b"]);
  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
  await until(() => receiver.incidents.length === 2, "it ends");
  assertEquals(receiver.incidents, ["firing Oslo 2", "resolved Oslo 2"]);
});

Deno.test("A device that gets a tag is covered from then on, and ceases to be when it loses the tag", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...quick, ...clock.options });
  await call(
    api,
    "POST",
    "/rules",
    rule("Oslo", { kind: "offline", after_ms: 60_000 }, { tag: "site=oslo" }),
  );
  await delaySteps(store);
  clock.pass(70_000);
  await delaySteps(store);
  assertEquals(await incidentsOf(api), []);
  await call(api, "PATCH", "/devices/a", { tags: { site: "oslo" } });
  await until(async () => (await incidentsOf(api))[0] === "Oslo firing 1/1 a", "it fires");
  await call(api, "PATCH", "/devices/a", { tags: { site: "bergen" } });
  clock.pass(2_000);
  await until(async () => (await incidentsOf(api))[0] === "Oslo resolved 0/1 a", "it ends");
});

Deno.test("A mute holds messages back, not incidents: what is still open afterwards has its message then", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const clock = new RunningClock();
  const { webhook } = receiver.channels;
  await addPackets(store, { a: 1, b: 1 }, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...quick, ...clock.options, webhook });
  const { id } = await call(api, "POST", "/rules", rule("Silent", { kind: "offline", after_ms: 60_000 }));
  const mute = await call(api, "POST", "/mutes", {
    ...{ rule_id: id, devices: "*", tag: null, comment: "works", repeat: "none" },
    ...{ from_ms: null, for_ms: 120_000 },
  });
  assertEquals(mute.active, true);
  clock.pass(70_000);
  await until(async () => (await incidentsOf(api)).length === 1, "there is an incident");
  await delaySteps(store);
  assertEquals(receiver.incidents, []);
  clock.pass(60_000);
  await until(() => receiver.incidents.length === 1, "the mute is over");
  assertEquals(receiver.incidents, ["firing Silent 2"]);
  assertEquals((await call(api, "GET", "/mutes")).mutes, []);
});

Deno.test("An acknowledged incident has no updates, shows by whom, and is resolved by a message", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const clock = new RunningClock();
  const { webhook } = receiver.channels;
  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs - 10_000 });
  await addPackets(store, { b: 1, c: 1 }, { receivedAtMs: clock.unixMs });
  await using api = await startTestApi(store, { ...quick, ...clock.options, webhook });
  await call(api, "POST", "/rules", rule("Silent", { kind: "offline", after_ms: 60_000 }));
  await delaySteps(store);
  clock.pass(55_000);
  await until(() => receiver.incidents.length === 1, "it fires");
  const [{ id }] = (await call(api, "GET", "/incidents")).incidents;
  const acknowledged = await call(api, "POST", `/incidents/${id}/acknowledge`, { note: "on my way" });
  assertEquals([acknowledged.acknowledged.by, acknowledged.acknowledged.note], ["anonymous", "on my way"]);
  await delaySteps(store);
  clock.pass(10_000);
  await until(async () => (await incidentsOf(api))[0] === "Silent firing 3/3 a,b,c", "others join");
  await delaySteps(store);
  assertEquals(receiver.incidents, ["firing Silent 1"]);
  await addPackets(store, { a: 1, b: 1, c: 1 }, { receivedAtMs: clock.unixMs });
  await until(() => receiver.incidents.length === 2, "it is resolved");
});

Deno.test("Rules are exported by GET /rules and imported by POST /rules/import; a change of an older version is refused", async () => {
  await using store = await temporaryStore();
  await using other = await temporaryStore();
  await using api = await startTestApi(store, quick);
  await using second = await startTestApi(other, quick);
  const added = await call(
    api,
    "POST",
    "/rules",
    rule("One", { kind: "rate", below: 1, hysteresis: 0, for_ms: 0 }),
  );
  await call(api, "POST", "/rules", rule("Two", { kind: "rejected", above: 3, for_ms: 1_000 }));
  const exported = await call(api, "GET", "/rules");
  assertEquals(await call(second, "POST", "/rules/import", exported), { imported: 2 });
  assertEquals((await call(second, "GET", "/rules")).rules, exported.rules);
  const { id, firing: _firing, pending: _pending, summary, ...change } = added;
  assertEquals(summary, "packets per second below 1");
  const changed = await call(api, "PUT", `/rules/${id}`, { ...change, name: "Changed" });
  assertEquals([changed.name, changed.version], ["Changed", 2]);
  await assertRejects(() => call(api, "PUT", `/rules/${id}`, { ...change, name: "Late" }), Error, "409");
  await call(api, "DELETE", `/rules/${id}`);
  await assertRejects(() => call(api, "DELETE", `/rules/${id}`), Error, "404");
});

Deno.test("POST /rules takes a name and a condition alone, and POST /mutes a time alone: the rest has defaults", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, quick);
  const condition = { kind: "value", value: "temperature", above: 40 };
  const added = await call(api, "POST", "/rules", { name: "Hot", condition });
  const { id, version: _version, summary: _summary, firing: _firing, pending: _pending, ...stored } = added;
  assertEquals(stored, {
    ...{ name: "Hot", enabled: true, severity: "warning", devices: "*", tag: null, channels: null },
    condition: { ...condition, hysteresis: 0, for_ms: 0 },
  });
  await call(api, "POST", "/rules/import", { rules: [{ id: "hot", name: "Hot", condition }] });
  const { rules } = await call(api, "GET", "/rules");
  assertEquals(rules.map((rule: Json) => rule.id).sort(), [id, "hot"].sort());
  const mute = await call(api, "POST", "/mutes", { for_ms: 60_000 });
  assertEquals(
    [mute.rule_id, mute.devices, mute.tag, mute.comment, mute.repeat, mute.active],
    [null, "*", null, "", "none", true],
  );
});

Deno.test("POST /rules refuses what is no rule, and states what it expected", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, quick);
  const offline = { kind: "offline", after_ms: 60_000 };
  const range = { hysteresis: 0, for_ms: 0 };
  const wrong: readonly [body: unknown, expected: string][] = [
    [rule("", offline), "name"],
    [rule("x".repeat(101), offline), "name"],
    [rule("a\nb", offline), "name"],
    [rule("a", offline, { devices: "" }), "devices"],
    [rule("a", offline, { devices: "*".repeat(129) }), "devices"],
    [rule("a", offline, { tag: "site" }), "tag"],
    [rule("a", offline, { channels: ["pager"] }), "channels"],
    [rule("a", offline, { severity: "fatal" }), "severity"],
    [rule("a", offline, { more: 1 }), "more"],
    [rule("a", { kind: "offline" }), "after_ms or intervals"],
    [rule("a", { ...offline, intervals: 3 }), "after_ms or intervals"],
    [rule("a", { kind: "offline", after_ms: 1 }), "after_ms"],
    [rule("a", { kind: "offline", after_ms: 1e15 }), "after_ms"],
    [rule("a", { kind: "value", value: "t", ...range }), "above, or below"],
    [rule("a", { kind: "value", value: "t", above: 1, below: 2, ...range }), "below is the lower"],
    [rule("a", { kind: "value", value: "", above: 1, ...range }), "value"],
    [rule("a", { kind: "value", value: "t", above: 1, hysteresis: -1, for_ms: 0 }), "hysteresis"],
    [rule("a", { kind: "rate", above: "1", ...range }), "above"],
    [rule("a", { kind: "else" }), "kind"],
    [{ rules: [] }, "name"],
    [[], "Cannot use the body: found 0 values; expected a JSON object"],
    [null, "Cannot use the body: found null; expected a JSON object"],
  ];
  for (const [body, expected] of wrong) {
    const error = await call(api, "POST", "/rules", body).then(() => undefined, (error: Error) => error);
    assert(error !== undefined, JSON.stringify(body));
    assert(error.message.includes("400") && error.message.includes(expected), error.message);
  }
  assertEquals((await call(api, "GET", "/rules")).rules, []);
});

Deno.test("A value above its bound for a time fires with the value, and ends below the bound less the hysteresis", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const clock = new RunningClock();
  const { webhook } = receiver.channels;
  const measure = (celsius: number) => addValues(store, "green-1", { temperature: celsius }, clock.unixMs);
  await measure(20);
  await using api = await startTestApi(store, { ...quick, ...clock.options, webhook });
  const condition = { kind: "value", value: "temperature", above: 40, hysteresis: 5, for_ms: 60_000 };
  await call(api, "POST", "/rules", rule("Hot", condition, { devices: "green-*" }));
  const pending = async () => (await call(api, "GET", "/rules")).rules[0].pending;
  await measure(41);
  await until(
    async () => {
      clock.pass(50); // What is pending is written every five seconds.
      return await pending() === 1;
    },
    "it is pending",
    20,
  );
  await measure(39.5);
  await until(
    async () => {
      clock.pass(1_000);
      return await pending() === 0;
    },
    "it is not any more",
    20,
  );
  await measure(42.5);
  await until(
    async () => {
      clock.pass(1_000);
      return await pending() === 1;
    },
    "it is pending again",
    20,
  );
  assertEquals(await incidentsOf(api), []);
  clock.pass(60_000);
  await until(() => receiver.incidents.length === 1, "it fires");
  const { data } = receiver.received.find(({ body }) => body.type === "incident.firing")!.body;
  assertEquals([data.title, data.incident.value], ["Critical: Hot: green-1", 42.5]);
  assertEquals(data.text, "temperature above 40 for 1 min (42.5): green-1");
  await measure(36);
  await delaySteps(store);
  clock.pass(2_000);
  await delaySteps(store);
  assertEquals(receiver.incidents, ["firing Hot 1"]);
  await measure(34.9);
  await until(() => receiver.incidents.length === 2, "it ends");
});

Deno.test("A pending state survives the api: the next one counts from when it began", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await addValues(store, "a", { t: 50 }, clock.unixMs);
  const condition = { kind: "value", value: "t", above: 40, hysteresis: 0, for_ms: 600_000 };
  {
    await using api = await startTestApi(store, { ...quick, ...clock.options });
    await call(api, "POST", "/rules", rule("Hot", condition));
    await until(
      async () => {
        clock.pass(1_000);
        return (await call(api, "GET", "/rules")).rules[0].pending === 1;
      },
      "it is pending",
      20,
    );
  }
  clock.pass(590_000);
  await using api = await startTestApi(store, { ...quick, ...clock.options });
  await delaySteps(store);
  clock.pass(15_000);
  await until(async () => (await incidentsOf(api))[0] === "Hot firing 1/1 a", "it fires");
});

Deno.test("A channel that fails gets each message once it works again, in order, and holds no other channel back", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const clock = new RunningClock();
  const { webhook, slackUrl, ntfyUrl } = receiver.channels;
  await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
  let isDown = true;
  receiver.answer = ({ path }) => new Response(null, { status: path === "/slack" && isDown ? 503 : 200 });
  const options = { ...quick, ...clock.options, webhook, slackUrl };
  {
    await using api = await startTestApi(store, {
      ...options,
      ntfyUrl: ntfyUrl.replace("://", "://:secret@"),
    });
    await call(api, "POST", "/rules", rule("Silent", { kind: "offline", after_ms: 60_000 }));
    await delaySteps(store);
    clock.pass(70_000);
    await until(() => receiver.incidents.length === 1, "the webhook has it");
    await addPackets(store, { a: 1 }, { receivedAtMs: clock.unixMs });
    await until(() => receiver.incidents.length === 2, "and that it is resolved");
    await until(() => receiver.received.filter(({ path }) => path === "/").length === 2, "ntfy has both");
    await until(
      () => receiver.received.filter(({ path }) => path === "/slack").length > 3,
      "Slack was tried",
    );
  }
  const ntfy = receiver.received.filter(({ path }) => path === "/");
  assertEquals(ntfy.map(({ body }) => [body.topic, body.title, body.priority]), [
    ["topic", "Critical: Silent: a", 5],
    ["topic", "Resolved: Silent: a", 3],
  ]);
  assertEquals(ntfy[0]!.headers.get("authorization"), `Basic ${btoa(":secret")}`);
  isDown = false;
  const tried = receiver.received.length;
  // The next api delivers what this one could not, and nothing again.
  await using _next = await startTestApi(store, options);
  await until(() => receiver.received.length >= tried + 2, "Slack has both");
  await delaySteps(store);
  assertEquals(
    receiver.received.slice(tried).map(({ path, body }) => `${path} ${body.text?.split("\n")[0]}`),
    [
      "/slack *Critical: Silent: a*",
      "/slack *Resolved: Silent: a*",
    ],
  );
});

Deno.test("Packets that ingests reject fire a rule of no device", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const { webhook } = receiver.channels;
  let rejected = 5;
  const report = await reportOf(store);
  const counting = {
    ...store,
    instances: () => Promise.resolve([{ ...report, rejected: { ...report.rejected, BAD: rejected } }]),
  };
  await using api = await startTestApi(counting as never, { ...quick, webhook });
  await call(api, "POST", "/rules", rule("Rejected", { kind: "rejected", above: 10, for_ms: 0 }));
  await delaySteps(counting);
  assertEquals(receiver.incidents, []);
  rejected = 16;
  await until(() => receiver.incidents.length === 1, "it fires");
  assertEquals(receiver.incidents, ["firing Rejected 0"]);
  const { data } = receiver.received[0]!.body;
  assertEquals([data.incident.value, data.title], [11, "Critical: Rejected"]);
});

/** The report of an ingest. */
async function reportOf(store: Store) {
  await reportIngest(store);
  return (await store.instances(Date.now()))[0]!;
}

/** Stores a packet with these values, and waits until they can be read. */
async function addValues(
  store: Store,
  deviceId: string,
  values: unknown,
  receivedAtMs: number,
): Promise<void> {
  const payload = new TextEncoder().encode(JSON.stringify(values));
  await addPackets(store, { [deviceId]: 1 }, { receivedAtMs, payload });
  await until(async () => {
    await store.ping();
    return (await store.waitingSamples()).bytes === 0;
  }, "no sample waits");
}
