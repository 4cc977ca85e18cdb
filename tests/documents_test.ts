/**
 * What the documents name is there: files, headings, tasks, settings. Their programs are run by
 * `python_client_test.ts` and below.
 */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import { settings } from "../src/config/config.ts";
import { countsOf } from "./support/batches.ts";
import { startTestIngest, temporaryStore } from "./support/harness.ts";
import { sourceFiles, sourceText } from "./support/source_files.ts";

const root = new URL("..", import.meta.url);
const documents = [
  "README.md",
  "CHANGELOG.md",
  "src/http2/CONFORMANCE.md",
  ...sourceFiles(["md"], ".github"),
];

/** The anchors of a document's headings, as GitHub makes them. */
function anchors(path: string): string[] {
  return Array.from(
    sourceText(path).matchAll(/^#+ (.*)$/gm),
    ([, heading]) => heading!.toLowerCase().replace(/[^\w\- ]/g, "").replaceAll(" ", "-"),
  );
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(new URL(path, root)).then(() => true, () => false);
}

/** What of a document leads nowhere: relative links, anchors, and paths in backquotes. */
async function brokenReferences(path: string, text = sourceText(path)): Promise<string[]> {
  const broken: string[] = [];
  for (const [, target] of text.matchAll(/\]\(((?!https?:)[^)]+)\)/g)) {
    const [file, anchor] = target!.split("#") as [string, string?];
    const linked = file === ""
      ? path
      : new URL(file, new URL(path, root)).pathname.replace(root.pathname, "");
    if (!await exists(linked) || (anchor !== undefined && !anchors(linked).includes(anchor))) {
      broken.push(`${path}: ${target}`);
    }
  }
  for (const [, named] of text.matchAll(/`((?:src|tests|proto|\.github|\.ci)\/[\w./-]+)`/g)) {
    if (!await exists(named!)) broken.push(`${path}: ${named}`);
  }
  return broken;
}

/** Tasks and variables in the text of a document that `deno.json` and `config.ts` do not have. */
function unknownNames(path: string, text = sourceText(path)): string[] {
  const { tasks } = JSON.parse(sourceText("deno.json"));
  const variables = new Set(Object.values(settings).flatMap(({ env }) => env ?? []));
  const unknownTasks = Array.from(
    text.matchAll(/deno(?:@[\d.]+)? task ([\w-]+(?::\w+)?)/g),
    ([, task]) => task!,
  )
    .filter((task) => !(task in tasks));
  const unknownVariables = Array.from(text.matchAll(/\b(?:TALLY|REDIS)_[A-Z_]+\b/g), ([name]) => name)
    .filter((name) => !variables.has(name) && name !== "TALLY_");
  return [...unknownTasks, ...unknownVariables].map((name) => `${path}: ${name}`);
}

Deno.test("README.md has 200 lines at most", () => {
  assertLessOrEqual(sourceText("README.md").trimEnd().split("\n").length, 200);
});

Deno.test("links, anchors and paths in the documents lead to files and headings", async () => {
  assert(documents.length >= 8, documents.join());
  assertEquals((await Promise.all(documents.map((path) => brokenReferences(path)))).flat(), []);
  const planted = "[a](SECURITY.md#nothing) [b](NOTHING.md) `src/nothing.ts`";
  assertEquals(await brokenReferences(".github/CLIENTS.md", planted), [
    ".github/CLIENTS.md: SECURITY.md#nothing",
    ".github/CLIENTS.md: NOTHING.md",
    ".github/CLIENTS.md: src/nothing.ts",
  ]);
});

Deno.test("tasks and variables in the documents are those of deno.json and config.ts", () => {
  assertEquals(documents.flatMap((path) => unknownNames(path)), []);
  assertEquals(unknownNames("README.md", "deno task nothing, TALLY_NOTHING"), [
    "README.md: nothing",
    "README.md: TALLY_NOTHING",
  ]);
});

Deno.test("README.md's TypeScript program sends a packet that is counted", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const programs = Array.from(
    sourceText("README.md").matchAll(/```ts\n([^]*?)```/g),
    ([, program]) => program!,
  );
  assertEquals(programs.length, 1);
  const program = programs[0]!.replace('"./src/', `"${root}src/`).replace(
    "localhost:50051",
    `127.0.0.1:${ingest.port}`,
  );
  const folder = await Deno.makeTempDir();
  try {
    await Deno.writeTextFile(`${folder}/send.ts`, program);
    const { success, stderr } = await new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--check",
        "--config",
        new URL("deno.json", root).pathname,
        "-P=device",
        `${folder}/send.ts`,
      ],
      cwd: root,
    }).output();
    assert(success, new TextDecoder().decode(stderr));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  assertEquals(await countsOf(store), { "sensor-1": 1 });
});
