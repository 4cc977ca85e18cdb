/** The demo as a user runs it: a process of its own, with its task's permissions. */
import { assert, assertEquals, assertGreater, assertMatch, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";

import { visit } from "./support/browser.ts";
import { startRedis } from "./support/redis_server.ts";
import { dataFolder, Tool } from "./support/tool.ts";
import { until } from "./support/until.ts";

Deno.test("demo prints changing counts and the page's address, and stops on Ctrl-C", async () => {
  await using folder = await dataFolder();
  const env = { TALLY_DB: `${folder.path}/tally.db`, TALLY_GRPC_PORT: "0", TALLY_HTTP_PORT: "0" };
  await using tool = new Tool("demo", [], "ingest", env);
  await until(() => tool.stdout.includes("Ctrl-C stops both"), "it says that it runs");
  const [url] = /http:\S+\/metrics/.exec(tool.stdout)!;
  const total = async () => {
    const counts: { count: number }[] = await (await fetch(url)).json();
    return counts.reduce((sum, { count }) => sum + count, 0);
  };
  await until(async () => await total() > 0, "something is counted");
  const before = await total();
  await until(async () => await total() > before, "the counts move");
  const target = /--target (\S+)/.exec(tool.stdout)![1]!;
  await using send = new Tool("tools/send", ["--target", target]);
  assertEquals(await send.end(), 0);
  tool.signal("SIGINT");
  assertEquals(await tool.end(), 0);
  const [, sent, stored] = /(\d+) packets sent, (\d+) stored, 0 rejected, 0 not ack/.exec(tool.stdout)!;
  assertEquals(sent, stored);
  assertGreater(Number(sent), 0);
});

Deno.test("demo names the command that may use a file outside of its folder", async () => {
  const env = { TALLY_DB: "/nowhere/tally.db", TALLY_GRPC_PORT: "0", TALLY_HTTP_PORT: "0" };
  await using tool = new Tool("demo", [], "ingest", env);
  assertEquals(await tool.end(), 1);
  assertMatch(tool.stdout, /deno run -P=ingest --allow-read=\S+ --allow-write=\S*\/nowhere src\/demo\.ts/);
});

/** The numbers in the line of totals: packets sent, and the sum of all outcomes. */
function totalsOf(line: string): { sent: number; sum: number; text: string } {
  const [text, sent, ...rest] =
    /([\d,]+) packets? sent, ([\d,]+) stored, ([\d,]+) rejected,(?: ([\d,]+) settled without an Ack,)? ([\d,]+) not ack/
      .exec(line)!;
  const number = (digits = "0") => Number(digits.replaceAll(",", ""));
  return { sent: number(sent), sum: rest.reduce((sum, digits) => sum + number(digits), 0), text };
}

Deno.test("demo's last line accounts for every packet after a store outage", async () => {
  await using redis = await startRedis({ appendonly: "yes", appendfsync: "always" });
  const env = {
    REDIS_URL: redis.url,
    TALLY_GRPC_PORT: "0",
    TALLY_HTTP_PORT: "0",
    TALLY_STORE_TIMEOUT: "200ms",
  };
  await using tool = new Tool("demo", [], "ingest", env);
  await until(() => tool.stdout.includes("Ctrl-C stops both"), "it says that it runs");
  const [url] = /http:\S+\/metrics/.exec(tool.stdout)!;
  const total = async () => {
    const counts: { count: number }[] = await (await fetch(url)).json().catch(() => []);
    return Array.isArray(counts) ? counts.reduce((sum, { count }) => sum + count, 0) : 0;
  };
  await until(async () => await total() > 0, "something is counted");
  await redis.kill9();
  await until(
    async () => await fetch(url).then(async (r) => (await r.body?.cancel(), r.status)) === 503,
    "it is away",
  );
  await redis.start();
  const before = await redis.call("HVALS", "device_metrics") as string[];
  const sumBefore = before.reduce((sum, count) => sum + Number(count), 0);
  await until(async () => await total() > sumBefore, "the counts move again");
  tool.signal("SIGINT");
  assertEquals(await tool.end(), 0);
  const { sent, sum, text } = totalsOf(tool.stdout);
  assertEquals(sum, sent, text);
  const counts = await redis.call("HVALS", "device_metrics") as string[];
  assertEquals(counts.reduce((sum, count) => sum + Number(count), 0), sent, text);
});

Deno.test("demo keeps its counts in a file of its own by default", async () => {
  const root = new URL("../", import.meta.url).pathname;
  const folder = await Deno.makeTempDir();
  try {
    const files = ["src", "proto", "deno.json", "deno.lock"].map((name) => `${root}${name}`);
    await new Deno.Command("cp", { args: ["-r", ...files, folder] }).output();
    const env = { TALLY_DB: "", TALLY_GRPC_PORT: "0", TALLY_HTTP_PORT: "0" };
    await using tool = new Tool("demo", [], "ingest", env, `${folder}/`);
    await until(() => tool.stdout.includes("Ctrl-C stops both"), "it says that it runs");
    assertStringIncludes(tool.stdout, "The counts are kept in data/demo.db");
    tool.signal("SIGINT");
    assertEquals(await tool.end(), 0);
    const written = await Array.fromAsync(Deno.readDir(`${folder}/data`), ({ name }) => name);
    assertEquals(written.filter((name) => name.endsWith(".db")), ["demo.db"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

/** Whether the charts of the device in this row of the table move within five seconds. */
async function bothChartsMove(page: Page, row: number): Promise<boolean> {
  await page.locator("tbody a").nth(row).click();
  for (const name of ["temperature", "humidity"]) {
    const chart = page.getByRole("region", { name, exact: true });
    const line = chart.locator("path.line");
    await line.waitFor({ state: "attached" });
    const [latest, drawn] = [await chart.locator("b").innerText(), await line.getAttribute("d")];
    assertMatch(latest, /^-?\d+(\.\d+)?$/);
    const moves = until(
      async () => await chart.locator("b").innerText() !== latest && await line.getAttribute("d") !== drawn,
      `the chart of ${name} moves`,
      5,
    );
    if (!await moves.then(() => true, () => false)) return false;
  }
  return true;
}

Deno.test("demo: charts of temperature and humidity move within 5 seconds on the open page", async () => {
  await using folder = await dataFolder();
  const env = { TALLY_DB: `${folder.path}/tally.db`, TALLY_GRPC_PORT: "0", TALLY_HTTP_PORT: "0" };
  await using tool = new Tool("demo", [], "ingest", env);
  await until(() => tool.stdout.includes("Ctrl-C stops both"), "it runs");
  const [url] = /http:\S+\/(?=\s+the fleet)/.exec(tool.stdout)!;
  await using visitor = await visit(url);
  const { page } = visitor;
  // A device that sends often; the others send every few seconds.
  await page.getByRole("columnheader", { name: "Packets/s" }).getByRole("button").click();
  await page.waitForURL(/sort=rate/);
  await until(
    async () => Number(await page.locator("tbody .col-rate").first().innerText()) > 1,
    "one sends often",
  );
  // Each device is silent at times: in one of 200 packets for up to a minute.
  const list = page.url();
  let row = 0;
  while (!await bothChartsMove(page, row)) {
    assert(++row < 3, "the charts of three devices stand still");
    await page.goto(list);
  }
  visitor.assertNoProblems();
  tool.signal("SIGINT");
  assertEquals(await tool.end(), 0);
});
