/**
 * VictoriaMetrics, a database of time series: what it takes over HTTP, and what it then has.
 *
 * @module
 */
import { freePort } from "../support/free_port.ts";
import { Child } from "./child.ts";
import type { ImportResult, ImportTask } from "./import_process.ts";
import { Program } from "./program.ts";

/** Debian's package and program. */
export const VICTORIA_METRICS = "victoria-metrics";

/** Limits of queries that count all there is, and no delay before what was imported is found. */
const flags = [
  "-search.maxUniqueTimeseries=100000000",
  "-search.maxSamplesPerQuery=10000000000",
  "-search.maxQueryDuration=10m",
  "-search.latencyOffset=0s",
  "-search.disableCache",
];

/** A server with a fresh folder, and what was sent to it so far. */
export class VictoriaMetrics implements AsyncDisposable {
  /** What was wrong with it first. */
  wrong: string | undefined;
  #sent = 0;
  #rounds = 0;
  readonly #baseMs = Date.now() - 3_600_000;

  private constructor(
    readonly port: number,
    readonly series: number,
    readonly generator: Child,
    readonly parts: AsyncDisposableStack,
  ) {}

  /** Starts it, for samples of so many series. */
  static async start(series: number): Promise<VictoriaMetrics> {
    await using parts = new AsyncDisposableStack();
    const folder = await Deno.makeTempDir({ prefix: "bench-" });
    parts.defer(() => Deno.remove(folder, { recursive: true }));
    const port = freePort();
    const command = [
      VICTORIA_METRICS,
      `-httpListenAddr=127.0.0.1:${port}`,
      `-storageDataPath=${folder}`,
      ...flags,
    ].join(" ");
    parts.use(await Program.start(command, port));
    const generator = parts.use(Child.start("./import_process.ts"));
    return new VictoriaMetrics(port, series, generator, parts.move());
  }

  /** Sends at least so many samples, each series in turn; how many a second it took. */
  async load(minSamples: number): Promise<number> {
    const { port, series } = this;
    const task: ImportTask = { port, series, minSamples, baseMs: this.#baseMs + this.#rounds };
    const { samples, rounds, elapsedMs, failures } = await this.generator.ask<ImportResult>(task);
    this.#rounds += rounds;
    this.#sent += samples;
    this.wrong ??= failures[0];
    return samples / elapsedMs * 1000;
  }

  /** Notes when it does not hold exactly what was sent. */
  async compare(): Promise<void> {
    const url = `http://127.0.0.1:${this.port}`;
    await (await fetch(`${url}/internal/force_flush`)).body?.cancel();
    const [samples, series] = await Promise.all(
      ["sum", "count"].map(async (of) => {
        const query = new URLSearchParams({ query: `${of}(count_over_time(bench[1d]))`, nocache: "1" });
        const response = await fetch(`${url}/api/v1/query?${query}`);
        const { data } = await response.json();
        return Number(data.result[0]?.value[1]);
      }),
    );
    if (samples === this.#sent && series === this.series) return;
    this.wrong ??=
      `it holds ${samples} samples of ${series} series, sent were ${this.#sent} of ${this.series}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.parts.disposeAsync();
  }
}
