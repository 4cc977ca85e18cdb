import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertGreater, assertLess } from "@std/assert";

import { type LineOutput, LineWriter } from "../../src/runtime/line_writer.ts";
import { framedPacket, packet, RawCall } from "../support/harness.ts";
import { Program } from "../support/program.ts";
import { until } from "../support/until.ts";
import { freePort } from "../support/free_port.ts";

/** An output that takes bytes when a test lets it. */
class Output implements LineOutput {
  readonly writes: string[] = [];
  room = Promise.withResolvers<void>();
  error: Error | undefined;
  /** Bytes it takes of one write at the most. */
  most = Infinity;

  async write(bytes: Uint8Array): Promise<number> {
    await this.room.promise;
    if (this.error !== undefined) throw this.error;
    const taken = bytes.subarray(0, this.most);
    this.writes.push(new TextDecoder().decode(taken));
    return taken.length;
  }

  get text(): string {
    return this.writes.join("");
  }
}

Deno.test("LineWriter.write() keeps the order of lines across partial writes", async () => {
  const output = new Output(), lines = new LineWriter(output);
  output.most = 7;
  output.room.resolve();
  let expected = "";
  for (let i = 0; i < 100; i++) {
    lines.write(`line ${i}\n`);
    expected += `line ${i}\n`;
    if (i % 10 === 0) await lines.flush(1000);
    if (i % 7 === 0) await Promise.resolve();
  }
  await lines.flush(1000);
  assertEquals([output.text, lines.dropped], [expected, 0]);
});

Deno.test("LineWriter.write() writes again in any turn after the last write", async () => {
  const output = new Output(), lines = new LineWriter(output);
  output.room.resolve();
  for (let turns = 0; turns < 12; turns++) {
    lines.write("first\n");
    for (let turn = 0; turn < turns; turn++) await Promise.resolve();
    lines.write("second\n");
    await lines.flush(1000);
    assertEquals(output.text, "first\nsecond\n".repeat(turns + 1));
  }
});

Deno.test("LineWriter writes whole lines, at most 4096 bytes at a time", async () => {
  const output = new Output(), lines = new LineWriter(output);
  const long = `${"y".repeat(10_000)}\n`;
  for (let i = 0; i < 10; i++) lines.write(`${"x".repeat(999)}\n`);
  lines.write(long);
  lines.write("last\n");
  output.room.resolve();
  await lines.flush(1000);
  assertEquals(output.writes.map(({ length }) => length), [1000, 4000, 4000, 1000, long.length, 5]);
});

Deno.test("LineWriter drops and counts lines that do not fit, and reports them when there is room", async () => {
  const output = new Output();
  const lines = new LineWriter(output, {
    maxPendingBytes: 100,
    onDropped: (dropped) => lines.write(`${dropped} dropped\n`),
  });
  for (let i = 10; i < 99; i++) lines.write(`line ${i}\n`);
  assertEquals(lines.dropped, 77); // 12 lines of 8 bytes fit
  output.room.resolve();
  await lines.flush(1000);
  assert(output.text.endsWith("line 21\n77 dropped\n"), output.text);
  lines.write("later\n");
  await lines.flush(1000);
  assert(output.text.endsWith("77 dropped\nlater\n"), output.text);
});

Deno.test("LineWriter counts lines for a closed output as dropped, and does not report them there", async () => {
  const output = new Output(), lines = new LineWriter(output, { onDropped: () => lines.write("again\n") });
  output.error = Object.assign(new Error("Broken pipe"), { code: "EPIPE" });
  output.room.resolve();
  for (let i = 0; i < 3; i++) lines.write(`line ${i}\n`);
  await lines.flush(1000);
  assertEquals(lines.dropped, 3);
});

Deno.test("LineWriter repeats a write that a non-blocking output refused", async () => {
  const output = new Output(), lines = new LineWriter(output);
  output.error = Object.assign(new Error("try again"), { code: "EAGAIN" });
  output.room.resolve();
  lines.write("line\n");
  await lines.flush(50);
  assertEquals(output.text, "");
  output.error = undefined;
  await lines.flush(1000);
  assertEquals([output.text, lines.dropped], ["line\n", 0]);
});

Deno.test("LineWriter.flush() gives up after its timeout", async () => {
  const output = new Output(), lines = new LineWriter(output);
  lines.write("line\n");
  const startedMs = performance.now();
  await lines.flush(20);
  assertGreater(performance.now() - startedMs, 15);
  output.room.resolve();
  await lines.flush(1000);
});

/** Fills the pipe of standard output, 64 KiB on Linux, so that the program's first line finds no room. */
const fillPipe = "head -c 65536 /dev/zero";

async function sendOne(port: number): Promise<number> {
  await using call = new RawCall(port);
  return (await call.finish(framedPacket(packet()))).code;
}

for (const workers of [1, 2]) {
  Deno.test(`Log that is not read: the program with ${workers} workers stores packets, and ends on SIGTERM`, async () => {
    const port = freePort();
    const permissions = workers > 1 ? "workers" : "ingest";
    await using program = await Program.start(
      ["--role", "ingest", "--ingest-workers", String(workers)],
      { TALLY_GRPC_PORT: String(port), TALLY_LOG_LEVEL: "debug" },
      { permissions, shell: fillPipe },
    );
    await until(async () => await sendOne(port) === status.OK, "it takes packets");
    for (let i = 0; i < 20; i++) assertEquals(await sendOne(port), status.OK);
    const startedMs = performance.now();
    program.signal("SIGTERM");
    assertEquals(await program.status, 0);
    assertLess(performance.now() - startedMs, 8000); // TALLY_DRAIN_TIMEOUT is 10 s
  });
}

Deno.test("Log that is read late: the program has written all lines that fit", async () => {
  const port = freePort();
  await using program = await Program.start(
    ["--role", "ingest"],
    { TALLY_GRPC_PORT: String(port) },
    { shell: fillPipe },
  );
  await until(async () => await sendOne(port) === status.OK, "it takes packets");
  assertEquals((await program.line("ingest listening"))["port"], port);
});

/** Has the program load a module first. */
const crash = `shift; set -- run --preload=tests/support/crashing.ts "$@"`;

Deno.test("Uncaught error: is logged, and ends the program with code 1", async () => {
  await using program = await Program.start(["--role", "ingest"], {}, { shell: crash });
  await program.line("ingest listening");
  program.signal("SIGUSR2");
  const { error } = await program.line("crashed");
  assertEquals((error as Error).message, "a fault of a test");
  assertEquals((await program.end()).code, 1);
});

Deno.test("Uncaught error: ends the program also when its log is not read", async () => {
  const port = freePort();
  const env = { TALLY_GRPC_PORT: String(port) };
  await using program = await Program.start(["--role", "ingest"], env, { shell: `${fillPipe}\n${crash}` });
  await until(async () => await sendOne(port) === status.OK, "it takes packets");
  program.signal("SIGUSR2");
  assertEquals(await program.status, 1);
});
