import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

import {
  configuredOpsPort,
  configuredRedis,
  configuredShards,
  configuredWebhook,
  isDevicePortOpen,
  isReaderPortOpen,
  settings,
} from "../../src/config/config.ts";
import { formerNames } from "../../src/config/former_names.ts";
import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import { helpText, parseConfig } from "../../src/config/read_config.ts";
import { ConfigError } from "../../src/runtime/settings_parser.ts";

function parse(args: readonly string[] = [], env: Record<string, string> = {}) {
  return parseConfig(args, (name) => env[name]).config;
}

function renamed(args: readonly string[], env: Record<string, string>) {
  return parseConfig(args, (name) => env[name]).renamed;
}

function problems(args: readonly string[] = [], env: Record<string, string> = {}): readonly string[] {
  return assertThrows(() => parse(args, env), ConfigError).problems;
}

Deno.test("parseConfig() without settings returns the documented defaults", () => {
  assertEquals(parse(), {
    role: "all",
    grpcHost: "127.0.0.1",
    grpcPort: 50051,
    httpHost: "127.0.0.1",
    httpPort: 8000,
    allowedHosts: undefined,
    apiAuth: "none",
    corsOrigins: undefined,
    allowAnonymous: false,
    workers: 1,
    worker: 0,
    tlsCert: undefined,
    tlsKey: undefined,
    httpTlsCert: undefined,
    httpTlsKey: undefined,
    tlsClientCa: undefined,
    tlsClientCrl: undefined,
    redisUrl: undefined,
    redisHost: undefined,
    redisSentinelPassword: undefined,
    redisNatMap: undefined,
    shards: undefined,
    redisTlsCa: undefined,
    redisPort: 6379,
    databasePath: "data/tally.db",
    deviceTtlMs: undefined,
    queueMaxPackets: 100_000,
    queueMaxBytes: 16 * 1024 * 1024,
    flushIntervalMs: 50,
    fastPath: true,
    reflection: true,
    deviceAuth: new Set<never>(),
    deviceJwks: undefined,
    jwtIssuer: undefined,
    jwtAudience: undefined,
    deviceCertField: "cn",
    maxPayloadBytes: 64 * 1024,
    maxMessageBytes: 4 * 1024 * 1024,
    maxClockAheadMs: 86_400_000,
    maxConnections: "auto",
    maxConnectionsPerAddress: "auto",
    newConnectionsPerSecond: 1000,
    maxConnectionAgeMs: 0,
    maxConnectionAgeGraceMs: 10_000,
    maxConnectionIdleMs: 0,
    maxStreamsPerAddress: "auto",
    maxStreamsPerIdentity: "auto",
    maxSessions: 1_000_000,
    newSessionsPerMinute: 20_000,
    devicePacketsPerSecond: 0,
    deviceBytesPerSecond: 0,
    identityPacketsPerSecond: 0,
    identityBytesPerSecond: 0,
    maxDevices: 1_000_000,
    newDevicesPerMinute: 0,
    httpMaxConnections: "auto",
    httpMaxConnectionsPerAddress: "auto",
    maxStreams: 10_000,
    storeGraceMs: 5_000,
    deferFrom: 4000,
    packetStream: 0,
    storeTimeoutMs: 1_000,
    drainTimeoutMs: 10_000,
    offlineAfterMs: 60_000,
    prometheusMaxDevices: 10_000,
    prometheusTags: undefined,
    tagsFrom: undefined,
    keepsValues: true,
    maxValuesPerDevice: 16,
    payloadProto: undefined,
    liveMaxClients: 1_000,
    webhookUrl: undefined,
    webhookSecret: undefined,
    slackUrl: undefined,
    ntfyUrl: undefined,
    alertmanagerUrl: undefined,
    publicUrl: undefined,
    ackAfter: { kind: "stored" },
    opsHost: "127.0.0.1",
    opsPort: undefined,
    logLevel: "info",
    logFormat: "auto",
  });
});

Deno.test("parseConfig() reads --flag value and --flag=value", () => {
  assertEquals(parse(["--grpc-port", "0", "--http-port=81"]).grpcPort, 0);
  assertEquals(parse(["--grpc-port", "0", "--http-port=81"]).httpPort, 81);
});

Deno.test("parseConfig(): a flag overrides the environment, which overrides the default", () => {
  assertEquals(parse([], { TALLY_GRPC_PORT: "1" }).grpcPort, 1);
  assertEquals(parse(["--grpc-port=2"], { TALLY_GRPC_PORT: "1" }).grpcPort, 2);
});

Deno.test("parseConfig() refuses an ops port without room for those of the workers after it", () => {
  assertEquals(parse(["--ops-port", "65535"]).opsPort, 65_535);
  assertEquals(parse(["--ops-port", "65531", "--ingest-workers", "4"]).opsPort, 65_531);
  assertEquals(problems(["--ops-port", "65532", "--ingest-workers", "4"]), [
    "--ops-port: found 65532; allowed: workers' ports, up to 65536, at most 65535",
  ]);
});

Deno.test("parseConfig() refuses a TTL of devices that is not above the time after which they are offline", () => {
  assertEquals(parse(["--device-ttl", "720h"]).deviceTtlMs, 30 * 86_400_000);
  assertEquals(problems(["--device-ttl", "2h"], { TALLY_OFFLINE_AFTER: "2h" }), [
    "--device-ttl: found a time that is not above TALLY_OFFLINE_AFTER; set a longer one",
  ]);
});

Deno.test("configuredOpsPort() is the port plus the worker's number; 0 stays 0, and no port none", () => {
  const portOf = (...args: string[]) => configuredOpsPort(parse(args));
  assertEquals(portOf("--ops-port", "9464"), 9464);
  assertEquals(portOf("--ops-port", "9464", "--worker", "3"), 9467);
  assertEquals(portOf("--ops-port", "0", "--worker", "3"), 0);
  assertEquals(portOf("--worker", "3"), undefined);
});

Deno.test("parseConfig(): an empty variable counts as not set", () => {
  assertEquals(parse([], { TALLY_GRPC_PORT: "", REDIS_URL: "" }), parse());
});

Deno.test("parseConfig() reads the role from its flag only", () => {
  assertEquals(parse(["--role", "api"], { ROLE: "ingest" }).role, "api");
  assertEquals(parse([], { ROLE: "ingest" }).role, "all");
});

for (
  const [text, milliseconds] of [["500ms", 500], ["60s", 60_000], ["5m", 300_000], ["1h", 3_600_000]] as const
) {
  Deno.test(`parseConfig(): the duration ${text} is ${milliseconds} ms`, () => {
    assertEquals(parse([], { TALLY_DRAIN_TIMEOUT: text }).drainTimeoutMs, milliseconds);
  });
}

for (const text of ["50", "0ms", "-1s", "1.5s", "1 s", "1S", "1d", "ms", "2m", "1e3ms", "Infinityms"]) {
  Deno.test(`parseConfig() refuses the flush interval ${JSON.stringify(text)}`, () => {
    assertEquals(problems([], { TALLY_FLUSH_INTERVAL: text }), [
      `TALLY_FLUSH_INTERVAL: found ${JSON.stringify(text)}; ` +
      "allowed: a duration from 1ms to 1m, as in 500ms, 60s, 5m, 24h",
    ]);
  });
}

for (
  const [text, bytes] of [["1024B", 1024], ["64KiB", 65_536], ["1MiB", 1_048_576], [
    "256MiB",
    268_435_456,
  ]] as const
) {
  Deno.test(`parseConfig(): the size ${text} is ${bytes} bytes`, () => {
    assertEquals(parse([], { TALLY_QUEUE_MAX_BYTES: text, TALLY_MAX_PAYLOAD: "1B" }).queueMaxBytes, bytes);
  });
}

for (const text of ["64", "64KB", "64kib", "1.5MiB", "5GiB", "0B", "constructor"]) {
  Deno.test(`parseConfig() refuses the queue size ${JSON.stringify(text)}`, () => {
    assertEquals(problems([], { TALLY_QUEUE_MAX_BYTES: text }), [
      `TALLY_QUEUE_MAX_BYTES: found ${JSON.stringify(text)}; ` +
      "allowed: a size from 1KiB to 256MiB, as in 512B, 64KiB, 16MiB, 1GiB",
    ]);
  });
}

for (const text of ["-1", "65536", "http", "80.5", "0x50", "8 0", "１"]) {
  Deno.test(`parseConfig() refuses the port ${JSON.stringify(text)}`, () => {
    assertEquals(problems([], { TALLY_HTTP_PORT: text }), [
      `TALLY_HTTP_PORT: found ${
        JSON.stringify(text)
      }; allowed: a port from 0 to 65535, where 0 takes a free one`,
    ]);
  });
}

for (const text of ["localhost", "127.0.0.1", "::1", "0.0.0.0", "tally-api.internal"]) {
  Deno.test(`parseConfig() accepts the host ${text}`, () => {
    assertEquals(parse([], { TALLY_HTTP_HOST: text, TALLY_ALLOW_ANONYMOUS: "true" }).httpHost, text);
  });
}

for (const text of ["localhost:80", "http://localhost", "a b", "a/b", "[::1]", "999.1.1.1"]) {
  Deno.test(`parseConfig() refuses the host ${JSON.stringify(text)}`, () => {
    assertEquals(problems([], { TALLY_HTTP_HOST: text }).length, 1);
  });
}

const other = ["0.0.0.0", "::", "192.0.2.1", "::ffff:127.0.0.1", "localhost.example.com", "gateway"];

for (const host of ["localhost", "127.0.0.1", "127.8.9.10", "::1"]) {
  Deno.test(`parseConfig() lets ports without authentication listen on ${host}`, () => {
    const config = parse([], { TALLY_HTTP_HOST: host, TALLY_GRPC_HOST: host });
    assertEquals([isReaderPortOpen(config), isDevicePortOpen(config)], [false, false]);
  });
}

for (const host of other) {
  Deno.test(`parseConfig() lets ports without authentication listen on ${host} only if that is allowed`, () => {
    const env = { TALLY_HTTP_HOST: host, TALLY_GRPC_HOST: host };
    const found = problems([], env);
    assertEquals(found.length, 2);
    for (const [i, name] of ["TALLY_HTTP_HOST", "TALLY_GRPC_HOST"].entries()) {
      assertStringIncludes(found[i]!, `${name}: found ${host} without authentication`);
      assertStringIncludes(found[i]!, "TALLY_ALLOW_ANONYMOUS=true");
    }
    assertStringIncludes(found[0]!, "TALLY_API_AUTH=token");
    assertEquals(problems(["--role=api"], env), [found[0]!]);
    assertEquals(problems(["--role=ingest"], env), [found[1]!]);
    const config = parse([], { ...env, TALLY_ALLOW_ANONYMOUS: "true" });
    assertEquals([isReaderPortOpen(config), isDevicePortOpen(config)], [true, true]);
    const withTokens = parse(["--role=api"], { ...env, TALLY_API_AUTH: "token" });
    assertEquals(isReaderPortOpen(withTokens), false);
  });
}

Deno.test("parseConfig() reads CORS_ORIGINS as a list of origins", () => {
  const origins = (text: string) => parse([], { TALLY_CORS_ORIGINS: text }).corsOrigins;
  assertEquals(origins(""), undefined);
  assertEquals(origins("https://a.example, http://localhost:3000,"), [
    "https://a.example",
    "http://localhost:3000",
  ]);
  for (
    const text of ["*", "null", "a.example", "https://a.example/", "https://a.example/x", "ftp://a", ","]
  ) {
    assertEquals(problems([], { TALLY_CORS_ORIGINS: text }).length, 1, text);
  }
});

Deno.test("parseConfig() reads HTTP_ALLOWED_HOSTS as a list of names", () => {
  const allowed = (text: string) => parse([], { TALLY_HTTP_ALLOWED_HOSTS: text }).allowedHosts;
  assertEquals(allowed(""), undefined);
  assertEquals(allowed("api"), ["api"]);
  assertEquals(allowed("tally.example.com, *.fleet.example,"), ["tally.example.com", "*.fleet.example"]);
  assertEquals(allowed("*"), ["*"]);
  for (const text of [",", "http://a", "a:80", "a b", "*a", "a.*", ".a", "a..b"]) {
    assertEquals(problems([], { TALLY_HTTP_ALLOWED_HOSTS: text }), [
      `TALLY_HTTP_ALLOWED_HOSTS: found ${JSON.stringify(text)}; ` +
      "allowed: names with commas between them; *.example.com for all below one, * for any",
    ]);
  }
});

Deno.test("parseConfig() reads FAST_PATH as on or off", () => {
  assertEquals([
    parse([], { TALLY_FAST_PATH: "on" }).fastPath,
    parse([], { TALLY_FAST_PATH: "off" }).fastPath,
  ], [
    true,
    false,
  ]);
  assertEquals(problems([], { TALLY_FAST_PATH: "no" }), ['TALLY_FAST_PATH: found "no"; allowed: on, off']);
});

/** The variables of TLS with client certificates. */
const tlsFiles = { TALLY_TLS_CERT: "c.pem", TALLY_TLS_KEY: "k.pem", TALLY_TLS_CLIENT_CA: "ca.pem" };

Deno.test("parseConfig() refuses files of TLS that belong to others which are missing", () => {
  const { tlsCert, tlsKey, tlsClientCa } = parse([], tlsFiles);
  assertEquals([tlsCert, tlsKey, tlsClientCa], ["c.pem", "k.pem", "ca.pem"]);
  assertEquals(problems([], { TALLY_TLS_CERT: "c" }), [
    "TALLY_TLS_CERT and TALLY_TLS_KEY: found one of them; set both, or neither",
  ]);
  assertEquals(problems([], { TALLY_HTTP_TLS_KEY: "k" }), [
    "TALLY_HTTP_TLS_CERT and TALLY_HTTP_TLS_KEY: found one of them; set both, or neither",
  ]);
  assertEquals(problems([], { TALLY_TLS_CLIENT_CA: "ca" }), [
    "TALLY_TLS_CLIENT_CA: has no effect without TLS; set TALLY_TLS_CERT and TALLY_TLS_KEY too",
  ]);
  assertEquals(problems([], { ...tlsFiles, TALLY_TLS_CLIENT_CA: "", TALLY_TLS_CLIENT_CRL: "l" }), [
    "TALLY_TLS_CLIENT_CRL: has no effect alone; set TALLY_TLS_CLIENT_CA too",
  ]);
  assertEquals(problems([], { TALLY_DEVICE_AUTH: "mtls" }), [
    "TALLY_DEVICE_AUTH: certificates need an authority; set TALLY_TLS_CLIENT_CA too",
  ]);
});

Deno.test("parseConfig() reads TALLY_DEVICE_AUTH as none or several, and requires keys for JWTs", () => {
  const kinds = (
    text: string,
  ) => [...parse([], { ...tlsFiles, TALLY_DEVICE_AUTH: text, TALLY_DEVICE_JWKS: "k" }).deviceAuth];
  assertEquals(kinds("token, jwt,mtls"), ["token", "jwt", "mtls"]);
  assertEquals([...parse([], { TALLY_DEVICE_AUTH: "none" }).deviceAuth], []);
  for (const text of ["tokens", "token,none", "token,,jwt"]) {
    assertStringIncludes(problems([], { TALLY_DEVICE_AUTH: text })[0]!, "allowed: none, or token, jwt, mtls");
  }
  assertStringIncludes(problems([], { TALLY_DEVICE_AUTH: "jwt" })[0]!, "set TALLY_DEVICE_JWKS too");
  const unused = { TALLY_DEVICE_JWKS: "k", TALLY_JWT_ISSUER: "i", TALLY_DEVICE_CERT_FIELD: "cn" };
  assertEquals(problems([], { ...unused, TALLY_DEVICE_AUTH: "token" }).length, 3);
  const jwks = (text: string) => problems([], { TALLY_DEVICE_AUTH: "jwt", TALLY_DEVICE_JWKS: text });
  for (const url of ["http://example.com/keys", "ftp://example.com/keys", "http://localhost.example.com/k"]) {
    assertStringIncludes(jwks(url)[0]!, "allowed: a path, or an https URL");
  }
});

Deno.test("parseConfig() reads ACK_AFTER with its number of replicas", () => {
  assertEquals(parse([], { TALLY_ACK_AFTER: "synced" }).ackAfter, { kind: "synced" });
  assertEquals(parse([], { TALLY_ACK_AFTER: "replicated:2", REDIS_HOST: "redis" }).ackAfter, {
    kind: "replicated",
    replicas: 2,
  });
});

for (const text of ["replicated", "replicated:0", "replicated:101", "replicated:x", "Stored", "stored:1"]) {
  Deno.test(`parseConfig() refuses ACK_AFTER=${text}`, () => {
    assertEquals(problems([], { TALLY_ACK_AFTER: text, REDIS_HOST: "redis" }), [
      `TALLY_ACK_AFTER: found ${
        JSON.stringify(text)
      }; allowed: stored, replicated:N with N from 1 to 100, synced`,
    ]);
  });
}

Deno.test("parseConfig(): Redis by URL or by host and port; SQLite without either", () => {
  assertEquals(configuredRedis(parse([], { REDIS_URL: "rediss://u:p@h:1/2" })), "rediss://u:p@h:1/2");
  assertEquals(configuredRedis(parse([], { REDIS_HOST: "redis" })), { host: "redis", port: 6379 });
  assertEquals(configuredRedis(parse()), undefined);
});

Deno.test("parseConfig(): TALLY_SHARDS, with a default for clusters, and none of SQLite", () => {
  const shards = (env: Record<string, string>) => configuredShards(parse([], env));
  assertEquals(shards({}), 1);
  assertEquals(shards({ REDIS_URL: "redis://h" }), 1);
  assertEquals(shards({ REDIS_URL: "redis://h", TALLY_SHARDS: "12" }), 12);
  for (const scheme of ["redis", "rediss"]) assertEquals(shards({ REDIS_URL: `${scheme}+cluster://h` }), 6);
  assertEquals(shards({ REDIS_URL: "redis+cluster://h", TALLY_SHARDS: "1" }), 1);
  for (const text of ["0", "257", "many"]) {
    assertStringIncludes(problems([], { REDIS_HOST: "h", TALLY_SHARDS: text })[0]!, "from 1 to 256");
  }
  assertEquals(problems([], { TALLY_SHARDS: "2" }), [
    "TALLY_SHARDS: a SQLite file has one shard; set REDIS_URL or REDIS_HOST, or leave it out",
  ]);
});

Deno.test("parseConfig(): TALLY_REDIS_NAT_MAP has pairs of addresses, for a cluster only", () => {
  const REDIS_URL = "redis+cluster://h";
  const map = parse([], { REDIS_URL, TALLY_REDIS_NAT_MAP: "10.0.0.1:6379=h:1, [::1]:2=[::2]:3" }).redisNatMap;
  assertEquals([...map!], [
    ["10.0.0.1:6379", { host: "h", port: 1 }],
    ["[::1]:2", { host: "::2", port: 3 }],
  ]);
  for (const text of ["h:1", "h=g", "h:1=g", "h:1=g:2=i:3", "h:1=g:2,", "=", "h:x=g:1"]) {
    assertStringIncludes(problems([], { REDIS_URL, TALLY_REDIS_NAT_MAP: text })[0]!, "announced=reached");
  }
  assertEquals(problems([], { REDIS_HOST: "h", TALLY_REDIS_NAT_MAP: "h:1=g:2" }), [
    "TALLY_REDIS_NAT_MAP: has no effect without a cluster; set REDIS_URL to redis+cluster://…",
  ]);
});

Deno.test("parseConfig() reports all problems at once", () => {
  assertEquals(
    problems(["--role", "both", "--grpc-port=x", "--http-prt", "80", "extra", "--log-level"], {
      TALLY_MAX_STREAMS: "many",
      REDIS_PORT: "6380",
    }),
    [
      "--http-prt: no such flag; did you mean --http-port?",
      `"extra": unexpected argument; see --help`,
      "--log-level: found no value; allowed: debug, info, warning, error",
      `--role: found "both"; allowed: ingest, api, all`,
      `--grpc-port: found "x"; allowed: a port from 0 to 65535, where 0 takes a free one`,
      `TALLY_MAX_STREAMS: found "many"; allowed: a whole number from 1 to 1000000`,
      "REDIS_PORT: has no effect alone; set REDIS_HOST too",
    ],
  );
});

Deno.test("parseConfig() suggests nothing for a flag that resembles none", () => {
  assertEquals(problems(["--frobnicate"]), ["--frobnicate: no such flag; see --help"]);
});

Deno.test("parseConfig() refuses names of Object.prototype as flags", () => {
  assertEquals(problems(["--constructor=1"]), ["--constructor: no such flag; see --help"]);
});

Deno.test("parseConfig() requires a URL and a key for the webhook", () => {
  const key = `whsec_${"QUJD".repeat(8)}`;
  const config = parse([], {
    TALLY_ALERT_WEBHOOK_URL: "https://user:hunter2@host/x",
    TALLY_ALERT_WEBHOOK_SECRET: key,
  });
  assertEquals(configuredWebhook(config), {
    url: "https://user:hunter2@host/x",
    secret: new TextEncoder().encode("ABC".repeat(8)),
  });
  assertEquals(configuredWebhook(parse()), undefined);
  for (const url of ["ftp://hunter2", "hunter2", "/x"]) {
    const [problem] = problems([], { TALLY_ALERT_WEBHOOK_URL: url, TALLY_ALERT_WEBHOOK_SECRET: key });
    assert(problem!.startsWith("TALLY_ALERT_WEBHOOK_URL") && !problem!.includes("hunter2"), problem);
  }
  for (const secret of ["hunter2", `whsec_${"QUJD".repeat(7)}`, `whsec_${"QUJD".repeat(22)}`, "whsec_*"]) {
    const [problem] = problems([], {
      TALLY_ALERT_WEBHOOK_URL: "http://host",
      TALLY_ALERT_WEBHOOK_SECRET: secret,
    });
    assert(problem!.startsWith("TALLY_ALERT_WEBHOOK_SECRET") && !problem!.includes("hunter2"), problem);
  }
});

const crossChecks: [Record<string, string>, string][] = [
  [
    { REDIS_URL: "redis://a", REDIS_HOST: "b" },
    "REDIS_URL and REDIS_HOST: found both; set one of them, as either gives the Redis",
  ],
  [
    { TALLY_ACK_AFTER: "replicated:1" },
    `TALLY_ACK_AFTER: a SQLite file has no replicas; set REDIS_URL or REDIS_HOST, or use "stored"`,
  ],
  [
    { TALLY_MAX_PAYLOAD: "2MiB", TALLY_MAX_MESSAGE: "1MiB" },
    "TALLY_MAX_PAYLOAD and TALLY_MAX_MESSAGE: found 2097152 and 1048576 bytes; allowed: a message at least 152 bytes larger, " +
    "for what a packet has besides its payload",
  ],
  [
    { TALLY_ALERT_WEBHOOK_URL: "http://host" },
    "TALLY_ALERT_WEBHOOK_URL and TALLY_ALERT_WEBHOOK_SECRET: found one of them; set both, or neither",
  ],
  [
    { TALLY_QUEUE_MAX_BYTES: "1KiB" },
    "TALLY_MAX_PAYLOAD: found 65536 bytes; allowed: at most TALLY_QUEUE_MAX_BYTES, 1024 bytes",
  ],
];
for (const [env, problem] of crossChecks) {
  Deno.test(`parseConfig() refuses the combination ${JSON.stringify(env)}`, () =>
    assertEquals(problems([], env), [problem]));
}

for (
  const env of [
    { REDIS_URL: "http://user:hunter2@host" },
    { REDIS_URL: "redis://user:hunter2@" },
    { REDIS_URL: "redis://user:hunter2@host/x" },
    { REDIS_URL: "redis://user:hunter2@host", REDIS_HOST: "host" },
  ]
) {
  Deno.test(`parseConfig() shows no password when it refuses ${JSON.stringify(env)}`, () => {
    const [problem, ...rest] = problems([], env);
    assertEquals(rest, []);
    assert(!problem!.includes("hunter2"), problem);
  });
}

for (
  const [user, isAllowed] of [
    ["default:1234#hunter2@", false],
    [":1#hunter2@", false],
    ["1234/hunter2@", false],
    ["u:1234/hunter2@", false],
    ["u:hunter2@x@", false],
    ["u:hunter2?x@", false],
    ["hunter2?:x@", false],
    ["u:hunter2%zz@", false],
    ["u:hunter2%@", false],
    ["u:hunter2%ff@", false],
    ["u:hunter2 x@", false],
    ["u%40x:a%23%2F%3f%40%25%20hunter2@", true],
    ["u:a:b!$&'()*+,;=[]<>äü@", true],
    ["u@", true],
    [":p@", true],
    ["", true],
  ] as const
) {
  Deno.test(`parseConfig(): REDIS_URL with ${JSON.stringify(user)} before the host is ${isAllowed ? "accepted" : "refused"}`, () => {
    for (const scheme of ["redis", "rediss"]) {
      for (const end of ["", ":6379", ":6379/", "/3"]) {
        const text = `${scheme}://${user}redis.internal${end}`;
        if (isAllowed) {
          assertEquals(configuredRedis(parse([], { REDIS_URL: text })), text);
          continue;
        }
        const [problem, ...rest] = problems([], { REDIS_URL: text });
        assertEquals(rest, []);
        assertStringIncludes(problem!, "percent-encode");
        assert(!problem!.includes("hunter2") && !problem!.includes("1234"), problem);
      }
    }
  });
}

for (
  const url of [
    "redis://[::1]:6379/1",
    "REDIS://h",
    "redis://h/15",
    "redis+cluster://h1,h2:7000",
    "rediss+cluster://u:p@[::1]:1,h/",
  ]
) {
  Deno.test(`parseConfig() accepts REDIS_URL=${url}`, () => {
    assertEquals(configuredRedis(parse([], { REDIS_URL: url })), url);
  });
}

for (
  const url of [
    "redis://h?family=6",
    "redis://h/0#x",
    "redis://h:x",
    "redis://",
    "redis:///0",
    "redis://h:1:2",
    "redis+cluster://h/0",
    "redis+cluster://",
    "redis+cluster://h,",
  ]
) {
  Deno.test(`parseConfig() refuses REDIS_URL=${url}`, () => {
    assertEquals(problems([], { REDIS_URL: url }).length, 1);
  });
}

for (const name of ["REDIS_PORT", "TALLY_GRPC_PORT", "TALLY_HTTP_PORT"]) {
  Deno.test(`parseConfig() refuses ${name} as Kubernetes sets it, and names the cause`, () => {
    const [problem, ...rest] = problems([], { [name]: "tcp://10.43.0.7:6379", REDIS_HOST: "h" });
    assertEquals(rest, []);
    const service = name.slice(0, -5).toLowerCase().replace("_", "-");
    assertStringIncludes(problem!, `Kubernetes sets this variable for a service named "${service}"`);
    assertStringIncludes(problem!, "enableServiceLinks: false");
  });
}

Deno.test("parseConfig() accepts REDIS_TLS_CA with a rediss:// URL only", () => {
  const env = { TALLY_REDIS_TLS_CA: "ca.crt" };
  assertEquals(parse([], { ...env, REDIS_URL: "rediss://h" }).redisTlsCa, "ca.crt");
  for (const other of [{}, { REDIS_URL: "redis://h" }, { REDIS_HOST: "h" }]) {
    assertEquals(problems([], { ...env, ...other }), [
      "TALLY_REDIS_TLS_CA: has no effect without TLS; set REDIS_URL to a rediss:// URL",
    ]);
  }
});

Deno.test("parseConfig() shows no password after a mistyped flag", () => {
  for (
    const args of [["--redis-ulr", "redis://:hunter2@h"], ["redis://:hunter2@h"], [
      "--redis-ulr=redis://:hunter2@h",
    ]]
  ) {
    assert(!problems(args).join("\n").includes("hunter2"));
  }
});

Deno.test("parseConfig() leaves room in a message for a packet's fields beside its payload", () => {
  for (const text of ["64KiB", "16MiB"]) {
    const { maxPayloadBytes } = parse([], {
      TALLY_MAX_PAYLOAD: text,
      TALLY_MAX_MESSAGE: "64MiB",
      TALLY_QUEUE_MAX_BYTES: "64MiB",
    });
    const packet = {
      device_id: "d".repeat(128),
      timestamp: -1,
      payload: new Uint8Array(maxPayloadBytes),
    };
    const { length } = streamBatches.requestSerialize({ packets: [packet] });
    const env = { TALLY_MAX_PAYLOAD: text, TALLY_QUEUE_MAX_BYTES: "64MiB" };
    assertEquals(
      parse([], { ...env, TALLY_MAX_MESSAGE: `${maxPayloadBytes + 152}B` }).maxPayloadBytes,
      maxPayloadBytes,
    );
    assertEquals(problems([], { ...env, TALLY_MAX_MESSAGE: `${maxPayloadBytes + 151}B` }).length, 1);
    assertEquals(problems([], { ...env, TALLY_MAX_MESSAGE: text }).length, 1);
    assert(length <= maxPayloadBytes + 152 && length > maxPayloadBytes + 148, String(length));
  }
});

Deno.test("parseConfig() reads a variable under its former name, and reports both names", () => {
  const env = { GRPC_PORT: "1", HTTP_PORT: "", REDIS_TLS_CA: "ca.crt", REDIS_URL: "rediss://h" };
  const { grpcPort, httpPort, redisTlsCa } = parse([], env);
  assertEquals([grpcPort, httpPort, redisTlsCa], [1, 8000, "ca.crt"]);
  assertEquals(renamed([], env), [
    { found: "GRPC_PORT", use: "TALLY_GRPC_PORT", ignored: undefined },
    { found: "REDIS_TLS_CA", use: "TALLY_REDIS_TLS_CA", ignored: undefined },
  ]);
  assertEquals(renamed([], { TALLY_GRPC_PORT: "1", REDIS_HOST: "h", TALLY_DB: "data/x.db" }), []);
});

Deno.test("parseConfig() ignores a former name beside the name or the flag, and reports why", () => {
  const env = { GRPC_PORT: "not a port", TALLY_GRPC_PORT: "2" };
  assertEquals(parse([], env).grpcPort, 2);
  assertEquals(renamed([], env), [
    { found: "GRPC_PORT", use: "TALLY_GRPC_PORT", ignored: "TALLY_GRPC_PORT is set" },
  ]);
  assertEquals(parse(["--grpc-port", "3"], { GRPC_PORT: "1" }).grpcPort, 3);
  assertEquals(renamed(["--grpc-port", "3"], { GRPC_PORT: "1" }), [
    { found: "GRPC_PORT", use: "TALLY_GRPC_PORT", ignored: "--grpc-port is set" },
  ]);
});

for (
  const [name, key, port] of [["GRPC_PORT", "grpcPort", 50051], ["HTTP_PORT", "httpPort", 8000]] as const
) {
  Deno.test(`parseConfig() ignores the former name ${name} as Kubernetes sets it, and reports why`, () => {
    const env = { [name]: "tcp://10.43.0.7:6379" };
    assertEquals(parse([], env)[key], port);
    const service = name.slice(0, 4).toLowerCase();
    assertEquals(renamed([], env), [
      { found: name, use: `TALLY_${name}`, ignored: `Kubernetes sets it for a service named "${service}"` },
    ]);
    assertEquals(parse([], { ...env, [`TALLY_${name}`]: "7" })[key], 7);
  });
}

Deno.test("parseConfig() names the new variable in errors about a former name", () => {
  assertEquals(problems([], { FLUSH_INTERVAL: "50", ACK_AFTER: "replicated:1", MAX_PAYLOAD: "17MiB" }), [
    `MAX_PAYLOAD (now TALLY_MAX_PAYLOAD): found "17MiB"; ` +
    "allowed: a size from 1B to 16MiB, as in 512B, 64KiB, 16MiB, 1GiB",
    `FLUSH_INTERVAL (now TALLY_FLUSH_INTERVAL): found "50"; ` +
    "allowed: a duration from 1ms to 1m, as in 500ms, 60s, 5m, 24h",
    "ACK_AFTER (now TALLY_ACK_AFTER): a SQLite file has no replicas; set REDIS_URL or REDIS_HOST, " +
    `or use "stored"`,
  ]);
});

Deno.test("formerNames has former names of settings, each once", () => {
  const variables = Object.values(settings).flatMap(({ env }) => env ?? []);
  for (const name of Object.keys(formerNames)) assert(variables.includes(name), name);
  assertEquals(Object.keys(formerNames).length, 29);
});

Deno.test("settings: each variable begins with TALLY_, except for three; each has a group and a role", () => {
  const reference = ["REDIS_URL", "REDIS_HOST", "REDIS_PORT"];
  for (const { env = "TALLY_", group, role } of Object.values(settings)) {
    assert(env.startsWith("TALLY_") || reference.includes(env), env);
    assert(group !== undefined && role !== undefined, env);
  }
});

Deno.test("helpText() has every setting with its group, flag, variable, default and what is allowed", () => {
  const help = helpText().replaceAll(/\s+/g, " ");
  for (const setting of Object.values(settings)) {
    const { flag, env = "", group = "", allowed } = setting;
    const texts = [`--${flag}`, env, group, setting.default ?? "Not set", setting.help, allowed];
    for (const text of setting.hidden ? [] : texts) assertStringIncludes(help, text);
  }
});

Deno.test("helpText() has no hidden setting, and no line above 80 characters", () => {
  const help = helpText();
  assert(!/--worker\b/.test(help));
  for (const line of help.split("\n")) assert(line.length <= 80, line);
});

Deno.test("deno.json: the roles may read the variables of Tally under all their names, and no others", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
  const names = ["TALLY_*", "REDIS_HOST", "REDIS_PORT", "REDIS_URL", ...Object.values(formerNames)];
  for (const role of ["ingest", "workers", "api"]) {
    assertEquals(permissions[role].env, { allow: names, ignore: true }, role);
  }
});

Deno.test("deno.json: the roles may use the same folders, as the flags for other files state", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile(new URL("../../deno.json", import.meta.url)));
  const folders = ["ingest", "workers", "api"].map((role) => permissions[role]);
  for (const { read, write } of folders) assertEquals([read, write], [["./data", "./src"], ["./data"]]);
});
