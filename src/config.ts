/**
 * Every setting of Tally, once: a new one is an entry in {@linkcode settings}. Parsed and checked at
 * start; the rest of the program trusts {@linkcode Config}.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import {
  choice,
  ConfigError,
  custom,
  duration,
  type Given,
  host,
  integer,
  integerOrAuto,
  optional,
  parseSettings,
  path,
  port,
  type Setting,
  settingsHelp,
  settingsMarkdown,
  size,
  type Values,
} from "./runtime/settings.ts";
import type { AckAfter } from "./store/packets.ts";

export { ConfigError };

const redisUrl = custom("REDIS_URL", {
  default: "",
  scope: "all",
  help: "Redis to keep the counts in, with user and password where needed; instead of REDIS_HOST.",
}, {
  allowed: "redis://[user:password@]host[:port][/database], or rediss:// for TLS; " +
    "percent-encode # / ? @ % and spaces in user and password",
  secret: true,
  parse: (text) => isRedisUrl(text) ? text : undefined,
});

const redisTlsCa = path("REDIS_TLS_CA", {
  default: "",
  scope: "all",
  help: "PEM file of the authorities to trust for rediss://, instead of the system's.",
});

const redisHost = host("REDIS_HOST", {
  default: "",
  scope: "all",
  help: "Host of the Redis to keep the counts in. Without it and without REDIS_URL, a SQLite file serves.",
});

const ackAfter: Setting<AckAfter> = custom("ACK_AFTER", {
  default: "stored",
  scope: "ingest",
  help: "How safe packets are before they are acknowledged: the store has them, N replicas have them " +
    "(Redis), or they are on disk.",
}, {
  allowed: "stored, replicated:N with N from 1 to 100, synced",
  parse: parseAckAfter,
});

const webhookUrl = custom("ALERT_WEBHOOK_URL", {
  default: "",
  scope: "api",
  help: "Where devices that fall silent or come back are told of, by the rules of Standard Webhooks.",
}, {
  allowed: "an http or https URL",
  // People put tokens into them.
  secret: true,
  parse: (text) => /^https?:$/.test(URL.parse(text)?.protocol ?? "") ? text : undefined,
});

const webhookSecret = custom("ALERT_WEBHOOK_SECRET", {
  default: "",
  scope: "api",
  help: "The key with which that is signed; the receiver has the same.",
}, {
  allowed: "whsec_ and 24 to 64 bytes in base64, as in whsec_$(openssl rand -base64 32)",
  secret: true,
  parse: parseWebhookSecret,
});

const allowedHosts = custom("HTTP_ALLOWED_HOSTS", {
  default: "",
  scope: "api",
  help: "Host names readers may use, besides IP addresses, localhost and HTTP_HOST.",
}, {
  allowed: "names with commas between them; *.example.com for all below one, * for any",
  parse: parseHostNames,
});
const connections = (name: string, scope: string, help: string) =>
  integerOrAuto(name, { default: "auto", min: "1", max: "1000000", scope, help });

/** The settings by the names the code uses; durations are in milliseconds, sizes in bytes. */
export const settings = {
  role: choice("--role", ["ingest", "api", "all"], {
    default: "all",
    scope: "all",
    help: "What this process does: take packets in, serve what was counted, or both.",
  }),
  grpcHost: host("GRPC_HOST", {
    default: "127.0.0.1",
    scope: "ingest",
    help: "Address on which devices are served; 0.0.0.0 for all.",
  }),
  grpcPort: port("GRPC_PORT", {
    default: "50051",
    scope: "ingest",
    help: "Port on which devices are served.",
  }),
  httpHost: host("HTTP_HOST", {
    default: "127.0.0.1",
    scope: "api",
    help: "Address on which readers are served; 0.0.0.0 for all.",
  }),
  httpPort: port("HTTP_PORT", { default: "8000", scope: "api", help: "Port on which readers are served." }),
  allowedHosts: optional(allowedHosts),
  workers: integerOrAuto("INGEST_WORKERS", {
    default: "1",
    min: "1",
    max: "64",
    scope: "ingest",
    help: "Processes that take packets in, on one port (Linux); auto is one per core. " +
      "More than one needs a task that may start them: deno task workers.",
  }),
  worker: integer("--worker", {
    default: "0",
    min: "0",
    max: "64",
    scope: "ingest",
    help:
      "Set by Tally itself for the processes of INGEST_WORKERS: shares the port, and ends with its input.",
  }),
  redisUrl: optional(redisUrl),
  redisHost: optional(redisHost),
  redisPort: integer("REDIS_PORT", {
    default: "6379",
    min: "1",
    max: "65535",
    scope: "all",
    help: "Port of REDIS_HOST.",
  }),
  redisTlsCa: optional(redisTlsCa),
  databasePath: path("TALLY_DB", {
    default: "data/tally.db",
    scope: "all",
    help: "SQLite file for the counts when no Redis is set; its folder is made.",
  }),
  // Packets of one device melt into one change in the queue, so more of them cost the store no more: from 16
  // busy connections one worker takes two to three times as many with 100,000 as with 10,000.
  queueMaxPackets: integer("QUEUE_MAX_PACKETS", {
    default: "100000",
    min: "1",
    max: "10000000",
    scope: "ingest",
    help: "Packets that may wait for the store; when it is full, streams are not read until there is room.",
  }),
  queueMaxBytes: size("QUEUE_MAX_BYTES", {
    default: "16MiB",
    min: "1KiB",
    max: "256MiB",
    scope: "ingest",
    help: "Bytes of messages that may wait for the store; full as above.",
  }),
  // At 100,000 packets/s of 1,000 devices Redis is busy 42 % of the time with 10 ms, 22 % with 25 ms, 9 % with
  // 50 ms, 5 % with 100 ms; and 50 ms takes the most packets: 1.7 M/s against 1.4 M with 10 or 200 ms.
  flushIntervalMs: duration("FLUSH_INTERVAL", {
    default: "50ms",
    min: "1ms",
    max: "1m",
    scope: "ingest",
    help: "Longest wait before packets go to the store.",
  }),
  fastPath: custom("FAST_PATH", {
    default: "on",
    scope: "ingest",
    help: "off: grpc-js serves all telemetry that is not compressed; slower, and means the same.",
  }, { allowed: "on, off", parse: (text) => text === "on" ? true : text === "off" ? false : undefined }),
  maxPayloadBytes: size("MAX_PAYLOAD", {
    default: "64KiB",
    min: "1B",
    max: "16MiB",
    scope: "ingest",
    help: "Largest payload of one packet; a packet above it is refused alone.",
  }),
  maxMessageBytes: size("MAX_MESSAGE", {
    default: "4MiB",
    min: "1KiB",
    max: "64MiB",
    scope: "ingest",
    help: "Largest gRPC message; one above it ends its stream. 152 bytes above MAX_PAYLOAD at least.",
  }),
  maxClockAheadMs: duration("MAX_CLOCK_AHEAD", {
    default: "24h",
    min: "1s",
    max: "87600h",
    scope: "ingest",
    help: "How far a packet's timestamp may lie in the future before it is refused.",
  }),
  maxStreams: integer("MAX_STREAMS", {
    default: "10000",
    min: "1",
    max: "1000000",
    scope: "ingest",
    help: "Device streams open at once; further ones are refused until others end.",
  }),
  maxConnections: connections(
    "MAX_CONNECTIONS",
    "ingest",
    "Device connections open at once; auto: 2 × MAX_STREAMS.",
  ),
  storeGraceMs: duration("STORE_GRACE", {
    default: "5s",
    min: "100ms",
    max: "1h",
    scope: "ingest",
    help: "How long the store may be gone before the health service says NOT_SERVING.",
  }),
  storeTimeoutMs: duration("STORE_TIMEOUT", {
    default: "1s",
    min: "10ms",
    max: "1m",
    scope: "all",
    help: "How long one store command may take.",
  }),
  drainTimeoutMs: duration("DRAIN_TIMEOUT", {
    default: "10s",
    min: "100ms",
    max: "1h",
    scope: "all",
    help: "How long an orderly stop may take after SIGTERM, SIGHUP or Ctrl-C.",
  }),
  offlineAfterMs: duration("OFFLINE_AFTER", {
    default: "60s",
    min: "1s",
    max: "24h",
    scope: "api",
    help: "A device silent for longer is offline; the same for all processes with the api role.",
  }),
  prometheusMaxDevices: integer("PROMETHEUS_MAX_DEVICES", {
    default: "10000",
    min: "0",
    max: "1000000",
    scope: "api",
    help: "Devices with series of their own in the Prometheus form of /metrics, the first by id.",
  }),
  liveMaxClients: integer("LIVE_MAX_CLIENTS", {
    default: "1000",
    min: "1",
    max: "100000",
    scope: "api",
    help: "Streams of /live and /events open at once; further ones are refused.",
  }),
  httpMaxConnections: connections(
    "HTTP_MAX_CONNECTIONS",
    "api",
    "Reader connections open at once; auto: LIVE_MAX_CLIENTS + 1000.",
  ),
  httpMaxConnectionsPerAddress: connections(
    "HTTP_MAX_CONNECTIONS_PER_ADDRESS",
    "api",
    "Of these of one address, or IPv6 /64; auto: three quarters of them.",
  ),
  webhookUrl: optional(webhookUrl),
  webhookSecret: optional(webhookSecret),
  ackAfter,
  logLevel: choice("LOG_LEVEL", ["debug", "info", "warning", "error"], {
    default: "info",
    scope: "all",
    help: "Least severe log line to write.",
  }),
  logFormat: choice("LOG_FORMAT", ["auto", "json", "text"], {
    default: "auto",
    scope: "all",
    help: "Log lines as JSON or as readable text; auto writes text to a terminal and JSON elsewhere.",
  }),
} as const;

/** Tally's settings, parsed and checked. */
export type Config = Values<typeof settings>;

/**
 * Settings from flags, environment and defaults, in this order of precedence.
 *
 * @throws {ConfigError} with everything that is wrong, not only the first.
 */
export function parseConfig(
  args: readonly string[],
  env: (name: string) => string | undefined,
): Config {
  return parseSettings(settings, args, env, contradictions);
}

/** The Redis that was configured, as a URL with its password or as an address; undefined: SQLite serves. */
export function configuredRedis(config: Config): string | { host: string; port: number } | undefined {
  if (config.redisUrl !== undefined) return config.redisUrl;
  return config.redisHost === undefined ? undefined : { host: config.redisHost, port: config.redisPort };
}

/** Where events are told of, if anywhere. */
export function configuredWebhook(config: Config): { url: string; secret: Uint8Array } | undefined {
  const { webhookUrl: url, webhookSecret: secret } = config;
  return url === undefined || secret === undefined ? undefined : { url, secret };
}

/** What `--help` prints. */
export function helpText(): string {
  return `Tally: real-time telemetry for device fleets.

Usage: deno task start [flags]     both roles in one process
       deno task ingest [flags]    takes packets in over gRPC
       deno task api [flags]       serves what was counted over HTTP

Each setting is a flag or an environment variable. A flag wins; an empty variable counts as not set.

${settingsHelp(settings)}`;
}

/** The README's configuration table. */
export function configTable(): string {
  return settingsMarkdown(settings);
}

/**
 * What a message with one packet has besides the payload, at most: `PacketBatch`'s key and length (1 + 4 bytes),
 * a device_id of 128 bytes (1 + 2 + 128), a timestamp (1 + 10) and the payload's key and length (1 + 4).
 */
const PACKET_ENVELOPE_BYTES = 152;

/** Settings that are right alone and wrong together. */
function contradictions({ values, source }: Given<typeof settings>): string[] {
  const problems: string[] = [];
  for (const other of [source.redisHost, source.redisPort]) {
    if (source.redisUrl !== undefined && other !== undefined) {
      problems.push(`${source.redisUrl} and ${other}: both say where Redis is; leave one of them empty`);
    }
  }
  const redis = source.redisUrl ?? source.redisHost;
  if (source.redisPort !== undefined && redis === undefined) {
    problems.push(`${source.redisPort}: has no effect alone; set REDIS_HOST too`);
  }
  if (source.redisTlsCa !== undefined && !/^rediss:/i.test(values.redisUrl ?? "")) {
    problems.push(`${source.redisTlsCa}: has no effect without TLS; set REDIS_URL to a rediss:// URL`);
  }
  if (values.ackAfter?.kind === "replicated" && redis === undefined) {
    problems.push(
      `${source.ackAfter}: a SQLite file has no replicas; set REDIS_URL or REDIS_HOST, or use "stored"`,
    );
  }
  if ((source.webhookUrl === undefined) !== (source.webhookSecret === undefined)) {
    problems.push("ALERT_WEBHOOK_URL and ALERT_WEBHOOK_SECRET: found one of them; set both, or neither");
  }
  const { maxPayloadBytes = 0, maxMessageBytes = Infinity, queueMaxBytes = Infinity } = values;
  if (maxPayloadBytes > maxMessageBytes - PACKET_ENVELOPE_BYTES) {
    problems.push(
      `MAX_PAYLOAD and MAX_MESSAGE: found ${maxPayloadBytes} and ${maxMessageBytes} bytes; allowed: a message ` +
        `at least ${PACKET_ENVELOPE_BYTES} bytes larger, for what a packet has besides its payload`,
    );
  }
  if (maxPayloadBytes > queueMaxBytes) {
    problems.push(
      `MAX_PAYLOAD: found ${maxPayloadBytes} bytes; allowed: at most QUEUE_MAX_BYTES, ${queueMaxBytes} bytes`,
    );
  }
  return problems;
}

/** Stricter than a URL need be: with an unescaped `#` or `/` a part of the password becomes the host. */
const redisUrlForm = new RegExp(
  [
    /^rediss?:\/\//,
    /(?:(?:[^\s:/?#@%]|%[0-9a-f]{2})*(?::(?:[^\s/?#@%]|%[0-9a-f]{2})*)?@)?/, // user and password
    /(?:[^\s:/?#@%[\]]+|\[[0-9a-f:.]+\])(?::\d+)?/, // host and port
    /(?:\/\d*)?$/, // database
  ].map(({ source }) => source).join(""),
  "i",
);

function isRedisUrl(text: string): boolean {
  const url = redisUrlForm.test(text) ? URL.parse(text) : null;
  if (url === null || url.hostname === "") return false;
  try {
    decodeURIComponent(url.username + url.password);
    return true;
  } catch {
    return false; // Not UTF-8.
  }
}

function parseHostNames(text: string): readonly string[] | undefined {
  const names = text.split(",").map((name) => name.trim()).filter((name) => name !== "");
  const isName = (name: string) => /^(\*|(\*\.)?[\w-]+(\.[\w-]+)*)$/.test(name);
  return names.length > 0 && names.every(isName) ? names : undefined;
}

function parseWebhookSecret(text: string): Uint8Array | undefined {
  const base64 = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(text)?.[1];
  if (base64 === undefined) return undefined;
  const bytes = Uint8Array.from(Buffer.from(base64, "base64"));
  return bytes.length >= 24 && bytes.length <= 64 ? bytes : undefined;
}

function parseAckAfter(text: string): AckAfter | undefined {
  if (text === "stored" || text === "synced") return { kind: text };
  const replicas = Number(/^replicated:(\d+)$/.exec(text)?.[1]);
  return replicas >= 1 && replicas <= 100 ? { kind: "replicated", replicas } : undefined;
}
