/**
 * Parts of the evaluation of rules.
 *
 * @module
 */
import { assert, assertEquals } from "@std/assert";

import { type Incident, memoryFields } from "../../src/alerts/incidents/incident.ts";
import {
  IncidentBook,
  JOIN_MS,
  MAX_OPEN_PER_RULE,
  RESOLVED_KEPT,
} from "../../src/alerts/incidents/incident_book.ts";
import { ActiveMutes, isActive, type Mute } from "../../src/alerts/incidents/mute.ts";
import { MESSAGES_KEPT, Outbox } from "../../src/alerts/incidents/outbox.ts";
import { messageText } from "../../src/alerts/channels/message_text.ts";
import { DeviceGlob } from "../../src/alerts/rules/device_glob.ts";
import { isOutsideOf } from "../../src/alerts/rules/device_rule.ts";
import { DueTimes } from "../../src/alerts/rules/due_times.ts";
import { duration, type Rule } from "../../src/alerts/rules/rule.ts";
import { forSeeds } from "../support/random.ts";

const rule: Rule = {
  ...{ id: "r", version: 1, name: "Rule", enabled: true, severity: "warning", devices: "*", tag: null },
  ...{ channels: null, condition: { kind: "offline", after_ms: 1_000 } },
};

Deno.test("DeviceGlob covers what a regular expression of its pattern does, in time that grows with the text", async () => {
  await forSeeds(300, (random) => {
    const text = (length: number, letters: string) =>
      Array.from({ length }, () => letters[random.int(0, letters.length - 1)]).join("");
    const pattern = text(random.int(1, 8), "ab**.");
    const id = text(random.int(0, 10), "ab.");
    const source = pattern.split("*").map((part) => part.replaceAll(".", "\\.")).join(".*");
    assertEquals(new DeviceGlob(pattern).matches(id), new RegExp(`^${source}$`).test(id), `${pattern} ${id}`);
    return Promise.resolve();
  });
  const hostile = new DeviceGlob(`${"*a".repeat(63)}b`);
  const started = performance.now();
  for (let i = 0; i < 10_000; i++) assert(!hostile.matches("a".repeat(128)));
  assert(performance.now() - started < 2_000);
});

Deno.test("DueTimes.take() returns each slot once, at its second or the one after it, also after a long pause", async () => {
  await forSeeds(50, (random) => {
    let nowMs = random.int(0, 100_000);
    const times = new DueTimes(nowMs);
    const due = new Map<number, number>();
    for (let step = 0; step < 200; step++) {
      const slot = random.int(0, 3_000), dueMs = nowMs + random.int(0, 3_000_000);
      times.add(slot, dueMs);
      if (!due.has(slot)) due.set(slot, dueMs);
      nowMs += random.chance(0.05) ? random.int(0, 5_000_000) : random.int(0, 20_000);
      for (const taken of times.take(nowMs)) {
        assert(due.get(taken)! <= nowMs, "none is taken too early");
        due.delete(taken);
      }
      for (const dueMs of due.values()) assert(dueMs > nowMs - 2_000, "none is taken too late");
    }
    return Promise.resolve();
  });
});

Deno.test("isOutsideOf() is not left before the value is back by more than the hysteresis", () => {
  const range = { above: 40, below: 10, hysteresis: 2, for_ms: 0 };
  assertEquals([41, 40, 10, 9].map((value) => isOutsideOf(range, value, false)), [true, false, false, true]);
  assertEquals([38.5, 38, 12, 11.5].map((value) => isOutsideOf(range, value, true)), [
    true,
    false,
    false,
    true,
  ]);
});

Deno.test("duration() uses the largest unit that fits", () => {
  assertEquals([1, 1_500, 90_000, 3_600_000, 172_800_000].map(duration), [
    ...["1 ms", "1500 ms", "90 s", "1 h", "2 d"],
  ]);
});

function bookWith(resolved: Incident[] = []) {
  return new IncidentBook(new Map(), new Map(), 0, (incident) => resolved.push(incident));
}

Deno.test("IncidentBook: devices join while others do, then a new one begins; a rule has few open ones", () => {
  const resolved: Incident[] = [];
  const book = bookWith(resolved);
  book.nowMs = 1_000;
  book.fired(rule, ["a"], 0, undefined);
  book.nowMs += JOIN_MS;
  book.fired(rule, ["b"], 0, undefined);
  assertEquals(book.open().map(({ devices }) => devices), [2]);
  for (let i = 1; i <= MAX_OPEN_PER_RULE + 3; i++) {
    book.nowMs += JOIN_MS + 1;
    book.fired(rule, [`later-${i}`], 0, undefined);
  }
  assertEquals(book.open().map(({ devices }) => devices), [2, 1, 1, 1, 5]);
  book.cleared(rule, "a");
  assertEquals([resolved.length, book.open()[0]!.firing], [0, 1]);
  book.cleared(rule, "b");
  assertEquals(resolved.map(({ id, devices, firing }) => [id, devices, firing]), [[1, 2, 0]]);
});

Deno.test("IncidentBook: what is written is what another process continues from", () => {
  const book = bookWith();
  book.nowMs = 5_000;
  book.fired(rule, ["a", "b", "__proto__"], 1_000, 2);
  book.cleared(rule, "a");
  const sections = { incidents: new Map<string, string>(), memory: new Map<string, string>() };
  for (const { section, field, body } of book.changes().changes) {
    if (body === undefined) sections[section].delete(field);
    else sections[section].set(field, body);
  }
  assertEquals(book.changes().changes, []);
  const resolved: Incident[] = [];
  const next = new IncidentBook(
    sections.incidents,
    sections.memory,
    0,
    (incident) => resolved.push(incident),
  );
  assertEquals(next.open(), book.open());
  assertEquals(next.restored("r"), { isFiring: true, firing: ["b", "__proto__"] });
  next.nowMs = 6_000;
  next.cleared(rule, "b");
  next.cleared(rule, "__proto__");
  assertEquals(resolved.map(({ id, resolved_ms, value }) => [id, resolved_ms, value]), [[1, 6_000, 2]]);
  next.fired(rule, ["a"], 0, undefined);
  assertEquals(next.open().map(({ id }) => id), [2]);
});

Deno.test(`IncidentBook: of incidents that have ended the newest ${RESOLVED_KEPT} are kept, and the rest is removed`, () => {
  const book = bookWith();
  const stored = new Set<string>();
  for (let i = 0; i < RESOLVED_KEPT + 10; i++) {
    book.nowMs += 1;
    book.fired(rule, ["a"], 0, undefined);
    book.cleared(rule, "a");
    for (const { field, body } of book.changes().changes) {
      if (body === undefined) stored.delete(field);
      else stored.add(field);
    }
  }
  assertEquals(stored.size, 2 * RESOLVED_KEPT);
  assert(!stored.has("10") && !stored.has(memoryFields.devices(10)) && stored.has("11"));
});

Deno.test(`Outbox: of more than ${MESSAGES_KEPT} messages the oldest are dropped, which is reported`, () => {
  const dropped: number[] = [];
  const outbox = new Outbox(new Map(), 0, ({ id }) => dropped.push(id));
  const book = bookWith();
  book.fired(rule, ["a"], 0, undefined);
  const [incident] = book.open() as [Incident];
  for (let i = 0; i < MESSAGES_KEPT + 2; i++) outbox.add("update", incident, ["slack"], i);
  assertEquals([outbox.size, dropped], [MESSAGES_KEPT, [1, 2]]);
  assertEquals(outbox.next("slack"), undefined, "none is sent before it is stored");
  outbox.stored(outbox.changes(new Set([incident.id])).ids);
  assertEquals(outbox.next("slack")!.id, 3);
  outbox.keepChannels(["ntfy"]);
  assertEquals(outbox.size, 0);
});

Deno.test("Mutes are in effect once, daily or weekly, and cover incidents whose devices all are covered", () => {
  const hour = 3_600_000, day = 24 * hour;
  const mute: Mute = {
    ...{ id: "m", rule_id: null, devices: "green-*", tag: null, comment: "", repeat: "daily" },
    ...{ from_ms: 10 * day, until_ms: 10 * day + hour },
  };
  const at = (ms: number, repeat: Mute["repeat"]) => isActive({ ...mute, repeat }, ms);
  assertEquals([9 * day, 10 * day, 10 * day + hour, 11 * day].map((ms) => at(ms, "none")), [
    ...[false, true, false, false],
  ]);
  assertEquals([11 * day + hour - 1, 11 * day + hour].map((ms) => at(ms, "daily")), [true, false]);
  assertEquals([11 * day, 17 * day].map((ms) => at(ms, "weekly")), [false, true]);
  const mutes = new ActiveMutes([mute], 10 * day, () => false);
  assertEquals(mutes.covers("r", ["green-1", "green-2"]), true);
  assertEquals(mutes.covers("r", ["green-1", "blue-1"]), false);
  assertEquals(mutes.covers("r", []), false);
  const all = new ActiveMutes([{ ...mute, devices: "*", rule_id: "r" }], 10 * day, () => false);
  assertEquals([all.covers("r", []), all.covers("other", ["a"])], [true, false]);
});

Deno.test("messageText() shows no control characters of names and ids", () => {
  const book = bookWith();
  book.fired({ ...rule, name: "a\nb" }, ["x\u202Ey", "z"], 0, undefined);
  const { title, text } = messageText("firing", book.open()[0]!);
  assertEquals([title, text], ["Warning: a\ufffdb: 2 devices", "no packet for 1 s: x\ufffdy, z"]);
});
