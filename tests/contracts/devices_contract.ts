/**
 * The part of the stores' contract about devices and their changes.
 *
 * @module
 */
import { assert, assertEquals, assertLess } from "@std/assert";

import { CHANGES_MAX_BYTES } from "../../src/store/devices.ts";
import type { Store } from "../../src/store/store.ts";
import { batch, bytes, delta, now, pagesOf } from "../support/batches.ts";
import { newest, send, start, sum, type TestStores } from "./parts.ts";

/** Registers the tests of devices and changes. `shards`: each of them keeps changes. */
export function testDevices(test: TestStores, shards: number): void {
  test("scan(), device() and remove() of a new store find no device", async (store) => {
    assertEquals(await pagesOf(store), []);
    assertEquals(await store.device("missing"), undefined);
    assertEquals(await store.remove("missing"), false);
  });

  test("remove(): a removed device starts again from zero", async (store, other) => {
    await store.apply({ ...batch(1, { devices: [delta("a", 9, 5000, "old")] }), receivedAtMs: 1000 });
    assertEquals(await other.remove("a"), true);
    assertEquals(await other.remove("a"), false);
    assertEquals(await store.device("a"), undefined);
    assertEquals(await pagesOf(store), []);
    await store.apply({ ...batch(2, { devices: [delta("a", 1, 4000, "new")] }), receivedAtMs: 2000 });
    assertEquals(await other.device("a"), {
      deviceId: "a",
      count: 1,
      firstSeenMs: 2000,
      lastSeenMs: 2000,
      timestampMs: 4000,
      online: true,
      payload: bytes("new"),
    });
  });

  test("device() returns a payload byte for byte", async (store) => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const large = new Uint8Array(64 * 1024).fill(0x20);
    const inside = new Uint8Array([1, 2, 3, 4, 5, 6]).subarray(2, 5);
    const payloads = [new Uint8Array(), bytes("0 0 0 "), new Uint8Array(3), all, large, inside];
    let sequence = 0;
    for (const payload of payloads) {
      for (const timestampMs of [1, 2]) {
        // The second is older than the first: the first must survive it.
        const devices = [{ deviceId: "a", packets: 1, timestampMs: 3 - timestampMs, payload }];
        await store.apply(batch(++sequence, { devices }));
        const found = await store.device("a");
        assertEquals(found?.payload, Uint8Array.from(payload));
      }
      await store.remove("a");
    }
  });

  test("device(): a payload may become longer and shorter, and stays while its device is offline", async (store) => {
    let sequence = 0;
    for (const length of [1, 64, 65, 5000, 65, 64, 65, 0, 65, 64, 0]) {
      const payload = new Uint8Array(length).fill(length % 251);
      const atMs = now + 10 * ++sequence;
      await store.apply({
        ...batch(sequence, { devices: [{ deviceId: "a", packets: 1, timestampMs: atMs, payload }] }),
        receivedAtMs: atMs,
      });
      assertEquals(await store.markOffline(["a"], atMs + 1, atMs + 1), 1);
      assertEquals((await store.device("a"))?.payload, payload);
      // Of an older packet, and of the other kind.
      const older = {
        deviceId: "a",
        packets: 1,
        timestampMs: 1,
        payload: new Uint8Array(65 - Math.min(length, 64)),
      };
      await store.apply({ ...batch(++sequence, { devices: [older] }), receivedAtMs: atMs + 2 });
      assertEquals((await store.device("a"))?.payload, payload);
      assertEquals((await store.payloads(["a"], 5000)).get("a"), { bytes: payload, totalBytes: length });
    }
  });

  test("scan() is correct while devices are added", async (store, other) => {
    const devices = (from: number, to: number) =>
      Array.from({ length: to - from }, (_, i) => delta(`device-${from + i}`, 1));
    await store.apply(batch(1, { devices: devices(0, 3000) }));
    const seen: string[] = [];
    let sequence = 1;
    for await (const page of store.scan()) {
      seen.push(...page.map(({ deviceId }) => deviceId));
      if (sequence < 4) await other.apply(batch(++sequence, { devices: devices(0, 3000 * sequence) }));
    }
    assertEquals(seen.length, new Set(seen).size);
    const missing = devices(0, 3000).filter(({ deviceId }) => !seen.includes(deviceId));
    assertEquals(missing, []);
  });

  test("summaries() returns devices without payload, in any number and order", async (store, other) => {
    await store.apply({
      ...batch(1, { devices: [delta("a", 2, 77), delta("b", 1, 5)] }),
      receivedAtMs: 1000,
    });
    await store.apply({ ...batch(2, { devices: [delta("a", 3, 66)] }), receivedAtMs: 2000 });
    const a = { deviceId: "a", count: 5, firstSeenMs: 1000, lastSeenMs: 2000, timestampMs: 77, online: true };
    const b = { deviceId: "b", count: 1, firstSeenMs: 1000, lastSeenMs: 1000, timestampMs: 5, online: true };
    const byId = (x: { deviceId: string }, y: { deviceId: string }) => x.deviceId < y.deviceId ? -1 : 1;
    assertEquals([...await other.summaries(["b", "missing", "a"])].sort(byId), [a, b]);
    assertEquals(await other.summaries([]), []);
    assertEquals((await Array.fromAsync(other.scan())).flat().sort(byId), [a, b]);
  });

  test("payloads() returns the beginnings of payloads", async (store) => {
    const long = new Uint8Array(1000).fill(7);
    const devices = [{ ...delta("a", 1), payload: long }, delta("b", 1, 1, "short"), delta("c", 1, 1, "")];
    await store.apply(batch(1, { devices }));
    const previews = await store.payloads(["c", "missing", "b", "a"], 5);
    assertEquals(previews.size, 3);
    assertEquals(previews.get("a"), { bytes: long.slice(0, 5), totalBytes: 1000 });
    assertEquals(previews.get("b"), { bytes: bytes("short"), totalBytes: 5 });
    assertEquals(previews.get("c"), { bytes: new Uint8Array(), totalBytes: 0 });
    assertEquals((await store.payloads([], 5)).size, 0);
  });

  test("changes() returns each device changed since a version once, to each reader", async (store, other) => {
    const begin = await store.changes();
    assertEquals(begin.devices, "all");
    assertEquals(await changedSince(store, begin.version), []);
    await send(store, now, ["a", 1], ["b", 1]);
    const one = await other.changes();
    await send(other, now, ["b", 1], ["c", 1]);
    await store.remove("a");
    await store.remove("missing");
    await store.markOffline(["c"], now, now);
    const two = await store.changes(one.version);
    assertEquals(await changedSince(store, one.version), ["a", "b", "c"]);
    assertLess(one.version, two.version);
    await store.markOffline(["b", "c"], now + 1, now + 2);
    assertEquals(await changedSince(other, two.version), ["b", "c"]);
    const three = await other.changes(two.version);
    assertEquals(await store.changes(three.version), { version: three.version, devices: new Map() });
    assertEquals((await store.changes(three.version + 1)).devices, "all");
  });

  test("changes() returns the current state of a changed device", async (store, other) => {
    await send(store, now, ["a", 1], ["b", 1], ["c", 1]);
    const { version } = await store.changes();
    await send(store, now, ["a", 1], ["器 🌡️", 1]);
    await send(other, now + 5, ["a", 2 ** 40], ["b", 2]);
    await store.remove("b");
    await store.remove("c");
    await send(store, now + 9, ["c", 7]);
    await store.markOffline(["a"], now + 10, now + 20);
    await send(store, now + 30, ["a", 3]);
    const { devices } = await store.changes(version);
    assert(devices !== "all");
    assertEquals([...devices.keys()].toSorted(), ["a", "b", "c", "器 🌡️"]);
    for (const [deviceId, summary] of devices) {
      if (summary !== undefined) assertEquals([summary], await store.summaries([deviceId]));
    }
    assertEquals(devices.get("b"), undefined);
  });

  test("changes() has nothing of a batch that was fenced or repeated", async (store) => {
    const first = batch(1, { devices: [delta("a", 1)] });
    await store.apply(first);
    const { version } = await store.changes();
    await store.apply(first);
    const fenced = [{ session: "unknown", epoch: 1, from: 0, to: 1 }];
    await store.apply(batch(2, { devices: [delta("a", 1)], sessions: fenced }));
    assertEquals(await store.changes(version), { version, devices: new Map() });
    assertEquals(newest((await store.fleetHistory(now)).seconds), 1);
    assertEquals(newest((await store.history("a", now))!.minutes), 1);
  });

  test("changes() since a version that is too old requires a scan", async (store) => {
    await send(store, now, ["first", 1]);
    const { version } = await store.changes();
    const devices = Array.from({ length: 3000 }, (_, i) => delta(`${i} ${"x".repeat(120)}`, 1));
    const batches = Math.ceil(shards * CHANGES_MAX_BYTES / 3000 / 120) + 1;
    for (let i = 1; i < batches; i++) await store.apply(batch(i, { devices }));
    const late = await store.changes();
    await store.apply(batch(batches, { devices }));
    assertEquals((await store.changes(version)).devices, "all");
    assertEquals((await changedSince(store, late.version)).length, 3000);
    assertEquals(await changedSince(store, (await store.changes()).version), []);
  });

  test(
    "removeUnseen() deletes devices last seen before a time, and no others, and adds their packets up",
    async (store, other) => {
      await send(store, start, ["old", 3], ["older", 4]);
      await send(store, start + 10, ["new", 5], ["edge", 6]);
      const { version } = await store.changes();
      assertEquals(
        await store.removeUnseen(["old", "older", "old", "new", "edge", "missing"], start + 10),
        2,
      );
      assertEquals(await store.removedPackets(), 7);
      assertEquals(await other.removeUnseen(["old", "older", "new"], start + 10), 0);
      assertEquals(await other.removeUnseen([], start + 10), 0);
      assertEquals(await changedSince(other, version), ["old", "older"]);
      const left = (await store.summaries(["old", "older", "new", "edge"])).map((
        { deviceId, count },
      ) => [deviceId, count]);
      assertEquals(Object.fromEntries(left), { new: 5, edge: 6 });
      // One that sends again counts from 0; one that was seen meanwhile stays.
      await send(store, start + 20, ["old", 1], ["edge", 1]);
      assertEquals(await store.removeUnseen(["new", "edge"], start + 15), 1);
      assertEquals((await store.device("edge"))!.count, 7);
      assertEquals((await store.device("old"))!.count, 1);
      assertEquals(await store.removedPackets(), 12);
    },
  );

  test(
    "removeUnseen() among writers: packets counted and removed add up to those applied",
    async (store, other) => {
      const ids = Array.from({ length: 50 }, (_, i) => `device-${i}`);
      let applied = 0, removed = 0;
      const write = async (i: number) => {
        await send(store, start + i, ...ids.map((id) => [id, 1 + i % 3] as [string, number]));
        applied += ids.length * (1 + i % 3);
      };
      await write(0); // There is something to remove, however late the other writes come.
      await Promise.all([
        (async () => {
          for (let i = 1; i < 40; i++) await write(i);
        })(),
        (async () => {
          for (let i = 0; i < 40; i++) removed += await other.removeUnseen(ids, start + 100);
        })(),
      ]);
      const counted = (await store.summaries(ids)).reduce((sum, { count }) => sum + count, 0);
      assertEquals(counted + await store.removedPackets(), applied);
      assert(removed > 0);
    },
  );

  test("removedPackets() adds up the packets of each removed device", async (store, other) => {
    assertEquals(await store.removedPackets(), 0);
    await send(store, start, ["a", 3], ["b", 2 ** 40]);
    await store.remove("a");
    await store.remove("a");
    await store.remove("missing");
    assertEquals(await other.removedPackets(), 3);
    await send(store, start + 1, ["a", 4]);
    await other.remove("a");
    await other.remove("b");
    assertEquals(await store.removedPackets(), 7 + 2 ** 40);
    // It is no part of the history.
    const { seconds } = await store.fleetHistory(start + 999);
    assertEquals(sum(seconds), 7 + 2 ** 40);
  });
}

/** Ids of the devices that changed, sorted. */
async function changedSince(store: Store, version: number): Promise<string[]> {
  const { devices } = await store.changes(version);
  assert(devices !== "all", "the changes are kept no more");
  return [...devices.keys()].sort();
}
