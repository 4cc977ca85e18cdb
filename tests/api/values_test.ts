/**
 * What devices measure, over HTTP.
 *
 * @module
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import type { LiveDevice } from "../../src/api/schemas/device.ts";
import type { ValueFigures, ValueNames, Values, ValueSeries } from "../../src/api/schemas/value.ts";
import { openEvents } from "../support/event_reader.ts";
import { temporaryStore } from "../support/harness.ts";
import { measure, startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const minute = 60_000, hour = 60 * minute;

async function get<T>(api: { url: string }, path: string, status = 200): Promise<T> {
  const response = await fetch(api.url + path);
  const body = await response.json();
  assertEquals(response.status, status, `${path}: ${JSON.stringify(body)}`);
  return body;
}

Deno.test("GET /devices/{id} has the values and attributes of the device", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { maxAgeMs: 0 });
  const atMs = Date.now();
  await measure(store, {
    a: { temperature: 21.5, on: true, ["__proto__"]: "x", state: "<b>on</b>" },
    b: "text",
  }, atMs);
  const { values, values_at_ms, values_dropped, attributes } = await get<Values>(api, "/devices/a");
  assertEquals(values, [{ name: "temperature", value: 21.5 }, { name: "on", value: 1 }]);
  assertEquals([values_at_ms, values_dropped], [atMs, 0]);
  assertEquals(Object.entries(attributes), [["__proto__", "x"], ["state", "<b>on</b>"]]);
  const none = await get<Values>(api, "/devices/b");
  assertEquals([none.values, none.values_at_ms, none.attributes], [[], null, {}]);
});

Deno.test("GET /devices/{id}/values/{name} has minutes of the last hour, and hours before it, in steps", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  const now = Date.now(), thisHour = now - now % hour, before = thisHour - 5 * hour;
  await measure(store, { "a/b": { "t.x": 1 } }, before);
  await measure(store, { "a/b": { "t.x": 3 } }, before + hour);
  await measure(store, { "a/b": { "t.x": 5 } }, now - 2 * minute);
  await measure(store, { "a/b": { "t.x": 9 } }, now);
  const path = "/devices/a%2Fb/values/t.x";
  const recent = await get<ValueSeries>(api, path);
  assertEquals([recent.device_id, recent.name, recent.step_seconds], ["a/b", "t.x", 60]);
  assertEquals(recent.points.at(-1), { start_ms: now - now % minute, min: 9, mean: 9, max: 9 });
  assertEquals(recent.points.map(({ mean }) => mean), [5, 9]);

  const day = await get<ValueSeries>(api, `${path}?from=${before}`);
  assertEquals(day.step_seconds, 3600);
  assertEquals(day.points.slice(0, 2), [
    { start_ms: before, min: 1, mean: 1, max: 1 },
    { start_ms: before + hour, min: 3, mean: 3, max: 3 },
  ]);
  const whole = await get<ValueSeries>(api, `${path}?from=${before}&step=86400`);
  assert(whole.points.length <= 2);
  assertEquals(Math.min(...whole.points.map(({ min }) => min)), 1);
  assertEquals(Math.max(...whole.points.map(({ max }) => max)), 9);
  const part = await get<ValueSeries>(api, `${path}?from=${before}&to=${before + hour - 1}`);
  assertEquals(part.points.map(({ mean }) => mean), [1]);

  const byQuery = await get<ValueSeries>(api, "/devices/by-id/values?id=a%2Fb&name=t.x");
  assertEquals(byQuery.points.map(({ mean }) => mean), [5, 9]);
  await get(api, "/devices/a%2Fb/values/other", 404);
  await get(api, `${path}?step=1`, 400);
  await get(api, `${path}?from=${now}&to=${before}`, 400);
});

Deno.test("GET /values has the figures of a value over devices, or the names", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { maxAgeMs: 0 });
  const devices = Array.from({ length: 100 }, (_, i) => [`d${String(i).padStart(3, "0")}`, { t: i + 1 }]);
  await measure(store, { ...Object.fromEntries(devices), other: { h: 5, t: 1000 } });
  const names = await get<ValueNames>(api, "/values");
  assertEquals(names.names, [{ name: "t", devices: 101 }, { name: "h", devices: 1 }]);
  assertEquals([names.omitted, names.samples_dropped, names.waiting_bytes], [0, 0, 0]);
  const all = await get<ValueFigures>(api, "/values?name=t&device=d&limit=2");
  assertEquals(all, {
    name: "t",
    devices: 100,
    figures: { min: 1, mean: all.figures!.mean, max: 100, p5: 5, p50: 50, p95: 95, p99: 99 },
    top: [{ device_id: "d099", value: 100 }, { device_id: "d098", value: 99 }],
    bottom: [{ device_id: "d000", value: 1 }, { device_id: "d001", value: 2 }],
  });
  assert(Math.abs(all.figures!.mean - 50.5) < 1e-9);
  const tags = new Map([["site", "oslo"]]);
  await store.setLabels([{ deviceId: "d000", tags }, { deviceId: "d099", tags }, {
    deviceId: "other",
    tags,
  }]);
  await until(
    async () => (await get<ValueFigures>(api, "/values?name=t&tag=site=oslo")).devices === 3,
    "the api has the tags",
  );
  const inOslo = await get<ValueFigures>(api, "/values?name=t&device=d&tag=site=oslo");
  assertEquals([inOslo.devices, inOslo.figures!.min, inOslo.figures!.max], [2, 1, 100]);
  assertEquals((await get<ValueFigures>(api, "/values?name=t&tag=site=bergen")).devices, 0);
  const none = await get<ValueFigures>(api, "/values?name=nothing");
  assertEquals([none.devices, none.figures, none.top], [0, null, []]);
  // A device that is removed is not in the figures.
  assert(await store.remove("other"));
  await until(
    async () => (await get<ValueFigures>(api, "/values?name=t")).devices === 100,
    "the device is left out",
  );
});

Deno.test("GET /devices?columns=…&sort=value:… shows values and sorts by one, devices without it last", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { maxAgeMs: 0 });
  await measure(store, {
    a: { t: 2.5, h: 1, "x,\\y": 5 },
    b: { t: -1 },
    c: { t: 2.25 },
    d: { h: 7 },
    e: "text",
  });
  const list = async (query: string) => {
    type List = {
      devices: { device_id: string; values?: Record<string, number> }[];
      next_cursor: string | null;
    };
    return await get<List>(api, `/devices?${query}`);
  };
  const asc = await list("columns=t,h&sort=value:t");
  assertEquals(asc.devices.map(({ device_id, values }) => [device_id, values]), [
    ["b", { t: -1 }],
    ["c", { t: 2.25 }],
    ["a", { t: 2.5, h: 1 }],
    ["d", { h: 7 }],
    ["e", {}],
  ]);
  const hostile = await list(`columns=${encodeURIComponent("x\\,\\\\y,,t,x\\,\\\\y")}`);
  assertEquals(hostile.devices[0]!.values, { t: 2.5, "x,\\y": 5 });
  const desc = await list("sort=value:t&order=desc");
  assertEquals(desc.devices.map(({ device_id }) => device_id), ["a", "c", "b", "d", "e"]);
  assertEquals(desc.devices[0]!.values, undefined);
  // Pages, also of an api that did not make the first one.
  await using other = await startTestApi(store, { maxAgeMs: 0 });
  for (const order of ["asc", "desc"]) {
    const ids: string[] = [];
    let cursor: string | null = "";
    for (let page = 0; cursor !== null; page++) {
      const at: string = cursor === "" ? "" : `&cursor=${cursor}`;
      const query = `/devices?sort=value:t&order=${order}&limit=2${at}`;
      const found: Awaited<ReturnType<typeof list>> = await get(page % 2 === 0 ? api : other, query);
      ids.push(...found.devices.map(({ device_id }) => device_id));
      cursor = found.next_cursor;
    }
    assertEquals(ids.sort(), ["a", "b", "c", "d", "e"]);
  }
});

Deno.test("GET /live sends a device again when its values are there", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  await measure(store, { a: { t: 1 } });
  await using events = await openEvents(`${api.url}/live?devices=a`);
  const valueOf = (device: LiveDevice | undefined) => device?.values[0]?.value;
  const next = async (value: number) => {
    for (;;) {
      const { data } = await events.nextOf("devices");
      const [device] = (data as { devices: LiveDevice[] }).devices;
      if (valueOf(device) === value) return device!;
    }
  };
  await next(1);
  await measure(store, { a: { t: 2, fw: "x" } });
  const device = await next(2);
  assertEquals(device.attributes, { fw: "x" });
});

Deno.test("GET /metrics has tally_device_value of each device, as many as may be", async () => {
  await using store = await temporaryStore();
  const scrape = async (api: { url: string }) => {
    const response = await fetch(`${api.url}/metrics`, { headers: { accept: "text/plain" } });
    return await response.text();
  };
  await measure(store, { 'a"\n': { 't"': 21.5, h: 1e300 }, b: { h: -0.1 }, c: { h: 4 } });
  await using api = await startTestApi(store, { maxAgeMs: 0 });
  const text = await scrape(api);
  assertStringIncludes(text, 'tally_device_value{device_id="a\\"\\n",name="t\\""} 21.5\n');
  assertStringIncludes(text, 'tally_device_value{device_id="a\\"\\n",name="h"} 1e+300\n');
  assertStringIncludes(text, 'tally_device_value{device_id="b",name="h"} -0.1\n');
  assertMatch(text, /^tally_device_values_omitted 0$/m);
  await using bounded = await startTestApi(store, { maxAgeMs: 0, prometheusMaxDevices: 1 });
  const few = await scrape(bounded);
  assert(!few.includes('device_id="b",name'));
  assertMatch(few, /^tally_device_values_omitted 2$/m);
});
