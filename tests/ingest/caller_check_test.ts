import { assertEquals, assertRejects, assertStrictEquals, assertThrows } from "@std/assert";

import { createCounters } from "../../src/ingest/counters.ts";
import { CallerCheck } from "../../src/ingest/rpc/caller_check.ts";
import { anonymousDevice } from "../../src/identity/identity.ts";
import { RequestError } from "../../src/protocol/request_error.ts";
import type { Store } from "../../src/store/store.ts";
import { startLogging, stopLogging } from "../../src/runtime/log.ts";
import { addTokens, deviceAuthenticator } from "../support/device_auth.ts";
import { ingestDefaults, temporaryStore } from "../support/harness.ts";

const { log } = ingestDefaults;
const wrong = (i: number) => `Bearer tally_${String(i).padStart(43, "A")}`;

function code(call: () => unknown): string {
  return assertThrows(call, RequestError).code;
}

Deno.test("CallerCheck.identify() without authentication is the anonymous device, whatever a call has", () => {
  const check = new CallerCheck({ authenticator: undefined, counters: createCounters(), maxLookups: 0, log });
  assertStrictEquals(check.identify(wrong(1), {}), anonymousDevice);
  check.close();
});

Deno.test("CallerCheck.identify() bounds wrong credentials per connection, and lookups of the process", async () => {
  await using store = await temporaryStore();
  const [issued] = await addTokens(store, ["sensor-1"]);
  let hashes = 0;
  const counted = new Proxy<Store>(store, {
    get(target, name) {
      const value = Reflect.get(target, name);
      return typeof value !== "function" ? value : (...args: unknown[]) => {
        if (name === "tokensByHash") hashes += (args[0] as string[]).length;
        return value.apply(target, args);
      };
    },
  });
  const authenticator = await deviceAuthenticator(counted, "token");
  const counters = createCounters();
  const check = new CallerCheck({ authenticator, counters, maxLookups: 600, log });
  const connection = {}, other = {}, right = `Bearer ${issued!.token}`;
  const known = await check.identify(right, connection);
  for (const from of [0, 600]) {
    const lookups = Array.from(
      { length: Math.min(600, 1000 - from) },
      (_, i) => check.identify(wrong(from + i), connection),
    );
    const results = Promise.allSettled(lookups);
    if (from === 0) assertEquals(code(() => check.identify(wrong(5000), other)), "RESOURCE_EXHAUSTED");
    assertStrictEquals(check.identify(right, connection), known, "one in memory is served");
    assertEquals((await results).every(({ status }) => status === "rejected"), true);
  }
  // Some more, for the time that has passed.
  let refused = "", more = 0;
  while (refused === "" && more < 500) {
    try {
      await Promise.resolve(check.identify(wrong(6000 + more), connection)).catch(() => more++);
    } catch (error) {
      refused = (error as RequestError).code;
    }
  }
  assertEquals(refused, "RESOURCE_EXHAUSTED");
  assertEquals(hashes, 1 + 1000 + more, "it was not looked up");
  assertStrictEquals(check.identify(right, connection), known);
  await assertRejects(async () => await check.identify(wrong(7000), other), RequestError);
  assertEquals(counters.authFailures.get("unknown"), 1001 + more);
  check.close();
});

Deno.test("CallerCheck logs a refused call at once and sums up those that follow, without credentials", async () => {
  await using store = await temporaryStore();
  const authenticator = await deviceAuthenticator(store, "token");
  const lines: string[] = [];
  const root = startLogging({ level: "debug", format: "json", write: (line) => lines.push(line) });
  try {
    const check = new CallerCheck({ authenticator, counters: createCounters(), maxLookups: 9, log: root });
    const peer = { remoteAddress: "192.0.2.1", remotePort: 5 };
    for (let i = 0; i < 3; i++) await assertRejects(async () => await check.identify(wrong(1), peer));
    assertThrows(() => check.identify(undefined, peer));
    check.close();
    assertThrows(() => check.identify(undefined, peer));
  } finally {
    stopLogging();
  }
  const about = lines.map((line) => JSON.parse(line)).map(({ message, properties = {}, ...rest }) => ({
    ...{
      message,
      failure: rest.failure ?? properties.failure,
      address: rest.remoteAddress ?? properties.remoteAddress,
    },
    ...{ unknown: rest.unknown ?? properties.unknown, missing: rest.missing ?? properties.missing },
  }));
  assertEquals(about, [
    {
      ...{ message: "call refused for its credentials", failure: "unknown", address: "192.0.2.1" },
      ...{ unknown: undefined, missing: undefined },
    },
    {
      ...{ message: "more calls refused for their credentials", failure: undefined, address: undefined },
      ...{ unknown: 2, missing: 1 },
    },
  ]);
  assertEquals(lines.some((line) => line.includes("tally_")), false);
});
