/**
 * What is measured, row by row: throughput, and how it changes with devices and streams.
 *
 * @module
 */
import { Ledger, type LoadProcesses, type LoadShape, type Measured, usualLoad } from "./measure.ts";
import { startSubject, type SubjectKind } from "./subject.ts";
import { type Figure, median, type Row } from "./table.ts";

/** How long things take, and how often they are repeated. */
export interface BenchOptions {
  readonly runs: number;
  /** Of one run. */
  readonly runMs: number;
  /** Before the runs of a row: until Deno has compiled what runs often. */
  readonly warmUpMs: number;
  /** Processes where ingest has several. */
  readonly workers: number;
  /** False: what needs Redis is left out. */
  readonly hasRedis: boolean;
  /** The most connections one process can have. */
  readonly maxConnections: number;
  readonly processes: LoadProcesses;
  /** Command of another gRPC ingest; undefined: its column is left out. */
  readonly peer: string | undefined;
  /** False: its column is left out. */
  readonly hasVictoriaMetrics: boolean;
}

/** A row to be measured. */
export interface RowPlan {
  readonly name: string;
  readonly needsRedis: boolean;
  /** Too long for `--quick`. */
  readonly long: boolean;
  measure(options: BenchOptions): Promise<Row["figures"]>;
}

/** A table to be filled. */
export interface SectionPlan {
  readonly title: string;
  readonly about: string;
  readonly rows: readonly RowPlan[];
}

/** Starts a server; it ends with `parts`. */
export async function startLedger(
  kind: SubjectKind,
  { workers, processes }: BenchOptions,
  parts: AsyncDisposableStack,
  settings: Readonly<Record<string, string>> = {},
): Promise<Ledger> {
  // One generator feeds two workers with ease.
  const generators = kind === "tally-redis-workers" ? Math.ceil(workers / 2) : 1;
  return new Ledger(parts.use(await startSubject(kind, workers, { settings })), processes, generators);
}

/** Columns of the comparison, and their order in each round. */
const comparedKinds: readonly (readonly [SubjectKind, (workers: number) => string])[] = [
  ["plain", () => "plain grpc-js, Redis"],
  ["tally-redis", () => "Tally, Redis"],
  ["tally-redis-workers", (workers) => `Tally, Redis, ${workers} workers`],
  ["tally-sqlite", () => "Tally, SQLite"],
  ["sink", () => "generator alone"],
];

/** Least packets of a run per stream: with fewer, the ends of the streams would be what is measured. */
const MIN_PACKETS_PER_STREAM = 100;

/**
 * Packets that take about `runMs` at the pace of the run before, to the last Ack. Sending for that long would
 * not do: many streams have windows enough for packets of half a minute.
 */
export function asLongAs(
  runMs: number,
  load: Omit<LoadShape, "durationMs">,
  { packetsPerSecond }: Measured,
): LoadShape {
  const streams = load.connections * load.streamsPerConnection;
  const minPackets = Math.max(Math.ceil(packetsPerSecond * runMs / 1000), streams * MIN_PACKETS_PER_STREAM);
  return { ...load, durationMs: 0, minPackets };
}

/** Loads each kind in turn, round after round, so that what else the machine does hits all alike. */
async function compareKinds(shape: Partial<LoadShape>, options: BenchOptions): Promise<Row["figures"]> {
  const { runs, runMs, warmUpMs, workers, hasRedis } = options;
  await using parts = new AsyncDisposableStack();
  const kinds = comparedKinds.filter(([kind]) =>
    (hasRedis || kind === "tally-sqlite" || kind === "sink") &&
    (kind !== "tally-redis-workers" || Math.min(workers, shape.connections ?? usualLoad.connections) > 1)
  );
  const compared = await Promise.all(
    kinds.map(async ([kind, column]) => ({
      kind,
      column: column(workers),
      ledger: await startLedger(kind, options, parts),
      measured: [] as Measured[],
    })),
  );
  const load = { ...usualLoad, ...shape };
  const warmUps = new Map<Ledger, Measured>();
  for (const { ledger } of compared) {
    warmUps.set(ledger, await ledger.load({ ...load, durationMs: warmUpMs }));
  }
  for (let run = 0; run < runs; run++) {
    for (const { ledger, measured } of compared) {
      measured.push(await ledger.load(asLongAs(runMs, load, measured.at(-1) ?? warmUps.get(ledger)!)));
    }
  }
  const figures: Record<string, Figure> = {};
  for (const { column, ledger, measured } of compared) figures[column] = rate(measured, ledger);
  const [tally, plain] = (["tally-redis", "plain"] as const).map((kind) =>
    compared.find((each) => each.kind === kind)
  );
  if (tally !== undefined && plain !== undefined) {
    figures["Tally ÷ plain"] = {
      values: tally.measured.map(({ packetsPerSecond }, run) =>
        packetsPerSecond / plain.measured[run]!.packetsPerSecond
      ),
      unit: "×",
      wrong: tally.ledger.wrong ?? plain.ledger.wrong,
    };
  }
  return figures;
}

/** Above this share of a core, the generator is what limits. */
const GENERATOR_BUSY = 0.95;

/** Packets per second of several runs. */
export function rate(measured: readonly Measured[], { subject: { kind }, wrong }: Ledger): Figure {
  const generatorCpu = measured.map((run) => run.generatorCpu);
  return {
    values: measured.map(({ packetsPerSecond }) => packetsPerSecond),
    unit: "packets/s",
    wrong,
    atLeast: kind !== "sink" && median(generatorCpu) > GENERATOR_BUSY,
    generatorCpu,
  };
}

/** As many connections of those wanted as can be had, and a column that says so when they are fewer. */
export function withinLimit(
  wanted: number,
  { maxConnections }: BenchOptions,
): { connections: number; fewer: Row["figures"] } {
  const connections = Math.min(wanted, maxConnections);
  return {
    connections,
    fewer: connections < wanted ? { "lowered to": { values: [connections], unit: "count" } } : {},
  };
}

/** Loads Tally with one process, for so long if it is given; what memory it has at the end. */
async function loadOne(
  shape: Partial<LoadShape>,
  options: BenchOptions,
  kind: "tally-redis" | "tally-sqlite" = "tally-redis",
  durationMs?: number,
): Promise<Row["figures"]> {
  await using parts = new AsyncDisposableStack();
  const ledger = await startLedger(kind, options, parts);
  const { connections, fewer } = withinLimit(shape.connections ?? usualLoad.connections, options);
  const load = { ...usualLoad, ...shape, connections };
  // Every device has been seen when the runs begin.
  let last = await ledger.load({ ...load, durationMs: options.warmUpMs, minPackets: load.devices });
  const measured: Measured[] = [];
  for (let run = 0; run < options.runs; run++) {
    const next = durationMs === undefined ? asLongAs(options.runMs, load, last) : { ...load, durationMs };
    measured.push(last = await ledger.load(next));
  }
  return {
    "packets/s": rate(measured, ledger),
    "memory of ingest": { values: [await ledger.subject.memoryBytes()], unit: "bytes", wrong: ledger.wrong },
    ...fewer,
  };
}

const oneByOne = { packing: "message", framesPerWrite: 16 } as const;
const filled = { packing: "filled", framesPerWrite: 4 } as const;
const batches = {
  rpc: "StreamBatches",
  packetsPerMessage: 1000,
  packing: "message",
  framesPerWrite: 3,
} as const;

const shapes: readonly (readonly [string, Partial<LoadShape>])[] = [
  ["StreamPackets, a frame per message, 1 stream", { ...oneByOne, connections: 1 }],
  ["StreamPackets, a frame per message, 16 streams", { ...oneByOne, connections: 16 }],
  ["StreamPackets, filled frames, 16 streams", { ...filled, connections: 16 }],
  ["StreamBatches of 1,000, 16 streams", { ...batches, connections: 16 }],
];

/** The comparison. */
export const throughput: SectionPlan = {
  title: "Packets per second",
  about:
    "Packets of 44 bytes of 1,000 devices, each stream on a connection of its own. A frame per message: as " +
    "devices' libraries send it, here 16 frames in a write. Filled frames: 16 KiB of messages in each. " +
    "Plain grpc-js: a handler as its documentation has it, that counts into a Redis of its own. " +
    "Generator alone: into a server that only reads; what is faster than that can not be seen here. " +
    "With ≥ the generator had no time to spare: the server may be faster.",
  rows: shapes.map(([name, shape]) => ({
    name,
    needsRedis: false,
    long: false,
    measure: (options) => compareKinds(shape, options),
  })),
};

/** Large fleets are deferred after a while only: every device has to be known, and the store busy. */
function longer(options: BenchOptions): BenchOptions {
  return { ...options, warmUpMs: 6 * options.warmUpMs, runMs: 4 * options.runMs };
}

const fleetSizes = {
  "tally-redis": [100, 1000, 10_000, 100_000, 1_000_000],
  "tally-sqlite": [1000, 10_000, 100_000, 1_000_000],
} as const;

/** In a run that long, a store that counts later what it has stored has to keep up with that. */
const SUSTAINED_MS = 60_000;

/** Over the number of devices. */
export const devices: SectionPlan = {
  title: "By number of devices",
  about:
    "StreamPackets, a frame per message, 16 streams, one process; Redis unless SQLite is named; each device is known " +
    "before the runs. Of large fleets the store counts some seconds later what it has stored: in a run of a few " +
    "seconds it need not keep up with that, in one of a minute (one run) it has to.",
  rows: (["tally-redis", "tally-sqlite"] as const).flatMap((kind) => {
    const nameOf = (devices: number) =>
      `${devices.toLocaleString("en")} devices${kind === "tally-sqlite" ? ", SQLite" : ""}`;
    const needsRedis = kind === "tally-redis";
    return [
      ...fleetSizes[kind].map((devices) => ({
        name: nameOf(devices),
        needsRedis,
        long: devices > 100_000,
        measure: (options: BenchOptions) =>
          loadOne({ devices }, devices < 100_000 ? options : longer(options), kind),
      })),
      ...[100_000, 1_000_000].map((devices) => ({
        name: `${nameOf(devices)}, for a minute`,
        needsRedis,
        long: true,
        measure: (options: BenchOptions) =>
          loadOne({ devices }, { ...longer(options), runs: 1 }, kind, SUSTAINED_MS),
      })),
    ];
  }),
};

/** Over the number of streams. */
export const streams: SectionPlan = {
  title: "By number of streams",
  about:
    "StreamPackets, a frame per message, 1,000 devices, Redis, one process; each stream on its own connection.",
  rows: [1, 16, 256, 1000, 5000].map((connections) => ({
    name: `${connections.toLocaleString("en")} stream${connections === 1 ? "" : "s"}`,
    needsRedis: true,
    long: connections > 1000,
    measure: (options) => loadOne({ connections }, options),
  })),
};

/** Entries in the stream: two to twenty seconds of what is measured. */
const STREAM_SETTINGS = { TALLY_PACKET_STREAM: "100000" };

/** Loads Tally without the packet stream and with it, in turn. */
async function loadStreamed(shape: Partial<LoadShape>, options: BenchOptions): Promise<Row["figures"]> {
  await using parts = new AsyncDisposableStack();
  const load = { ...usualLoad, ...shape };
  const compared = await Promise.all(
    [{}, STREAM_SETTINGS].map(async (settings) => ({
      ledger: await startLedger("tally-redis", options, parts, settings),
      measured: [] as Measured[],
    })),
  );
  const warmUps: Measured[] = [];
  for (const { ledger } of compared) {
    warmUps.push(await ledger.load({ ...load, durationMs: options.warmUpMs, minPackets: load.devices }));
  }
  for (let run = 0; run < options.runs; run++) {
    for (const [i, { ledger, measured }] of compared.entries()) {
      measured.push(await ledger.load(asLongAs(options.runMs, load, measured.at(-1) ?? warmUps[i]!)));
    }
  }
  const [off, on] = compared as [typeof compared[number], typeof compared[number]];
  return {
    "off": rate(off.measured, off.ledger),
    "on": rate(on.measured, on.ledger),
    "on ÷ off": {
      values: on.measured.map(({ packetsPerSecond }, i) =>
        packetsPerSecond / off.measured[i]!.packetsPerSecond
      ),
      unit: "×",
    },
  };
}

/** What `TALLY_PACKET_STREAM` costs. */
export const packetStream: SectionPlan = {
  title: "Packet stream",
  about: "Packets per second without and with TALLY_PACKET_STREAM=100000, as above: Redis, one process.",
  rows: ([
    ["1,000 devices, a frame per message", { devices: 1000 }],
    ["1,000 devices, StreamBatches of 1,000", { ...batches, devices: 1000 }],
    ["100,000 devices, a frame per message", { devices: 100_000 }],
  ] as const).map(([name, shape]) => ({
    name,
    needsRedis: true,
    long: false,
    measure: (options) => loadStreamed(shape, shape.devices < 100_000 ? options : longer(options)),
  })),
};
