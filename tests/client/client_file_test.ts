import { dirname } from "node:path";

import { assert, assertEquals, assertGreater, assertLess, assertRejects } from "@std/assert";

import { TelemetryClient, TelemetryClientError } from "../../src/client/client.ts";
import { countsOf } from "../support/batches.ts";
import { packet, startTestIngest, temporaryStore } from "../support/harness.ts";
import { forSeeds } from "../support/random.ts";

/** grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed. */
const test = (title: string, body: (file: string) => Promise<void>) =>
  Deno.test(title, { sanitizeOps: false, sanitizeResources: false }, async () => {
    const folder = await Deno.makeTempDir();
    try {
      await body(`${folder}/device.journal`);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });

/** A client that reconnects quickly. */
function open({ port }: { port: number }, file: string): Promise<TelemetryClient> {
  return TelemetryClient.open({ target: `127.0.0.1:${port}`, file, minBackoffMs: 5, maxBackoffMs: 50 });
}

async function send(client: TelemetryClient, packets: number): Promise<void> {
  await Promise.all(Array.from({ length: packets }, () => client.send(packet())));
}

test("TelemetryClient file: packets of an outage are sent by the next client with the file, once", async (file) => {
  await using store = await temporaryStore();
  await using first = await startTestIngest({ store });
  const before = await open(first, file);
  await send(before, 10);
  await before.flush();
  await first.drain();
  await send(before, 5);
  await before.abort();
  const still = await open(first, file);
  assertEquals(still.session, before.session);
  assertEquals(still.recovered, { packets: 5, tornBytes: 0, lostPackets: 0, damage: undefined });
  await send(still, 2);
  await still.abort();
  await using _second = await startTestIngest({ store, port: first.port });
  const after = await open(first, file);
  await send(after, 1);
  const totals = await after.close();
  assertEquals([totals.accepted, totals.stored, totals.committed], [8, 8, 18]);
  assertEquals(await countsOf(store), { "sensor-1": 18 });
  const last = await open(first, file);
  assertEquals(last.recovered.packets, 0);
  await last.close();
});

test("TelemetryClient file: a gateway killed at any moment loses no packet of its file and counts none twice", async (file) => {
  await using store = await temporaryStore();
  let ingest = await startTestIngest({ store });
  const { port } = ingest;
  const kept: string[] = [];
  for (let run = 0; run < 4; run++) {
    // In the second run there is no server; in the third it comes and goes.
    if (run === 1) await ingest.drain();
    if (run === 2) ingest = await startTestIngest({ store, port });
    const child = spawnGateway(port, file, `run${run}`, 0);
    let restarted = false;
    for await (const id of lines(child.stdout)) {
      kept.push(id);
      const inRun = kept.filter((id) => id.startsWith(`run${run}`)).length;
      if (run === 2 && inRun > 300 && !restarted) {
        restarted = true;
        await ingest.drain();
        ingest = await startTestIngest({ store, port });
      }
      if (inRun === 700 + 101 * run) child.kill("SIGKILL");
    }
    assertEquals((await child.status).signal, "SIGKILL");
  }
  const child = spawnGateway(port, file, "last", 3);
  for await (const id of lines(child.stdout)) kept.push(id);
  assertEquals((await child.status).code, 0);
  const counts = await countsOf(store);
  assertGreater(kept.length, 3000);
  assertEquals(kept.filter((id) => counts[id] !== 1), []);
  assertEquals(Object.entries(counts).filter(([, count]) => count !== 1), []);
  await ingest.drain();
});

test("TelemetryClient file: a truncated file continues after the server's offset", async (file) => {
  await using store = await temporaryStore();
  const ingest = await startTestIngest({ store });
  const first = await open(ingest, file);
  await first.flush();
  const early = await Deno.readFile(file);
  await send(first, 100);
  await first.close();
  await Deno.writeFile(file, early); // as after a power cut
  const second = await open(ingest, file);
  await send(second, 5);
  assertEquals((await second.flush()).committed, 105);
  await ingest.drain();
  await send(second, 3);
  await second.abort();
  await using _again = await startTestIngest({ store, port: ingest.port });
  const third = await open(ingest, file);
  assertEquals(third.recovered.packets, 3);
  await send(third, 2);
  assertEquals((await third.close()).committed, 110);
  assertEquals(await countsOf(store), { "sensor-1": 110 });
});

test("TelemetryClient file: does not grow with settled packets", async (file) => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const client = await open(ingest, file);
  let largest = 0;
  for (let round = 0; round < 30; round++) {
    await Promise.all(Array.from({ length: 1000 }, () => client.send(packet("d", "x".repeat(300)))));
    await client.flush();
    largest = Math.max(largest, (await Deno.stat(file)).size);
  }
  assertEquals((await client.close()).stored, 30_000);
  assertLess(largest, 2 * 2 ** 20); // 30 rounds of 300 KB would be 9 MB
});

test("TelemetryClient file with a flipped byte: intact packets are counted once, lost ones reported", async (file) => {
  await using store = await temporaryStore();
  const ingest = await startTestIngest({ store });
  await ingest.drain();
  const first = await open(ingest, file);
  for (let index = 0; index < 1000; index++) await first.send(packet(`device-${index}`));
  await first.abort();
  const bytes = await Deno.readFile(file);
  bytes[Math.floor(bytes.length / 10)]! ^= 1;
  await Deno.writeFile(file, bytes);

  await using _again = await startTestIngest({ store, port: ingest.port });
  const second = await open(ingest, file);
  const { packets, lostPackets, damage } = second.recovered;
  assertEquals([packets, lostPackets, damage?.maybeMore], [999, 1, false]);
  assert((await Deno.stat(damage!.file)).size > 0);
  await send(second, 1);
  const totals = await second.close();
  assertEquals([totals.accepted, totals.stored, totals.rejected, totals.committed], [1001, 1000, 1, 1001]);
  assertEquals(totals.rejections, [{ reason: "DAMAGED_IN_FILE", packets: 1 }]);
  const counts = await countsOf(store);
  assertEquals(Object.keys(counts).length, 1000); // 999 of them, and sensor-1
  assertEquals(Object.values(counts).filter((count) => count !== 1), []);
});

test("TelemetryClient file: packets that a damaged file lost but the server has are not reported as lost", async (file) => {
  await using store = await temporaryStore();
  const ingest = await startTestIngest({ store });
  const first = await open(ingest, file);
  await send(first, 5);
  await first.flush();
  const flushed = await Deno.readFile(file);
  await send(first, 10);
  await first.close();
  // As if the file had not been written since, but for damaged records of the packets sent then.
  const later = (await Deno.readFile(file)).subarray(flushed.length);
  later[50]! ^= 1;
  await Deno.writeFile(file, new Uint8Array([...flushed, ...later.subarray(0, 500)]));
  const second = await open(ingest, file);
  await send(second, 1);
  const totals = await second.close();
  assertEquals([totals.rejected, totals.committed], [0, 16]);
  assertEquals(await countsOf(store), { "sensor-1": 16 });
  await ingest.drain();
});

test("TelemetryClient file: repeated damage at any time counts no packet twice, and each loss is reported", async (file) => {
  await using store = await temporaryStore();
  await forSeeds(4, async (random) => {
    const before = await countsOf(store);
    let ingest = await startTestIngest({ store });
    const sent: string[] = [];
    let reported = 0, maybeMore = false;
    for (let run = 0; run < 6; run++) {
      const client = await open(ingest, file);
      maybeMore ||= client.recovered.damage?.maybeMore === true || client.recovered.tornBytes > 0;
      // As rejected it is reported only when the Ack arrives before the client ends.
      reported += client.recovered.lostPackets;
      const isLast = run === 5;
      if (!isLast && random.chance(0.4)) {
        await client.flush();
        await ingest.drain();
      }
      for (let count = random.int(1, 200); count > 0; count--) {
        sent.push(crypto.randomUUID());
        const sending = client.send(packet(sent.at(-1)));
        if (random.chance(0.1)) await sending;
      }
      await client.send(packet("last-of-run"));
      if (isLast) await client.close();
      else {
        if (random.chance(0.5)) await Promise.race([client.flush(), new Promise((r) => setTimeout(r, 20))]);
        await client.abort();
        const bytes = await Deno.readFile(file);
        for (let flips = random.int(0, 3); flips > 0; flips--) {
          bytes[random.int(0, bytes.length - 1)]! ^= 1 << random.int(0, 7);
        }
        if (random.chance(0.3)) bytes.fill(0, bytes.length - random.int(1, 100));
        await Deno.writeFile(file, bytes);
        await ingest.drain();
        ingest = await startTestIngest({ store, port: ingest.port });
      }
    }
    const counts = await countsOf(store);
    assertEquals(sent.filter((id) => (counts[id] ?? 0) > 1), []);
    const missing = sent.filter((id) => counts[id] === undefined).length;
    assert(missing <= reported || maybeMore, `${missing} missing, ${reported} reported`);
    assertEquals(Object.keys(before).filter((id) => counts[id] !== before[id] && id !== "last-of-run"), []);
    await ingest.drain();
    for (const { name } of Deno.readDirSync(dirname(file))) await Deno.remove(`${dirname(file)}/${name}`);
  });
});

test("TelemetryClient file: a second client with the same file is refused", async (file) => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using _client = await open(ingest, file);
  await assertRejects(
    () => open(ingest, file),
    Error,
    `Cannot open the journal ${file}: found it open in another process`,
  );
});

test("TelemetryClient file: a full disk ends the client; stored packets are sent by the next", async (file) => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const client = await open(ingest, file);
  await send(client, 3);
  await client.flush();
  // A disk cannot be filled up for a test.
  const { write } = Deno.FsFile.prototype;
  Deno.FsFile.prototype.write = () => Promise.reject(new Error("No space left on device"));
  try {
    await assertRejects(
      () => client.send(packet()),
      TelemetryClientError,
      "Cannot write packets to the file: found No space left on device",
    );
  } finally {
    Deno.FsFile.prototype.write = write;
  }
  await assertRejects(() => client.send(packet()), TelemetryClientError, "No space left");
  await client.abort();
  const next = await open(ingest, file);
  await send(next, 1);
  await next.close();
  assertEquals(await countsOf(store), { "sensor-1": 4 });
});

function spawnGateway(port: number, file: string, prefix: string, count: number): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--quiet",
      "-A",
      "tests/client/gateway.ts",
      `127.0.0.1:${port}`,
      file,
      prefix,
      String(count),
    ],
    cwd: new URL("../..", import.meta.url),
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
}

/** Whole lines only: the last may be cut. */
async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream() as never) as ReadableStream<string>) {
    const parts = (rest + text).split("\n");
    rest = parts.pop()!;
    yield* parts;
  }
  assert(!rest.includes("\n"));
}
