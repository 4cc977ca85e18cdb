/**
 * What Prometheus is given, judged by its own promtool.
 *
 * @module
 */
import { assertEquals, assertStringIncludes } from "@std/assert";

import { temporaryStore } from "./harness.ts";
import { addPackets, startTestApi } from "./test_api.ts";

async function promtool(text: string): Promise<{ code: number; output: string }> {
  const child = new Deno.Command("promtool", {
    args: ["check", "metrics"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = child.output();
  await new Blob([text]).stream().pipeTo(child.stdin);
  const { code, stdout, stderr } = await output;
  const decoder = new TextDecoder();
  return { code, output: decoder.decode(stdout) + decoder.decode(stderr) };
}

Deno.test("promtool finds nothing to say about the Prometheus form, hostile ids and instances included", async () => {
  await using store = await temporaryStore();
  await addPackets(store, { "sensor-1": 10, '"}\\': 2, "<script>": 3, "温度计-🌡️": 4 });
  const nowMs = Date.now();
  for (const [i, instance] of ["one", 'two"\\'].entries()) {
    await store.reportInstance({
      instance,
      host: "host",
      pid: i + 1,
      worker: i,
      ingestAddress: `127.0.0.1:${i + 1}`,
      fastPath: i === 0,
      startedMs: nowMs - 1_500,
      reportedMs: nowMs,
      rate: 10.5,
      streams: 2,
      connections: 3,
      queuePackets: 4,
      queueMaxPackets: 10_000,
      received: 100,
      stored: 90,
      duplicates: 5,
      fenced: 2,
      rejected: { PAYLOAD_TOO_LARGE: 3 },
      queueFull: 11,
      failedFlushes: 12,
      connectionsCut: 13,
      clockAheadMs: 3_000,
      callsRefused: 14,
    });
  }
  await using api = await startTestApi(store);
  const response = await fetch(`${api.url}/metrics`, { headers: { accept: "text/plain" } });
  const text = await response.text();
  assertEquals(await promtool(text), { code: 0, output: "" });
  for (
    const line of [
      'tally_devices{status="online"} 4',
      'tally_ingest_packets_stored_total{ingest="one"} 90',
      'tally_ingest_packets_rejected_total{ingest="one",reason="PAYLOAD_TOO_LARGE"} 3',
      'tally_ingest_queue_packets{ingest="two\\"\\\\"} 4',
      'tally_ingest_queue_full_total{ingest="one"} 11',
      'tally_ingest_failed_flushes_total{ingest="one"} 12',
      'tally_ingest_connections_cut_total{ingest="one"} 13',
      'tally_ingest_calls_refused_total{ingest="one"} 14',
      "tally_devices_omitted 0",
    ]
  ) assertStringIncludes(text, `${line}\n`);
  const [, seconds] = /tally_device_last_seen_timestamp_seconds\{device_id="sensor-1"\} ([\d.]+)\n/.exec(
    text,
  )!;
  assertEquals(Math.abs(Number(seconds) - nowMs / 1_000) < 60, true);

  // It does say something about what is wrong.
  assertEquals((await promtool("# TYPE a counter\na 1\n")).code, 3);
});
