/**
 * The settings of the store, and of what it keeps.
 *
 * @module
 */
import { ackAfterKind, natMapKind, onOffKind, payloadProtoKind, redisUrlKind, secretKind } from "./kinds.ts";
import { custom, duration, host, integer, optional, path } from "../runtime/settings.ts";
import { DEFER_FROM } from "../store/packets.ts";

const store = { group: "Store", role: "both" };

/** The settings by the names the code uses. */
export const storeSettings = {
  redisUrl: optional(custom("REDIS_URL", {
    ...store,
    default: "",
    common: true,
    help: "Redis that stores the counts, or its sentinels, or nodes of a cluster; instead of REDIS_HOST.",
  }, redisUrlKind)),
  redisHost: optional(host("REDIS_HOST", {
    ...store,
    default: "",
    common: true,
    help: "Host of the Redis that stores the counts. Without it and REDIS_URL: a SQLite file.",
  })),
  redisPort: integer("REDIS_PORT", {
    ...store,
    default: "6379",
    min: "1",
    max: "65535",
    help: "Port of REDIS_HOST.",
  }),
  redisSentinelPassword: optional(custom("TALLY_REDIS_SENTINEL_PASSWORD", {
    ...store,
    default: "",
    help: "Password of the sentinels of redis+sentinel://, if they have one; that of Redis is in REDIS_URL.",
  }, secretKind)),
  redisNatMap: optional(custom("TALLY_REDIS_NAT_MAP", {
    ...store,
    default: "",
    help: "Addresses that nodes of redis+cluster:// announce, and where Tally reaches them instead.",
  }, natMapKind)),
  shards: optional(integer("TALLY_SHARDS", {
    ...store,
    default: "",
    min: "1",
    max: "256",
    help: "Parts that the data in Redis is divided into, for good; 1, or 6 with redis+cluster://.",
  })),
  redisTlsCa: optional(path("TALLY_REDIS_TLS_CA", {
    ...store,
    default: "",
    help: "PEM file of certificate authorities for rediss://, instead of the system's.",
  })),
  databasePath: path("TALLY_DB", {
    ...store,
    flag: "tally-db",
    default: "data/tally.db",
    common: true,
    help: "SQLite file that stores the counts without Redis; its folder is created.",
  }),
  ackAfter: custom("TALLY_ACK_AFTER", {
    ...store,
    role: "ingest",
    default: "stored",
    common: true,
    help: "Durability required before an Ack: in the store, on N replicas (Redis), or on disk.",
  }, ackAfterKind),
  deferFrom: integer("TALLY_DEFER_FROM", {
    ...store,
    role: "ingest",
    default: String(DEFER_FROM),
    min: "0",
    max: "1000000",
    help:
      "Devices of a batch from which on it is stored as a whole and counted some seconds later; 0: never.",
  }),
  packetStream: integer("TALLY_PACKET_STREAM", {
    ...store,
    role: "ingest",
    default: "0",
    min: "0",
    max: "1000000000",
    help: "Entries of the packet stream for other programs, about; 0: there is none.",
  }),
  storeTimeoutMs: duration("TALLY_STORE_TIMEOUT", {
    ...store,
    default: "1s",
    min: "10ms",
    max: "1m",
    help: "Time that one store command may take.",
  }),
  storeGraceMs: duration("TALLY_STORE_GRACE", {
    ...store,
    role: "ingest",
    default: "5s",
    min: "100ms",
    max: "1h",
    help: "Outage of the store after which the gRPC health service reports NOT_SERVING.",
  }),
  keepsValues: custom("TALLY_VALUES", {
    ...store,
    default: "on",
    help: "on: the numbers in payloads are kept as values, with their history; the same in all processes.",
  }, onOffKind),
  maxValuesPerDevice: integer("TALLY_MAX_VALUES_PER_DEVICE", {
    ...store,
    default: "16",
    min: "1",
    max: "200",
    help: "Values, and attributes, that are kept of a device; the first names come first.",
  }),
  payloadProto: optional(custom("TALLY_PAYLOAD_PROTO", {
    ...store,
    default: "",
    help: "Protobuf message of payloads, as file.proto:package.Message; the file must be in data.",
  }, payloadProtoKind)),
  deviceTtlMs: optional(duration("TALLY_DEVICE_TTL", {
    ...store,
    role: "api",
    default: "",
    min: "1h",
    max: "87600h",
    help: "Time without a packet after which a device is forgotten; the same in all api processes.",
  })),
} as const;
