/**
 * What it costs to evaluate rules: `deno run tests/bench/alert_rules.ts [devices] [seconds]`. A fleet in memory, whose
 * devices each send once in a while, and 20 rules of all kinds; time is simulated, and only the evaluation is measured.
 *
 * @module
 */
import { Evaluator } from "../../src/alerts/rules/evaluator.ts";
import type { Condition, Rule } from "../../src/alerts/rules/rule.ts";
import { DeviceIndex } from "../../src/fleet/device_index.ts";

const devices = Number(Deno.args[0] ?? 100_000), seconds = Number(Deno.args[1] ?? 120);

const conditions: readonly Condition[] = [
  ...[60_000, 120_000, 300_000, 600_000, 3_600_000].map((after_ms) =>
    ({ kind: "offline", after_ms }) as const
  ),
  ...[2, 3, 5].map((intervals) => ({ kind: "offline", intervals }) as const),
  ...[30, 35, 40, 45].map((above) =>
    ({ kind: "value", value: "temperature", above, hysteresis: 1, for_ms: 60_000 }) as const
  ),
  ...[20, 25, 30].map((below) =>
    ({ kind: "value", value: "humidity", below, hysteresis: 1, for_ms: 0 }) as const
  ),
  ...[0.01, 0.02].map((below) => ({ kind: "rate", below, hysteresis: 0, for_ms: 60_000 }) as const),
  { kind: "rate", above: 100, hysteresis: 0, for_ms: 0 },
  { kind: "group", after_ms: 60_000 },
  { kind: "rejected", above: 100, for_ms: 60_000 },
];

const rules = conditions.map((condition, i): Rule => ({
  ...{
    id: `r${i}`,
    version: 1,
    name: `Rule ${i}`,
    enabled: true,
    severity: "warning",
    devices: "*",
    tag: null,
  },
  ...{ channels: null, condition },
}));

/** Evaluates while `perSecond` devices send each second; returns the percentage of a core that takes. */
function measure(perSecond: number): number {
  let nowMs = 1_700_000_000_000;
  const start = nowMs;
  const index = new DeviceIndex(60_000);
  const temperature = new Float64Array(devices), humidity = new Float64Array(devices);
  const send = (device: number, count: number) => {
    index.set(
      {
        ...{ deviceId: `device-${device}`, count, firstSeenMs: start, lastSeenMs: nowMs, timestampMs: nowMs },
        online: true,
      },
      1,
      nowMs,
    );
    // They drift, each in a period of ten minutes.
    temperature[device] = 25 + 10 * Math.sin(device + nowMs / 95_000) + Math.random();
    humidity[device] = 40 + 20 * Math.sin(device + nowMs / 95_000) + Math.random();
  };
  for (let device = 0; device < devices; device++) send(device, 1);
  index.sweep(1, nowMs);
  const momentOf = () => ({
    ...{
      unixMs: nowMs,
      monotonicMs: nowMs - start,
      isWhole: true,
      countsLateMs: 0,
      rejectedPerMinute: 0,
      isRejectedKnown: true,
    },
  });
  let found = 0;
  const evaluator = new Evaluator({
    fleet: index,
    values: {
      reader: (name) => {
        const column = name === "temperature" ? temperature : humidity;
        return (slot) => column[slot];
      },
    },
    tags: { tagAt: () => undefined },
    observedTime: { observedSince: (fromMs, nowMs) => nowMs - fromMs },
    findings: { fired: () => void found++, cleared: () => void found++ },
    moment: momentOf(),
  });
  evaluator.setRules(rules, momentOf(), () => ({ isFiring: false, firing: [], pending: new Map() }));
  let next = 0, count = 1, spentMs = 0, longestMs = 0;
  for (let second = 0; second < seconds; second++) {
    nowMs += 1_000;
    for (let i = 0; i < perSecond; i++) {
      send(next, ++count);
      next = (next + 1) % devices;
    }
    const before = performance.now();
    evaluator.step(momentOf());
    const tookMs = performance.now() - before;
    spentMs += tookMs;
    longestMs = Math.max(longestMs, tookMs);
  }
  const share = spentMs / seconds / 10;
  console.log(
    `${devices} devices × ${rules.length} rules, ${perSecond} devices send each second: ` +
      `${share.toFixed(2)} % of a core, the longest step ${longestMs.toFixed(1)} ms, ${found} findings`,
  );
  return share;
}

measure(Math.round(devices / 60));
measure(Math.round(devices / 10));
measure(devices);
