/**
 * What is measured besides throughput: freshness, connections, and readers.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { type Measured, usualLoad } from "./measure.ts";
import { type BenchOptions, rate, type SectionPlan, startLedger, withinLimit } from "./rows.ts";
import { type Figure, quantile, type Row } from "./table.ts";

/** Load while something else is looked at: a share of what the same load reaches without a limit. */
const HALF = 0.5;

async function measureFreshness(options: BenchOptions): Promise<Row["figures"]> {
  await using parts = new AsyncDisposableStack();
  const ledger = await startLedger("tally-redis", options, parts);
  const apiPort = await ledger.subject.startApi();
  await ledger.load({ ...usualLoad, durationMs: options.warmUpMs });
  const { packetsPerSecond: most } = await ledger.load({ ...usualLoad, durationMs: options.runMs });
  // Longer than a run for throughput: a percentile takes many packets.
  const durationMs = 2 * options.runMs;
  const halfLoad = { ...usualLoad, durationMs: durationMs + options.warmUpMs, packetsPerSecond: most * HALF };
  const measured: Measured[] = [], p50: number[] = [], p99: number[] = [];
  for (let run = 0; run < options.runs; run++) {
    measured.push(
      await ledger.load(halfLoad, async () => {
        await delay(options.warmUpMs / 2); // the load is there, and stays until after the probe
        const { freshnessMs } = await ledger.probe(apiPort, durationMs);
        p50.push(quantile(freshnessMs, 0.5));
        p99.push(quantile(freshnessMs, 0.99));
      }),
    );
  }
  const { wrong } = ledger;
  return {
    load: rate(measured, ledger),
    p50: { values: p50, unit: "ms", wrong },
    p99: { values: p99, unit: "ms", wrong },
  };
}

/** How fresh the counts are. */
export const freshness: SectionPlan = {
  title: "Freshness",
  about:
    "From the sending of a packet to the end of the first answer of /metrics that counts it, at half of the " +
    "load that ingest can take; 1,000 devices, Redis, one ingest and one api process, asked every 5 ms. Of that, " +
    "a packet waits 20 ms for others of its batch, Redis takes 8 to 15 ms for the batch, and the api uses what it has " +
    "read for 10 ms before it reads again. The tail: five processes share two cores; what gathers on 16 sockets while " +
    "ingest waits for one is read in a turn of its event loop of 20 to 50 ms, and the reply of Redis waits for its end.",
  rows: [{ name: "at half load", needsRedis: true, long: false, measure: measureFreshness }],
};

const idle = {
  ...usualLoad,
  rpc: "StreamBatches",
  framesPerWrite: 1,
  durationMs: 0,
} as const;

/** Connections before the row's own: code that has never run is slow. */
const WARM_UP_CONNECTIONS = 200;

/** After so long they do not count any more: of 10,000 at once Tally serves half, and half wait, and one more is closed. */
const PAID_BACK_MS = 500;

async function measureConnecting(wanted: number, options: BenchOptions): Promise<Row["figures"]> {
  const { connections, fewer } = withinLimit(wanted, options);
  const tally: Measured[] = [], sink: Measured[] = [];
  let wrong: string | undefined;
  for (let run = 0; run < options.runs; run++) {
    for (const [kind, measured] of [["tally-redis", tally], ["sink", sink]] as const) {
      await using parts = new AsyncDisposableStack();
      const ledger = await startLedger(kind, options, parts);
      await ledger.load({ ...idle, connections: WARM_UP_CONNECTIONS });
      await delay(PAID_BACK_MS);
      measured.push(await ledger.load({ ...idle, connections }));
      wrong ??= ledger.wrong;
    }
  }
  const ms = (measured: readonly Measured[]): Figure => ({
    values: measured.map(({ connectMs }) => connectMs),
    unit: "ms",
    wrong,
  });
  return {
    "all connected": ms(tally),
    refused: { values: tally.map(({ refused }) => refused), unit: "count", wrong },
    "bare server": ms(sink),
    ...fewer,
  };
}

const STEADY_CONNECTIONS = 5000, STEADY_PACKETS_PER_SECOND = 2;

/**
 * All handshakes take some four seconds, most of them of the generator's processor time. Those of 5,000 would take more
 * than the ten seconds that the server allows for one: devices try again then, the generator does not.
 */
const TLS_CONNECTIONS = 2000, TLS_DURATION_MS = 10_000;

async function measureSteadyDevices(
  kind: "tally-redis" | "tally-redis-tls",
  options: BenchOptions,
): Promise<Row["figures"]> {
  const wanted = kind === "tally-redis" ? STEADY_CONNECTIONS : TLS_CONNECTIONS;
  const { connections, fewer } = withinLimit(wanted, options);
  const steady = {
    ...idle,
    connections,
    devices: connections,
    packetsPerSecond: connections * STEADY_PACKETS_PER_SECOND,
    durationMs: kind === "tally-redis" ? 4 * options.runMs : TLS_DURATION_MS,
  };
  const sent: Measured[] = [], again: Measured[] = [], memory: number[] = [];
  let wrong: string | undefined;
  for (let run = 0; run < options.runs; run++) {
    await using parts = new AsyncDisposableStack();
    const ledger = await startLedger(kind, options, parts);
    await ledger.load({ ...idle, devices: connections, connections: WARM_UP_CONNECTIONS });
    const before = await ledger.subject.memoryBytes();
    let after = NaN;
    sent.push(
      await ledger.load(steady, async () => {
        await delay(steady.durationMs); // all are connected, and still sending
        after = await ledger.subject.memoryBytes();
      }),
    );
    memory.push((after - before) / connections);
    again.push(await ledger.load({ ...idle, devices: connections, connections }));
    wrong ??= ledger.wrong;
  }
  const errors = [...sent, ...again].reduce((total, { failed }) => total + failed, 0);
  return {
    errors: { values: [errors], unit: "count", wrong },
    "memory per connection": { values: memory, unit: "bytes", wrong },
    "connected again": { values: again.map(({ connectMs }) => connectMs), unit: "ms", wrong },
    ...fewer,
  };
}

/** Many at once. */
export const connecting: SectionPlan = {
  title: "Connecting all together",
  about:
    "Until every device is connected and the server has its call. Bare server: one in Deno that accepts, " +
    "and does nothing else.",
  rows: [5000, 10_000].map((connections) => ({
    name: `${connections.toLocaleString("en")} devices`,
    needsRedis: true,
    long: connections > 5000,
    measure: (options) => measureConnecting(connections, options),
  })),
};

/** Many for long. */
export const connected: SectionPlan = {
  title: "Staying connected",
  about:
    "StreamBatches with two packets a second of each device, and an Ack for each; then all connect again at once.",
  rows: ([
    ["tally-redis", `${STEADY_CONNECTIONS.toLocaleString("en")} devices`],
    ["tally-redis-tls", `${TLS_CONNECTIONS.toLocaleString("en")} devices, TLS`],
  ] as const).map(([kind, name]) => ({
    name,
    needsRedis: true,
    long: false,
    measure: (options) => measureSteadyDevices(kind, options),
  })),
};

/** Connections of readers that ask as soon as they are answered. */
const BUSY_READERS = 8;

/** The reader next to whom ingest is measured asks ten times a second. */
const READER_INTERVAL_MS = 100;

async function measureReaders(
  devices: number,
  accept: "application/json" | "text/plain",
  options: BenchOptions,
): Promise<Row["figures"]> {
  await using parts = new AsyncDisposableStack();
  const ledger = await startLedger("tally-redis", options, parts);
  const port = await ledger.subject.startApi();
  const load = { ...usualLoad, devices, durationMs: 2 * options.runMs };
  await ledger.load({ ...load, durationMs: options.warmUpMs, minPackets: devices });
  const busy = { port, accept, connections: BUSY_READERS, durationMs: options.runMs, intervalMs: 0 };
  const calm = { ...busy, connections: 1, durationMs: load.durationMs, intervalMs: READER_INTERVAL_MS };
  await options.processes.read({ ...busy, durationMs: options.warmUpMs });
  const answered: number[] = [], firstByteMs: number[] = [], alone: Measured[] = [], watched: Measured[] = [];
  for (let run = 0; run < options.runs; run++) {
    const { answers, durationMs } = await options.processes.read(busy);
    answered.push(answers / durationMs * 1000);
    alone.push(await ledger.load(load));
    watched.push(await ledger.load(load, async () => void await options.processes.read(calm)));
    const packetsPerSecond = alone[run]!.packetsPerSecond * HALF;
    await ledger.load({ ...load, packetsPerSecond }, async () => {
      firstByteMs.push(...(await options.processes.read(calm)).firstByteMs);
    });
  }
  const { wrong } = ledger;
  const ms = (share: number): Figure => ({ values: [quantile(firstByteMs, share)], unit: "ms", wrong });
  return {
    "answers/s, ingest idle": { values: answered, unit: "requests/s", wrong },
    "first byte, p50": ms(0.5),
    "p99": ms(0.99),
    "packets/s without reader": rate(alone, ledger),
    "with reader": rate(watched, ledger),
    "slowed by": {
      values: watched.map(({ packetsPerSecond }, run) => 1 - packetsPerSecond / alone[run]!.packetsPerSecond),
      unit: "share",
      wrong,
    },
  };
}

/** `/metrics`. */
export const readers: SectionPlan = {
  title: "Reading /metrics",
  about:
    "Answers per second: eight readers that ask at once again. First byte: one reader that asks ten times a " +
    "second, at half of the load that ingest can take. Slowed by: the same reader, while ingest takes all it can.",
  rows: ([1000, 100_000] as const).flatMap((devices) =>
    ([["JSON", "application/json"], ["Prometheus", "text/plain"]] as const).map(([form, accept]) => ({
      name: `${devices.toLocaleString("en")} devices, ${form}`,
      needsRedis: true,
      long: devices > 1000 && form !== "JSON",
      measure: (options: BenchOptions) => measureReaders(devices, accept, options),
    }))
  ),
};
