/**
 * What is measured of Tally beside other programs, and what a packet costs.
 *
 * @module
 */
import { freePort } from "../support/free_port.ts";
import { Ledger, type LoadShape, type Measured, usualLoad } from "./measure.ts";
import { asLongAs, type BenchOptions, rate, type SectionPlan, withinLimit } from "./rows.ts";
import { startRedis } from "../support/redis_server.ts";
import { withStore } from "../support/redis_store.ts";
import { startSubject, type Subject, untilAllCounted } from "./subject.ts";
import type { Figure, Row } from "./table.ts";
import { VictoriaMetrics } from "./victoria_metrics.ts";

/** Each in turn, round after round, so that what else the machine does hits all alike. */
async function compareWithPeers(devices: number, options: BenchOptions): Promise<Row["figures"]> {
  const { runs, runMs, warmUpMs, processes, peer, hasVictoriaMetrics } = options;
  await using parts = new AsyncDisposableStack();
  const load = { ...usualLoad, devices };
  const ledgers = [{ column: "Tally, Redis", subject: await startSubject("tally-redis", 1) }];
  if (peer !== undefined) {
    ledgers.push({ column: "peer", subject: await startSubject("peer", 1, { command: peer }) });
  }
  const compared = ledgers.map(({ column, subject }) => (
    { column, ledger: new Ledger(parts.use(subject), processes, 1), measured: [] as Measured[] }
  ));
  // Every device, or series, is known when the runs begin.
  for (const { ledger, measured } of compared) {
    measured.push(await ledger.load({ ...load, durationMs: warmUpMs, minPackets: devices }));
  }
  const others = hasVictoriaMetrics ? [parts.use(await VictoriaMetrics.start(devices))] : [];
  const rates: number[] = [];
  for (const other of others) rates.push(await other.load(devices));
  for (let run = 0; run < runs; run++) {
    for (const { ledger, measured } of compared) {
      measured.push(await ledger.load(asLongAs(runMs, load, measured.at(-1)!)));
    }
    for (const other of others) rates.push(await other.load(rates.at(-1)! * runMs / 1000));
  }
  const figures: Record<string, Figure> = {};
  for (const { column, ledger, measured } of compared) figures[column] = rate(measured.slice(1), ledger);
  for (const other of others) {
    await other.compare();
    figures["VictoriaMetrics"] = { values: rates.slice(1), unit: "packets/s", wrong: other.wrong };
  }
  return figures;
}

/** Beside others. */
export const besidePeers: SectionPlan = {
  title: "Beside other programs",
  about:
    "Packets a second of so many devices, as in the table above, and samples a second of so many series for " +
    "VictoriaMetrics: bodies of 10,000 series at most, with one sample of each, over 4 connections to " +
    "/api/v1/import/prometheus. Its column is there when Debian's victoria-metrics is installed, the peer's with " +
    "--peer. All that was sent is counted in each at the end.",
  rows: [100_000, 1_000_000].map((devices) => ({
    name: `${devices.toLocaleString("en")} devices or series`,
    needsRedis: true,
    long: devices > 100_000,
    measure: (options) => compareWithPeers(devices, options),
  })),
};

/** What a subject and its Redis have used so far. */
export interface Used {
  readonly redisCpuSeconds: number;
  readonly redisInputBytes: number;
  readonly redisMemoryBytes: number;
  readonly ingestCpuSeconds: number;
  /** Devices of all batches: each is one update of a device in Redis. */
  readonly updates: number;
}

export async function usedBy({ masters }: Subject, opsPort: number): Promise<Used> {
  const infos = await Promise.all(masters!.map(async (master) => String(await master.call("INFO"))));
  const ofRedis = (name: string) => {
    const values = infos.map((info) => Number(new RegExp(`^${name}:(\\S+)`, "m").exec(info)?.[1]));
    return values.reduce((sum, value) => sum + value, 0);
  };
  const metrics = await (await fetch(`http://127.0.0.1:${opsPort}/metrics`)).text();
  const ofIngest = (name: string) => Number(new RegExp(`^${name}(?:{.*})? (\\S+)`, "m").exec(metrics)?.[1]);
  return {
    redisCpuSeconds: ofRedis("used_cpu_sys") + ofRedis("used_cpu_user"),
    redisInputBytes: ofRedis("total_net_input_bytes"),
    redisMemoryBytes: ofRedis("used_memory"),
    ingestCpuSeconds: ofIngest("process_cpu_seconds_total"),
    updates: ofIngest("tally_ingest_flush_devices_sum"),
  };
}

async function measureCost(
  shape: Partial<LoadShape>,
  options: BenchOptions,
  masters?: number,
): Promise<Row["figures"]> {
  await using parts = new AsyncDisposableStack();
  const opsPort = freePort();
  const settings = { TALLY_OPS_PORT: String(opsPort) };
  const ledger = new Ledger(
    parts.use(
      await startSubject("tally-redis", 1, { settings, ...masters === undefined ? {} : { masters } }),
    ),
    options.processes,
    1,
  );
  const { subject } = ledger;
  const empty = await usedBy(subject, opsPort);
  const { connections, fewer } = withinLimit(shape.connections ?? usualLoad.connections, options);
  const load = { ...usualLoad, ...shape, connections };
  let last = await ledger.load({ ...load, durationMs: options.warmUpMs, minPackets: load.devices });
  const measured: Measured[] = [], costs: Record<string, number[]> = {};
  let memory = NaN;
  for (let run = 0; run < options.runs; run++) {
    const steady = load.packetsPerSecond !== undefined;
    const next = steady ? { ...load, durationMs: STEADY_MS } : asLongAs(options.runMs, load, last);
    const before = await usedBy(subject, opsPort);
    let after = before;
    last = await ledger.load(next, undefined, async () => {
      await untilAllCounted(subject.masters!);
      after = await usedBy(subject, opsPort);
    });
    measured.push(last);
    memory = (after.redisMemoryBytes - empty.redisMemoryBytes) / load.devices;
    const updates = after.updates - before.updates;
    const cpuSeconds = after.redisCpuSeconds - before.redisCpuSeconds;
    const run = {
      "Redis CPU per packet": cpuSeconds / last.packets * 1e6,
      "per device-update": cpuSeconds / updates * 1e6,
      "ingest CPU per packet": (after.ingestCpuSeconds - before.ingestCpuSeconds) / last.packets * 1e6,
      "bytes to Redis per device-update": (after.redisInputBytes - before.redisInputBytes) / updates,
    };
    for (const [column, value] of Object.entries(run)) (costs[column] ??= []).push(value);
  }
  const { wrong } = ledger;
  const columns = Object.entries(costs).map(([column, values]) => {
    return [column, { values, unit: column.startsWith("bytes") ? "bytes" : "µs", wrong }] as const;
  });
  return {
    "packets/s": rate(measured, ledger),
    ...Object.fromEntries(columns),
    "memory of Redis per device": { values: [memory], unit: "bytes", wrong },
    ...fewer,
  };
}

const SESSIONS = 100_000;

async function measureSessions(): Promise<Row["figures"]> {
  await using redis = await startRedis();
  const usedBytes = async () =>
    Number(/^used_memory:(\d+)/m.exec(String(await redis.call("INFO", "memory")))?.[1]);
  const emptyBytes = await usedBytes();
  let bytes = NaN;
  await withStore(redis, async (store) => {
    const names = Array.from({ length: SESSIONS }, () => crypto.randomUUID());
    await Promise.all(names.map((name) => store.claimSession(name, 0, Date.now())));
    bytes = (await usedBytes() - emptyBytes) / SESSIONS;
  });
  return { "memory of Redis per session": { values: [bytes], unit: "bytes" } };
}

/** How long a load with a rate lasts: long enough for a share of a core that can be measured. */
const STEADY_MS = 4000;

const steadyStreams = { connections: 2000, devices: 2000, packetsPerSecond: 10_000, framesPerWrite: 1 };

/** What a packet costs. */
export const costs: SectionPlan = {
  title: "What a packet costs",
  about:
    "Processor time of Redis, by its INFO, and of the ingest, until all packets are counted; a device-update is one " +
    "device of one batch. Of Redis's memory what it has beyond its empty state, with histories that just began. " +
    "StreamPackets, a frame per message, one ingest process. Several masters have a shard each: a batch costs each of " +
    "them some 135 µs besides its devices, of which it has a part. As fast as it goes, three masters, ingest and generator compete for two cores, which costs " +
    "each of them time; at 300,000 packets/s they do not.",
  rows: [
    ...([
      ["10,000 packets/s over 2,000 streams of 2,000 devices", steadyStreams],
      ["1,000 devices, as fast as it goes", { devices: 1000 }],
      ["100,000 devices, as fast as it goes", { devices: 100_000 }],
      ["1,000,000 devices, as fast as it goes", { devices: 1_000_000 }],
    ] as const).map(([name, shape]) => ({
      name,
      needsRedis: true,
      long: shape.devices > 100_000,
      measure: (options: BenchOptions) => measureCost(shape, options),
    })),
    ...([
      ["as fast as it goes", { devices: 1_000 }],
      ["300,000 packets/s", { devices: 1_000, packetsPerSecond: 300_000 }],
      ["as fast as it goes", { devices: 10_000 }],
    ] as const).flatMap(([rate, shape]) =>
      [1, 2, 3].map((masters) => ({
        name: `${shape.devices.toLocaleString("en")} devices over ${masters} ` +
          `${masters === 1 ? "master" : "masters"}, ${rate}`,
        needsRedis: true,
        long: false,
        measure: (options: BenchOptions) => measureCost(shape, options, masters),
      }))
    ),
    { name: "100,000 sessions", needsRedis: true, long: false, measure: measureSessions },
  ],
};
