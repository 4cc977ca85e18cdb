/**
 * An ingest process for the session model: real queue, writer and state, without a server.
 *
 * @module
 */
import { DeviceTable } from "../../src/ingest/batch/device_table.ts";
import { PacketQueue } from "../../src/ingest/batch/queue.ts";
import { Writer } from "../../src/ingest/batch/writer.ts";
import { createCounters } from "../../src/ingest/counters.ts";
import type { IngestState } from "../../src/ingest/stream/ingest_state.ts";
import { Reverts } from "../../src/ingest/stream/reverts.ts";
import { Accounts } from "../../src/limits/accounts.ts";
import { RequestError } from "../../src/protocol/request_error.ts";
import type { Store } from "../../src/store/store.ts";
import { ingestDefaults } from "../support/harness.ts";
import type { Random } from "../support/random.ts";

/** An ingest without its server. */
export class ModelIngest {
  readonly ingest: IngestState;
  readonly #aborted = new AbortController();
  readonly #finished: Promise<void>;

  constructor(store: Pick<Store, "claimSession" | "apply">, random: Random) {
    const { log, now, ...limits } = ingestDefaults;
    const devices = new DeviceTable({ maxDevices: 100 });
    const bounds = {
      maxPackets: random.int(1, 20),
      maxBytes: 2000,
      maxDevices: 50,
      dueDevices: 10,
      flushIntervalMs: 1,
    };
    const queue = new PacketQueue(bounds, devices);
    const counters = createCounters();
    this.ingest = {
      queue,
      store: store as Store,
      devices,
      counters,
      reverts: new Reverts(counters, log),
      streams: new Set(),
      silentStreams: new Set(),
      accounts: new Accounts(limits, () => performance.now()),
      sessions: new Map(),
      limits,
      now,
      draining: false,
    };
    const producer = crypto.randomUUID();
    this.#finished = new Writer({
      queue,
      store: store as Store,
      counters,
      producer,
      now,
      log,
      signal: this.#aborted.signal,
    }).run();
  }

  /** As `ingest.ts` does. */
  drain(): Promise<void> {
    this.ingest.draining = true;
    for (const stream of [...this.ingest.streams]) stream.fail(new Error("draining"));
    this.ingest.queue.close();
    return this.#finished.then(() => this.ingest.reverts.close());
  }

  /** As the drain's deadline does, or the end of the process: no response is sent any more. */
  abort(): Promise<void> {
    this.#aborted.abort();
    const gone = new RequestError("UNAVAILABLE", "shutting down");
    for (const stream of [...this.ingest.streams]) stream.abort(gone);
    return this.drain();
  }
}
