/**
 * The tasks for tokens, as an operator runs them, beside processes of Tally that require tokens.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { isToken } from "../../src/identity/token.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { TallyProcess } from "../support/tally_process.ts";
import { dataFolder, Tool } from "../support/tool.ts";

/** Runs a task; the lines of its output. */
async function run(
  env: Record<string, string>,
  ...args: string[]
): Promise<{ code: number; lines: string[]; stderr: string }> {
  await using tool = new Tool("credentials/credentials", args, "credentials", env);
  const code = await tool.end();
  return { code, lines: tool.stdout.split("\n").slice(0, -1), stderr: tool.stderr };
}

Deno.test("device:add, device:list and device:revoke: a device sends with its token until it is revoked", async () => {
  await using folder = await dataFolder();
  const env = { TALLY_DB: `${folder.path}/tally.db` };
  const tally = await TallyProcess.start("ingest", { ...env, TALLY_DEVICE_AUTH: "token" });
  try {
    const target = ["--target", `127.0.0.1:${tally.port}`];
    const added = await run(env, "device:add", "sensor-1", "factory-7/*");
    assertEquals([added.code, added.stderr, added.lines.length, added.lines[0]], [
      0,
      "",
      3,
      "id,device,token",
    ]);
    const [id, device, token] = added.lines[1]!.split(",") as [string, string, string];
    assertEquals([device, isToken(token), added.lines[2]!.split(",")[1]], ["sensor-1", true, "factory-7/*"]);

    await using sent = new Tool("tools/send", [...target, "--token", token]);
    assertEquals([await sent.end(), sent.stdout], [0, "Ack: stored 10, rejected 0, committed 10\n"]);
    await Deno.writeTextFile(`${folder.path}/token`, `${token}\n`);
    await using other = new Tool("tools/send", [
      ...[...target, "--token-file", `${folder.path}/token`, "--device", "sensor-2", "--count", "2"],
    ]);
    assertEquals([await other.end(), other.stderr], [1, "2 packets rejected: DEVICE_NOT_ALLOWED\n"]);
    await using without = new Tool("tools/send", target);
    assertEquals(await without.end(), 1);
    assertStringIncludes(without.stderr, "UNAUTHENTICATED: credentials are missing or wrong");
    await using simulated = new Tool("tools/simulate", [
      ...[
        ...target,
        "--token",
        token,
        "--prefix",
        "sensor-",
        "--devices",
        "1",
        "--rate",
        "50",
        "--duration",
        "1s",
      ],
    ]);
    assertEquals(await simulated.end(), 0, simulated.stderr);

    const listed = await run(env, "device:list");
    assertEquals(listed.lines[0], "id,device,created,created_by,last_used");
    const line = listed.lines.find((line) => line.startsWith(`${id},`))!;
    assertMatch(line, /^\w{16},sensor-1,\d{4}-[\d:.TZ-]+,command line,(\d{4}-[\d:.TZ-]+)?$/);
    assert(!listed.lines.join().includes(token) && !tally.output.join().includes(token));

    const revoked = await run(env, "device:revoke", "sensor-1", "nothing");
    assertEquals([revoked.code, revoked.lines], [1, [`revoked ${id} of sensor-1`]]);
    assertStringIncludes(revoked.stderr, "Cannot revoke nothing: found no token of this id or device");
    await using late = new Tool("tools/send", [...target, "--token", token, "--rate", "1", "--count", "10"]);
    assertEquals(await late.end(), 1);
    assertMatch(late.stderr, /UNAUTHENTICATED: credentials (were revoked|are missing or wrong)/);
  } finally {
    tally.kill("SIGTERM");
    await tally.ended;
  }
});

Deno.test("device:add reads thousands of ids from a file, on Redis, and records who added them", async () => {
  await using redis = await startRedis();
  const file = await Deno.makeTempFile();
  const env = { REDIS_URL: redis.url };
  try {
    const ids = Array.from({ length: 2500 }, (_, i) => `device ${i}`);
    await Deno.writeTextFile(file, `# a comment\r\n${ids.join("\r\n")}\n\na"b,c\n${ids[0]}\n`);
    const { code, lines } = await run(env, "device:add", "--file", file);
    assertEquals([code, lines.length], [0, 1 + ids.length + 1]);
    assertEquals(lines.slice(1, 2501).map((line) => line.split(",")[1]), ids);
    assertMatch(lines.at(-1)!, /^\w{16},"a""b,c",tally_[\w-]{43}$/);
    const store = await openStore(redis);
    const entries = await store.audit(undefined, 10);
    assertEquals(
      entries.map(({ actor, action }) => `${actor} ${action}`),
      Array(3).fill("command line token.add"),
    );
    await store.close();
    assertEquals((await run(env, "device:list")).lines.length, 1 + 2501);
    assertEquals((await run(env, "device:revoke", ...ids.slice(0, 1500))).lines.length, 1500);
  } finally {
    await Deno.remove(file);
  }
});

Deno.test("the tasks for tokens refuse wrong arguments, all at the start", async () => {
  await using folder = await dataFolder();
  const env = { TALLY_DB: `${folder.path}/tally.db` };
  for (
    const [args, code, message] of [
      [["device:add"], 2, "found no device id"],
      [["device:add", "a", "b\tc"], 1, 'Cannot add a token for "b\\tc": use a device id of 1 to 128 bytes'],
      [["device:add", "--file", "nothing"], 1, "Cannot read the ids in nothing"],
      [["device:add", "a", "--redis-port=x"], 2, "--redis-port"],
      [["device:revoke"], 2, "found no id of a token or device"],
      [["device:list", "a"], 2, "found an unexpected argument, a"],
      [["device:remove"], 2, 'Cannot run "device:remove": expected one of device:add'],
    ] as const
  ) {
    const { code: found, lines, stderr } = await run(env, ...args);
    assertEquals([found, lines], [code, []], stderr);
    assertStringIncludes(stderr, message);
  }
  const { code, stderr } = await run({ TALLY_DB: "/nowhere/tally.db" }, "device:add", "a");
  assertEquals(code, 1);
  assertStringIncludes(stderr, "deno run -P=credentials --allow-read=");
  assertStringIncludes(stderr, "src/credentials/credentials.ts device:add a");
  const help = await run(env, "device:add", "--help");
  assertStringIncludes(help.lines.join("\n"), "Usage: deno task device:add ID... [--file FILE]");
});
