import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";

import { configuredRedis, configuredWebhook, helpText, parseConfig, settings } from "../src/config.ts";
import { streamBatches } from "../src/protocol/telemetry_proto.ts";
import { ConfigError } from "../src/runtime/settings.ts";

function parse(args: readonly string[] = [], env: Record<string, string> = {}) {
  return parseConfig(args, (name) => env[name]);
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
    workers: 1,
    worker: 0,
    redisUrl: undefined,
    redisHost: undefined,
    redisTlsCa: undefined,
    redisPort: 6379,
    databasePath: "data/tally.db",
    queueMaxPackets: 100_000,
    queueMaxBytes: 16 * 1024 * 1024,
    flushIntervalMs: 50,
    fastPath: true,
    maxPayloadBytes: 64 * 1024,
    maxMessageBytes: 4 * 1024 * 1024,
    maxClockAheadMs: 86_400_000,
    maxConnections: "auto",
    httpMaxConnections: "auto",
    httpMaxConnectionsPerAddress: "auto",
    maxStreams: 10_000,
    storeGraceMs: 5_000,
    storeTimeoutMs: 1_000,
    drainTimeoutMs: 10_000,
    offlineAfterMs: 60_000,
    prometheusMaxDevices: 10_000,
    liveMaxClients: 1_000,
    webhookUrl: undefined,
    webhookSecret: undefined,
    ackAfter: { kind: "stored" },
    logLevel: "info",
    logFormat: "auto",
  });
});

Deno.test("parseConfig() reads --flag value and --flag=value", () => {
  assertEquals(parse(["--grpc-port", "0", "--http-port=81"]).grpcPort, 0);
  assertEquals(parse(["--grpc-port", "0", "--http-port=81"]).httpPort, 81);
});

Deno.test("parseConfig(): a flag overrides the environment, which overrides the default", () => {
  assertEquals(parse([], { GRPC_PORT: "1" }).grpcPort, 1);
  assertEquals(parse(["--grpc-port=2"], { GRPC_PORT: "1" }).grpcPort, 2);
});

Deno.test("parseConfig(): an empty variable counts as not set", () => {
  assertEquals(parse([], { GRPC_PORT: "", REDIS_URL: "" }), parse());
});

Deno.test("parseConfig() reads the role from its flag only", () => {
  assertEquals(parse(["--role", "api"], { ROLE: "ingest" }).role, "api");
  assertEquals(parse([], { ROLE: "ingest" }).role, "all");
});

for (
  const [text, milliseconds] of [["500ms", 500], ["60s", 60_000], ["5m", 300_000], ["1h", 3_600_000]] as const
) {
  Deno.test(`parseConfig(): the duration ${text} is ${milliseconds} ms`, () => {
    assertEquals(parse([], { DRAIN_TIMEOUT: text }).drainTimeoutMs, milliseconds);
  });
}

for (const text of ["50", "0ms", "-1s", "1.5s", "1 s", "1S", "1d", "ms", "2m", "1e3ms", "Infinityms"]) {
  Deno.test(`parseConfig() refuses the flush interval ${JSON.stringify(text)}`, () => {
    assertEquals(problems([], { FLUSH_INTERVAL: text }), [
      `FLUSH_INTERVAL: found ${JSON.stringify(text)}; ` +
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
    assertEquals(parse([], { QUEUE_MAX_BYTES: text, MAX_PAYLOAD: "1B" }).queueMaxBytes, bytes);
  });
}

for (const text of ["64", "64KB", "64kib", "1.5MiB", "5GiB", "0B", "constructor"]) {
  Deno.test(`parseConfig() refuses the queue size ${JSON.stringify(text)}`, () => {
    assertEquals(problems([], { QUEUE_MAX_BYTES: text }), [
      `QUEUE_MAX_BYTES: found ${JSON.stringify(text)}; ` +
      "allowed: a size from 1KiB to 256MiB, as in 512B, 64KiB, 16MiB, 1GiB",
    ]);
  });
}

for (const text of ["-1", "65536", "http", "80.5", "0x50", "8 0", "１"]) {
  Deno.test(`parseConfig() refuses the port ${JSON.stringify(text)}`, () => {
    assertEquals(problems([], { HTTP_PORT: text }), [
      `HTTP_PORT: found ${JSON.stringify(text)}; allowed: a port from 0 to 65535, where 0 takes a free one`,
    ]);
  });
}

for (const text of ["localhost", "127.0.0.1", "::1", "0.0.0.0", "tally-api.internal"]) {
  Deno.test(`parseConfig() accepts the host ${text}`, () => {
    assertEquals(parse([], { HTTP_HOST: text }).httpHost, text);
  });
}

for (const text of ["localhost:80", "http://localhost", "a b", "a/b", "[::1]", "999.1.1.1"]) {
  Deno.test(`parseConfig() refuses the host ${JSON.stringify(text)}`, () => {
    assertEquals(problems([], { HTTP_HOST: text }).length, 1);
  });
}

Deno.test("parseConfig() reads HTTP_ALLOWED_HOSTS as a list of names", () => {
  const allowed = (text: string) => parse([], { HTTP_ALLOWED_HOSTS: text }).allowedHosts;
  assertEquals(allowed(""), undefined);
  assertEquals(allowed("api"), ["api"]);
  assertEquals(allowed("tally.example.com, *.fleet.example,"), ["tally.example.com", "*.fleet.example"]);
  assertEquals(allowed("*"), ["*"]);
  for (const text of [",", "http://a", "a:80", "a b", "*a", "a.*", ".a", "a..b"]) {
    assertEquals(problems([], { HTTP_ALLOWED_HOSTS: text }), [
      `HTTP_ALLOWED_HOSTS: found ${JSON.stringify(text)}; ` +
      "allowed: names with commas between them; *.example.com for all below one, * for any",
    ]);
  }
});

Deno.test("parseConfig() reads FAST_PATH as on or off", () => {
  assertEquals([parse([], { FAST_PATH: "on" }).fastPath, parse([], { FAST_PATH: "off" }).fastPath], [
    true,
    false,
  ]);
  assertEquals(problems([], { FAST_PATH: "no" }), ['FAST_PATH: found "no"; allowed: on, off']);
});

Deno.test("parseConfig() reads ACK_AFTER with its number of replicas", () => {
  assertEquals(parse([], { ACK_AFTER: "synced" }).ackAfter, { kind: "synced" });
  assertEquals(parse([], { ACK_AFTER: "replicated:2", REDIS_HOST: "redis" }).ackAfter, {
    kind: "replicated",
    replicas: 2,
  });
});

for (const text of ["replicated", "replicated:0", "replicated:101", "replicated:x", "Stored", "stored:1"]) {
  Deno.test(`parseConfig() refuses ACK_AFTER=${text}`, () => {
    assertEquals(problems([], { ACK_AFTER: text, REDIS_HOST: "redis" }), [
      `ACK_AFTER: found ${JSON.stringify(text)}; allowed: stored, replicated:N with N from 1 to 100, synced`,
    ]);
  });
}

Deno.test("parseConfig(): Redis by URL or by host and port; SQLite without either", () => {
  assertEquals(configuredRedis(parse([], { REDIS_URL: "rediss://u:p@h:1/2" })), "rediss://u:p@h:1/2");
  assertEquals(configuredRedis(parse([], { REDIS_HOST: "redis" })), { host: "redis", port: 6379 });
  assertEquals(configuredRedis(parse()), undefined);
});

Deno.test("parseConfig() reports all problems at once", () => {
  assertEquals(
    problems(["--role", "both", "--grpc-port=x", "--http-prt", "80", "extra", "--log-level"], {
      MAX_STREAMS: "many",
      REDIS_PORT: "6380",
    }),
    [
      "--http-prt: no such flag; did you mean --http-port?",
      `"extra": found an argument that belongs to no flag; see --help`,
      "--log-level: found no value; allowed: debug, info, warning, error",
      `--role: found "both"; allowed: ingest, api, all`,
      `--grpc-port: found "x"; allowed: a port from 0 to 65535, where 0 takes a free one`,
      `MAX_STREAMS: found "many"; allowed: a whole number from 1 to 1000000`,
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
  const config = parse([], { ALERT_WEBHOOK_URL: "https://user:hunter2@host/x", ALERT_WEBHOOK_SECRET: key });
  assertEquals(configuredWebhook(config), {
    url: "https://user:hunter2@host/x",
    secret: new TextEncoder().encode("ABC".repeat(8)),
  });
  assertEquals(configuredWebhook(parse()), undefined);
  for (const url of ["ftp://hunter2", "hunter2", "/x"]) {
    const [problem] = problems([], { ALERT_WEBHOOK_URL: url, ALERT_WEBHOOK_SECRET: key });
    assert(problem!.startsWith("ALERT_WEBHOOK_URL") && !problem!.includes("hunter2"), problem);
  }
  for (const secret of ["hunter2", `whsec_${"QUJD".repeat(7)}`, `whsec_${"QUJD".repeat(22)}`, "whsec_*"]) {
    const [problem] = problems([], { ALERT_WEBHOOK_URL: "http://host", ALERT_WEBHOOK_SECRET: secret });
    assert(problem!.startsWith("ALERT_WEBHOOK_SECRET") && !problem!.includes("hunter2"), problem);
  }
});

const contradictions: [Record<string, string>, string][] = [
  [
    { REDIS_URL: "redis://a", REDIS_HOST: "b" },
    "REDIS_URL and REDIS_HOST: both say where Redis is; leave one of them empty",
  ],
  [
    { ACK_AFTER: "replicated:1" },
    `ACK_AFTER: a SQLite file has no replicas; set REDIS_URL or REDIS_HOST, or use "stored"`,
  ],
  [
    { MAX_PAYLOAD: "2MiB", MAX_MESSAGE: "1MiB" },
    "MAX_PAYLOAD and MAX_MESSAGE: found 2097152 and 1048576 bytes; allowed: a message at least 152 bytes larger, " +
    "for what a packet has besides its payload",
  ],
  [
    { ALERT_WEBHOOK_URL: "http://host" },
    "ALERT_WEBHOOK_URL and ALERT_WEBHOOK_SECRET: found one of them; set both, or neither",
  ],
  [
    { QUEUE_MAX_BYTES: "1KiB" },
    "MAX_PAYLOAD: found 65536 bytes; allowed: at most QUEUE_MAX_BYTES, 1024 bytes",
  ],
];
for (const [env, problem] of contradictions) {
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

for (const url of ["redis://[::1]:6379/1", "REDIS://h", "redis://h/15"]) {
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
  ]
) {
  Deno.test(`parseConfig() refuses REDIS_URL=${url}`, () => {
    assertEquals(problems([], { REDIS_URL: url }).length, 1);
  });
}

for (const name of ["REDIS_PORT", "GRPC_PORT", "HTTP_PORT"]) {
  Deno.test(`parseConfig() refuses ${name} as Kubernetes sets it, and names the cause`, () => {
    const [problem, ...rest] = problems([], { [name]: "tcp://10.43.0.7:6379", REDIS_HOST: "h" });
    assertEquals(rest, []);
    const service = name.slice(0, -5).toLowerCase();
    assertStringIncludes(problem!, `Kubernetes sets this variable for a service named "${service}"`);
    assertStringIncludes(problem!, "enableServiceLinks: false");
  });
}

Deno.test("parseConfig() accepts REDIS_TLS_CA with a rediss:// URL only", () => {
  const env = { REDIS_TLS_CA: "ca.crt" };
  assertEquals(parse([], { ...env, REDIS_URL: "rediss://h" }).redisTlsCa, "ca.crt");
  for (const other of [{}, { REDIS_URL: "redis://h" }, { REDIS_HOST: "h" }]) {
    assertEquals(problems([], { ...env, ...other }), [
      "REDIS_TLS_CA: has no effect without TLS; set REDIS_URL to a rediss:// URL",
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
      MAX_PAYLOAD: text,
      MAX_MESSAGE: "64MiB",
      QUEUE_MAX_BYTES: "64MiB",
    });
    const packet = {
      device_id: "d".repeat(128),
      timestamp: -1,
      payload: new Uint8Array(maxPayloadBytes),
    };
    const { length } = streamBatches.requestSerialize({ packets: [packet] });
    const env = { MAX_PAYLOAD: text, QUEUE_MAX_BYTES: "64MiB" };
    assertEquals(
      parse([], { ...env, MAX_MESSAGE: `${maxPayloadBytes + 152}B` }).maxPayloadBytes,
      maxPayloadBytes,
    );
    assertEquals(problems([], { ...env, MAX_MESSAGE: `${maxPayloadBytes + 151}B` }).length, 1);
    assertEquals(problems([], { ...env, MAX_MESSAGE: text }).length, 1);
    assert(length <= maxPayloadBytes + 152 && length > maxPayloadBytes + 148, String(length));
  }
});

Deno.test("helpText() has every setting with its flag, variable, default and allowed values", () => {
  const help = helpText();
  for (const setting of Object.values(settings)) {
    for (
      const text of [`--${setting.flag}`, setting.env ?? "", setting.default ?? "Not set", setting.allowed]
    ) {
      assertStringIncludes(help, text);
    }
  }
});

Deno.test("deno.json: the permission sets of the roles name exactly the variables of the settings", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile(new URL("../deno.json", import.meta.url)));
  const names = Object.values(settings).flatMap(({ env }) => env ?? []).sort();
  for (const role of ["ingest", "api"]) assertEquals(permissions[role].env.allow.toSorted(), names, role);
});
