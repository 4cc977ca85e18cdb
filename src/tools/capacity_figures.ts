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

const xeon: Measurement = {
  date: "2026-11-28",
  machine: "Intel Xeon, 2 cores, linux 6.18, Deno 2.9.6, Redis 7.0.15",
};
const epyc: Measurement = {
  date: "2026-11-23",
  machine: "AMD EPYC, 2 cores, linux 6.18, Deno 2.9.6, Redis 7.0.15",
};

const cost = (row: string) => `deno task bench --only "What a packet costs: ${row}"`;

/** All of them. Packets have 16 bytes of payload, ids 12 characters. */
export const figures = {
  ingestCpuPerPacket: {
    what: "ingest CPU per packet, long streams that send one at a time",
    value: 35.6,
    unit: "µs",
    source: cost("10,000 packets/s"),
    measured: xeon,
  },
  redisCpuPerUpdate: {
    what: "Redis CPU per device-update, 1,000,000 devices",
    value: 9.38,
    unit: "µs",
    source: cost("1,000,000 devices"),
    measured: xeon,
  },
  redisBytesPerUpdate: {
    what: "bytes from ingest to Redis per device-update",
    value: 50.8,
    unit: "B",
    source: cost("1,000,000 devices"),
    measured: xeon,
  },
  redisMemoryPerDevice: {
    what: "Redis memory per device, all histories full",
    value: 569,
    unit: "B",
    source: ".github/BENCHMARKS.md, Memory of the stores",
    measured: epyc,
  },
  redisMemoryPerSession: {
    what: "Redis memory per session",
    value: 257,
    unit: "B",
    source: cost("100,000 sessions"),
    measured: xeon,
  },
  wireBytesPerPacket: {
    what: "HTTP/2 bytes of a packet without its payload: frame header, gRPC prefix, message",
    value: 37,
    unit: "B",
    source:
      "tests/bench/packet_ring.ts: 44 bytes of message and prefix with a payload of 16, and 9 of frame header",
    measured: xeon,
  },
  ingestMemoryPerConnection: {
    what: "ingest memory per connection",
    value: 16_300,
    unit: "B",
    source: 'deno task bench --only "Staying connected: 5,000 devices$"',
    measured: epyc,
  },
} as const satisfies Record<string, MeasuredFigure>;

/** Memory of an ingest process, by the devices that it received packets of; on 16 streams. */
export const ingestMemory: readonly { readonly devices: number; readonly figure: MeasuredFigure }[] = (
  [[1000, 204e6], [10_000, 262e6], [100_000, 295e6], [1_000_000, 614e6]] as const
).map(([devices, value]) => {
  const row = `${devices.toLocaleString("en")} devices`;
  return {
    devices,
    figure: {
      what: `memory of an ingest process with ${row}`,
      value,
      unit: "B",
      source: `deno task bench --only "By number of devices: ${row}"`,
      measured: epyc,
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
