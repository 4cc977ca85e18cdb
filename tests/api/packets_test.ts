/**
 * The packet stream as readers of the api see it, from a device's call to the response.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

import type { Packet } from "../../src/protocol/messages.ts";
import type { Store } from "../../src/store/store.ts";
import { startRedis } from "../support/redis_server.ts";
import { openStore } from "../support/redis_store.ts";
import { framedBatch, framedPacket, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { startTestApi, type TestApi } from "../support/test_api.ts";

interface Page {
  packets: { entry: string; received_ms: number; timestamp_ms: number; payload: { text: string | null } }[];
  next: string;
  is_end: boolean;
}

async function pageOf(api: TestApi, id: string, query = ""): Promise<Page> {
  const response = await fetch(`${api.url}/devices/${encodeURIComponent(id)}/packets${query}`);
  assertEquals(response.status, 200, await response.clone().text());
  return await response.json();
}

/** Sends packets by both calls, and in a session, and reads them back. */
async function checkPackets(store: Store, entryPattern: RegExp): Promise<void> {
  const timestamp = Date.now() - 1000;
  const packets = (deviceId: string, from: number, count: number): Packet[] =>
    Array.from({ length: count }, (_, i) => (
      { device_id: deviceId, timestamp: i % 2 === 0 ? timestamp : 0, payload: text(`${from + i}`) }
    ));
  await using ingest = await startTestIngest({ store, packetStream: 1000 });
  await using api = await startTestApi(store);
  const send = async (method: string, frames: Uint8Array[], metadata = {}) => {
    await using call = new RawCall(ingest.port, method, metadata);
    for (const frame of frames) call.send(frame);
    const end = await call.finish();
    assertEquals(end.code, 0, end.details);
  };
  await send("StreamPackets", [...packets("a", 0, 50), ...packets("é", 0, 3)].map(framedPacket));
  const session = { "telemetry-session": "s", "telemetry-offset": "0" };
  await send("StreamBatches", [framedBatch(packets("a", 50, 30))], session);
  // Sent again, all but the last are duplicates. A rejected packet is not kept.
  const again = [...packets("a", 50, 31), { device_id: "a", timestamp: -1, payload: text("rejected") }];
  await send("StreamBatches", [framedBatch(again)], session);

  const found: Page["packets"] = [];
  for (let after = "";;) {
    const page = await pageOf(api, "a", `?limit=1&after=${after}`);
    found.push(...page.packets);
    after = page.next;
    if (page.is_end) break;
  }
  assertEquals(found.map(({ payload }) => payload.text), Array.from({ length: 81 }, (_, i) => `${i}`));
  assertEquals(found.map((packet) => entryPattern.test(packet.entry)), found.map(() => true));
  assertEquals([found[0]?.timestamp_ms, Math.abs(found[1]!.timestamp_ms - Date.now()) < 60_000], [
    timestamp,
    true,
  ]);
  assertEquals((await pageOf(api, "a")).packets, found);
  assertEquals((await pageOf(api, "é")).packets.map(({ payload }) => payload.text), ["0", "1", "2"]);
  const byId = await fetch(`${api.url}/devices/by-id/packets?id=%C3%A9`);
  assertEquals((await byId.json() as Page).packets.length, 3);

  const statusOf = async (path: string) => {
    const response = await fetch(api.url + path);
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await statusOf("/devices/nobody/packets"), 404);
  for (const wrong of ["x", "-1", "1-", "1 2", "%00", "9".repeat(50)]) {
    assertEquals(await statusOf(`/devices/a/packets?after=${wrong}`), 400, wrong);
  }
  await store.remove("a");
  assertEquals(await statusOf("/devices/a/packets"), 404);
}

const text = (value: string) => new TextEncoder().encode(value);

Deno.test("/devices/{id}/packets has every counted packet once, in order, on SQLite", async () => {
  await using store = await temporaryStore();
  await checkPackets(store, /^\d+$/);
});

Deno.test("/devices/{id}/packets has every counted packet once, in order, on Redis", async () => {
  await using server = await startRedis();
  const store = await openStore(server);
  try {
    await checkPackets(store, /^\d+-\d+$/);
  } finally {
    await store.close();
  }
});

Deno.test("/devices/{id}/packets searches on where the stream has much of other devices", async () => {
  await using server = await startRedis();
  const store = await openStore(server);
  try {
    await using ingest = await startTestIngest({ store, packetStream: 100_000 });
    await using api = await startTestApi(store);
    const payload = new Uint8Array(30_000);
    const send = async (deviceIds: readonly string[]) => {
      await using call = new RawCall(ingest.port, "StreamPackets");
      for (const device_id of deviceIds) call.send(framedPacket({ device_id, timestamp: 0, payload }));
      assertEquals((await call.finish()).code, 0);
    };
    await send(["a", ...Array.from({ length: 300 }, (_, i) => `other-${i}`), "a"]);
    await send(["a"]);
    let count = 0, pages = 0;
    for (let after = "";; pages++) {
      const page = await pageOf(api, "a", `?after=${after}`);
      count += page.packets.length;
      after = page.next;
      if (page.is_end) break;
    }
    assertEquals([count, pages < 20], [3, true]);
  } finally {
    await store.close();
  }
});
