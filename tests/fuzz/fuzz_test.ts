/** Some thousand cases of each fuzz target, each time others; `deno task fuzz` runs millions. */
import { assertEquals } from "@std/assert";

import { creditFuzz } from "./credit_fuzz.ts";
import { engineFuzz } from "./engine_fuzz.ts";
import { floodRepliesFuzz } from "./flood_fuzz.ts";
import { fuzz } from "./fuzz_run.ts";
import { hpackFuzz } from "./hpack_fuzz.ts";
import { packetFuzz } from "./packet_fuzz.ts";
import { payloadFuzz } from "./payload_fuzz.ts";

/** `SEED` in the environment is the first, as with other property tests. */
const firstSeed = Number(Deno.env.get("SEED") ?? Math.floor(Math.random() * 2 ** 30));

for (
  const [target, cases, what] of [
    [
      engineFuzz,
      3000,
      "whatever frames come, the engine keeps what it promises its peer, handlers and grpc-js",
    ],
    [floodRepliesFuzz, 60, "no flood of one frame gets more replies per byte than its bound"],
    [creditFuzz, 30, "however calls end, the window of their connection is given back"],
    [hpackFuzz, 3000, "blocks decode as RFC 7541 has it, or are refused"],
    [packetFuzz, 10_000, "messages read as protobufjs reads them, or are refused"],
    [payloadFuzz, 10_000, "what libraries encode is found, to the last bit; nothing else ends the process"],
  ] as const
) {
  Deno.test(`fuzz ${target.name}: ${what}`, async () => {
    const { failures } = await fuzz(target, firstSeed, cases);
    assertEquals(failures, []);
  });
}

Deno.test("fuzz reports the seed of a failed case, in the same turn or a later one", async () => {
  const target = {
    name: "a target that fails",
    run: async () => {
      queueMicrotask(() => {
        throw new TypeError("later");
      });
      await new Promise((resolve) => setTimeout(resolve, 0));
      throw new Error("at once");
    },
  };
  const { failures, cases } = await fuzz(target, 7, 1);
  assertEquals(cases, 1);
  assertEquals(failures.map((failure) => failure.split("\n")[0]!), [
    "--seed 7: TypeError: later",
    "--seed 7: at once",
  ]);
});
