/**
 * The part of the stores' contract about rules of alerts and their state.
 *
 * @module
 */
import { assert, assertEquals, assertNotEquals } from "@std/assert";

import { type AlertDocumentChange, MAX_ALERT_DOCUMENTS } from "../../src/store/alerts.ts";
import type { Store } from "../../src/store/store.ts";
import { now } from "../support/batches.ts";
import type { TestStores } from "./parts.ts";

const rule = (id: string, body = "{}", expected?: number): AlertDocumentChange => ({
  ...{ kind: "rule", id, body, expected },
});

async function documentsOf(store: Store): Promise<string[]> {
  const { documents } = (await store.alertDocuments())!;
  return documents.map(({ kind, id, version, body }) => `${kind} ${id} ${version} ${body}`);
}

/** Registers the tests of alerts. */
export function testAlerts(test: TestStores): void {
  test(
    "putAlertDocuments() stores what alertDocuments() reads, each with its version",
    async (store, other) => {
      assertEquals(await documentsOf(store), []);
      assertEquals(await store.putAlertDocuments([]), { versions: [] });
      const mute = { kind: "mute", id: "m", body: '{"until":1}' } as const;
      assertEquals(await store.putAlertDocuments([rule("b", "1 2"), mute, rule("a", "{}", 0)]), {
        versions: [1, 1, 1],
      });
      assertEquals(await other.putAlertDocuments([rule("b", "3", 1)]), { versions: [2] });
      assertEquals(await documentsOf(other), ["rule a 1 {}", "rule b 2 3", 'mute m 1 {"until":1}']);
      assertEquals(await other.removeAlertDocuments("rule", ["missing", "a"]), ["a"]);
      assertEquals(await other.removeAlertDocuments("rule", ["a"]), []);
      assertEquals(await store.removeAlertDocuments("rule", ["m"]), []);
      assertEquals(await store.removeAlertDocuments("rule", []), []);
      assertEquals(await documentsOf(store), ["rule b 2 3", 'mute m 1 {"until":1}']);
    },
  );

  test(
    "putAlertDocuments() stores none where one has another version than is expected",
    async (store, other) => {
      await store.putAlertDocuments([rule("a"), rule("b")]);
      const before = await store.alertDocuments();
      for (const change of [rule("a", "new", 0), rule("a", "new", 2), rule("missing", "new", 1)]) {
        assertEquals(await other.putAlertDocuments([rule("b", "new"), rule("c"), change]), {
          ...{ refused: "conflict", id: change.id },
        });
      }
      assertEquals(await store.alertDocuments(), before);
      const both = await Promise.all([store, other].map((s) => s.putAlertDocuments([rule("a", "new", 1)])));
      assertEquals(both.filter((outcome) => "versions" in outcome).length, 1);
    },
  );

  test("putAlertDocuments() has a bound for each kind", async (store) => {
    const most = MAX_ALERT_DOCUMENTS.rule;
    await store.putAlertDocuments(Array.from({ length: most - 1 }, (_, i) => rule(`r${i}`)));
    const refused = { refused: "full", id: "y" } as const;
    assertEquals(await store.putAlertDocuments([rule("x"), rule("y")]), refused);
    assertEquals((await documentsOf(store)).length, most - 1);
    assertEquals(await store.putAlertDocuments([rule("x"), { ...rule("m"), kind: "mute" }]), {
      versions: [1, 1],
    });
    assertEquals(await store.putAlertDocuments([rule("y")]), refused);
    assertEquals(await store.putAlertDocuments([rule("x", "new")]), { versions: [2] });
  });

  test("alertDocuments() and alertState() are read again after a change only", async (store, other) => {
    const first = (await store.alertDocuments())!.version;
    assertEquals(await other.alertDocuments(first), undefined);
    await store.putAlertDocuments([rule("a")]);
    const second = (await other.alertDocuments(first))!.version;
    assertEquals(await other.alertDocuments(second), undefined);
    await other.removeAlertDocuments("rule", ["missing"]);
    assertEquals(await other.alertDocuments(second), undefined);
    await other.removeAlertDocuments("rule", ["a"]);
    assertEquals((await store.alertDocuments(second))!.documents, []);

    const version = await store.claimAlerts("me", 1_000, now);
    assertEquals((await other.alertState("incidents"))!.version, version);
    assertEquals(await other.alertState("memory", version), undefined);
    const written = await store.writeAlertState(
      "me",
      [{ section: "incidents", field: "1", body: "x" }],
      now,
    );
    assertNotEquals(written, version);
    assertEquals((await other.alertState("incidents", version))!.version, written);
    assertEquals(await other.claimAlerts("me", 1_000, now), written);
  });

  test("writeAlertState() writes for the owner of the lease only", async (store, other) => {
    const entry = (field: string, body?: string) => ({ section: "incidents", field, body }) as const;
    assertEquals(await store.writeAlertState("a", [entry("1", "none has it")], now), undefined);
    assert(await store.claimAlerts("a", 10_000, now) !== undefined);
    assertEquals(await other.claimAlerts("b", 10_000, now), undefined);
    assertEquals(await other.writeAlertState("b", [entry("1", "not the owner")], now), undefined);
    const large = "x".repeat(300_000);
    const memory = { section: "memory", field: "1", body: large } as const;
    assert(await store.writeAlertState("a", [entry("1", "one"), entry("2", ""), memory], now) !== undefined);
    assertEquals((await other.alertState("incidents"))!.entries, new Map([["1", "one"], ["2", ""]]));
    assertEquals(await other.alertEntry("memory", "1"), large);
    assertEquals(await other.alertEntry("memory", "2"), undefined);
    // Its lease ends, and another takes over.
    await store.claimAlerts("a", 1, now);
    let version: string | undefined;
    for (let i = 1; version === undefined; i++) version = await other.claimAlerts("b", 10_000, now + i);
    assertEquals(await store.writeAlertState("a", [entry("1", "too late")], now), undefined);
    assert(await other.writeAlertState("b", [entry("1", undefined), entry("3", "b")], now + 1) !== undefined);
    assertEquals((await store.alertState("incidents"))!.entries, new Map([["2", ""], ["3", "b"]]));
    assertEquals((await store.alertState("memory"))!.entries, new Map([["1", large]]));
  });
}
