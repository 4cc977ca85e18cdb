/**
 * What runs in a thread of `threads.ts`: a SQLite store that is called by messages.
 *
 * @module
 */
/// <reference lib="deno.worker" />
import { openSqliteStore, type SqliteStore, type SqliteStoreOptions } from "./sqlite_store.ts";
import { describeFile, mayPass } from "./database_file.ts";
import type { Batch, DeviceDelta } from "../packets.ts";
import { StoreError } from "../store_error.ts";

/** Methods that are called by messages. */
export type Method = Exclude<keyof SqliteStore, "description" | "isOpen" | "scan" | "status">;

/**
 * The first message opens the store, each other one calls it; `id` comes back with the answer. Opening succeeds
 * also while the file is locked or the disk full: each call then tries again.
 */
export type Request =
  | { readonly id: number; readonly open: Omit<SqliteStoreOptions, "log"> }
  | { readonly id: number; readonly apply: PackedBatch }
  | { readonly id: number; readonly method: Method; readonly args: unknown[] };

/** What came of a request: of opening, the store's description. Besides, warnings for the log. */
export type Answer =
  | { readonly warning: string; readonly properties: Record<string, unknown> }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number; readonly failure: string; readonly isStoreError: boolean };

/**
 * A batch with its devices in columns: a few arrays cross between threads in a fraction of the time of
 * thousands of objects, and a payload does not drag the buffer with it of which it is a part.
 */
export interface PackedBatch extends Omit<Batch, "devices"> {
  /** See {@linkcode DeviceDelta}. */
  readonly deviceIds: readonly string[];
  /** See {@linkcode DeviceDelta}. */
  readonly packets: Float64Array;
  /** See {@linkcode DeviceDelta}. */
  readonly timestampsMs: Float64Array;
  /** One behind the other. */
  readonly payloads: Uint8Array;
  /** Where each ends. */
  readonly payloadEnds: Uint32Array;
}

function unpack({ deviceIds, packets, timestampsMs, payloads, payloadEnds, ...rest }: PackedBatch): Batch {
  const devices: DeviceDelta[] = deviceIds.map((deviceId, i) => ({
    deviceId,
    packets: packets[i]!,
    timestampMs: timestampsMs[i]!,
    payload: payloads.subarray(payloadEnds[i - 1] ?? 0, payloadEnds[i]),
  }));
  return { ...rest, devices };
}

let options: SqliteStoreOptions;
let store: SqliteStore | undefined;
let opening: Promise<SqliteStore> | undefined;

/** The store; opened anew when its file was deleted or replaced. */
async function openStore(): Promise<SqliteStore> {
  if (store?.isOpen) return store;
  opening ??= openSqliteStore(options).finally(() => opening = undefined);
  return store = await opening;
}

async function answer(request: Request): Promise<unknown> {
  if ("open" in request) {
    const warn = (warning: string, properties: Record<string, unknown>) =>
      self.postMessage({ warning, properties });
    options = { ...request.open, log: { warn } };
    await openStore().catch((error) => {
      if (!mayPass(error)) throw error;
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
    self.postMessage({ id: request.id, result: await answer(request) });
  } catch (error) {
    const isStoreError = error instanceof StoreError;
    const failure = isStoreError ? error.message : String((error as Error)?.stack ?? error);
    self.postMessage({ id: request.id, failure, isStoreError });
  }
};
