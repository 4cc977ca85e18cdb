/** The command-line tools as a user runs them: processes of their own, with their tasks' permissions. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { StoreError } from "../../src/store/store_error.ts";
import { totalsText } from "../../src/tools/simulator.ts";
import { countsOf } from "../support/batches.ts";
import { startTestIngest, temporaryStore } from "../support/harness.ts";
import { dataFolder, Tool } from "../support/tool.ts";
import { until } from "../support/until.ts";

Deno.test("send sends ten packets of sensor-1 and prints the Ack", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const startedAt = Math.floor(Date.now() / 1000) * 1000;
  await using tool = new Tool("tools/send", ["--target", `127.0.0.1:${ingest.port}`]);
  assertEquals([await tool.end(), tool.stderr], [0, ""]);
  assertEquals(tool.stdout, "Ack: stored 10, rejected 0, committed 10\n");
  const device = await store.device("sensor-1");
  assertEquals([device?.count, new TextDecoder().decode(device?.payload)], [10, "abcd"]);
  assert(device!.timestampMs >= startedAt && device!.timestampMs % 1000 === 0, "whole seconds");
});

Deno.test("send has flags for device, count, rate, payload and session", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const args = ["--target", `127.0.0.1:${ingest.port}`, "--device", "d", "--count", "3", "--session", "s"];
  for (const committed of [3, 6]) {
    await using tool = new Tool("tools/send", [...args, "--rate", "100", "--payload", "hello"]);
    assertEquals(await tool.end(), 0);
    assertEquals(tool.stdout, `Ack: stored 3, rejected 0, committed ${committed}\n`);
  }
  const device = await store.device("d");
  assertEquals([device?.count, new TextDecoder().decode(device?.payload)], [6, "hello"]);
});

Deno.test("send prints which packets were rejected and why, and exits with 1", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using tool = new Tool("tools/send", ["--target", `127.0.0.1:${ingest.port}`, "--device", "a\tb"]);
  assertEquals(await tool.end(), 1);
  assertEquals(tool.stdout, "Ack: stored 0, rejected 10, committed 10\n");
  assertEquals(tool.stderr, "10 packets rejected: DEVICE_ID_CONTROL_CHARACTER\n");
});

Deno.test("send without a server prints what was attempted and what to do, and keeps packets in a file", async () => {
  await using folder = await dataFolder();
  await using store = await temporaryStore();
  const gone = await startTestIngest({ store });
  await gone.drain();
  const args = ["--target", `127.0.0.1:${gone.port}`, "--file", `${folder.path}/send.journal`];
  await using tool = new Tool("tools/send", [...args, "--timeout", "300ms"]);
  assertEquals([await tool.end(), tool.stdout], [1, ""]);
  assertMatch(
    tool.stderr,
    /^Nothing was acknowledged for 0\.3 s by 127\.0\.0\.1:\d+; the last attempt: .*ECONNREFUSED.*\n10 packets not acknowledged; they are kept in .*send\.journal: send with the same --file again\.\nStart Tally with "deno task start", or set its address with --target; for a port with TLS, pass --ca or --tls\.\n$/,
  );
  await using _ingest = await startTestIngest({ store, port: gone.port });
  await using again = new Tool("tools/send", [...args, "--count", "1"]);
  assertEquals(await again.end(), 0);
  assertStringIncludes(again.stderr, "10 packets of an earlier run left in");
  assertEquals(again.stdout, "Ack: stored 11, rejected 0, committed 11\n");
  assertEquals(await countsOf(store), { "sensor-1": 11 });
});

Deno.test("send stores 100,000 packets with TALLY_MAX_MESSAGE=32KiB, and reports packets that do not fit", async () => {
  await using store = await temporaryStore();
  const options = { maxMessageBytes: 32 * 1024, maxPayloadBytes: 16 * 1024 };
  await using ingest = await startTestIngest({ store, ...options });
  const args = ["--target", `127.0.0.1:${ingest.port}`];
  await using tool = new Tool("tools/send", [...args, "--count", "100000"]);
  assertEquals([await tool.end(), tool.stdout], [0, "Ack: stored 100,000, rejected 0, committed 100,000\n"]);
  await using large = new Tool("tools/send", [...args, "--count", "2", "--payload", "x".repeat(33 * 1024)]);
  assertEquals([await large.end(), large.stdout], [1, "Ack: stored 0, rejected 2, committed 2\n"]);
  assertEquals(large.stderr, "2 packets rejected: MESSAGE_TOO_LARGE\n");
});

Deno.test("send continues with a damaged file, and its exit code reports that packets were lost", async () => {
  await using folder = await dataFolder();
  await using store = await temporaryStore();
  const gone = await startTestIngest({ store });
  await gone.drain();
  const file = `${folder.path}/send.journal`;
  const args = ["--target", `127.0.0.1:${gone.port}`, "--file", file];
  await using tool = new Tool("tools/send", [...args, "--count", "1000", "--timeout", "300ms"]);
  assertEquals(await tool.end(), 1);
  const bytes = await Deno.readFile(file);
  bytes[Math.floor(bytes.length / 2)]! ^= 1;
  await Deno.writeFile(file, new Uint8Array([...bytes, ...new Uint8Array(100)]));
  await using _ingest = await startTestIngest({ store, port: gone.port });
  await using again = new Tool("tools/send", [...args, "--count", "1"]);
  assertEquals([await again.end(), again.stdout], [1, "Ack: stored 1,000, rejected 1, committed 1,001\n"]);
  assertMatch(
    again.stderr,
    /send\.journal was damaged: 999 packets could be read, 1 packet could not; \d+ damaged bytes are set aside in \S+send\.journal\.damaged-1\n/,
  );
  assertStringIncludes(
    again.stderr,
    "send.journal ended in a write that was cut short: 100 bytes were left out\n",
  );
  assertStringIncludes(again.stderr, "999 packets of an earlier run left in");
  assertStringIncludes(again.stderr, "1 packet rejected: DAMAGED_IN_FILE\n");
  // Damage that only the end of the file had may have held anything.
  await Deno.writeFile(file, crypto.getRandomValues(new Uint8Array(50)), { append: true });
  await using last = new Tool("tools/send", [...args, "--count", "1"]);
  assertEquals([await last.end(), last.stdout], [1, "Ack: stored 1, rejected 0, committed 1,002\n"]);
  assertStringIncludes(
    last.stderr,
    "0 packets could not, and perhaps more; 50 damaged bytes are set aside in",
  );
  await using well = new Tool("tools/send", [...args, "--count", "1"]);
  assertEquals([await well.end(), well.stderr], [0, ""]);
});

Deno.test("send --keep-acked sends again what the store lost, and reports what it has not kept", async () => {
  await using folder = await dataFolder();
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const args = ["--target", `127.0.0.1:${ingest.port}`, "--file", `${folder.path}/send.journal`];
  await using first = new Tool("tools/send", [...args, "--keep-acked", "5"]);
  assertEquals([await first.end(), first.stderr], [0, ""]);
  store.sql("DELETE FROM sessions; DELETE FROM producers; DELETE FROM devices; DELETE FROM changes");
  store.sql(`UPDATE lineage SET since_ms = ${Date.now()}`);
  await using again = new Tool("tools/send", [...args, "--count", "1", "--keep-acked", "1m"]);
  assertEquals([await again.end(), again.stderr], [0, ""]);
  assertEquals(
    again.stdout,
    "Ack: stored 11, rejected 0, committed 11\n10 packets sent again: the store had lost them\n",
  );
  store.sql("DELETE FROM sessions; DELETE FROM producers; DELETE FROM devices; DELETE FROM changes");
  store.sql(`UPDATE lineage SET since_ms = ${Date.now()}`);
  await using late = new Tool("tools/send", [...args, "--count", "1", "--keep-acked", "4"]);
  assertEquals([await late.end(), late.stderr], [
    1,
    "7 packets lost by the store after they were acknowledged\n",
  ]);
  assertEquals(await countsOf(store), { "sensor-1": 5 });
});

Deno.test("send, simulate and health name all wrong flags, and exit with 2", async () => {
  for (const name of ["send", "simulate"]) {
    await using tool = new Tool(`tools/${name}`, [
      "--target",
      "nowhere",
      "--rate",
      "-1",
      "--colour",
      "red",
      "--keep-acked",
      "0",
    ]);
    assertEquals([await tool.end(), tool.stdout], [2, ""]);
    for (
      const problem of [
        '--target: found "nowhere"',
        "--rate: ",
        '--keep-acked: found "0"',
        "--colour: no such flag",
      ]
    ) {
      assertStringIncludes(tool.stderr, problem);
    }
  }
  await using both = new Tool("tools/send", ["--session", "s", "--file", "data/f"]);
  assertEquals(await both.end(), 2);
  assertStringIncludes(both.stderr, "--session and --file");
});

Deno.test("send, simulate and health --help print their flags", async () => {
  for (const [name, flag] of [["send", "--rate"], ["simulate", "--rate"], ["health", "--timeout"]] as const) {
    await using tool = new Tool(`tools/${name}`, ["--help"]);
    assertEquals([await tool.end(), tool.stderr], [0, ""]);
    for (const text of [`deno task ${name}`, "--target", flag]) assertStringIncludes(tool.stdout, text);
    for (const line of tool.stdout.split("\n")) assert(line.length <= 80, line);
  }
});

Deno.test("simulate sends from its devices until Ctrl-C, and prints a summary", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const args = ["--target", `127.0.0.1:${ingest.port}`, "--devices", "20", "--rate", "20"];
  await using tool = new Tool("tools/simulate", args);
  await until(async () => Object.keys(await countsOf(store)).length === 20, "every device was seen");
  tool.signal("SIGINT");
  assertEquals(await tool.end(), 0);
  const [, sent, stored] = /^20 devices: (\d+) packets sent, (\d+) stored, 0 rejected, 0 not ack/.exec(
    tool.stdout,
  )!;
  const counts = await countsOf(store);
  const counted = Object.values(counts).reduce((sum, count) => sum + count);
  assertEquals([Number(sent), Number(stored)], [counted, counted]);
  const device = await store.device("sim-01");
  const reading = JSON.parse(new TextDecoder().decode(device?.payload));
  assertEquals(Object.keys(reading), ["temperature", "humidity"]);
});

Deno.test("simulate without a server reports it, and exits with 1", async () => {
  const args = ["--target", "127.0.0.1:1", "--devices", "2", "--rate", "100", "--duration", "1s"];
  await using tool = new Tool("tools/simulate", args);
  assertEquals(await tool.end(), 1);
  assertStringIncludes(tool.stderr, "Waiting for Tally: the stream to 127.0.0.1:1 ended: UNAVAILABLE");
  assertMatch(tool.stdout, /^2 devices: \d+ packets sent, 0 stored, 0 rejected, \d+ not acknowledged/);
});

Deno.test("totalsText() accounts for every packet that was sent", () => {
  const totals = {
    sent: 1_234,
    stored: 1_000,
    rejected: 4,
    settledUnknown: 200,
    pending: 30,
    silent: 5,
    refilled: 0,
    lost: 0,
  };
  assertEquals(
    totalsText(totals),
    "1,234 packets sent, 1,000 stored, 4 rejected, 200 settled without an Ack, 30 not acknowledged; 5 devices silent",
  );
  assertEquals(
    totalsText({ ...totals, stored: 1_200, settledUnknown: 0 }),
    "1,234 packets sent, 1,200 stored, 4 rejected, 30 not acknowledged; 5 devices silent",
  );
  assertEquals(
    totalsText({ ...totals, stored: 1_400, settledUnknown: 0, refilled: 200, lost: 7 }),
    "1,234 packets sent, 200 of them again to a store that had lost them, 7 lost by the store, 1,400 stored, " +
      "4 rejected, 30 not acknowledged; 5 devices silent",
  );
});

Deno.test("health exits with 0 when an ingest serves, else with 1 and the reason", async () => {
  await using store = await temporaryStore();
  let isAway = false;
  const ping = store.ping.bind(store);
  store.ping = () => isAway ? Promise.reject(new StoreError("away")) : ping();
  await using ingest = await startTestIngest({ store, storeGraceMs: 10 });
  const health = async (args: readonly string[]) => {
    await using tool = new Tool("tools/health", args);
    return [await tool.end(), tool.stdout, tool.stderr] as const;
  };
  const args = ["--target", `127.0.0.1:${ingest.port}`];
  assertEquals(await health(args), [0, "SERVING\n", ""]);
  isAway = true;
  await until(async () => (await health(args))[1] === "NOT_SERVING\n", "it is away");
  assertEquals((await health(args))[0], 1);
  await ingest.drain();
  const [code, stdout, stderr] = await health([...args, "--timeout", "2s"]);
  assertEquals([code, stdout], [1, ""]);
  assertMatch(
    stderr,
    /^Cannot check the health of 127\.0\.0\.1:\d+: found .*(UNAVAILABLE|DEADLINE_EXCEEDED)/,
  );
  assertEquals((await health(["--target", "nowhere"]))[0], 2);
  const [, help] = await health(["--help"]);
  assertStringIncludes(help, "deno task health");
});
