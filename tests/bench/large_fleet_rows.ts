/**
 * What readers of a very large fleet on several masters wait for.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { Ledger, usualLoad } from "./measure.ts";
import type { BenchOptions, SectionPlan } from "./rows.ts";
import { startSubject } from "./subject.ts";
import { quantile, type Row } from "./table.ts";

const DEVICES = 1_000_000, MASTERS = 3;

/** Packets a second meanwhile, so that rates differ and change. */
const PACKETS_PER_SECOND = 10_000;

/** An api has rates of ten seconds after that. */
const RATES_AFTER_MS = 11_000;

/** Longer than first pages share a ranking. */
const PAGE_INTERVAL_MS = 400;

const PAGES = 20;

async function measureLargeFleet({ runs, processes }: BenchOptions): Promise<Row["figures"]> {
  await using parts = new AsyncDisposableStack();
  // Each shard refuses what is above its part of the limit, and the parts are not quite equal.
  const settings = { TALLY_MAX_DEVICES: String(2 * DEVICES) };
  const ledger = new Ledger(
    parts.use(await startSubject("tally-redis", 1, { masters: MASTERS, settings })),
    processes,
    1,
  );
  const load = { ...usualLoad, devices: DEVICES };
  await ledger.load({ ...load, durationMs: 0, minPackets: DEVICES });
  const readyMs: number[] = [], pageMs: number[] = [];
  for (let run = 0; run < runs; run++) {
    await using api = new AsyncDisposableStack();
    const startedMs = performance.now();
    const url = `http://127.0.0.1:${await ledger.subject.startApi(api)}`;
    while ((await answerOf(`${url}/readyz`)).status !== 200) await delay(20);
    readyMs.push(performance.now() - startedMs);
    const durationMs = RATES_AFTER_MS + PAGES * (PAGE_INTERVAL_MS + 200);
    await ledger.load({ ...load, durationMs, packetsPerSecond: PACKETS_PER_SECOND }, async () => {
      await delay(RATES_AFTER_MS);
      for (let page = 0; page < PAGES; page++) {
        const { status, text, tookMs } = await answerOf(`${url}/devices?sort=rate&order=desc&limit=100`);
        if (status !== 200) throw new Error(`the api answered with ${status}: ${text}`);
        pageMs.push(tookMs);
        await delay(PAGE_INTERVAL_MS);
      }
    });
  }
  const { wrong } = ledger;
  return {
    "/readyz after": { values: readyMs, unit: "ms", wrong },
    "first page by rate, p50": { values: [quantile(pageMs, 0.5)], unit: "ms", wrong },
    "p95": { values: [quantile(pageMs, 0.95)], unit: "ms", wrong },
  };
}

async function answerOf(url: string): Promise<{ status: number; text: string; tookMs: number }> {
  const sentMs = performance.now();
  const response = await fetch(url);
  const text = await response.text();
  return { status: response.status, text, tookMs: performance.now() - sentMs };
}

/** See the module. */
export const largeFleet: SectionPlan = {
  title: "Reading a very large fleet",
  about:
    "From the start of an api process until /readyz answers 200; and the first page of /devices sorted by rate, a " +
    "hundred devices, from a ranking of its own each time, while 10,000 packets a second arrive.",
  rows: [{
    name: `${DEVICES.toLocaleString("en")} devices over ${MASTERS} masters`,
    needsRedis: true,
    long: true,
    measure: measureLargeFleet,
  }],
};
