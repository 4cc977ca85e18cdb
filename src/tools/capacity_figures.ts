/**
 * What a device and a packet cost, as the bench measured it: what `deno task capacity` multiplies.
 *
 * @module
 */

/** Where figures were measured. */
export interface Measurement {
  /** Day, UTC. */
  readonly date: string;
  /** Processor, cores and versions. */
  readonly machine: string;
}

/** One measured figure. */
export interface MeasuredFigure {
  /** What it is. */
  readonly what: string;
  /** In `unit`. */
  readonly value: number;
  /** Of `value`. */
  readonly unit: "µs" | "B";
  /** What prints it again: a command and its row, or a document. */
  readonly source: string;
  /** When and where it was measured. */
  readonly measured: Measurement;
}

const machine = "AMD EPYC, 2 cores, linux 6.18, Deno 2.9.6, Redis 7.0.15";
const latest: Measurement = { date: "2026-11-29", machine };
const earlier: Measurement = { date: "2026-11-23", machine };

const cost = (row: string) => `deno task bench --only "What a packet costs: ${row}"`;

/** All of them. Packets have 16 bytes of payload, ids 12 characters. */
export const figures = {
  ingestCpuPerPacket: {
    what: "ingest CPU per packet, long streams that send one at a time",
    value: 25.6,
    unit: "µs",
    source: cost("10,000 packets/s"),
    measured: latest,
  },
  redisCpuPerUpdate: {
    what: "Redis CPU per device-update, 1,000,000 devices",
    value: 7,
    unit: "µs",
    source: cost("1,000,000 devices"),
    measured: latest,
  },
  redisBytesPerUpdate: {
    what: "bytes from ingest to Redis per device-update, 1,000,000 devices",
    value: 111,
    unit: "B",
    source: cost("1,000,000 devices"),
    measured: latest,
  },
  redisMemoryPerDevice: {
    what: "Redis memory per device, all histories full",
    value: 569,
    unit: "B",
    source: ".github/BENCHMARKS.md, Memory of the stores",
    measured: earlier,
  },
  redisMemoryPerSession: {
    what: "Redis memory per session",
    value: 256,
    unit: "B",
    source: cost("100,000 sessions"),
    measured: latest,
  },
  wireBytesPerPacket: {
    what: "HTTP/2 bytes of a packet without its payload: frame header, gRPC prefix, message",
    value: 37,
    unit: "B",
    source:
      "tests/bench/packet_ring.ts: 44 bytes of message and prefix with a payload of 16, and 9 of frame header",
    measured: latest,
  },
  ingestMemoryPerConnection: {
    what: "ingest memory per connection",
    value: 19_400,
    unit: "B",
    source: 'deno task bench --only "Staying connected: 5,000 devices$"',
    measured: latest,
  },
} as const satisfies Record<string, MeasuredFigure>;

/** Memory of an ingest process, by the devices that it received packets of; on 16 streams. */
export const ingestMemory: readonly { readonly devices: number; readonly figure: MeasuredFigure }[] = (
  [[1000, 224e6], [10_000, 300e6], [100_000, 368e6], [1_000_000, 613e6]] as const
).map(([devices, value]) => {
  const row = `${devices.toLocaleString("en")} devices`;
  return {
    devices,
    figure: {
      what: `memory of an ingest process with ${row}`,
      value,
      unit: "B",
      source: `deno task bench --only "By number of devices: ${row}"`,
      measured: latest,
    },
  };
});

/** Up to where they were measured: what is above is extrapolated. */
export const measuredUpTo = {
  devices: 1_000_000,
  workers: 2,
  shards: 1,
  connectionsPerWorker: 10_000,
  payloadBytes: 16,
} as const;
