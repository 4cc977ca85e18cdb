/**
 * `deno task export`, as a user runs it.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";

import { type ExportEnd, splitEnd } from "../../src/tools/export_end.ts";
import { temporaryStore } from "../support/harness.ts";
import { forSeeds } from "../support/random.ts";
import { addReaderToken } from "../support/reader_tokens.ts";
import { addPackets, startTestApi } from "../support/test_api.ts";

const root = new URL("../..", import.meta.url);

async function runExport(...args: string[]) {
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", "-P=device", "src/tools/export.ts", ...args],
    cwd: root,
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

Deno.test("deno task export writes the rows to standard output, and to a file that is whole", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { a: 1, b: 2, c: 3 });
  const { token } = await addReaderToken(store, ["read"]);
  await using api = await startTestApi(store, { apiAuth: "token" });
  const data = new URL("data/", root).pathname;
  await Deno.mkdir(data, { recursive: true });
  const folder = await Deno.makeTempDir({ dir: data });
  try {
    await Deno.writeTextFile(`${folder}/token`, token);
    const given = ["--url", api.url, "--token-file", `${folder}/token`];
    const all = await runExport(...given);
    assertEquals(all.code, 0, all.err);
    assertEquals(all.out.split("\n").map((line) => line.split(",").slice(0, 4).join()), [
      "device_id,name,status,count",
      "a,,online,1",
      "b,,online,2",
      "c,,online,3",
      "",
    ]);
    assertStringIncludes(all.err, "3 rows, 3 devices");

    const file = `${folder}/out.ndjson`;
    const one = await runExport(...given, "--format", "ndjson", "--device", "b", "--out", file);
    assertEquals([one.code, one.out], [0, ""], one.err);
    const written = await Deno.readTextFile(file);
    assertEquals([written.split("\n").length, JSON.parse(written).count], [2, 2]);
    const names = Array.from(Deno.readDirSync(folder), ({ name }) => name).sort();
    assertEquals(names, ["out.ndjson", "token"]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("deno task export ends with 1 when it was refused or cut off, and when no api listens", async () => {
  await using store = await temporaryStore();
  await using api = await startTestApi(store);
  const refused = await runExport("--url", api.url, "--device", "nobody");
  assertEquals([refused.code, refused.out], [1, ""]);
  assertStringIncludes(refused.err, '404 there is no device "nobody"');

  const cut = Deno.serve({ port: 0, onListen() {} }, () => new Response("device_id,status\na,online\n"));
  const half = await runExport("--url", `http://127.0.0.1:${cut.addr.port}`);
  await cut.shutdown();
  assertEquals([half.code, half.out], [1, "device_id,status\na,online\n"]);
  assertStringIncludes(half.err, "it was cut off");

  const nobody = await runExport("--url", "http://127.0.0.1:1");
  assertEquals(nobody.code, 1);
  const wrong = await runExport("--from", "yesterday", "--what", "all");
  assertEquals(wrong.code, 2);
});

Deno.test("splitEnd() takes the last line off, however the text comes in parts", () =>
  forSeeds(300, async (random) => {
    const format = random.pick(["csv", "ndjson"] as const);
    const rows = Array.from({ length: random.int(0, 30) }, () => "x".repeat(random.int(0, 100)) + "\n").join(
      "",
    );
    const isWhole = random.chance(0.8);
    const end = format === "csv" ? "# end: 30 rows, 3 devices\n" : '{"end":true,"rows":30,"devices":3}\n';
    const bytes = new TextEncoder().encode(
      rows + (isWhole ? end : end.slice(0, random.int(0, end.length - 1))),
    );
    const parts: Uint8Array[] = [];
    for (let at = 0; at < bytes.length;) parts.push(bytes.subarray(at, at += random.int(1, 150)));
    let found: ExportEnd | undefined;
    const body = (async function* () {
      for (const part of parts) yield await Promise.resolve(part);
    })();
    let text = "";
    for await (const part of splitEnd(body, format, (end) => found = end)) {
      text += new TextDecoder().decode(part);
    }
    if (isWhole) assertEquals([text, found], [rows, { rows: 30, devices: 3 }]);
    else assertEquals([text.startsWith(rows), found], [true, undefined]);
  }));
