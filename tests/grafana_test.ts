/**
 * The dashboard for Grafana: a real Prometheus that scrapes a real api answers each of its queries with series that have
 * the labels its legends name.
 *
 * @module
 */
import { assert, assertEquals, assertGreater } from "@std/assert";

import { framedPacket, packet, RawCall, startTestIngest } from "./support/harness.ts";
import { PrometheusServer } from "./support/prometheus_server.ts";
import { redisShards, shardDevices } from "./support/sharded_places.ts";
import { sourceText } from "./support/source_files.ts";
import { startTestApi } from "./support/test_api.ts";
import { until } from "./support/until.ts";

interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
}

interface Panel {
  id: number;
  type: string;
  title: string;
  gridPos: { x: number; y: number; w: number; h: number };
  targets?: Target[];
}

interface Dashboard {
  title: string;
  uid: string;
  schemaVersion: number;
  panels: Panel[];
  templating: { list: { name: string; type: string; definition?: string }[] };
}

const dashboard: Dashboard = JSON.parse(sourceText(".github/grafana/tally.json"));
const variables = dashboard.templating.list;

/** A query as Grafana sends it, when all of each variable is chosen. */
function sent({ expr }: Target): string {
  return expr.replaceAll("$__rate_interval", "1m").replaceAll(/\$(job|ingest)\b/g, ".+");
}

Deno.test("Grafana's dashboard is one that loads: its panels have a place each, and its variables are defined", () => {
  const { title, uid, schemaVersion, panels } = dashboard;
  assertEquals([title, uid, schemaVersion >= 36], ["Tally", "tally-fleet", true]);
  assertGreater(panels.length, 25);
  assertEquals(new Set(panels.map(({ id }) => id)).size, panels.length);
  const taken = new Set<string>();
  for (const { title, gridPos: { x, y, w, h } } of panels) {
    assert(x + w <= 24, title);
    for (let column = x; column < x + w; column++) {
      for (let line = y; line < y + h; line++) {
        assert(!taken.has(`${column} ${line}`), `${title} overlaps another panel`);
        taken.add(`${column} ${line}`);
      }
    }
  }
  const names = new Set(variables.map(({ name }) => name));
  const used = sourceText(".github/grafana/tally.json").matchAll(/\$\{?(?!__)(\w+)\}?/g);
  for (const [, name] of used) assert(names.has(name!), `$${name} is not defined`);
});

Deno.test("Grafana's dashboard asks for metrics and labels that /metrics has", async () => {
  await using place = await redisShards();
  const store = await place.open();
  try {
    await using ingest = await startTestIngest({ store });
    await using api = await startTestApi(store, { prometheusTags: ["site"] });
    await store.setLabels([{ deviceId: shardDevices[0]!, tags: new Map([["site", "oslo"]]) }]);
    await using call = new RawCall(ingest.port);
    await call.finish(...shardDevices.map((id) => framedPacket(packet(id))));
    await using prometheus = await PrometheusServer.start([`${api.host}:${api.port}`]);
    const targets = dashboard.panels.flatMap(({ title, targets = [] }) =>
      targets.map((target) => ({ title, target }))
    );
    const missing = async () => {
      const found: string[] = [];
      for (const { title, target } of targets) {
        const series = await prometheus.series(sent(target));
        const legends = Array.from(
          target.legendFormat?.matchAll(/\{\{(\w+)\}\}/g) ?? [],
          ([, name]) => name!,
        );
        const hasLegend = series.some((labels) => legends.every((name) => labels[name] !== undefined));
        if (!hasLegend) found.push(`${title}: ${sent(target)} has ${JSON.stringify(series.slice(0, 3))}`);
      }
      for (const { definition } of variables) {
        const [, metric, label] = /^label_values\((\w+), (\w+)\)$/.exec(definition ?? "") ?? [];
        if (metric === undefined) continue;
        const series = await prometheus.series(metric);
        if (!series.some((labels) => labels[label!] !== undefined)) found.push(`${metric} has no ${label}`);
      }
      return found;
    };
    let last: string[] = [];
    await until(async () => (last = await missing()).length === 0, "every query has series", 20).catch(
      () => {},
    );
    assertEquals(last, []);
    // A name that does not exist, and a label that no series has, would be found.
    assertEquals(await prometheus.series("tally_nothing"), []);
    assertEquals(await prometheus.series('tally_devices{state="online"}'), []);
  } finally {
    await store.close();
  }
});
