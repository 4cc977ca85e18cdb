import { assert, assertEquals, assertMatch } from "@std/assert";

import { type LogOptions, startLogging, stopLogging } from "../../src/runtime/log.ts";

/** What `log` gets to write, line by line, when this body runs. */
function linesOf(
  options: Omit<LogOptions, "write">,
  body: (log: ReturnType<typeof startLogging>) => void,
): string[] {
  const lines: string[] = [];
  try {
    body(startLogging({ ...options, write: (line) => lines.push(line) }));
  } finally {
    stopLogging();
  }
  return lines;
}

function failure(): Error {
  const cause = Object.assign(new Error("refused"), { command: { args: ["HSET", "topsecret"] } });
  return new Error("could not apply", { cause });
}

Deno.test("A JSON line has time, level, message, logger and the properties", () => {
  const [line, ...rest] = linesOf({ level: "info", format: "json" }, (log) => {
    log.getChild("ingest").info("ingest listening", { host: "127.0.0.1", port: 50051 });
  });
  assertEquals(rest, []);
  assert(line!.endsWith("\n"));
  const { "@timestamp": time, ...record } = JSON.parse(line!);
  assertMatch(time, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
  assertEquals(record, {
    level: "INFO",
    message: "ingest listening",
    logger: "tally.ingest",
    host: "127.0.0.1",
    port: 50051,
  });
});

Deno.test("A text line has the same for people", () => {
  const [line] = linesOf({ level: "info", format: "text" }, (log) => {
    log.getChild("api").warning("slow reader", { host: "::1", ms: 12 });
  });
  assertMatch(line!, /^\d\d:\d\d:\d\d\.\d{3} WARNING tally\.api: slow reader host="::1" ms=12\n$/);
});

Deno.test("A text line does not say twice what its message says", () => {
  const [line] = linesOf(
    { level: "info", format: "text" },
    (log) => log.info("device {id} is new", { id: "a\nb" }),
  );
  assertMatch(line!, /tally: device "a\\nb" is new\n$/);
});

Deno.test("Lines below the level are left out", () => {
  const lines = linesOf({ level: "warning", format: "json" }, (log) => {
    log.debug("1");
    log.info("2");
    log.warning("3");
    log.error("4");
  });
  assertEquals(lines.map((line) => JSON.parse(line).message), ["3", "4"]);
});

Deno.test("An error is shown with its stack and its causes", () => {
  const [json] = linesOf(
    { level: "info", format: "json" },
    (log) => log.error("failed", { error: failure() }),
  );
  const { error } = JSON.parse(json!);
  assertEquals(error.message, "could not apply");
  assertEquals(error.cause.message, "refused");
  assertMatch(error.cause.stack, /^Error: refused\n +at failure/);

  const [text] = linesOf(
    { level: "info", format: "text" },
    (log) => log.error("failed", { error: failure(), n: 1 }),
  );
  assertMatch(text!, /failed n=1\nError: could not apply\n +at [^]*\ncaused by:\nError: refused\n +at /);
});

Deno.test("An error in the middle of a message is its own message", () => {
  const [line] = linesOf(
    { level: "info", format: "json" },
    (log) => log.error("failed: {error}", { error: failure() }),
  );
  assertEquals(JSON.parse(line!).message, 'failed: "could not apply"');
});

for (const format of ["json", "text"] as const) {
  Deno.test(`A payload does not get into a ${format} line, not even with a store's error`, () => {
    const payload = new TextEncoder().encode("topsecret");
    const lines = linesOf({ level: "debug", format }, (log) => {
      log.info("got it", { payload });
      log.info("got {payload}", { payload });
      log.error("failed", { error: failure() });
      log.error("failed: {error}", { error: failure() });
      log.error("failed", { error: new Error("outer", { cause: payload }) });
    });
    assertEquals(lines.length, 5);
    assert(!lines.join("").includes("topsecret"), lines.join(""));
    assert(!lines.join("").includes("116,111,112"), lines.join(""));
    assert(lines[0]!.includes("<9 bytes>"), lines[0]);
  });

  Deno.test(`Control sequences in an error do not reach the terminal as ${format}`, () => {
    const [line] = linesOf(
      { level: "info", format },
      (log) => log.error("failed", { error: new Error("\x1b[2J\x9b") }),
    );
    // deno-lint-ignore no-control-regex -- they are what must not be there
    assert(!/[\x1b\x80-\x9f]/.test(line!), JSON.stringify(line));
  });
}
