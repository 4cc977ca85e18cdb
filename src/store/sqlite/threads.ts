/**
 * The SQLite store in two threads of its own: neither a large batch nor a slow disk blocks the event loop,
 * and readers do not wait for writers, nor writers for readers, as SQLite's write-ahead log allows.
 *
 * @module
 */
import { resolve } from "node:path";

import { packEntries } from "../model/packet_entries.ts";
import type { AlertStore } from "../alerts.ts";
import type { LabelStore } from "../labels.ts";
import type { Batch, DeferredAmount } from "../packets.ts";
import type { Store } from "../store.ts";
import { StoreError } from "../store_error.ts";
import { pages } from "./devices.ts";
import { labelPages } from "./labels.ts";
import { packDeltas } from "./packed_deltas.ts";
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
    claimSession: write("claimSession"),
    apply: (batch) => writer.apply(batch),
    deferred: () => writer.deferred,
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
    ...alerts(writer, reader),
    status: read("status"),
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

/** The methods of alerts. */
function alerts(writer: Thread, reader: Thread): AlertStore {
  return {
    putAlertDocuments: writer.method("putAlertDocuments"),
    removeAlertDocuments: writer.method("removeAlertDocuments"),
    claimAlerts: writer.method("claimAlerts"),
    writeAlertState: writer.method("writeAlertState"),
    alertDocuments: reader.method("alertDocuments"),
    alertState: reader.method("alertState"),
    alertEntry: reader.method("alertEntry"),
  };
}

const nothing: DeferredAmount = { packets: 0, bytes: 0 };

/** A thread with a connection of its own. */
class Thread {
  readonly #options: SqliteStoreOptions;
  /** As `describeFile()` has it, whose module would load the driver into this thread: 1.5 MB. */
  readonly #file: string;
  readonly #replies = new Map<number, PromiseWithResolvers<unknown>>();
  /** What is not counted yet. */
  deferred: DeferredAmount = nothing;
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
    const apply = pack(batch), buffers = [apply.deltas.buffer];
    return await this.#request({ id: ++this.#lastId, apply }, buffers) as Awaited<ReturnType<Store["apply"]>>;
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
    const { log, onDeferred: _, ...open } = this.#options;
    worker.onmessage = ({ data }: MessageEvent<Reply>) => {
      if ("warning" in data) return log?.warn(data.warning, data.properties);
      if ("deferred" in data) return void (this.deferred = data.deferred);
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

  #request(request: Request, transfer: ArrayBuffer[] = []): Promise<unknown> {
    const reply = Promise.withResolvers<unknown>();
    this.#replies.set(request.id, reply);
    this.#worker!.postMessage(request, transfer);
    return reply.promise;
  }

  #end(reason: string): void {
    this.#worker?.terminate();
    this.#worker = undefined;
    this.#opening = undefined;
    this.deferred = nothing;
    const failure = new StoreError(`the thread of ${this.#file} ended: ${reason}`);
    for (const reply of this.#replies.values()) reply.reject(failure);
    this.#replies.clear();
  }
}

const numberings = new WeakMap<object, number>();
let lastNumbering = 0;

function pack({ devices, numbering, packetStream, ...rest }: Batch): PackedBatch {
  const deltas = packDeltas(devices);
  const stream = packetStream && {
    packetStream: { ...packetStream, entries: packEntries(devices) },
  };
  if (numbering === undefined) return { ...rest, ...stream, deltas, numbering };
  let index = numberings.get(numbering);
  if (index === undefined) numberings.set(numbering, index = ++lastNumbering);
  const numbers = new Float64Array(devices.length);
  for (let i = 0; i < numbers.length; i++) numbers[i] = devices[i]!.device ?? -1;
  return { ...rest, ...stream, deltas, numbering: { index, devices: numbers } };
}
