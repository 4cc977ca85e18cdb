/**
 * A real ingest over a real SQLite file, for the tests of what devices use.
 *
 * @module
 */
import { getLogger } from "@logtape/logtape";

import { type IngestOptions, type RunningIngest, startIngest } from "../../src/ingest/ingest.ts";
import { openSqliteStore } from "../../src/store/sqlite.ts";
import type { Store } from "../../src/store/store.ts";

/** An ingest and its store; the ingest can be replaced by another on the same port. */
export class TestTally implements AsyncDisposable {
  ingest!: RunningIngest;

  private constructor(readonly folder: string, readonly store: Store) {}

  static async start(options: Partial<IngestOptions> = {}): Promise<TestTally> {
    const folder = await Deno.makeTempDir();
    const store = await openSqliteStore({ path: `${folder}/tally.db`, ackAfter: { kind: "stored" } });
    const tally = new TestTally(folder, store);
    await tally.startIngest(options);
    return tally;
  }

  get target(): string {
    return `127.0.0.1:${this.ingest.port}`;
  }

  async startIngest(options: Partial<IngestOptions> = {}): Promise<void> {
    this.ingest = await startIngest({
      host: "127.0.0.1",
      port: 0,
      queueMaxPackets: 10_000,
      queueMaxBytes: 16 * 1024 * 1024,
      flushIntervalMs: 5,
      maxPayloadBytes: 64 * 1024,
      maxMessageBytes: 4 * 1024 * 1024,
      maxClockAheadMs: 24 * 3_600_000,
      maxStreams: 1000,
      storeGraceMs: 5000,
      drainTimeoutMs: 10_000,
      store: this.store,
      log: getLogger("test"),
      now: Date.now,
      ...options,
    });
  }

  /** What is counted, by device. */
  async counts(): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for await (const page of this.store.counts()) {
      for (const { deviceId, count } of page) counts[deviceId] = count;
    }
    return counts;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.ingest.drain();
    await this.store.close();
    await Deno.remove(this.folder, { recursive: true });
  }
}
