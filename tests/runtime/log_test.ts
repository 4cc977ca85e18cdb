import { assert, assertEquals, assertMatch } from "@std/assert";

import { logFormatOf, type LogOptions, startLogging, stopLogging } from "../../src/runtime/log.ts";

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

Deno.test("startLogging() json: a line has time, level, message, logger and properties", () => {
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

Deno.test("startLogging() text: a line has time, level, message, logger and properties", () => {
  const [line] = linesOf({ level: "info", format: "text" }, (log) => {
    log.getChild("api").warning("slow reader", { host: "::1", ms: 12 });
  });
  assertMatch(line!, /^\d\d:\d\d:\d\d\.\d{3} WARNING tally\.api: slow reader host="::1" ms=12\n$/);
});

Deno.test("startLogging() text: properties that the message contains are not repeated", () => {
  const [line] = linesOf(
    { level: "info", format: "text" },
    (log) => log.info("device {id} is new", { id: "a\nb" }),
  );
  assertMatch(line!, /tally: device "a\\nb" is new\n$/);
});

Deno.test("startLogging() drops lines below the level", () => {
  const lines = linesOf({ level: "warning", format: "json" }, (log) => {
    log.debug("1");
    log.info("2");
    log.warning("3");
    log.error("4");
  });
  assertEquals(lines.map((line) => JSON.parse(line).message), ["3", "4"]);
});

Deno.test("startLogging() writes an error with its stack and causes", () => {
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

Deno.test("startLogging() writes an error inside a message as the error's message", () => {
  const [line] = linesOf(
    { level: "info", format: "json" },
    (log) => log.error("failed: {error}", { error: failure() }),
  );
  assertEquals(JSON.parse(line!).message, 'failed: "could not apply"');
});

for (const format of ["json", "text"] as const) {
  Deno.test(`startLogging() ${format}: a payload is never written, not even within a store's error`, () => {
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

  Deno.test(`startLogging() ${format}: control sequences in an error are escaped`, () => {
    const [line] = linesOf(
      { level: "info", format },
      (log) => log.error("failed", { error: new Error("\x1b[2J\x9b") }),
    );
    // deno-lint-ignore no-control-regex -- they are what must not be there
    assert(!/[\x1b\x80-\x9f]/.test(line!), JSON.stringify(line));
  });
}

Deno.test("logFormatOf() is the configured format; auto is text on a terminal, and JSON elsewhere", () => {
  assertEquals([logFormatOf("auto", true), logFormatOf("auto", false)], ["text", "json"]);
  assertEquals([logFormatOf("json", true), logFormatOf("text", false)], ["json", "text"]);
});
