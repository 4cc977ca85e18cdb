/**
 * Sends samples to VictoriaMetrics in a process of its own, over several connections: each line of its input is an
 * {@linkcode ImportTask}, each line of its output an {@linkcode ImportResult}.
 *
 * @module
 */
import { answer } from "./child.ts";
import { deviceId } from "./packet_ring.ts";

/** What to send. */
export interface ImportTask {
  readonly port: number;
  readonly series: number;
  /** Sends each series once, and again until it has sent so many. */
  readonly minSamples: number;
  /** Timestamp of the first round, Unix milliseconds; each further round has one more. */
  readonly baseMs: number;
}

/** What became of it. */
export interface ImportResult {
  readonly samples: number;
  readonly rounds: number;
  readonly elapsedMs: number;
  readonly failures: readonly string[];
}

/** Bodies are sent at the same time so many, each with samples of so many series at most. */
const CONNECTIONS = 4, SERIES_PER_BODY = 10_000;

const bodiesBySeries = new Map<number, { bytes: Uint8Array<ArrayBuffer>; samples: number }[]>();

/** One sample of each series, in Prometheus's text format; the timestamp is the request's. */
function bodiesOf(series: number) {
  const known = bodiesBySeries.get(series);
  if (known !== undefined) return known;
  const bodies = [];
  const size = Math.min(SERIES_PER_BODY, Math.ceil(series / CONNECTIONS));
  for (let first = 0; first < series; first += size) {
    const samples = Math.min(size, series - first);
    const lines = Array.from({ length: samples }, (_, i) => `bench{device="${deviceId(first + i)}"} 1\n`);
    bodies.push({ bytes: new TextEncoder().encode(lines.join("")), samples });
  }
  bodiesBySeries.set(series, bodies);
  return bodies;
}

async function runImport({ port, series, minSamples, baseMs }: ImportTask): Promise<ImportResult> {
  const bodies = bodiesOf(series), failures: string[] = [];
  const rounds = Math.max(1, Math.ceil(minSamples / series));
  const url = `http://127.0.0.1:${port}/api/v1/import/prometheus`;
  let next = 0, samples = 0;
  const startedAtMs = performance.now();
  await Promise.all(Array.from({ length: CONNECTIONS }, async () => {
    for (let at = next++; at < rounds * bodies.length && failures.length === 0; at = next++) {
      const { bytes, samples: more } = bodies[at % bodies.length]!;
      const timestamp = baseMs + Math.floor(at / bodies.length);
      const response = await fetch(`${url}?timestamp=${timestamp}`, { method: "POST", body: bytes });
      if (response.status !== 204) failures.push(`status ${response.status}: ${await response.text()}`);
      else await response.body?.cancel();
      samples += more;
    }
  }));
  return { samples, rounds, elapsedMs: performance.now() - startedAtMs, failures };
}

await answer(runImport);
