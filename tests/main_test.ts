/** The program as a user runs it: a process of its own, with the permissions of the role's task. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { DatabaseSync } from "node:sqlite";

import { Client, credentials, type ServiceError, status } from "@grpc/grpc-js";

import { settings } from "../src/config/config.ts";
import { streamPackets } from "../src/protocol/telemetry_proto.ts";
import { framedBatch, packet, RawCall } from "./support/harness.ts";
import { Program } from "./support/program.ts";
import { until } from "./support/until.ts";

/** Runs it to its end, for when it should not start. */
async function run(args: readonly string[], env: Record<string, string> = {}) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "-P=ingest", "src/main.ts", ...args],
    cwd: new URL("..", import.meta.url),
    env,
    stdin: "null",
  }).output();
  return { code, stdout: new TextDecoder().decode(stdout), stderr: new TextDecoder().decode(stderr) };
}

Deno.test("main --help prints every setting", async () => {
  const { code, stdout, stderr } = await run(["--help"], { TALLY_GRPC_PORT: "wrong" });
  assertEquals({ code, stderr }, { code: 0, stderr: "" });
  for (const { flag, hidden } of Object.values(settings)) {
    if (!hidden) assertStringIncludes(stdout, `--${flag}`);
  }
});

Deno.test("main exits with 2 for wrong settings, and prints all problems without a stack", async () => {
  assertEquals(await run(["--grpc-prot", "1"], { TALLY_FLUSH_INTERVAL: "50", TALLY_LOG_LEVEL: "loud" }), {
    code: 2,
    stdout: "",
    stderr: "Cannot start: wrong settings (--help lists them all).\n\n" +
      "  --grpc-prot: no such flag; did you mean --grpc-port?\n" +
      `  TALLY_FLUSH_INTERVAL: found "50"; allowed: a duration from 1ms to 1m, as in 500ms, 60s, 5m, 24h\n` +
      `  TALLY_LOG_LEVEL: found "loud"; allowed: debug, info, warning, error\n`,
  });
});

Deno.test("main refuses to listen for other machines without authentication, and warns where that is allowed", async () => {
  const env = { TALLY_HTTP_HOST: "0.0.0.0", TALLY_GRPC_HOST: "0.0.0.0" };
  const { code, stderr } = await run([], env);
  assertEquals(code, 2);
  assertMatch(stderr, /TALLY_HTTP_HOST: found 0\.0\.0\.0 without authentication.+set TALLY_API_AUTH=token/);
  assertMatch(stderr, /TALLY_GRPC_HOST: found 0\.0\.0\.0 without authentication.+TALLY_ALLOW_ANONYMOUS=true/);

  await using program = await Program.start([], { ...env, TALLY_ALLOW_ANONYMOUS: "true" });
  const { port } = await program.line("api listening");
  await program.line("ingest listening");
  const warnings = program.seen.filter(({ message }) => message.startsWith("anonymous access"));
  assertEquals(warnings.map(({ level, host }) => [level, host]), [["WARN", "0.0.0.0"], ["WARN", "0.0.0.0"]]);
  const { api } = await (await fetch(`http://127.0.0.1:${port}/fleet`)).json();
  assertEquals(api.anonymous_access, true);
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

Deno.test("main with API_AUTH=token serves other machines without a warning", async () => {
  const env = { TALLY_HTTP_HOST: "0.0.0.0", TALLY_API_AUTH: "token" };
  await using program = await Program.start(["--role", "api"], env, { permissions: "api" });
  const { port, auth } = await program.line("api listening");
  assertEquals([auth, program.seen.filter(({ level }) => level === "WARN")], ["token", []]);
  const response = await fetch(`http://127.0.0.1:${port}/fleet`);
  await response.body?.cancel();
  assertEquals(response.status, 401);
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

Deno.test("main logs its store and addresses, and stops on SIGTERM", async () => {
  await using program = await Program.start();
  const store = await program.line("store open");
  assertMatch(String(store["store"]), /^SQLite file .*tally\.db$/);
  assertMatch(String(store["toChange"]), /REDIS_URL/);
  const api = await program.line("api listening");
  const ingest = await program.line("ingest listening");
  for (const { host, port } of [api, ingest]) {
    assertEquals(host, "127.0.0.1");
    (await Deno.connect({ hostname: "127.0.0.1", port: Number(port) })).close();
  }
  program.signal("SIGTERM");
  const { code, lines } = await program.end();
  assertEquals(lines.map(({ message }) => message), ["stopping", "stopped"]);
  assertEquals(code, 0);
});

for (const [role, permissions] of [["all", "ingest"], ["api", "api"], ["ingest", "workers"]] as const) {
  Deno.test(`Former names of variables work in the task of ${role} with -P=${permissions}, with a warning for each`, async () => {
    const env = { TALLY_HTTP_PORT: "", HTTP_PORT: "0", GRPC_PORT: "tcp://10.43.0.7:50051", MAX_STREAMS: "7" };
    const args = ["--role", role];
    await using program = await Program.start(args, { ...env, TALLY_MAX_STREAMS: "8" }, { permissions });
    await program.line(role === "ingest" ? "ingest listening" : "api listening");
    const warnings = program.seen.filter(({ message }) => message.startsWith("variable was renamed"));
    assertEquals(warnings.map(({ level, found, use, reason }) => [level, found, use, reason]), [
      ["WARN", "GRPC_PORT", "TALLY_GRPC_PORT", 'Kubernetes sets it for a service named "grpc"'],
      ["WARN", "HTTP_PORT", "TALLY_HTTP_PORT", undefined],
      ["WARN", "MAX_STREAMS", "TALLY_MAX_STREAMS", "TALLY_MAX_STREAMS is set"],
    ]);
    program.signal("SIGTERM");
    assertEquals((await program.end()).code, 0);
  });
}

Deno.test("SIGHUP stops it as SIGTERM does: it drains, and exits with 0", async () => {
  await using program = await Program.start();
  const { port } = await program.line("ingest listening");
  await using call = new RawCall(Number(port), "StreamBatches");
  await call.send(framedBatch([packet()]));
  await until(() => call.acks.length > 0, "the packet is read");
  program.signal("SIGHUP");
  // A call that is open is drained: what was read is stored and acknowledged.
  const end = await call.end;
  assertEquals([end.code, end.ack?.stored], [status.UNAVAILABLE, 1]);
  const { code, lines } = await program.end();
  assertEquals(lines.map(({ message }) => message), ["stopping", "stopped"]);
  assertEquals([code, lines[0]!["reason"]], [0, "SIGHUP"]);
});

Deno.test("main: INGEST_WORKERS without permission to start processes exits with instructions, without a stack", async () => {
  for (const role of ["ingest", "all"]) {
    await using program = await Program.start(["--role", role], { TALLY_INGEST_WORKERS: "2" });
    const { code, lines, stderr } = await program.end();
    assertEquals(code, 1);
    const failed = lines.find(({ message }) => message === "failed");
    assertStringIncludes(String(failed?.["reason"]), "cannot start 2 ingest workers");
    assertStringIncludes(String(failed?.["reason"]), '"deno task workers"');
    assert(!stderr.includes("at "), stderr);
  }
});

for (const [role, listening] of [["ingest", "ingest listening"], ["api", "api listening"]] as const) {
  Deno.test(`main --role ${role} listens on the ports of this role only`, async () => {
    await using program = await Program.start(["--role", role]);
    await program.line(listening);
    program.signal("SIGTERM");
    const { code } = await program.end();
    assertEquals(code, 0);
    assertEquals(program.seen.filter(({ message }) => message.endsWith(" listening")).length, 1);
  });
}

Deno.test("main takes SIGINT received twice at once as one", async () => {
  await using program = await Program.start();
  await program.line("ingest listening");
  program.signal("SIGINT");
  program.signal("SIGINT");
  assertEquals((await program.end()).code, 0);
});

for (const [role, setting] of [["ingest", "TALLY_GRPC_PORT"], ["api", "TALLY_HTTP_PORT"]] as const) {
  Deno.test(`main --role ${role} names the port that is in use, and exits with 1`, async () => {
    using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
    const { port } = taken.addr;
    await using program = await Program.start(["--role", role], { [setting]: String(port) });
    const { reason } = await program.line("failed");
    assertMatch(String(reason), new RegExp(`127\\.0\\.0\\.1.*${port}.*in use`, "s"));
    const { code, stderr } = await program.end();
    assertEquals(code, 1);
    assert(!stderr.includes("    at "), stderr);
  });
}

Deno.test("main: TALLY_DB outside of ./data exits with 1 and the command that allows its folder", async () => {
  const folder = await Deno.makeTempDir({ prefix: "tally-outside-" });
  try {
    for (const workers of ["1", "2"]) {
      const env = { TALLY_DB: `${folder}/it's/tally.db`, TALLY_INGEST_WORKERS: workers };
      await using refused = await Program.start(["--log-level", "info"], env);
      const reason = String((await refused.line("failed"))["reason"]);
      assertStringIncludes(reason, `${folder}/it's/tally.db`);
      assertEquals((await refused.end()).code, 1);

      const command = reason.slice(reason.indexOf("deno run ")).replace(
        "deno run ",
        "exec deno run --no-prompt ",
      );
      const child = new Deno.Command("sh", {
        args: ["-c", command],
        cwd: new URL("..", import.meta.url),
        env: {
          ...env,
          REDIS_URL: "",
          REDIS_HOST: "",
          REDIS_PORT: "",
          TALLY_GRPC_PORT: "0",
          TALLY_HTTP_PORT: "0",
          TALLY_LOG_FORMAT: "json",
        },
        stdin: "null",
        stdout: "piped",
        stderr: "null",
      }).spawn();
      let output = "";
      const listens = Promise.withResolvers<void>();
      const read = (async () => {
        for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
          output += text;
          if (output.split(`"ingest listening"`).length > Number(workers)) listens.resolve();
        }
      })();
      await Promise.race([listens.promise, child.status]);
      child.kill("SIGTERM");
      const { code } = await child.status;
      await read;
      assertEquals({ code, output: code === 0 ? "" : output }, { code: 0, output: "" });
      await Deno.stat(`${folder}/it's/tally.db`);
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("main: the suggested command with permission for a file shows no password", async () => {
  for (const args of [["--redis-url", "rediss://u:hunter2@h"], ["--redis-url=rediss://u:hunter2@h"]]) {
    await using program = await Program.start([...args, "--log-level", "info"], {
      TALLY_REDIS_TLS_CA: "/etc/hostname",
    });
    const { reason } = await program.line("failed");
    assertMatch(String(reason), /--redis-url[ =]\.\.\. --log-level info$/);
    const { stderr } = await program.end();
    assert(!(JSON.stringify(program.seen) + stderr).includes("hunter2"));
  }
});

Deno.test("main waits for a database file that is locked at the start", async () => {
  await using folder = await dataFolder();
  const other = new DatabaseSync(`${folder.path}/tally.db`);
  other.exec("BEGIN EXCLUSIVE");
  await using program = await Program.start([], {
    TALLY_DB: `${folder.path}/tally.db`,
    TALLY_STORE_TIMEOUT: "50ms",
  });
  const { port } = await program.line("api listening");
  await program.line("ingest listening");
  const ready = async () => {
    const response = await fetch(`http://127.0.0.1:${port}/readyz`);
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await ready(), 503);
  other.exec("ROLLBACK");
  other.close();
  await until(async () => await ready() === 200, "it is ready");
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
  // Either the file, or its folder, by the thread that tries to open it.
  assertMatch(JSON.stringify(program.seen), /(database|folder) is locked/);
});

/** A folder that the program's permissions reach. */
async function dataFolder(): Promise<AsyncDisposable & { path: string }> {
  const data = new URL("../data", import.meta.url).pathname;
  await Deno.mkdir(data, { recursive: true });
  const path = await Deno.makeTempDir({ dir: data, prefix: "test-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("main logs no line with the password of Redis", async () => {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using program = await Program.start([], {
    REDIS_URL: `redis://user:hunter2@127.0.0.1:${silent.addr.port}`,
    TALLY_STORE_TIMEOUT: "50ms",
    TALLY_DRAIN_TIMEOUT: "1s",
    TALLY_LOG_LEVEL: "debug",
  });
  await program.line("ingest listening");
  program.signal("SIGTERM");
  const { stderr } = await program.end();
  assert(!(JSON.stringify(program.seen) + stderr).includes("hunter2"));
});

/** A device with a packet on its way to a store that does not answer: draining cannot end well. */
async function withStuckPacket(
  env: Record<string, string>,
  body: (program: Program) => Promise<void>,
): Promise<void> {
  using silent = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  await using program = await Program.start(["--role", "ingest"], {
    REDIS_URL: `redis://127.0.0.1:${silent.addr.port}`,
    TALLY_STORE_TIMEOUT: "50ms",
    TALLY_LOG_LEVEL: "info",
    ...env,
  });
  const { port } = await program.line("ingest listening");
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  try {
    const { path, requestSerialize, responseDeserialize } = streamPackets;
    const call = client.makeClientStreamRequest(path, requestSerialize, responseDeserialize, () => {});
    const packet = { device_id: "sensor-1", timestamp: Date.now(), payload: new Uint8Array() };
    await new Promise((resolve) => call.write(packet, resolve));
    // Unknown to the server. Sent later on the same connection, so answered after the packet has come; and
    // asked again, after it was read.
    for (let i = 0; i < 2; i++) {
      const error = await new Promise<ServiceError | null>((resolve) =>
        client.makeUnaryRequest("/no/such", requestSerialize, responseDeserialize, packet, resolve)
      );
      assertEquals(error?.code, status.UNIMPLEMENTED);
    }
    await body(program);
    call.cancel();
  } finally {
    client.close();
  }
}

Deno.test("main: packets that cannot be stored before DRAIN_TIMEOUT are reported, and exit with 1", () =>
  withStuckPacket({ TALLY_DRAIN_TIMEOUT: "500ms" }, async (program) => {
    program.signal("SIGTERM");
    assertMatch(
      String((await program.line("failed"))["reason"]),
      /could not stop within 500 ms.*TALLY_DRAIN_TIMEOUT/,
    );
    assertEquals((await program.end()).code, 1);
  }));

Deno.test("main exits at once on a second signal", () =>
  withStuckPacket({ TALLY_DRAIN_TIMEOUT: "1h" }, async (program) => {
    program.signal("SIGTERM");
    await program.line("stopping");
    // As often as an impatient person; the first few still count as the first.
    const impatience = setInterval(() => program.signal("SIGTERM"), 50);
    try {
      assertEquals((await program.end()).code, 143);
    } finally {
      clearInterval(impatience);
    }
  }));
