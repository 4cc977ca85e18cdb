/**
 * What Tally is compared with: the same service as one would write it from grpc-js's documentation, with
 * proto-loader's messages and a handler per packet. It counts in memory, writes the counts to Redis every
 * 50 ms as Tally does, and answers when they are there. It has no bounds, sessions, validation or retries.
 *
 * Run with Redis's URL.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

import {
  loadPackageDefinition,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerReadableStream,
  type ServiceClientConstructor,
} from "@grpc/grpc-js";
import { loadSync } from "@grpc/proto-loader";
import { Redis } from "ioredis";

import { answer, say } from "./child.ts";

interface Packet {
  readonly device_id: string;
}

const FLUSH_INTERVAL_MS = 50;

const redis = new Redis(Deno.args[0]!);
let counts = new Map<string, number>();
let waiting: (() => void)[] = [];

function count({ device_id }: Packet): void {
  counts.set(device_id, (counts.get(device_id) ?? 0) + 1);
}

async function flush(): Promise<void> {
  const batch = counts, stored = waiting;
  counts = new Map();
  waiting = [];
  if (batch.size > 0) {
    const pipeline = redis.pipeline();
    for (const [deviceId, packets] of batch) pipeline.hincrby("device_metrics", deviceId, packets);
    await pipeline.exec();
  }
  for (const resolve of stored) resolve();
  setTimeout(flush, FLUSH_INTERVAL_MS);
}

/** Resolves when everything counted so far is in Redis. */
function stored(): Promise<void> {
  return new Promise((resolve) => waiting.push(resolve));
}

const definition = loadSync(fileURLToPath(new URL("../../proto/telemetry.proto", import.meta.url)), {
  keepCase: true,
  longs: String,
  enums: String,
  defaults: true,
  oneofs: true,
});
const { TelemetryIngest } = loadPackageDefinition(definition) as unknown as Record<
  string,
  ServiceClientConstructor
>;

const server = new Server();
server.addService(TelemetryIngest!.service, {
  StreamPackets(call: ServerReadableStream<Packet, unknown>, callback: (error: null, ack: unknown) => void) {
    call.on("data", count);
    call.on("end", () => stored().then(() => callback(null, { ok: true })));
  },
  StreamBatches(call: ServerDuplexStream<{ packets: Packet[] }, unknown>) {
    call.on("data", (batch: { packets: Packet[] }) => batch.packets.forEach(count));
    call.on("end", async () => {
      await stored();
      call.write({ ok: true });
      call.end();
    });
  },
});
server.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (error, port) => {
  if (error !== null) throw error;
  flush();
  say({ port });
});
answer(() => undefined).then(() => Deno.exit());
