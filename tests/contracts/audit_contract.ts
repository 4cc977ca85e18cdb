/**
 * The part of the stores' contract about the audit log.
 *
 * @module
 */
import { assertEquals } from "@std/assert";

import { AUDIT_KEPT, type AuditEntry } from "../../src/store/audit.ts";
import { now } from "../support/batches.ts";
import type { TestStores } from "./parts.ts";

function entry(i: number): AuditEntry {
  return { atMs: now + i, actor: "operator", action: "device.remove", target: `device-${i} ö`, detail: "" };
}

/** Registers the tests of the audit log. */
export function testAudit(test: TestStores): void {
  test("audit() pages from the newest entry to the oldest", async (store, other) => {
    assertEquals(await store.audit(undefined, 10), []);
    await store.appendAudit([]);
    await store.appendAudit([entry(1), entry(2)]);
    await other.appendAudit([entry(3)]);
    const stored = [3, 2, 1].map((id) => ({ id, ...entry(id) }));
    assertEquals(await store.audit(undefined, 10), stored);
    assertEquals(await store.audit(undefined, 2), stored.slice(0, 2));
    assertEquals(await other.audit(2, 10), stored.slice(2));
    assertEquals(await other.audit(3, 1), stored.slice(1, 2));
    assertEquals(await other.audit(99, 1), stored.slice(0, 1));
    assertEquals(await other.audit(1, 10), []);
    assertEquals(await other.audit(0, 10), []);
  });

  test("appendAudit() keeps the newest entries", async (store, other) => {
    const chunk = 1000;
    for (let i = 0; i < AUDIT_KEPT + chunk; i += chunk) {
      await store.appendAudit(Array.from({ length: chunk }, (_, j) => entry(i + j + 1)));
    }
    assertEquals((await other.audit(chunk + 2, 10)).map(({ id }) => id), [chunk + 1]);
    assertEquals((await other.audit(undefined, 2)).map(({ id }) => id), [
      AUDIT_KEPT + chunk,
      AUDIT_KEPT + chunk - 1,
    ]);
  });
}
