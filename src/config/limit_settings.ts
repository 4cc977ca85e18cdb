/**
 * Settings that bound what devices and readers may use, each with its default.
 *
 * @module
 */
import { duration, integer, integerOrAuto } from "../runtime/settings.ts";

const limits = { group: "Limits" };

/** A bound of open connections; `auto` follows from another setting. */
const connectionBound = { ...limits, default: "auto", min: "1", max: "1000000" };

/** See the module; durations are in milliseconds. Of numbers, 0 is no limit. */
export const limitSettings = {
  maxStreams: integer("TALLY_MAX_STREAMS", {
    ...limits,
    role: "ingest",
    default: "10000",
    min: "1",
    max: "1000000",
    common: true,
    help: "Device streams open at once; further streams are refused.",
  }),
  maxStreamsPerAddress: integerOrAuto("TALLY_MAX_STREAMS_PER_ADDRESS", {
    ...connectionBound,
    role: "ingest",
    help: "Streams of one address or IPv6 /64; auto: three quarters of all, of loopback all.",
  }),
  maxStreamsPerIdentity: integerOrAuto("TALLY_MAX_STREAMS_PER_IDENTITY", {
    ...connectionBound,
    role: "ingest",
    help: "Streams of one identity, such as a token; auto: three quarters of all.",
  }),
  maxConnections: integerOrAuto("TALLY_MAX_CONNECTIONS", {
    ...connectionBound,
    role: "ingest",
    help: "Device connections open at once; auto: 2 × TALLY_MAX_STREAMS.",
  }),
  maxConnectionsPerAddress: integerOrAuto("TALLY_MAX_CONNECTIONS_PER_ADDRESS", {
    ...connectionBound,
    role: "ingest",
    help: "Device connections of one address or IPv6 /64; auto: as for streams.",
  }),
  newConnectionsPerSecond: integer("TALLY_NEW_CONNECTIONS_PER_SECOND", {
    ...limits,
    role: "ingest",
    default: "1000",
    min: "0",
    max: "1000000",
    help: "Device connections served in a second, five times as many at once. 0: no limit.",
  }),
  maxConnectionAgeMs: duration("TALLY_MAX_CONNECTION_AGE", {
    ...limits,
    role: "ingest",
    default: "0ms",
    min: "0ms",
    max: "8760h",
    help: "Age at which a device connection gets GOAWAY, ±10 %; 0ms: none.",
  }),
  maxConnectionAgeGraceMs: duration("TALLY_MAX_CONNECTION_AGE_GRACE", {
    ...limits,
    role: "ingest",
    default: "10s",
    min: "0ms",
    max: "24h",
    help: "Time from then until its streams end, to be resumed on another connection.",
  }),
  maxConnectionIdleMs: duration("TALLY_MAX_CONNECTION_IDLE", {
    ...limits,
    role: "ingest",
    default: "0ms",
    min: "0ms",
    max: "8760h",
    help: "Time without calls after which a device connection is closed; 0ms: none.",
  }),
  maxSessions: integer("TALLY_MAX_SESSIONS", {
    ...limits,
    role: "ingest",
    default: "1000000",
    min: "0",
    max: "1000000000",
    help: "Sessions in the store; further new ones are refused. 0: no limit.",
  }),
  newSessionsPerMinute: integer("TALLY_NEW_SESSIONS_PER_MINUTE", {
    ...limits,
    role: "ingest",
    default: "20000",
    min: "0",
    max: "1000000000",
    help: "New sessions of one identity, or else address, in a minute. 0: no limit.",
  }),
  devicePacketsPerSecond: integer("TALLY_DEVICE_PACKETS_PER_SECOND", {
    ...limits,
    role: "ingest",
    default: "0",
    min: "0",
    max: "1000000000",
    help: "Packets a second of one device; its streams wait, or are RATE_LIMITED. 0: any.",
  }),
  deviceBytesPerSecond: integer("TALLY_DEVICE_BYTES_PER_SECOND", {
    ...limits,
    role: "ingest",
    default: "0",
    min: "0",
    max: "1000000000",
    help: "Bytes of payloads a second of one device; its streams wait, or are RATE_LIMITED. 0: any.",
  }),
  identityPacketsPerSecond: integer("TALLY_IDENTITY_PACKETS_PER_SECOND", {
    ...limits,
    role: "ingest",
    default: "0",
    min: "0",
    max: "1000000000",
    help: "Packets a second of one identity; its streams wait, or are RATE_LIMITED. 0: any.",
  }),
  identityBytesPerSecond: integer("TALLY_IDENTITY_BYTES_PER_SECOND", {
    ...limits,
    role: "ingest",
    default: "0",
    min: "0",
    max: "1000000000",
    help: "Bytes of payloads a second of one identity; its streams wait, or are RATE_LIMITED. 0: any.",
  }),
  maxDevices: integer("TALLY_MAX_DEVICES", {
    ...limits,
    role: "ingest",
    default: "1000000",
    min: "0",
    max: "1000000000",
    help: "Devices in the store; packets of further ones are rejected. 0: no limit.",
  }),
  newDevicesPerMinute: integer("TALLY_NEW_DEVICES_PER_MINUTE", {
    ...limits,
    role: "ingest",
    default: "0",
    min: "0",
    max: "1000000000",
    help: "Devices added to the store in a minute by all ingests; 0: no limit.",
  }),
  liveMaxClients: integer("TALLY_LIVE_MAX_CLIENTS", {
    ...limits,
    role: "api",
    default: "1000",
    min: "1",
    max: "100000",
    help: "Streams of /live and /events open at once; further ones are refused.",
  }),
  httpMaxConnections: integerOrAuto("TALLY_HTTP_MAX_CONNECTIONS", {
    ...connectionBound,
    role: "api",
    help: "Reader connections open at once; auto: TALLY_LIVE_MAX_CLIENTS + 1000.",
  }),
  httpMaxConnectionsPerAddress: integerOrAuto("TALLY_HTTP_MAX_CONNECTIONS_PER_ADDRESS", {
    ...connectionBound,
    role: "api",
    help: "Reader connections of one address or IPv6 /64; auto: three quarters of all.",
  }),
} as const;
