/**
 * Every setting of Tally, once: a new one is an entry in {@linkcode settings}. The rest of the program
 * trusts {@linkcode Config}, which `read_config.ts` parses at the start.
 *
 * @module
 */
import { accessSettings } from "./access_settings.ts";
import { alertSettings } from "./alert_settings.ts";
import { hostNamesKind, onOffKind, tagKeysKind } from "./kinds.ts";
import { deviceAuthSettings } from "./device_auth_settings.ts";
import { limitSettings } from "./limit_settings.ts";
import { storeSettings } from "./store_settings.ts";
import { tlsSettings } from "./tls_settings.ts";
import { isLoopback } from "../runtime/address.ts";
import {
  choice,
  custom,
  duration,
  host,
  integer,
  integerOrAuto,
  optional,
  port,
  size,
  type Values,
} from "../runtime/settings.ts";

/** The groups of the help, each with the role that reads most of its settings. */
const process = { group: "Process", role: "both" };
const devices = { group: "Devices", role: "ingest" };
const readers = { group: "Readers", role: "api" };
const queue = { group: "Queue", role: "ingest" };
const ops = { group: "Ops", role: "both" };
const log = { group: "Log", role: "both" };

/** The settings by the names the code uses; durations are in milliseconds, sizes in bytes. */
export const settings = {
  role: choice("--role", ["ingest", "api", "all"], {
    ...process,
    default: "all",
    common: true,
    help: "ingest: receives packets from devices; api: serves readers; all: both.",
  }),
  workers: integerOrAuto("TALLY_INGEST_WORKERS", {
    ...process,
    role: "ingest",
    default: "1",
    min: "1",
    max: "64",
    common: true,
    help: "Ingest processes on one port (Linux); auto: one per core. Above 1: deno task workers.",
  }),
  worker: integer("--worker", {
    ...process,
    role: "ingest",
    default: "0",
    min: "0",
    max: "64",
    hidden: true,
    help: "Number of this ingest worker: it shares the port, and stops at the end of its input.",
  }),
  drainTimeoutMs: duration("TALLY_DRAIN_TIMEOUT", {
    ...process,
    default: "10s",
    min: "100ms",
    max: "1h",
    help: "Time that a graceful stop may take after SIGTERM, SIGHUP or Ctrl-C.",
  }),

  grpcHost: host("TALLY_GRPC_HOST", {
    ...devices,
    default: "127.0.0.1",
    common: true,
    help: "Address of the device port; 0.0.0.0 for all interfaces.",
  }),
  grpcPort: port("TALLY_GRPC_PORT", {
    ...devices,
    default: "50051",
    common: true,
    help: "Port for devices (gRPC).",
  }),
  maxPayloadBytes: size("TALLY_MAX_PAYLOAD", {
    ...devices,
    default: "64KiB",
    min: "1B",
    max: "16MiB",
    help: "Largest payload of a packet; a packet with a larger one is rejected alone.",
  }),
  maxMessageBytes: size("TALLY_MAX_MESSAGE", {
    ...devices,
    default: "4MiB",
    min: "1KiB",
    max: "64MiB",
    help: "Largest gRPC message; a larger one ends its stream. TALLY_MAX_PAYLOAD + 152B or more.",
  }),
  maxClockAheadMs: duration("TALLY_MAX_CLOCK_AHEAD", {
    ...devices,
    default: "24h",
    min: "1s",
    max: "87600h",
    help: "How far in the future a packet's timestamp may be; later ones are rejected.",
  }),
  fastPath: custom("TALLY_FAST_PATH", {
    ...devices,
    default: "on",
    help: "off: grpc-js serves uncompressed telemetry too; slower, with the same results.",
  }, onOffKind),
  reflection: custom("TALLY_REFLECTION", {
    ...devices,
    default: "on",
    help: "on: tools such as grpcurl can read which services there are (gRPC reflection).",
  }, onOffKind),

  httpHost: host("TALLY_HTTP_HOST", {
    ...readers,
    default: "127.0.0.1",
    common: true,
    help: "Address of the reader port; 0.0.0.0 for all interfaces.",
  }),
  httpPort: port("TALLY_HTTP_PORT", {
    ...readers,
    default: "8000",
    common: true,
    help: "Port for readers (HTTP).",
  }),
  allowedHosts: optional(custom("TALLY_HTTP_ALLOWED_HOSTS", {
    ...readers,
    default: "",
    common: true,
    help: "Host names in URLs of readers, besides IP addresses, localhost and TALLY_HTTP_HOST.",
  }, hostNamesKind)),
  prometheusMaxDevices: integer("TALLY_PROMETHEUS_MAX_DEVICES", {
    ...readers,
    default: "10000",
    min: "0",
    max: "1000000",
    help: "Devices with series of their own in the Prometheus form of /metrics, first by id.",
  }),
  tagsFrom: optional(custom("TALLY_TAGS_FROM", {
    ...readers,
    default: "",
    help: "Attributes in payloads that are tags of their devices, as in site,firmware.",
  }, tagKeysKind)),
  prometheusTags: optional(custom("TALLY_PROMETHEUS_TAGS", {
    ...readers,
    default: "",
    help: "Keys of tags that are labels of devices in the Prometheus form of /metrics.",
  }, tagKeysKind)),

  ...tlsSettings,
  ...deviceAuthSettings({ group: "Access", role: "ingest" }),
  ...accessSettings,

  ...storeSettings,

  // The packets of one device are coalesced in the queue, so more of them cost the store no more: from 16
  // busy connections one worker stores two to three times as many with 100,000 as with 10,000.
  queueMaxPackets: integer("TALLY_QUEUE_MAX_PACKETS", {
    ...queue,
    default: "100000",
    min: "1",
    max: "10000000",
    help: "Packets that may wait for the store; at the limit, streams are not read (backpressure).",
  }),
  queueMaxBytes: size("TALLY_QUEUE_MAX_BYTES", {
    ...queue,
    default: "16MiB",
    min: "1KiB",
    max: "256MiB",
    help: "Bytes of messages that may wait for the store, with the same effect.",
  }),
  // At 100,000 packets/s of 1,000 devices Redis is busy 42 % of the time with 10 ms, 22 % with 25 ms, 9 % with
  // 50 ms, 5 % with 100 ms; and 50 ms stores the most packets: 1.7 M/s against 1.4 M with 10 or 200 ms.
  flushIntervalMs: duration("TALLY_FLUSH_INTERVAL", {
    ...queue,
    default: "50ms",
    min: "1ms",
    max: "1m",
    help: "Longest wait of a packet for others to be stored with it, while no call waits for its Ack.",
  }),

  ...limitSettings,

  ...alertSettings,

  opsHost: host("TALLY_OPS_HOST", {
    ...ops,
    default: "127.0.0.1",
    help: "Address of the ops port; it has no authentication.",
  }),
  opsPort: optional(port("TALLY_OPS_PORT", {
    ...ops,
    default: "",
    common: true,
    help: "Port of a process's own metrics and health; worker N listens on this port + N.",
  })),

  logLevel: choice("TALLY_LOG_LEVEL", ["debug", "info", "warning", "error"], {
    ...log,
    default: "info",
    help: "Lowest level that is logged.",
  }),
  logFormat: choice("TALLY_LOG_FORMAT", ["auto", "json", "text"], {
    ...log,
    default: "auto",
    help: "Format of log lines; auto: text on a terminal, JSON elsewhere.",
  }),
} as const;

/** Tally's settings, parsed and checked. */
export type Config = Values<typeof settings>;

/** The configured Redis, as a URL with its password or as an address; undefined: SQLite. */
export function configuredRedis(config: Config): string | { host: string; port: number } | undefined {
  if (config.redisUrl !== undefined) return config.redisUrl;
  return config.redisHost === undefined ? undefined : { host: config.redisHost, port: config.redisPort };
}

/** Shards of a cluster without TALLY_SHARDS: two for each master of the smallest one, so that it can grow to six. */
const CLUSTER_SHARDS = 6;

/** Parts that the data in Redis is divided into. */
export function configuredShards({ shards, redisUrl }: Pick<Config, "shards" | "redisUrl">): number {
  return shards ?? (/^rediss?\+cluster:/i.test(redisUrl ?? "") ? CLUSTER_SHARDS : 1);
}

/** Where events are delivered, if anywhere. */
export function configuredWebhook(config: Config): { url: string; secret: Uint8Array } | undefined {
  const { webhookUrl: url, webhookSecret: secret } = config;
  return url === undefined || secret === undefined ? undefined : { url, secret };
}

/** Whether the reader port may be reached from other machines without a token. */
export function isReaderPortOpen({ httpHost, apiAuth }: Pick<Config, "httpHost" | "apiAuth">): boolean {
  return apiAuth === "none" && !isLoopback(httpHost);
}

/** Whether the device port may be reached from other machines without credentials. */
export function isDevicePortOpen({ grpcHost, deviceAuth }: Pick<Config, "grpcHost" | "deviceAuth">): boolean {
  return deviceAuth.size === 0 && !isLoopback(grpcHost);
}

/** Ingest processes of this machine. */
export function configuredWorkers({ workers }: Pick<Config, "workers">): number {
  return workers === "auto" ? navigator.hardwareConcurrency : workers;
}

/** The ops port of this process: each worker has one of its own, after the supervisor's; undefined: none. */
export function configuredOpsPort({ opsPort, worker }: Config): number | undefined {
  return opsPort === undefined || opsPort === 0 ? opsPort : opsPort + worker;
}
