/**
 * `/export`: what is in it, that a whole one is recognised, and that it is made as it is read.
 *
 * @module
 */
import { assert, assertEquals, assertLess, assertMatch, assertRejects } from "@std/assert";

import { Downloads } from "../../src/api/http/download.ts";
import type { DeviceCount } from "../../src/store/devices.ts";
import type { Store } from "../../src/store/store.ts";
import type { DeviceValues, ValueStore } from "../../src/store/values.ts";
import { StoreError } from "../../src/store/store_error.ts";
import { temporaryStore } from "../support/harness.ts";
import { ListedStore } from "../support/listed_store.ts";
import { addReaderToken } from "../support/reader_tokens.ts";
import { addPackets, measure, startTestApi, type TestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

/** What devices and other programs may be called. */
const hostileIds = [
  "=1+1",
  "+1",
  "-1",
  "@sum",
  "＝1",
  'quote"d',
  "com,ma",
  "new\nline",
  "\ttab",
  "__proto__",
  "é🚚",
  "plain",
  "{}",
  "# end: 1 rows",
];

async function exportOf(api: TestApi, query: string): Promise<string> {
  const response = await fetch(`${api.url}/export?${query}`);
  const text = await response.text();
  assertEquals(response.status, 200, text);
  return text;
}

/** Lines of NDJSON without the last one, which is checked. */
function rowsOf(text: string): Record<string, unknown>[] {
  const rows = text.trimEnd().split("\n").map((line) => JSON.parse(line)), end = rows.pop();
  assertEquals([end.end, end.rows], [true, rows.length]);
  return rows;
}

/** Cells of CSV by the grammar of RFC 4180, without the last line, which is checked. */
function cellsOf(text: string): string[][] {
  const [, table, rows] = /^([^]*)# end: (\d+) rows, \d+ devices\n$/.exec(text)!;
  const lines: string[][] = [[]];
  const cells = table!.matchAll(/("(?:[^"]|"")*"|[^",\n]*)(,|\n)/g);
  for (const [, cell, end] of cells) {
    lines.at(-1)!.push(cell!.startsWith('"') ? cell!.slice(1, -1).replaceAll('""', '"') : cell!);
    if (end === "\n") lines.push([]);
  }
  assertEquals(lines.pop(), []);
  assertEquals(lines.length - 1, Number(rows));
  return lines;
}

const counts = (ids: readonly string[]): DeviceCount[] =>
  ids.map((deviceId, i) => ({ deviceId, count: i + 1 }));

/** What a store has where devices measure these numbers. */
function measuring(numbers: Readonly<Record<string, Readonly<Record<string, number>>>>): ValueStore {
  const latest = Object.entries(numbers).map(([id, values]): [string, DeviceValues] => [id, {
    ...{ atMs: 1, attributes: [], dropped: 0 },
    values: Object.entries(values).map(([name, value]) => ({ name, value, atMs: 1 })),
  }]);
  const period = { min: 1, mean: 2, max: 3 };
  return {
    valueChanges: (since) => Promise.resolve({ cursor: "1", deviceIds: since === undefined ? "all" : [] }),
    latestValues: () => Promise.resolve(new Map(latest)),
    valueHistory: () =>
      Promise.resolve({
        minutes: [3_600_000, 3_660_000].map((startMs) => ({ startMs, ...period })),
        hours: [{ startMs: 0, ...period }],
      }),
    waitingSamples: () => Promise.resolve({ bytes: 0, dropped: 0 }),
  };
}

Deno.test("/export has every device, as CSV that no spreadsheet takes for formulas, and as NDJSON", async () => {
  await using api = await startTestApi(new ListedStore(counts(hostileIds)));
  const [head, ...lines] = cellsOf(await exportOf(api, "format=csv"));
  assertEquals(head!.slice(0, 4), ["device_id", "name", "status", "count"]);
  const guarded = (id: string) => /^[=+\-@＝\t]/.test(id) ? `'${id}` : id;
  const byId = new Map(lines.map(([id, , , count]) => [id!, count!]));
  assertEquals(
    Object.fromEntries(byId),
    Object.fromEntries(hostileIds.map((id, i) => [guarded(id), `${i + 1}`])),
  );
  const plain = cellsOf(await exportOf(api, "formulas=plain")).slice(1).map(([id]) => id);
  assertEquals(plain.toSorted(), hostileIds.toSorted());
  const rows = rowsOf(await exportOf(api, "format=ndjson"));
  assertEquals(rows.map(({ device_id }) => device_id), hostileIds.toSorted());
  assertEquals(Object.keys(rows[0]!).filter((key) => key !== "tags" && key !== "values"), head);

  const response = await fetch(`${api.url}/export`, { method: "HEAD" });
  assertEquals(response.headers.get("Tally-Export-Devices"), `${hostileIds.length}`);
  assert(/^attachment; filename="tally-devices-\d{4}-\d\d-\d\d\.csv"$/.test(
    response.headers.get("Content-Disposition")!,
  ));
});

Deno.test("/export of one device, a prefix, and a status has these only", async () => {
  await using store = await temporaryStore();
  const nowMs = Date.now();
  await addPackets(store, { "a-1": 1, "a-2": 2 }, { receivedAtMs: nowMs });
  await addPackets(store, { "a-3": 3, "b-1": 4 }, { receivedAtMs: nowMs - 3_600_000 });
  await using api = await startTestApi(store);
  const idsOf = async (query: string) => {
    const rows = rowsOf(await exportOf(api, `format=ndjson&${query}`));
    return rows.map(({ device_id }) => device_id).join();
  };
  assertEquals(await idsOf("prefix=a-"), "a-1,a-2,a-3");
  assertEquals(await idsOf("device=a-2"), "a-2");
  assertEquals(await idsOf("status=offline"), "a-3,b-1");
  assertEquals(await idsOf("status=online&prefix=a-"), "a-1,a-2");
  assertEquals(await idsOf("prefix=nobody"), "");
  const [row] = rowsOf(await exportOf(api, "format=ndjson&device=b-1"));
  assertEquals([row!["count"], row!["first_seen_ms"], row!["last_seen_ms"]], [
    4,
    nowMs - 3_600_000,
    nowMs - 3_600_000,
  ]);
  for (
    const [query, status] of [["device=nobody", 404], ["format=xml", 400], ["from=1", 400], [
      "what=values&from=2&to=1",
      400,
    ], ["x=1", 400]]
  ) {
    const response = await fetch(`${api.url}/export?${query}`);
    await response.body?.cancel();
    assertEquals(response.status, status, String(query));
  }
});

Deno.test("/export has names, tags and latest values, in columns of CSV, and filters by tag", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 1, b: 2, c: 3 });
  await store.setLabels([
    { deviceId: "a", name: "=Hall", tags: new Map([["site", "oslo"], ["constructor", "x"]]) },
    { deviceId: "b", tags: new Map([["site", "=rome"]]) },
  ]);
  Object.assign(store, measuring({ a: { temperature: 21.5, ["__proto__"]: -1 }, b: { 'hum"idity': 0.25 } }));
  await using api = await startTestApi(store);
  const [head, ...lines] = cellsOf(await exportOf(api, ""));
  const row = (line: string[]) => Object.fromEntries(line.map((cell, i) => [head![i], cell]));
  const [a, b, c] = lines.map(row);
  assertEquals([a!["device_id"], a!["name"], a!["tag:site"], a!["tag:constructor"]], [
    "a",
    "'=Hall",
    "oslo",
    "x",
  ]);
  assertEquals([a!["value:temperature"], a!["value:__proto__"], a!['value:hum"idity']], ["21.5", "-1", ""]);
  assertEquals([b!["name"], b!["tag:site"], b!['value:hum"idity']], ["", "'=rome", "0.25"]);
  assertEquals([c!["tag:site"], c!["tag:constructor"], c!["value:temperature"]], ["", "", ""]);

  const rows = rowsOf(await exportOf(api, "format=ndjson"));
  assertEquals(rows.map(({ name, tags }) => ({ name, tags })), [
    { name: "=Hall", tags: { constructor: "x", site: "oslo" } },
    { name: null, tags: { site: "=rome" } },
    { name: null, tags: {} },
  ]);
  assertEquals(JSON.stringify(rows[0]!["values"]), '{"__proto__":-1,"temperature":21.5}');
  const tagged = rowsOf(await exportOf(api, "format=ndjson&tag=site=oslo"));
  assertEquals(tagged.map(({ device_id }) => device_id), ["a"]);
});

Deno.test("/export of values has each minute and hour of the values that a device has", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 1, b: 1 });
  Object.assign(store, measuring({ a: { temperature: 21.5, humidity: 40 }, b: {} }));
  await using api = await startTestApi(store);
  const rows = rowsOf(await exportOf(api, "format=ndjson&what=values"));
  const period = { min: 1, mean: 2, max: 3 };
  assertEquals(
    rows,
    ["humidity", "temperature"].flatMap((name) => [
      { device_id: "a", name, period: "hour", start_ms: 0, ...period },
      { device_id: "a", name, period: "minute", start_ms: 3_600_000, ...period },
      { device_id: "a", name, period: "minute", start_ms: 3_660_000, ...period },
    ]),
  );
  const some = cellsOf(await exportOf(api, "what=values&from=3600000&to=3660000"));
  assertEquals(some.map((cells) => cells.join()), [
    "device_id,name,period,start_ms,min,mean,max",
    "a,humidity,minute,3600000,1,2,3",
    "a,temperature,minute,3600000,1,2,3",
  ]);
});

Deno.test("/export of values and attributes has what devices sent", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store, { maxAgeMs: 0 });
  const minuteMs = 60_000, nowMs = Date.now(), beforeMs = nowMs - 5 * minuteMs;
  await measure(store, { a: { t: 1, site: "old" }, b: "plain" }, beforeMs);
  await measure(store, { a: { t: 3, site: "=oslo", ["__proto__"]: 'x"\n' }, c: { fw: "" } }, nowMs);
  const minutes = rowsOf(await exportOf(api, "format=ndjson&what=values"))
    .filter(({ period }) => period === "minute");
  assertEquals(
    minutes,
    [[beforeMs, 1], [nowMs, 3]].map(([atMs, value]) => ({
      ...{ device_id: "a", name: "t", period: "minute", start_ms: atMs! - atMs! % minuteMs },
      ...{ min: value, mean: value, max: value },
    })),
  );

  const attributes = (id: string, name: string, value: string) => ({ device_id: id, name, value });
  const rows = rowsOf(await exportOf(api, "format=ndjson&what=attributes"));
  assertEquals(rows, [
    attributes("a", "site", "=oslo"),
    attributes("a", "__proto__", 'x"\n'),
    attributes("c", "fw", ""),
  ]);
  const cells = cellsOf(await exportOf(api, "what=attributes&prefix=a"));
  assertEquals(cells, [["device_id", "name", "value"], ["a", "site", "'=oslo"], ["a", "__proto__", 'x"\n']]);
  const refused = await fetch(`${api.url}/export?what=attributes&from=1`);
  assertEquals(refused.status, 400);
  assertMatch((await refused.json()).detail, /from and to/);
});

Deno.test("/export of histories has the periods with packets that begin in the time that is asked for", async () => {
  await using store = await temporaryStore();
  const minuteMs = 60_000, nowMs = Math.floor(Date.now() / minuteMs) * minuteMs;
  for (const minutes of [30, 20, 10, 0]) {
    await addPackets(store, { a: minutes + 1, b: 1 }, { receivedAtMs: nowMs - minutes * minuteMs });
  }
  await using api = await startTestApi(store);
  const minutesOf = async (query: string) =>
    rowsOf(await exportOf(api, `format=ndjson&what=histories&${query}`))
      .filter(({ period }) => period === "minute");
  assertEquals(
    (await minutesOf("")).map(({ device_id, start_ms, packets }) => [device_id, start_ms, packets]),
    ["a", "b"].flatMap((id) =>
      [30, 20, 10, 0].map((minutes) => [id, nowMs - minutes * minuteMs, id === "a" ? minutes + 1 : 1])
    ),
  );
  const between = await minutesOf(`device=a&from=${nowMs - 20 * minuteMs}&to=${nowMs}`);
  assertEquals(between.map(({ packets }) => packets), [21, 11]);
  const [head, ...lines] = cellsOf(await exportOf(api, "what=histories&device=b"));
  assertEquals(head, ["device_id", "period", "start_ms", "packets"]);
  const hours = lines.filter(([, period]) => period === "hour");
  assertEquals(hours.reduce((sum, [, , , packets]) => sum + Number(packets), 0), 4);
});

Deno.test("/export is made as it is read, and one that fails in the middle has no last line", async () => {
  const ids = Array.from({ length: 200_000 }, (_, i) => `device-${String(i).padStart(6, "0")}`);
  const store = new ListedStore(counts(ids));
  let histories = 0;
  const history = (): ReturnType<Store["history"]> => {
    if (store.failure !== undefined) return Promise.reject(store.failure);
    histories++;
    const minutes = Array.from({ length: 60 }, (_, i) => ({ startMs: i * 60_000, packets: 1 }));
    return Promise.resolve({ minutes, hours: [] });
  };
  Object.assign(store, { history });
  await using api = await startTestApi(store);
  const response = await fetch(`${api.url}/export?what=histories`);
  const reader = response.body!.getReader();
  await reader.read();
  // The buffers of two sockets are full then, which hold some MB.
  let seen = -1;
  await until(() => seen === (seen = histories), "nothing more is made");
  assertLess(histories, ids.length / 4);
  store.failure = new StoreError("the test takes the store away");
  const texts: string[] = [], decoder = new TextDecoder();
  await assertRejects(async () => {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      texts.push(decoder.decode(value, { stream: true }));
    }
  });
  assertEquals(texts.join("").includes("# end"), false);
  assertLess(histories, ids.length / 2);
});

Deno.test("/export requires a token that may read", async () => {
  await using store = await temporaryStore();
  const { token } = await addReaderToken(store, ["read"]);
  await addPackets(store, { a: 1 });
  await using api = await startTestApi(store, { apiAuth: "token" });
  const withToken = { headers: { Authorization: `Bearer ${token}` } };
  const whole = await fetch(`${api.url}/export?format=ndjson`, withToken);
  assertEquals(rowsOf(await whole.text()).length, 1);
  const refused = await fetch(`${api.url}/export`);
  await refused.body?.cancel();
  assertEquals(refused.status, 401);
});

const nobody = { onRevoked: () => () => {} };

Deno.test("Downloads.open() has bounds: how many there are, and how long one is not read", async () => {
  let returned = 0;
  async function* texts() {
    try {
      for (;;) yield await Promise.resolve("text");
    } finally {
      returned++;
    }
  }
  const downloads = new Downloads({ maxDownloads: 2, stalledMs: 20 });
  const first = downloads.open(texts(), nobody).getReader();
  const second = downloads.open(texts(), nobody).getReader();
  await assertRejects(() => Promise.try(() => downloads.open(texts(), nobody)), Error, "try again later");
  await first.read();
  await second.read();
  await second.cancel();
  assertEquals(returned, 1);
  downloads.checkRoom();
  await until(() => returned === 2, "the one that is not read is cut off");
  await assertRejects(() => first.read(), Error, "read nothing");

  let revoke = () => {};
  const revoked = downloads.open(texts(), {
    onRevoked: (end) => {
      revoke = end;
      return () => {};
    },
  }).getReader();
  await revoked.read();
  revoke();
  await assertRejects(() => revoked.read(), Error, "revoked");
  assertEquals(returned, 3);
});
