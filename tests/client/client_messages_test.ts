/**
 * Clients of servers whose messages are smaller than a client's.
 *
 * @module
 */
import { Metadata, Server, ServerCredentials, type ServerDuplexStream, status } from "@grpc/grpc-js";
import { assert, assertEquals, assertGreater } from "@std/assert";

import { TelemetryClient, type TelemetryClientOptions } from "../../src/client/client.ts";
import type { Ack, Packet } from "../../src/protocol/messages.ts";
import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import { countsOf } from "../support/batches.ts";
import { packet, startTestIngest, temporaryStore } from "../support/harness.ts";
import { until } from "../support/until.ts";

/** grpc-js keeps timers, which do not hold up the process, for ten seconds after a channel was closed. */
const test = (title: string, body: () => Promise<void>) =>
  Deno.test(title, { sanitizeOps: false, sanitizeResources: false }, body);

function open(
  { port }: { port: number },
  options: Partial<TelemetryClientOptions> = {},
): Promise<TelemetryClient> {
  return TelemetryClient.open({ target: `127.0.0.1:${port}`, minBackoffMs: 1, maxBackoffMs: 20, ...options });
}

for (const fastPath of [true, false]) {
  const path = fastPath ? "fast" : "ordinary";

  test(`TelemetryClient keeps its messages below the server's limit (${path} path)`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({
      store,
      fastPath,
      maxMessageBytes: 1024,
      maxPayloadBytes: 800,
    });
    const disconnects: Error[] = [];
    const client = await open(ingest, { onDisconnected: (error) => disconnects.push(error) });
    for (let index = 0; index < 20_000; index++) client.send(packet(`device-${index % 10}`));
    // As large as a packet may be, and as the message may be.
    await client.send(packet("d".repeat(128), "x".repeat(800)));
    // Besides the payload a message has 11 bytes; the payload's own limit is the server's to check.
    await client.send(packet("d", "x".repeat(1024 - 11), 0));
    await client.send(packet("d", "x".repeat(1024 - 10), 0));
    const totals = await client.close();
    assertEquals(disconnects, []);
    assertEquals([totals.stored, totals.rejected], [20_001, 2]);
    assertEquals(totals.rejections.map(({ reason }) => reason).toSorted(), [
      "MESSAGE_TOO_LARGE",
      "PAYLOAD_TOO_LARGE",
    ]);
    assertEquals((await countsOf(store))["device-3"], 2000);
  });

  test(`TelemetryClient settles packets that no message can hold, and sends the others (${path} path)`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store, fastPath, maxMessageBytes: 32 * 1024 });
    const rejections: unknown[] = [];
    const client = await open(ingest, { onRejected: (rejection) => rejections.push(rejection) });
    await client.send(packet("small"));
    await client.send(packet("large", "x".repeat(32 * 1024)));
    await client.send(packet("small"));
    await client.send(packet("")); // rejected by the server, for the reason that stands in for the other
    await client.flush();
    await client.send(packet("large", "x".repeat(40 * 1024)));
    await client.send(packet("small"));
    const totals = await client.close();
    assertEquals(await countsOf(store), { small: 3 });
    assertEquals([totals.accepted, totals.stored, totals.rejected, totals.pending], [6, 3, 3, 0]);
    assertEquals(
      totals.rejections.toSorted((a, b) => a.reason.localeCompare(b.reason)),
      [{ reason: "DEVICE_ID_EMPTY", packets: 1 }, { reason: "MESSAGE_TOO_LARGE", packets: 2 }],
    );
    const reported = rejections as typeof totals.rejections;
    assertEquals(
      reported.filter(({ reason }) => reason === "MESSAGE_TOO_LARGE").reduce(
        (n, { packets }) => n + packets,
        0,
      ),
      2,
    );
    assertEquals(ingest.counters.received, 6);
  });
}

test("TelemetryClient sends a packet that was too large for one server to another that accepts it", async () => {
  await using store = await temporaryStore();
  await using small = await startTestIngest({ store, maxMessageBytes: 1024, maxPayloadBytes: 800 });
  await small.drain();
  const client = await open(small);
  await client.send(packet("large", "x".repeat(5000)));
  await using _large = await startTestIngest({ store, port: small.port });
  assertEquals((await client.close()).stored, 1);
});

test("TelemetryClient settles an omitted packet also when its Ack was lost", async () => {
  await using store = await temporaryStore();
  const folder = await Deno.makeTempDir();
  const options = { maxMessageBytes: 1024, maxPayloadBytes: 800 };
  let ingest = await startTestIngest({ store, ...options });
  const { port } = ingest;
  const client = await open(ingest, { file: `${folder}/j` });
  for (let round = 0; round < 20; round++) {
    await client.send(packet("small"));
    client.send(packet("large", "x".repeat(2000)));
    await client.send(packet("small"));
    if (round % 5 !== 4) continue;
    await ingest.drain();
    ingest = await startTestIngest({ store, ...options, port });
  }
  const totals = await client.close();
  await ingest.drain();
  assertEquals(await countsOf(store), { small: 40 });
  assertEquals([totals.stored + totals.settledUnknown, totals.rejected, totals.committed], [40, 20, 60]);
  assertEquals(totals.rejections, [{ reason: "MESSAGE_TOO_LARGE", packets: 20 }]);
  await Deno.remove(folder, { recursive: true });
});

/**
 * A server that knows sessions and does not state its limit: an earlier Tally, or one behind a proxy that has a
 * limit of its own. It keeps one session.
 */
class SilentServer implements Disposable {
  readonly #server: Server;
  port = 0;
  readonly packets: Packet[] = [];
  calls = 0;
  /** Packets of the largest message. */
  mostPackets = 0;
  /** Calls to be refused before they have begun, as when too many are open. */
  toRefuse = 0;
  #call: ServerDuplexStream<{ packets: Packet[] }, Ack> | undefined;

  constructor(maxMessageBytes: number) {
    this.#server = new Server({ "grpc.max_receive_message_length": maxMessageBytes });
    this.#server.addService({ StreamBatches: streamBatches } as never, {
      StreamBatches: (call: ServerDuplexStream<{ packets: Packet[] }, Ack>) => this.#receive(call),
    });
  }

  static async start(maxMessageBytes: number): Promise<SilentServer> {
    const server = new SilentServer(maxMessageBytes);
    server.port = await new Promise((resolve, reject) =>
      server.#server.bindAsync(
        "127.0.0.1:0",
        ServerCredentials.createInsecure(),
        (error, port) => error === null ? resolve(port) : reject(error),
      )
    );
    return server;
  }

  #receive(call: ServerDuplexStream<{ packets: Packet[] }, Ack>): void {
    this.calls++;
    if (this.toRefuse > 0) {
      this.toRefuse--;
      call.emit("error", { code: status.RESOURCE_EXHAUSTED, details: "too many calls" });
      return;
    }
    this.#call = call;
    const metadata = new Metadata();
    metadata.set("telemetry-committed", String(this.packets.length));
    call.sendMetadata(metadata);
    let stored = 0;
    call.on("error", () => {});
    call.on("data", ({ packets }) => {
      stored += packets.length;
      this.mostPackets = Math.max(this.mostPackets, packets.length);
      this.packets.push(...packets);
      const committed = this.packets.length;
      call.write({ ok: true, stored, duplicates: 0, rejected: 0, committed, rejections: [] });
    });
    call.on("end", () => call.end());
  }

  /** Ends the call that is open. */
  endCall(): void {
    this.#call!.emit("error", { code: status.UNAVAILABLE, details: "call again" });
  }

  [Symbol.dispose](): void {
    this.#server.forceShutdown();
  }
}

test("TelemetryClient finds the message limit of a server that does not state it", async () => {
  using server = await SilentServer.start(2000);
  const disconnects: (string | undefined)[] = [];
  const client = await open(server, { onDisconnected: ({ code }) => disconnects.push(code) });
  for (let index = 0; index < 10_000; index++) client.send(packet(String(index)));
  const totals = await client.close();
  assertEquals(totals.committed, 10_000);
  assertEquals(
    server.packets.map(({ device_id }) => Number(device_id)),
    Array.from({ length: 10_000 }, (_, i) => i),
  );
  // 64 KiB, 32, 16, 8, 4, 2
  assert(disconnects.length <= 8, String(disconnects));
  assertEquals(new Set(disconnects), new Set([status[status.RESOURCE_EXHAUSTED]]));
});

test("TelemetryClient omits no packet that a server refuses without stating its limit", async () => {
  using server = await SilentServer.start(2000);
  let refusals = 0;
  await using client = await open(server, {
    onDisconnected: ({ code }) => refusals += code === "RESOURCE_EXHAUSTED" ? 1 : 0,
  });
  client.send(packet("first"));
  client.send(packet("large", "x".repeat(3000)));
  client.send(packet("last"));
  await until(() => refusals > 15, "it was refused often");
  const { committed, rejected, pending } = client.totals;
  assertEquals([committed, rejected, pending], [1, 0, 2]);
  assertGreater(server.calls, 15);
});

test("TelemetryClient does not shrink its messages when a call is refused before it began", async () => {
  using server = await SilentServer.start(4 * 2 ** 20);
  const refused = Promise.withResolvers<void>();
  const client = await open(server, {
    onDisconnected: ({ code }) => code === "RESOURCE_EXHAUSTED" && refused.resolve(),
  });
  await client.send(packet("first"));
  await client.flush();
  server.toRefuse = 3;
  server.endCall();
  await refused.promise;
  for (let index = 0; index < 1000; index++) client.send(packet(String(index)));
  assertEquals((await client.close()).committed, 1001);
  assertEquals(server.mostPackets, 1000);
});
