/**
 * Checks of settings that are allowed one by one and not together.
 *
 * @module
 */
import { type Config, configuredWorkers, isDevicePortOpen, isReaderPortOpen, settings } from "./config.ts";
import type { ParseResult } from "../runtime/settings_parser.ts";

/** What is wrong with the settings together; those that are wrong by themselves are left out of `result`. */
export function crossChecks(result: ParseResult<typeof settings>): string[] {
  const checks = [
    exposureProblems,
    storeProblems,
    jwtProblems,
    webhookProblems,
    sizeProblems,
    tlsProblems,
    portProblems,
    ttlProblems,
  ];
  return checks.flatMap((check) => check(result));
}

/** A port without authentication is for this machine, unless that is allowed in so many words. */
function exposureProblems({ values, source }: ParseResult<typeof settings>): string[] {
  const { role, allowAnonymous, httpHost, apiAuth, grpcHost, deviceAuth } = values;
  if (allowAnonymous !== false) return [];
  const problems: string[] = [];
  const otherwise = "TALLY_ALLOW_ANONYMOUS=true where all who reach the port are trusted, or 127.0.0.1";
  if (
    role !== "ingest" && httpHost !== undefined && apiAuth !== undefined &&
    isReaderPortOpen({ httpHost, apiAuth })
  ) {
    problems.push(
      `${
        nameOf("httpHost", source)
      }: found ${httpHost} without authentication, where other machines may read ` +
        `everything and remove devices; set TALLY_API_AUTH=token, ${otherwise}`,
    );
  }
  if (
    role !== "api" && grpcHost !== undefined && deviceAuth !== undefined &&
    isDevicePortOpen({ grpcHost, deviceAuth })
  ) {
    problems.push(
      `${
        nameOf("grpcHost", source)
      }: found ${grpcHost} without authentication, where other machines may send ` +
        `packets of any device; set TALLY_DEVICE_AUTH, ${otherwise}`,
    );
  }
  return problems;
}

function storeProblems({ values, source }: ParseResult<typeof settings>): string[] {
  const problems: string[] = [];
  for (const other of [source.redisHost, source.redisPort]) {
    if (source.redisUrl !== undefined && other !== undefined) {
      problems.push(
        `${source.redisUrl} and ${other}: found both; set one of them, as either gives the Redis`,
      );
    }
  }
  const redis = source.redisUrl ?? source.redisHost;
  if (source.redisPort !== undefined && redis === undefined) {
    problems.push(`${source.redisPort}: has no effect alone; set REDIS_HOST too`);
  }
  if (source.redisTlsCa !== undefined && !/^rediss[:+]/i.test(values.redisUrl ?? "")) {
    problems.push(`${source.redisTlsCa}: has no effect without TLS; set REDIS_URL to a rediss:// URL`);
  }
  if (source.redisSentinelPassword !== undefined && !/^rediss?\+sentinel:/i.test(values.redisUrl ?? "")) {
    problems.push(
      `${source.redisSentinelPassword}: has no effect without sentinels; set REDIS_URL to redis+sentinel://…`,
    );
  }
  if (source.redisNatMap !== undefined && !/^rediss?\+cluster:/i.test(values.redisUrl ?? "")) {
    problems.push(
      `${source.redisNatMap}: has no effect without a cluster; set REDIS_URL to redis+cluster://…`,
    );
  }
  if (values.shards !== undefined && values.shards > 1 && redis === undefined) {
    problems.push(
      `${source.shards}: a SQLite file has one shard; set REDIS_URL or REDIS_HOST, or leave it out`,
    );
  }
  if (values.ackAfter?.kind === "replicated" && redis === undefined) {
    problems.push(
      `${source.ackAfter}: a SQLite file has no replicas; set REDIS_URL or REDIS_HOST, or use "stored"`,
    );
  }
  return problems;
}

function jwtProblems({ values, source }: ParseResult<typeof settings>): string[] {
  const { deviceAuth } = values;
  if (deviceAuth === undefined) return [];
  if (deviceAuth.has("jwt") && values.deviceJwks === undefined && source.deviceJwks === undefined) {
    return [`${nameOf("deviceAuth", source)}: JWTs need keys that verify them; set TALLY_DEVICE_JWKS too`];
  }
  const without = (kind: "jwt" | "mtls", keys: readonly (keyof Config)[]) =>
    deviceAuth.has(kind) ? [] : keys.flatMap((key) => source[key] ?? [])
      .map((name) =>
        `${name}: has no effect without ${kind} in ${nameOf("deviceAuth", source)}; add it there`
      );
  return [
    ...without("jwt", ["deviceJwks", "jwtIssuer", "jwtAudience"]),
    ...without("mtls", ["deviceCertField"]),
  ];
}

function webhookProblems({ source }: ParseResult<typeof settings>): string[] {
  if ((source.webhookUrl === undefined) === (source.webhookSecret === undefined)) return [];
  const names = `${nameOf("webhookUrl", source)} and ${nameOf("webhookSecret", source)}`;
  return [`${names}: found one of them; set both, or neither`];
}

function tlsProblems({ values, source }: ParseResult<typeof settings>): string[] {
  const problems: string[] = [];
  for (const [cert, key] of [["tlsCert", "tlsKey"], ["httpTlsCert", "httpTlsKey"]] as const) {
    if ((source[cert] === undefined) === (source[key] === undefined)) continue;
    problems.push(
      `${nameOf(cert, source)} and ${nameOf(key, source)}: found one of them; set both, or neither`,
    );
  }
  if (source.tlsClientCa !== undefined && source.tlsCert === undefined) {
    problems.push(
      `${source.tlsClientCa}: has no effect without TLS; set TALLY_TLS_CERT and TALLY_TLS_KEY too`,
    );
  }
  if (values.deviceAuth?.has("mtls") && values.role !== "api" && source.tlsClientCa === undefined) {
    problems.push(
      `${nameOf("deviceAuth", source)}: certificates need an authority; set TALLY_TLS_CLIENT_CA too`,
    );
  }
  if (source.tlsClientCrl !== undefined && source.tlsClientCa === undefined) {
    problems.push(`${source.tlsClientCrl}: has no effect alone; set TALLY_TLS_CLIENT_CA too`);
  }
  return problems;
}

/**
 * What a message with one packet has besides the payload, at most: `PacketBatch`'s key and length (1 + 4 bytes),
 * a device_id of 128 bytes (1 + 2 + 128), a timestamp (1 + 10) and the payload's key and length (1 + 4).
 */
const PACKET_ENVELOPE_BYTES = 152;

function sizeProblems({ values, source }: ParseResult<typeof settings>): string[] {
  const { maxPayloadBytes = 0, maxMessageBytes = Infinity, queueMaxBytes = Infinity } = values;
  const payload = nameOf("maxPayloadBytes", source);
  const problems: string[] = [];
  if (maxPayloadBytes > maxMessageBytes - PACKET_ENVELOPE_BYTES) {
    problems.push(
      `${payload} and ${
        nameOf("maxMessageBytes", source)
      }: found ${maxPayloadBytes} and ${maxMessageBytes} ` +
        `bytes; allowed: a message at least ${PACKET_ENVELOPE_BYTES} bytes larger, for what a packet has ` +
        "besides its payload",
    );
  }
  if (maxPayloadBytes > queueMaxBytes) {
    problems.push(
      `${payload}: found ${maxPayloadBytes} bytes; allowed: at most ${nameOf("queueMaxBytes", source)}, ` +
        `${queueMaxBytes} bytes`,
    );
  }
  return problems;
}

function ttlProblems({ values, source }: ParseResult<typeof settings>): string[] {
  const { deviceTtlMs = Infinity, offlineAfterMs = 0 } = values;
  if (deviceTtlMs > offlineAfterMs) return [];
  return [
    `${source.deviceTtlMs}: found a time that is not above ${
      nameOf("offlineAfterMs", source)
    }; set a longer one`,
  ];
}

const MAX_PORT = 65_535;

function portProblems({ values, source }: ParseResult<typeof settings>): string[] {
  const { opsPort, workers = 1 } = values;
  const last = (opsPort ?? 0) + (workers === 1 ? 0 : configuredWorkers({ workers }));
  if (last <= MAX_PORT) return [];
  return [`${source.opsPort}: found ${opsPort}; allowed: workers' ports, up to ${last}, at most ${MAX_PORT}`];
}

/** The name that a setting was given under, or that of its variable. */
function nameOf(key: keyof Config, source: ParseResult<typeof settings>["source"]): string {
  return source[key] ?? settings[key].env ?? `--${settings[key].flag}`;
}
