/**
 * The SQLite store in two threads of its own: neither a large batch nor a slow disk blocks the event loop,
 * and readers do not wait for writers, nor writers for readers, as SQLite's write-ahead log allows.
 *
 * @module
 */
import { resolve } from "node:path";

import { packEntries } from "../model/packet_entries.ts";
import type { LabelStore } from "../labels.ts";
import type { Batch } from "../packets.ts";
import type { Store } from "../store.ts";
import { StoreError } from "../store_error.ts";
import { pages } from "./devices.ts";
import { labelPages } from "./labels.ts";
import type { SqliteStore, SqliteStoreOptions } from "./sqlite_store.ts";
import type { Method, PackedBatch, Reply, Request } from "./thread_worker.ts";

/**
 * The store of {@linkcode openSqliteStore}, opened by a thread that writes; one that reads starts with the
 * first call that reads. A thread that fails is replaced at the next call.
 *
 * @throws {StoreError} As `openSqliteStore` does.
 */
export async function openSqliteThreads(options: SqliteStoreOptions): Promise<Store> {
  const writer = new Thread(options), reader = new Thread(options);
  const description = await writer.opened();
  const write = <M extends Method>(method: M) => writer.method(method);
  const read = <M extends Method>(method: M) => reader.method(method);
  const page = read("page");
  return {
    description,
    ping: write("ping"),
    status: () => Promise.resolve({ clockMs: undefined, evictionPolicy: undefined }),
    claimSession: write("claimSession"),
    apply: (batch) => writer.apply(batch),
    trimFleetHistory: write("trimFleetHistory"),
    remove: write("remove"),
    removeUnseen: write("removeUnseen"),
    markOffline: write("markOffline"),
    importEvents: write("importEvents"),
    claimDelivery: write("claimDelivery"),
    commitDelivery: write("commitDelivery"),
    reportInstance: write("reportInstance"),
    removeInstance: write("removeInstance"),
    addTokens: write("addTokens"),
    revokeTokens: write("revokeTokens"),
    markTokensUsed: write("markTokensUsed"),
    appendAudit: write("appendAudit"),
    putAlertDocuments: write("putAlertDocuments"),
    removeAlertDocuments: write("removeAlertDocuments"),
    claimAlerts: write("claimAlerts"),
    writeAlertState: write("writeAlertState"),
    scan: () => pages(page),
    summaries: read("summaries"),
    changes: read("changes"),
    device: read("device"),
    payloads: read("payloads"),
    history: read("history"),
    fleetHistory: read("fleetHistory"),
    latestValues: read("latestValues"),
    valueHistory: read("valueHistory"),
    valueChanges: read("valueChanges"),
    waitingSamples: read("waitingSamples"),
    removedPackets: read("removedPackets"),
    packetsOf: read("packetsOf"),
    events: read("events"),
    instances: read("instances"),
    tokensByHash: read("tokensByHash"),
    tokens: read("tokens"),
    credentialsVersion: read("credentialsVersion"),
    audit: read("audit"),
    alertDocuments: read("alertDocuments"),
    alertState: read("alertState"),
    alertEntry: read("alertEntry"),
    ...threadLabels(writer, reader),
    async close() {
      // The last connection to close checkpoints the log, which only a writer may do.
      await reader.close();
      await writer.close();
    },
  };
}

function threadLabels(writer: Thread, reader: Thread): LabelStore {
  const page = reader.method("labelPage");
  return {
    setLabels: writer.method("setLabels"),
    labels: reader.method("labels"),
    notes: reader.method("notes"),
    scanLabels: () => labelPages(page),
    labelChanges: reader.method("labelChanges"),
  };
}

/** A thread with a connection of its own. */
class Thread {
  readonly #options: SqliteStoreOptions;
  /** As `describeFile()` has it, whose module would load the driver into this thread: 1.5 MB. */
  readonly #file: string;
  readonly #replies = new Map<number, PromiseWithResolvers<unknown>>();
  #lastId = 0;
  #worker: Worker | undefined;
  #opening: Promise<string> | undefined;
  #closed = false;

  /** Not started yet. */
  constructor(options: SqliteStoreOptions) {
    this.#options = options;
    this.#file = `SQLite file ${resolve(options.path)}`;
  }

  /** Starts the thread if there is none; resolves to the store's description when the file is open. */
  opened(): Promise<string> {
    if (this.#closed) {
      return Promise.reject(new StoreError(`${this.#file} is not open any more`));
    }
    return this.#opening ??= this.#start();
  }

  /** The store's method of that name, run in the thread. */
  method<M extends Method>(method: M): SqliteStore[M] {
    const call = async (...args: unknown[]) => {
      await this.opened();
      return await this.#request({ id: ++this.#lastId, method, args });
    };
    return call as unknown as SqliteStore[M];
  }

  /** The store's `apply`, run in the thread. */
  async apply(batch: Batch): ReturnType<Store["apply"]> {
    await this.opened();
    const packed = pack(batch);
    return await this.#request({ id: ++this.#lastId, apply: packed }) as Awaited<ReturnType<Store["apply"]>>;
  }

  /** Closes the file and ends the thread. */
  async close(): Promise<void> {
    if (this.#closed) return;
    const opening = this.#opening;
    this.#closed = true;
    if (opening === undefined) return;
    await opening.catch(() => {});
    if (this.#worker !== undefined) {
      await this.#request({ id: ++this.#lastId, method: "close", args: [] }).catch(() => {});
    }
    this.#end("it was closed");
  }

  async #start(): Promise<string> {
    const worker = new Worker(new URL("./thread_worker.ts", import.meta.url), { type: "module" });
    this.#worker = worker;
    const { log, ...open } = this.#options;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if ("warning" in data) return log?.warn(data.warning, data.properties);
      const reply = this.#replies.get(data.id);
      this.#replies.delete(data.id);
      if ("result" in data) reply?.resolve(data.result);
      else reply?.reject(data.isStoreError ? new StoreError(data.failure) : new Error(data.failure));
    };
    worker.onerror = (event) => {
      event.preventDefault(); // The calls reject.
      this.#end(event.message);
    };
    try {
      return await this.#request({ id: ++this.#lastId, open }) as string;
    } catch (error) {
      this.#end(String(error));
      throw error;
    }
  }

  #request(request: Request): Promise<unknown> {
    const reply = Promise.withResolvers<unknown>();
    this.#replies.set(request.id, reply);
    this.#worker!.postMessage(request);
    return reply.promise;
  }

  #end(reason: string): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#opening = undefined;
    const failure = new StoreError(`the thread of ${this.#file} ended: ${reason}`);
    for (const reply of this.#replies.values()) reply.reject(failure);
    this.#replies.clear();
  }
}

function pack({ devices, numbering: _, packetStream, ...rest }: Batch): PackedBatch {
  const packets = new Float64Array(devices.length), timestampsMs = new Float64Array(devices.length);
  const payloadEnds = new Uint32Array(devices.length);
  const parts = devices.map(({ payload }) => payload);
  const payloads = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  const deviceIds = devices.map((device, i) => {
    packets[i] = device.packets;
    timestampsMs[i] = device.timestampMs;
    payloads.set(parts[i]!, end);
    payloadEnds[i] = end += parts[i]!.length;
    return device.deviceId;
  });
  const stream = packetStream && {
    packetStream: { ...packetStream, entries: packEntries(devices) },
  };
  return { ...rest, ...stream, deviceIds, packets, timestampsMs, payloads, payloadEnds };
}
