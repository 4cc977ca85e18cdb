/**
 * What runs in a thread of `threads.ts`: a SQLite store that is called by messages.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import type { Batch, DeferredAmount } from "../packets.ts";
import { StoreError } from "../store_error.ts";
import { describeFile, isTransient } from "./database_file.ts";
import { unpackDeltas } from "./packed_deltas.ts";
import { openSqliteStore, type SqliteStore, type SqliteStoreOptions } from "./sqlite_store.ts";

/** Methods that are called by messages. */
export type Method = Exclude<
  keyof SqliteStore,
  "description" | "isOpen" | "scan" | "scanLabels" | "deferred"
>;

/**
 * The first message opens the store, each other one calls it; `id` comes back with the reply. Opening succeeds
 * also while the file is locked or the disk full: each call then retries.
 */
export type Request =
  | { readonly id: number; readonly open: Omit<SqliteStoreOptions, "log" | "onDeferred"> }
  | { readonly id: number; readonly apply: PackedBatch }
  | { readonly id: number; readonly method: Method; readonly args: unknown[] };

/** Result of a request: of opening, the store's description. Also warnings for the log, and what is not counted yet. */
export type Reply =
  | { readonly deferred: DeferredAmount }
  | { readonly warning: string; readonly properties: Record<string, unknown> }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: string; readonly isStoreError: boolean };

/**
 * A batch with its devices in one value: that crosses between threads in a fraction of the time of thousands of objects,
 * and a payload does not take the whole buffer of which it is a part with it.
 */
export interface PackedBatch extends Omit<Batch, "devices" | "numbering"> {
  /** What `packDeltas()` returned. */
  readonly deltas: Uint8Array<ArrayBuffer>;
  /** Of a numbering: which one it is, and the number of each device. */
  readonly numbering: { readonly index: number; readonly devices: Float64Array } | undefined;
}

/** What number the devices, by their index; they are the same objects in all batches. */
const numberings = new Map<number, object>();

function unpack({ deltas, numbering, ...rest }: PackedBatch): Batch {
  const devices = unpackDeltas(deltas, numbering?.devices);
  if (numbering === undefined) return { ...rest, devices };
  const known = numberings.get(numbering.index) ?? {};
  numberings.set(numbering.index, known);
  return { ...rest, devices, numbering: known };
}

let options: SqliteStoreOptions;
let store: SqliteStore | undefined;
let opening: Promise<SqliteStore> | undefined;

/** The store; opened anew when it is no longer open. */
async function openStore(): Promise<SqliteStore> {
  if (store?.isOpen) return store;
  opening ??= openSqliteStore(options).finally(() => opening = undefined);
  return store = await opening;
}

async function reply(request: Request): Promise<unknown> {
  if ("open" in request) {
    const warn = (warning: string, properties: Record<string, unknown>) =>
      self.postMessage({ warning, properties });
    const onDeferred = (deferred: DeferredAmount) => self.postMessage({ deferred });
    options = { ...request.open, log: { warn }, onDeferred };
    await openStore().catch((error) => {
      if (!isTransient(error)) throw error;
    });
    return describeFile(options.path);
  }
  if ("method" in request && request.method === "close") return await store?.close();
  const opened = await openStore();
  if ("apply" in request) return await opened.apply(unpack(request.apply));
  const method = opened[request.method] as (...args: unknown[]) => Promise<unknown>;
  return await method.apply(opened, request.args);
}

self.onmessage = async ({ data: request }: MessageEvent<Request>) => {
  try {
    self.postMessage({ id: request.id, result: await reply(request) });
  } catch (error) {
    const isStoreError = error instanceof StoreError;
    const failure = isStoreError ? error.message : String((error as Error)?.stack ?? error);
    self.postMessage({ id: request.id, failure, isStoreError });
  }
};
