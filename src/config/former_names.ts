/**
 * The names that variables had in the release before they got the prefix `TALLY_`. They are read for one
 * release, with a warning. To end that, delete this file, its use in `read_config.ts` with
 * `warnOfFormerNames()`, and the names in `deno.json`.
 *
 * @module
 */

const names = [
  "ACK_AFTER",
  "ALERT_WEBHOOK_SECRET",
  "ALERT_WEBHOOK_URL",
  "DRAIN_TIMEOUT",
  "FAST_PATH",
  "FLUSH_INTERVAL",
  "GRPC_HOST",
  "GRPC_PORT",
  "HTTP_ALLOWED_HOSTS",
  "HTTP_HOST",
  "HTTP_MAX_CONNECTIONS",
  "HTTP_MAX_CONNECTIONS_PER_ADDRESS",
  "HTTP_PORT",
  "INGEST_WORKERS",
  "LIVE_MAX_CLIENTS",
  "LOG_FORMAT",
  "LOG_LEVEL",
  "MAX_CLOCK_AHEAD",
  "MAX_CONNECTIONS",
  "MAX_MESSAGE",
  "MAX_PAYLOAD",
  "MAX_STREAMS",
  "OFFLINE_AFTER",
  "PROMETHEUS_MAX_DEVICES",
  "QUEUE_MAX_BYTES",
  "QUEUE_MAX_PACKETS",
  "REDIS_TLS_CA",
  "STORE_GRACE",
  "STORE_TIMEOUT",
];

/** The former name of a variable by its name. */
export const formerNames: Readonly<Record<string, string>> = Object.fromEntries(
  names.map((name) => [`TALLY_${name}`, name]),
);
