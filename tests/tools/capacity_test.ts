/** What `deno task capacity` computes and prints. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";

import { capacityText, quantityText } from "../../src/tools/capacity.ts";
import { figures, ingestMemory, measuredUpTo } from "../../src/tools/capacity_figures.ts";
import { type CapacityDemand, capacityOf } from "../../src/tools/capacity_plan.ts";
import { Tool } from "../support/tool.ts";

const small: CapacityDemand = {
  devices: 1000,
  rate: 1,
  payloadBytes: 16,
  devicesPerConnection: 1,
  coreShare: 0.5,
};

/** The needs of `demand` by name. */
function needs(demand: Partial<CapacityDemand>) {
  return new Map(capacityOf({ ...small, ...demand }).map((need) => [need.what, need]));
}

const valueOf = (demand: Partial<CapacityDemand>, what: string) => needs(demand).get(what)!.value;

Deno.test("capacityOf() multiplies devices and rate by the measured figures", () => {
  const demand = { devices: 2_000_000, rate: 3, devicesPerConnection: 100, payloadBytes: 116 };
  const cores = (perSecond: number, micros: number) => Math.ceil(perSecond * micros / 1e6 / 0.5);
  const workers = cores(6_000_000, figures.ingestCpuPerPacket.value);
  const ofWorker = ingestMemory.find(({ devices }) => devices >= 2_000_000 / workers)!;
  const { redisMemoryPerDevice, redisMemoryPerSession, ingestMemoryPerConnection, redisBytesPerUpdate } =
    figures;
  assertEquals(Object.fromEntries([...needs(demand)].map(([what, { value }]) => [what, value])), {
    "packets": 6_000_000,
    "device-updates": 6_000_000,
    "connections": 20_000,
    "ingest workers": workers,
    "Redis shards": cores(6_000_000, figures.redisCpuPerUpdate.value),
    "Redis memory, all shards": 2_000_000 * (redisMemoryPerDevice.value + 95) +
      20_000 * redisMemoryPerSession.value,
    "ingest memory, all workers": workers * ofWorker.figure.value + 20_000 * ingestMemoryPerConnection.value,
    "network, devices to ingest": 6_000_000 * (37 + 116 + 90) * 8,
    "network, ingest to Redis": 6_000_000 * (redisBytesPerUpdate.value + 100) * 8,
  });
});

Deno.test("capacityOf() counts a device's packets of one batch as one update", () => {
  assertEquals(valueOf({ rate: 0.1 }, "device-updates"), 100);
  assertEquals(valueOf({ rate: 20 }, "device-updates"), 20_000);
  assertEquals(valueOf({ rate: 500 }, "device-updates"), 20_000);
  assertEquals(valueOf({ rate: 500 }, "packets"), 500_000);
});

Deno.test("capacityOf() plans for at least one process of each, and fewer with more of each core", () => {
  assertEquals([valueOf({ devices: 1 }, "ingest workers"), valueOf({ devices: 1 }, "Redis shards")], [1, 1]);
  const half = { devices: 10_000_000 }, whole = { ...half, coreShare: 1 };
  for (const what of ["ingest workers", "Redis shards"]) {
    const [more, fewer] = [valueOf(half, what), valueOf(whole, what)];
    assert(Math.abs(more - 2 * fewer) <= 1, `${what}: ${more}, ${fewer}`);
  }
});

Deno.test("capacityOf() marks what is beyond the measurements as extrapolated, and nothing else", () => {
  const marked = (demand: Partial<CapacityDemand>) =>
    [...needs(demand).values()].filter(({ extrapolated }) => extrapolated !== undefined).map(({ what }) =>
      what
    );
  assertEquals(marked({}), ["network, devices to ingest"], "the headers of the network are computed");
  assertEquals(marked({ devices: measuredUpTo.devices, rate: 0.01, devicesPerConnection: 1000 }), [
    "network, devices to ingest",
  ]);
  assertEquals(marked({ devices: 10_000_000 }), [
    "ingest workers",
    "Redis shards",
    "Redis memory, all shards",
    "ingest memory, all workers",
    "network, devices to ingest",
    "network, ingest to Redis",
  ]);
  assertStringIncludes(
    needs({ devices: 50_000, rate: 0.1 }).get("ingest memory, all workers")!.extrapolated!,
    "connections per worker 50,000, measured up to 10,000",
  );
  assertEquals(marked({ payloadBytes: 17 }).includes("Redis memory, all shards"), true);
});

Deno.test("capacityText() states each figure that is used with its value, date, machine and command", () => {
  const plan = capacityOf({ ...small, devices: 10_000_000 });
  const text = capacityText(plan);
  for (const { what, value, source, measured } of plan.flatMap(({ uses }) => uses)) {
    assertStringIncludes(text, `  ${what}: `);
    assertStringIncludes(text, `    ${measured.date}, ${measured.machine}\n    ${source}\n`);
    assert(value > 0);
  }
  assertEquals(text.split("EXTRAPOLATED: ").length - 1, 6);
  assertMatch(text, /^packets +10,000,000\/s +10,000,000 devices × 1\n/);
});

Deno.test("quantityText() has three digits and the unit", () => {
  assertEquals(
    [
      quantityText({ value: 12_345, unit: "processes" }),
      quantityText({ value: 0.5, unit: "bytes" }),
      quantityText({ value: 999, unit: "bytes" }),
      quantityText({ value: 16_300, unit: "bytes" }),
      quantityText({ value: 8.6789e9, unit: "bytes" }),
      quantityText({ value: 11_440_000_000, unit: "bit/s" }),
      quantityText({ value: 1_000.4, unit: "packets/s" }),
    ],
    ["12,345", "0.5 B", "999 B", "16.3 KB", "8.68 GB", "11.4 Gbit/s", "1,000/s"],
  );
});

Deno.test("capacity prints the plan of its flags, and names wrong ones", async () => {
  await using tool = new Tool("tools/capacity", ["--devices", "10000000", "--rate", "1"]);
  assertEquals([await tool.end(), tool.stderr], [0, ""]);
  assertEquals(tool.stdout, `${capacityText(capacityOf({ ...small, devices: 10_000_000 }))}\n`);
  await using wrong = new Tool("tools/capacity", ["--devices", "0", "--rate", "x", "--core-share", "101"]);
  assertEquals([await wrong.end(), wrong.stdout], [2, ""]);
  for (const flag of ["--devices: ", "--rate: ", "--core-share: "]) assertStringIncludes(wrong.stderr, flag);
});
