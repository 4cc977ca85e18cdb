/**
 * Names, tags and notes over HTTP, on real stores: set, imported, listed, filtered, and removed with their device.
 *
 * @module
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

import { LABELS_MAX_AGE_MS } from "../../src/fleet/label_reader.ts";
import type { Store } from "../../src/store/store.ts";
import { temporaryStore } from "../support/harness.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { until } from "../support/until.ts";
import { addPackets, RunningClock, startTestApi, type TestApi } from "../support/test_api.ts";

/** What a test looks at of a response. */
// deno-lint-ignore no-explicit-any -- each test states what it expects
type Body = any;

async function call(api: TestApi, method: string, path: string, body?: unknown, status = 200): Promise<Body> {
  const isText = typeof body === "string";
  const response = await fetch(api.url + path, {
    method,
    ...body === undefined ? {} : {
      body: isText ? body : JSON.stringify(body),
      headers: { "Content-Type": isText ? "text/csv" : "application/json" },
    },
  });
  const text = await response.text();
  assertEquals(response.status, status, `${method} ${path}: ${text}`);
  return text === "" ? undefined : JSON.parse(text);
}

const get = (api: TestApi, path: string, status = 200) => call(api, "GET", path, undefined, status);
const patch = (api: TestApi, id: string, body: unknown, status = 200) =>
  call(api, "PATCH", `/devices/${encodeURIComponent(id)}`, body, status);

async function idsOf(api: TestApi, query: string): Promise<string[]> {
  const { devices } = await get(api, `/devices?${query}`);
  return devices.map(({ device_id }: Body) => device_id);
}

Deno.test("PATCH /devices/{id} changes what is given, and GET shows it, also of another api within a second", async () => {
  await using server = await startRedis();
  const store = await openStore(server);
  try {
    const clock = new RunningClock();
    await using api = await startTestApi(store, clock.options);
    await using other = await startTestApi(store, clock.options);
    await addPackets(store, { "sensor 1": 3, b: 1 });
    assertEquals((await get(other, "/devices/b")).tags, {});
    const hostile = '<img src=x onerror="alert(1)"> \u202eö\u{1f321}';
    const labels = { name: hostile, tags: { site: "oslo", constructor: "a=b&c" }, notes: "one\ntwo" };
    assertEquals(await patch(api, "sensor 1", labels), { device_id: "sensor 1", ...labels, seen: true });
    const shown = await get(api, "/devices/sensor%201");
    assertEquals([shown.name, shown.tags, shown.notes], [labels.name, labels.tags, labels.notes]);
    clock.pass(LABELS_MAX_AGE_MS + 300);
    const { devices } = await get(other, "/devices?search=SENSOR");
    assertEquals([devices[0].name, devices[0].tags, "notes" in devices[0]], [
      labels.name,
      labels.tags,
      false,
    ]);
    const changed = await patch(other, "sensor 1", { tags: { site: null, model: "x2" }, name: null });
    assertEquals(changed.tags, { constructor: "a=b&c", model: "x2" });
    assertEquals([changed.name, changed.notes], [null, "one\ntwo"]);
    const byQuery = await call(api, "PATCH", "/devices/by-id?id=..", { name: "dots" });
    assertEquals([byQuery.device_id, byQuery.name, byQuery.seen], ["..", "dots", false]);
  } finally {
    await store.close();
  }
});

Deno.test("PATCH /devices/{id} of a device before its first packet: it has the labels when it comes, until it is deleted", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await using api = await startTestApi(store, clock.options);
  assertEquals((await patch(api, "new", { name: "N", tags: { site: "oslo" } })).seen, false);
  await get(api, "/devices/new", 404);
  assertEquals((await get(api, "/tags")).keys, [], "figures are of devices that were seen");
  await addPackets(store, { new: 1 });
  clock.pass(LABELS_MAX_AGE_MS + 300);
  assertEquals((await get(api, "/devices/new")).name, "N");
  await call(api, "DELETE", "/devices/new", undefined, 204);
  await addPackets(store, { new: 1 });
  clock.pass(LABELS_MAX_AGE_MS + 300);
  assertEquals((await get(api, "/devices/new")).name, null);
  await patch(api, "never", { notes: "n" });
  await call(api, "DELETE", "/devices/never", undefined, 204);
  await call(api, "DELETE", "/devices/never", undefined, 404);
});

Deno.test("PATCH /devices/{id} refuses what no label may be, and states what it may be", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  const cases: [body: unknown, part: string][] = [
    [{ name: "x".repeat(129) }, "128 bytes"],
    [{ name: "ö".repeat(65) }, "128 bytes"],
    [{ name: "a\nb" }, "control characters"],
    [{ name: 7 }, "expected a text"],
    [{ name: "\ud800" }, "UTF-8"],
    [{ notes: "x".repeat(2_001) }, "2000 bytes"],
    [{ notes: "\u0000" }, "control characters"],
    [{ tags: [] }, "expected an object"],
    [{ tags: "site=oslo" }, "expected an object"],
    [{ tags: { "": "x" } }, "expected a key"],
    [{ tags: { "1site": "x" } }, "expected a key"],
    [{ tags: { ["k".repeat(33)]: "x" } }, "expected a key"],
    [{ tags: { "a b": "x" } }, "expected a key"],
    [{ tags: JSON.parse('{"__proto__": "x"}') }, "expected a key"],
    [{ tags: { site: "x".repeat(65) } }, "64 bytes"],
    [{ tags: { site: "\u0007" } }, "control characters"],
    [{ tags: { site: { a: 1 } } }, "expected a value"],
    [{ tags: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [`k${i}`, "x"])) }, "16 tags"],
    [{ nam: "x" }, "expected an object with name, tags or notes"],
    [[], "expected an object with name, tags or notes"],
  ];
  for (const [body, part] of cases) {
    const { detail } = await patch(api, "a", body, 400);
    assertStringIncludes(detail, part, JSON.stringify(body));
  }
  const many = Object.fromEntries(Array.from({ length: 17 }, (_, i) => [`k${i}`, "x"]));
  assertStringIncludes((await patch(api, "a", { tags: many }, 409)).detail, "16");
  await call(api, "PATCH", "/devices/a", "name=x", 415);
  await patch(api, "a", { notes: "x".repeat(70_000) }, 413);
  assertEquals(await store.labels(["a"]), new Map());
  // A browser sends the page of another site's request without asking, where the body is no JSON.
  const crossSite = await fetch(`${api.url}/devices/a`, {
    method: "PATCH",
    body: JSON.stringify({ name: "x" }),
    headers: { "Content-Type": "application/json", "Sec-Fetch-Site": "cross-site" },
  });
  assertEquals(crossSite.status, 403);
  await crossSite.body?.cancel();
});

Deno.test("POST /devices/import sets labels of many devices from CSV and from JSON, and records it", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  await addPackets(store, { a: 1, b: 1 });
  const csv =
    '\ufeffdevice_id,name,site,model,notes\r\na,"Pump, ""1""",oslo,x2,"one\r\ntwo"\r\n\r\nb,,bergen,,\r\nnew,New\r\n';
  assertEquals(await call(api, "POST", "/devices/import", csv), { devices: 3, unseen: 1 });
  const a = await get(api, "/devices/a");
  assertEquals([a.name, a.tags, a.notes], ['Pump, "1"', { model: "x2", site: "oslo" }, "one\r\ntwo"]);
  const semicolons = "device_id;site\na;trondheim";
  assertEquals(await call(api, "POST", "/devices/import", semicolons), { devices: 1, unseen: 0 });
  assertEquals((await get(api, "/devices/a")).tags, { model: "x2", site: "trondheim" }, "others stay");
  const devices = [{ device_id: "a", tags: { model: null } }, { device_id: "b", name: "B" }];
  assertEquals(await call(api, "POST", "/devices/import", { devices }), { devices: 2, unseen: 0 });
  assertEquals((await get(api, "/devices/a")).tags, { site: "trondheim" });
  const { entries } = await get(api, "/audit");
  assert(
    entries.some(({ action, target, detail, actor }: Body) =>
      action === "device.label" && target === "b" && detail === 'name="B"' && actor === "anonymous"
    ),
    JSON.stringify(entries),
  );
});

Deno.test("POST /devices/import refuses a body with any row that cannot be used, and changes nothing", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  const cases: [body: unknown, part: string][] = [
    ["", "a column device_id"],
    ["name,site\nx,y", "a column device_id"],
    ["device_id,site,site\na,x,y", "two columns"],
    ["device_id,my site\na,x", '"my site"'],
    ["device_id,__proto__\na,x", '"__proto__"'],
    ["device_id,site\nok,x\na,x,y", "line 3: found 3 fields"],
    ["device_id,site\nok,x\n,y", "line 3"],
    [`device_id,site\nok,x\n${"i".repeat(129)},y`, "line 3"],
    [`device_id,site\nok,x\na,${"v".repeat(65)}`, "64 bytes"],
    ["device_id,site\nok,x\nok,y", "line 3: found a device that an earlier one has"],
    ['device_id,site\nok,"x', "line 2"],
    ['device_id,site\nok,"x"y', "line 2"],
    [[], '{"devices"'],
    [{ devices: [{ device_id: "ok" }, { name: "x" }] }, "devices[1]"],
    [{ devices: [{ device_id: "ok", tags: { site: 1 } }] }, "expected a value"],
    [{ devices: [{ device_id: "\ud800" }] }, "UTF-8"],
  ];
  for (const [body, part] of cases) {
    const { detail } = await call(api, "POST", "/devices/import", body, 400);
    assertStringIncludes(detail, part, JSON.stringify(body));
  }
  assertEquals(await store.labels(["ok", "a"]), new Map());
  await call(api, "POST", "/devices/import?x=1", "device_id\na", 400);
  await call(api, "POST", "/devices/import", `device_id\n${"a".repeat(9 * 2 ** 20)}`, 413);
  const form = await fetch(`${api.url}/devices/import`, { method: "POST", body: new URLSearchParams("a=b") });
  assertEquals(form.status, 415);
  await form.body?.cancel();
  const rows = Array.from({ length: 10_001 }, (_, i) => `d${i},v${i}`);
  const { detail } = await call(api, "POST", "/devices/import", `device_id,serial\n${rows.join("\n")}`, 409);
  assertStringIncludes(detail, "10000 distinct tags");
});

Deno.test("GET /devices?tag= lists the devices with the tags, also while they change, and finds names", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await using api = await startTestApi(store, { ...clock.options, maxAgeMs: 0 });
  await addPackets(store, { a: 1, b: 2, c: 3, d: 4 });
  await call(
    api,
    "POST",
    "/devices/import",
    "device_id,site,model,name\na,oslo,x1,Boiler\nb,oslo,x2,\nc,bergen,x2,",
  );
  assertEquals(await idsOf(api, "tag=site=oslo"), ["a", "b"]);
  assertEquals(await idsOf(api, "tag=site"), ["a", "b", "c"]);
  assertEquals(await idsOf(api, "tag=site=oslo&tag=site=bergen&sort=count&order=desc"), ["c", "b", "a"]);
  assertEquals(await idsOf(api, "tag=site=oslo&tag=model=x2"), ["b"]);
  assertEquals(await idsOf(api, "tag=site=rome"), []);
  assertEquals(await idsOf(api, "search=bOIL"), ["a"]);
  assertEquals(await idsOf(api, "search=b"), ["a", "b"], "a name, and an id");
  await patch(api, "d", { tags: { site: "oslo" } });
  clock.pass(300);
  assertEquals(await idsOf(api, "tag=site=oslo"), ["a", "b", "d"]);
  await patch(api, "a", { tags: { site: "rome" } });
  clock.pass(300);
  assertEquals(await idsOf(api, "tag=site=oslo"), ["b", "d"]);
  for (const bad of ["", "=x", "site=", `site=${"x".repeat(65)}`, "a b=c"]) {
    const { detail } = await get(api, `/devices?tag=${encodeURIComponent(bad)}`, 400);
    assertStringIncludes(detail, "key=value", bad);
  }
  await get(api, `/devices?${"tag=a=b&".repeat(21)}`, 400);
});

Deno.test("GET /tags has each key's values with the figures of their devices", async () => {
  await using store = await temporaryStore();
  const clock = new RunningClock();
  await using api = await startTestApi(store, { ...clock.options, maxAgeMs: 0, offlineAfterMs: 10_000 });
  await addPackets(store, { a: 1, b: 2, c: 3 }, { receivedAtMs: clock.unixMs });
  await addPackets(store, { d: 4 }, { receivedAtMs: clock.unixMs - 20_000 });
  await call(
    api,
    "POST",
    "/devices/import",
    "device_id,site,model\na,oslo,x1\nb,oslo,x2\nc,bergen,\nd,oslo,\nunseen,oslo,",
  );
  const { keys } = await get(api, "/tags");
  const figures = (list: Body[]) =>
    list.map(({ key, devices, values, values_total }) => [
      ...[key, devices, values_total],
      values.map(({ value, devices, online, count }: Body) => [value, devices, online, count].join(" ")),
    ]);
  assertEquals(figures(keys), [
    ["model", 2, 2, ["x1 1 1 1", "x2 1 1 2"]],
    ["site", 4, 2, ["oslo 3 2 7", "bergen 1 1 3"]],
  ]);
  assertEquals(figures((await get(api, "/tags?key=site&limit=1")).keys), [["site", 4, 2, ["oslo 3 2 7"]]]);
  await call(api, "DELETE", "/devices/a", undefined, 204);
  clock.pass(1_300);
  assertEquals(figures((await get(api, "/tags?key=site")).keys), [["site", 3, 2, [
    "oslo 2 1 6",
    "bergen 1 1 3",
  ]]]);
  await get(api, "/tags?limit=0", 400);
  await get(api, "/tags?key=a%20b", 400);
});

Deno.test("TALLY_TAGS_FROM: attributes in payloads are tags, of each api the same, until people set others", async () => {
  await using store = await temporaryStore();
  const send = async (deviceId: string, content: unknown) => {
    const payload = new TextEncoder().encode(JSON.stringify(content));
    await addPackets(store, { [deviceId]: 1 }, { payload });
    const isDecoded = async () => (await store.ping(), (await store.waitingSamples()).bytes === 0);
    await until(isDecoded, "the sample is decoded");
  };
  await send("a", { site: "oslo", fw: { version: "1.2" }, other: "x", t: 20 });
  await send("b", { site: "bergen" });
  await send("c", { site: "line\nend" });
  await store.setLabels([{ deviceId: "b", name: "B", tags: new Map([["model", "x2"]]) }]);
  const options = { tagsFrom: ["site", "fw.version"], maxAgeMs: 0 };
  await using api = await startTestApi(store, options);
  await using other = await startTestApi(store, options);
  const tagsOf = async (from: TestApi, id: string) => (await get(from, `/devices/${id}`)).tags;
  for (const one of [api, other]) {
    await until(async () => "site" in await tagsOf(one, "b"), "the attributes are tags");
    assertEquals(await tagsOf(one, "a"), { "fw.version": "1.2", site: "oslo" });
    assertEquals(await tagsOf(one, "b"), { model: "x2", site: "bergen" });
    assertEquals(await tagsOf(one, "c"), {}, "no tag may have that value");
  }
  assertEquals(await idsOf(api, "tag=site"), ["a", "b"]);
  assertEquals((await get(api, "/tags?key=site")).keys[0].values.length, 2);
  await patch(api, "a", { tags: { site: "rome" } });
  assertEquals((await tagsOf(api, "a")).site, "rome", "what people set hides it");
  await send("a", { site: "trondheim" });
  await send("b", { site: "trondheim" });
  await until(async () => (await tagsOf(api, "b")).site === "trondheim", "another attribute");
  assertEquals((await tagsOf(api, "a")).site, "rome");
  await patch(api, "a", { tags: { site: null } });
  assertEquals((await tagsOf(api, "a")).site, "trondheim");
  await call(api, "DELETE", "/devices/b", undefined, 204);
  await until(async () =>
    !("trondheim" in Object.fromEntries((await get(other, "/tags?key=site")).keys
      .flatMap(({ values }: Body) =>
        values.filter(({ devices }: Body) => devices > 1)
          .map(({ value }: Body) => [value, 1])
      ))), "removed with its device");
  assertEquals((await store.labels(["a", "b", "c"])).size, 0, "nothing of them is stored");
});

Deno.test("Labels of devices stay while these are offline and the api restarts, and the store holds them", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 1 }, { receivedAtMs: Date.now() - 3_600_000 });
  {
    await using api = await startTestApi(store);
    await patch(api, "a", { name: "A", tags: { site: "oslo" } });
  }
  await using api = await startTestApi(store as Store);
  const device = await get(api, "/devices/a");
  assertEquals([device.status, device.name, device.tags], ["offline", "A", { site: "oslo" }]);
});
