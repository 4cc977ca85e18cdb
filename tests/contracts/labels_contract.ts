/**
 * The part of the stores' contract about names, tags and notes.
 *
 * @module
 */
import { assert, assertEquals, assertGreater } from "@std/assert";

import { type LabelChange, MAX_TAGS, MAX_UNSEEN_LABELLED } from "../../src/store/labels.ts";
import type { Store } from "../../src/store/store.ts";
import { now } from "../support/batches.ts";
import { hour, send, type TestStores } from "./parts.ts";

const tags = (values: Record<string, string>) => new Map(Object.entries(values));

/** Labels of one device, tags as an object. */
async function labelsOf(store: Store, deviceId: string) {
  const found = (await store.labels([deviceId])).get(deviceId);
  return found && { name: found.name, tags: Object.fromEntries(found.tags) };
}

/** All labels, as the scan has them. */
async function scanned(store: Store): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  for await (const page of store.scanLabels()) {
    for (const [deviceId, { name, tags }] of page) {
      assert(!(deviceId in found), `${deviceId} comes once`);
      found[deviceId] = `${name} ${JSON.stringify([...tags])}`;
    }
  }
  return found;
}

/** The devices whose labels changed since, in order; or "all". */
async function changedSince(store: Store, since: number): Promise<string[] | "all"> {
  const { devices } = await store.labelChanges(since);
  return devices === "all" ? "all" : [...devices.keys()].sort();
}

/** Registers the tests of labels. `shards`: each of them has the limit of devices that were not seen. */
export function testLabels(test: TestStores, shards: number): void {
  test("setLabels() changes what is given, and keeps the rest", async (store, other) => {
    assertEquals(await store.labels(["a"]), new Map());
    assertEquals(await store.notes("a"), "");
    assertEquals(await store.setLabels([]), undefined);
    const first: LabelChange = {
      ...{ deviceId: "a", name: 'Pump "1" ö\u{1f321}', tags: tags({ site: "oslo", model: "x2" }) },
      notes: "line 1\nline 2",
    };
    assertEquals(await store.setLabels([first, { deviceId: "b", name: "B" }]), undefined);
    const name = first.name!;
    assertEquals(await labelsOf(other, "a"), { name, tags: { model: "x2", site: "oslo" } });
    assertEquals([...(await other.labels(["a"])).get("a")!.tags.keys()], ["model", "site"], "by key");
    assertEquals(await other.notes("a"), "line 1\nline 2");
    assertEquals([...(await other.labels(["a", "b", "c"])).keys()].sort(), ["a", "b"]);

    await other.setLabels([{ deviceId: "a", tags: tags({ site: "bergen", model: "", constructor: "y" }) }]);
    assertEquals(await labelsOf(store, "a"), { name, tags: { constructor: "y", site: "bergen" } });
    await other.setLabels([{ deviceId: "a", name: "", notes: "" }]);
    assertEquals(await labelsOf(store, "a"), { name: "", tags: { constructor: "y", site: "bergen" } });
    assertEquals(await store.notes("a"), "");
    await other.setLabels([{ deviceId: "a", notes: "back" }]);
    await store.setLabels([{ deviceId: "a", tags: tags({ site: "", constructor: "" }) }]);
    assertEquals(await store.notes("a"), "back");
    await store.setLabels([{ deviceId: "a", notes: "" }]);
    assertEquals(await labelsOf(other, "a"), undefined, "nothing is left");
    assertEquals(Object.keys(await scanned(other)), ["b"]);
  });

  test("setLabels(): changes of one device by two processes at once are all made", async (store, other) => {
    const keys = Array.from({ length: MAX_TAGS }, (_, i) => `key-${i}`);
    await Promise.all(
      keys.map((key, i) =>
        (i % 2 === 0 ? store : other).setLabels([{ deviceId: "a", tags: tags({ [key]: "1" }) }])
      ),
    );
    assertEquals((await store.labels(["a"])).get("a")?.tags.size, MAX_TAGS);
  });

  test("setLabels() refuses more than MAX_TAGS of a device, and changes nothing then", async (store) => {
    const most = Array.from({ length: MAX_TAGS }, (_, i) => [`key-${i}`, "1"]);
    assertEquals(await store.setLabels([{ deviceId: "a", tags: tags(Object.fromEntries(most)) }]), undefined);
    const { version } = await store.labelChanges();
    const oneMore = [{ deviceId: "a", name: "A", tags: tags({ other: "1" }) }];
    assertEquals(await store.setLabels(oneMore), { deviceId: "a", limit: "tags" });
    assertEquals((await labelsOf(store, "a"))?.name, "");
    assertEquals(await changedSince(store, version), []);
    assertEquals(
      await store.setLabels([{ deviceId: "a", tags: tags({ other: "1", "key-0": "" }) }]),
      undefined,
    );
  });

  test("setLabels() refuses devices that were not seen above MAX_UNSEEN_LABELLED, and no others", async (store) => {
    const ids = Array.from({ length: shards * MAX_UNSEEN_LABELLED + 20_000 }, (_, i) => `unseen-${i}`);
    let refusal;
    for (let i = 0; i < ids.length && refusal === undefined; i += 1_000) {
      refusal = await store.setLabels(ids.slice(i, i + 1_000).map((deviceId) => ({ deviceId, name: "x" })));
      if (refusal !== undefined) assert(i >= MAX_UNSEEN_LABELLED, `refused after ${i}`);
    }
    assertEquals(refusal?.limit, "unseen");
    await send(store, now, ["seen", 1]);
    assertEquals(await store.setLabels([{ deviceId: "seen", name: "S" }]), undefined);
    assertEquals(await store.setLabels([{ deviceId: "unseen-0", name: "y" }]), undefined, "it has labels");
  });

  test("labelChanges() names the devices whose labels changed since a version", async (store, other) => {
    const before = await store.labelChanges();
    assertEquals(before.devices, "all");
    await store.setLabels([{ deviceId: "a", name: "A" }, { deviceId: "b", notes: "B" }]);
    assertEquals(await changedSince(store, before.version), ["a", "b"]);
    const { version } = await store.labelChanges(before.version);
    assertGreater(version, before.version);
    assertEquals(await changedSince(store, version), []);
    await other.setLabels([{ deviceId: "a", name: "A" }]);
    assertEquals(await changedSince(store, version), [], "the same labels are no change");
    await other.setLabels([{ deviceId: "a", tags: tags({ site: "oslo" }) }]);
    assertEquals(await changedSince(store, version), ["a"]);
    assertEquals(await changedSince(store, before.version), ["a", "b"]);
    assertEquals(await changedSince(store, version + 1e15), "all");
  });

  test("scanLabels() has the labels of every device once", async (store, other) => {
    const ids = Array.from({ length: 2_500 }, (_, i) => `device-${i}`);
    for (let i = 0; i < ids.length; i += 1_000) {
      const some = ids.slice(i, i + 1_000);
      await store.setLabels(
        some.map((deviceId) => ({ deviceId, name: deviceId, tags: tags({ site: "oslo" }) })),
      );
    }
    const found = await scanned(other);
    assertEquals(Object.keys(found).length, ids.length);
    for (const id of ids) assertEquals(found[id], `${id} [["site","oslo"]]`);
  });

  test("remove() and removeUnseen() remove the labels of their devices", async (store, other) => {
    await send(store, now, ["a", 1], ["b", 1], ["c", 1]);
    const named = ["a", "b", "c", "unseen"].map((deviceId) => ({ deviceId, name: "N", notes: "notes" }));
    await store.setLabels(named);
    const { version } = await store.labelChanges();
    await store.labelChanges(version);
    assertEquals(await other.remove("a"), true);
    assertEquals(await other.removeUnseen(["b", "unseen"], now + hour), 1);
    assertEquals(await changedSince(store, version), ["a", "b"]);
    assertEquals(await labelsOf(store, "a"), undefined);
    assertEquals(await store.notes("a"), "");
    assertEquals(Object.keys(await scanned(store)).sort(), ["c", "unseen"]);
    assertEquals(await other.remove("unseen"), true, "it had labels");
    assertEquals(await other.remove("unseen"), false);
    assertEquals((await labelsOf(store, "c"))?.name, "N");
    await send(store, now, ["a", 1]);
    assertEquals(await labelsOf(store, "a"), undefined, "a device that comes back has none");
  });
}
