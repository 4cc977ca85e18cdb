/** The tasks for readers' tokens, as an operator runs them, beside an api on the same store. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fileURLToPath } from "node:url";

import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { bearer } from "../support/reader_tokens.ts";
import { startTestApi } from "../support/test_api.ts";
import { until } from "../support/until.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));
const { tasks } = JSON.parse(await Deno.readTextFile(`${root}deno.json`));

/** Runs the command of a task, with permission for a database that is elsewhere than usual. */
async function run(task: string, database: string, ...args: string[]) {
  const command: string[] = tasks[task].command.split(" ").slice(1);
  command.splice(command.indexOf("-P=credentials") + 1, 0, `--allow-write=${database.replace(/[^/]+$/, "")}`);
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: [...command, ...args],
    cwd: root,
    env: { REDIS_URL: "", REDIS_HOST: "", TALLY_DB: database },
  }).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout).trimEnd().split("\n"), err: text(stderr) };
}

Deno.test("deno task token:add makes a token that the api accepts, token:list lists it, token:revoke ends it", async () => {
  const folder = await Deno.makeTempDir();
  const database = `${folder}/tally.db`;
  const store = await openSqliteStore({ path: database, ackAfter: { kind: "stored" } });
  try {
    await using api = await startTestApi(store, { apiAuth: "token" });
    const added = await run("token:add", database, "--scope", "read,metrics", "grafana", "night shift");
    assertEquals([added.code, added.out[0]], [0, "id,name,scopes,token"], added.err);
    assertEquals(added.out.length, 3);
    const [id, name, scopes, token] = added.out[1]!.split(",");
    assertEquals([name, scopes], ["grafana", "read metrics"]);
    const status = async () => {
      const response = await fetch(`${api.url}/fleet`, { headers: bearer(token!) });
      await response.body?.cancel();
      return response.status;
    };
    assertEquals(await status(), 200);
    await until(async () => {
      const { out } = await run("token:list", database);
      return out.some((line) =>
        line.startsWith(`${id},grafana,read metrics,`) && /Z,command line,.+Z$/.test(line)
      );
    }, "the list has its last use");
    const listed = await run("token:list", database);
    assert(!listed.out.join().includes("tally_"), "no token is listed");

    const revoked = await run("token:revoke", database, "grafana", "nobody");
    assertEquals([revoked.code, revoked.out], [1, [`revoked ${id} of grafana`]]);
    assertStringIncludes(revoked.err, "Cannot revoke nobody");
    await until(async () => await status() === 401, "the token is refused", 5);
    assertEquals((await store.audit(undefined, 10)).map(({ actor, action }) => `${actor}: ${action}`), [
      "command line: token.revoke",
      "command line: token.add",
      "command line: token.add",
    ]);
  } finally {
    await store.close();
    await Deno.remove(folder, { recursive: true });
  }
});

for (
  const [args, problem] of [
    [["grafana"], /found no --scope; use one or more of read, metrics, admin/],
    [["--scope", "root", "grafana"], /found --scope "root"/],
    [["--scope", "read"], /found no name/],
    [["--scope", "read", "a\nb"], /found the name "a\\nb"; use 1 to 64 letters/],
  ] as const
) {
  Deno.test(`deno task token:add ${JSON.stringify(args)} fails before a store is opened`, async () => {
    const { code, err } = await run("token:add", "/nowhere/tally.db", ...args);
    assertEquals(code, 2);
    assertMatch(err, problem);
  });
}
