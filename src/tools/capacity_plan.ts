/**
 * From devices and rate to workers, shards, memory and network: arithmetic on what the bench measured.
 *
 * @module
 */
import { figures, ingestMemory, type MeasuredFigure, measuredUpTo } from "./capacity_figures.ts";

/** What is to be served. */
export interface CapacityDemand {
  /** How many. */
  readonly devices: number;
  /** Packets per second of each device. */
  readonly rate: number;
  /** Bytes of each packet's payload. */
  readonly payloadBytes: number;
  /** 1: each device has its own; more: those of a gateway. */
  readonly devicesPerConnection: number;
  /** Share of each core that is planned for: the rest is for peaks. */
  readonly coreShare: number;
}

/** One line of a plan. */
export interface Need {
  /** Of what. */
  readonly what: string;
  /** How much, in `unit`. */
  readonly value: number;
  /** Of `value`. */
  readonly unit: "processes" | "bytes" | "bit/s" | "packets/s" | "updates/s" | "connections";
  /** How it was computed. */
  readonly how: string;
  /** The measured figures it uses. */
  readonly uses: readonly MeasuredFigure[];
  /** Why it is beyond what was measured; undefined: it is not. */
  readonly extrapolated: string | undefined;
}

/** A device is updated once in each batch at most: 20 a second with TALLY_FLUSH_INTERVAL=50ms. */
const BATCHES_PER_SECOND = 20;

/** The payload with which memory per device was measured. */
const MEMORY_PAYLOAD_BYTES = 21;

/** IPv4 and TCP headers, the latter with timestamps, and what Ethernet adds to each segment: preamble, header, checksum and gap. */
const SEGMENT_BYTES = 20 + 20 + 12 + 38;

/** What is needed, line by line. */
export function capacityOf(demand: CapacityDemand): Need[] {
  const { devices, rate, devicesPerConnection, coreShare } = demand;
  const packets = devices * rate, updates = devices * Math.min(rate, BATCHES_PER_SECOND);
  const connections = Math.ceil(devices / devicesPerConnection);
  const processes = (perSecond: number, { value }: MeasuredFigure) =>
    Math.max(1, Math.ceil(perSecond * value / 1e6 / coreShare));
  const fleet = {
    ...demand,
    packets,
    updates,
    connections,
    workers: processes(packets, figures.ingestCpuPerPacket),
    shards: processes(updates, figures.redisCpuPerUpdate),
  };
  return [
    computed("packets", packets, "packets/s", `${formatted(devices)} devices × ${formatted(rate)}`),
    computed(
      "device-updates",
      updates,
      "updates/s",
      `a device's packets of 1/${BATCHES_PER_SECOND} s are one`,
    ),
    computed(
      "connections",
      connections,
      "connections",
      `devices on each: ${formatted(devicesPerConnection)}`,
    ),
    ...processNeeds(fleet),
    ...memoryNeeds(fleet),
    ...networkNeeds(fleet),
  ];
}

interface Fleet extends CapacityDemand {
  readonly packets: number;
  readonly updates: number;
  readonly connections: number;
  readonly workers: number;
  readonly shards: number;
}

function computed(what: string, value: number, unit: Need["unit"], how: string): Need {
  return { what, value, unit, how, uses: [], extrapolated: undefined };
}

function processNeeds({ workers, shards, devices, coreShare }: Fleet): Need[] {
  const { ingestCpuPerPacket, redisCpuPerUpdate } = figures;
  const percent = `${formatted(coreShare * 100)} % of a core each`;
  return [
    {
      what: "ingest workers",
      value: workers,
      unit: "processes",
      how: `${formatted(ingestCpuPerPacket.value)} µs per packet, ${percent}`,
      uses: [ingestCpuPerPacket],
      extrapolated: beyond(["workers", workers]),
    },
    {
      what: "Redis shards",
      value: shards,
      unit: "processes",
      how: `${formatted(redisCpuPerUpdate.value)} µs per device-update, ${percent}`,
      uses: [redisCpuPerUpdate],
      extrapolated: beyond(["shards", shards], ["devices", devices / shards]),
    },
  ];
}

function memoryNeeds({ devices, connections, workers, payloadBytes }: Fleet): Need[] {
  const { redisMemoryPerDevice, redisMemoryPerSession, ingestMemoryPerConnection } = figures;
  const perWorker = ingestMemory.find((row) => row.devices >= devices / workers) ?? ingestMemory.at(-1)!;
  const deviceBytes = redisMemoryPerDevice.value + Math.max(0, payloadBytes - MEMORY_PAYLOAD_BYTES);
  return [
    {
      what: "Redis memory, all shards",
      value: devices * deviceBytes + connections * redisMemoryPerSession.value,
      unit: "bytes",
      how:
        `${formatted(deviceBytes)} B per device, ${formatted(redisMemoryPerSession.value)} B per session; ` +
        "without replicas and copies for snapshots",
      uses: [redisMemoryPerDevice, redisMemoryPerSession],
      extrapolated: beyond(["devices", devices], ["payloadBytes", payloadBytes]),
    },
    {
      what: "ingest memory, all workers",
      value: workers * perWorker.figure.value + connections * ingestMemoryPerConnection.value,
      unit: "bytes",
      how:
        `${formatted(perWorker.figure.value / 1e6)} MB per worker of ${
          formatted(perWorker.devices)
        } devices, ` +
        `${formatted(ingestMemoryPerConnection.value / 1000)} KB per connection`,
      uses: [perWorker.figure, ingestMemoryPerConnection],
      extrapolated: beyond(
        ["workers", workers],
        ["devices", devices / workers],
        ["connectionsPerWorker", Math.ceil(connections / workers)],
      ),
    },
  ];
}

function networkNeeds({ devices, packets, updates, payloadBytes }: Fleet): Need[] {
  const { wireBytesPerPacket, redisBytesPerUpdate } = figures;
  const packetBytes = wireBytesPerPacket.value + payloadBytes;
  const updateBytes = redisBytesPerUpdate.value + Math.max(0, payloadBytes - measuredUpTo.payloadBytes);
  return [
    {
      what: "network, devices to ingest",
      value: packets * (packetBytes + SEGMENT_BYTES) * 8,
      unit: "bit/s",
      how:
        `${
          formatted(packetBytes)
        } B per packet, and ${SEGMENT_BYTES} B of TCP, IP and Ethernet, each packet by ` +
        "itself; without TLS",
      uses: [wireBytesPerPacket],
      extrapolated: "headers of the network are computed, not measured",
    },
    {
      what: "network, ingest to Redis",
      value: updates * updateBytes * 8,
      unit: "bit/s",
      how: `${formatted(updateBytes)} B per device-update; without its replicas`,
      uses: [redisBytesPerUpdate],
      extrapolated: beyond(["devices", devices], ["payloadBytes", payloadBytes]),
    },
  ];
}

/** What is above the measurements; undefined if nothing is. */
function beyond(...checks: (readonly [keyof typeof measuredUpTo, number])[]): string | undefined {
  const above = checks.filter(([name, value]) => value > measuredUpTo[name]);
  if (above.length === 0) return undefined;
  return above.map(([name, value]) =>
    `${names[name]} ${formatted(value)}, measured up to ${formatted(measuredUpTo[name])}`
  ).join("; ");
}

const names: Record<keyof typeof measuredUpTo, string> = {
  devices: "devices",
  workers: "workers",
  shards: "shards",
  connectionsPerWorker: "connections per worker",
  payloadBytes: "bytes of payload",
};

function formatted(value: number): string {
  return value.toLocaleString("en-US", { maximumFractionDigits: value < 100 ? 2 : 0 });
}
