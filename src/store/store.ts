/**
 * What Tally needs of storage, in one type. `redis/` and `sqlite/` implement it and pass the same tests
 * (`tests/contracts/store_contract.ts`).
 *
 * Every method rejects with {@linkcode StoreError} when the store cannot be reached, refuses the call, or does
 * not reply in time. After a rejected {@linkcode PacketStore.apply} it is unknown whether the batch was
 * applied; calling it again with the same batch is always right.
 *
 * @module
 */
import type { AlertStore } from "./alerts.ts";
import type { AuditStore } from "./audit.ts";
import type { CredentialStore } from "./credentials.ts";
import type { DeviceStore } from "./devices.ts";
import type { EventStore } from "./events.ts";
import type { HistoryStore } from "./history.ts";
import type { InstanceRegistry } from "./instances.ts";
import type { LabelStore } from "./labels.ts";
import type { DeliveryLease } from "./lease.ts";
import type { PacketStreamReader } from "./packet_stream.ts";
import type { PacketStore } from "./packets.ts";
import type { ValueStore } from "./values.ts";

/** What a store reports of itself. */
export interface StoreStatus {
  /** Its own clock, Unix milliseconds; undefined: the machine's that runs this. */
  readonly clockMs: number | undefined;
  /** What it evicts when its memory is full; undefined if nothing, or if that cannot be read. */
  readonly evictionPolicy: string | undefined;
  /** Where it is now, if that may change. */
  readonly address?: string | undefined;
  /** Memory that its server uses, bytes, where that can be read. */
  readonly memoryBytes?: number | undefined;
  /** Devices in it, where they are counted. */
  readonly devices?: number | undefined;
  /**
   * How long ago the oldest packets were received that are stored and not in the counts of their devices yet, ms; 0 or
   * undefined: all are.
   */
  readonly countsLateMs?: number | undefined;
}

/** One of the stores that a store is made of. */
export interface ShardReport {
  /** Where it is. */
  readonly address: string;
  /** Since when it has not answered, or not in time, Unix ms; undefined: it answers. */
  readonly lateSinceMs: number | undefined;
  /** How long it took to answer, ms; undefined: it has not. */
  readonly responseMs: number | undefined;
  /** See {@linkcode StoreStatus}. */
  readonly memoryBytes: number | undefined;
  /** See {@linkcode StoreStatus}. */
  readonly devices: number | undefined;
  /** See {@linkcode StoreStatus}; undefined: not known. */
  readonly countsLateMs: number | undefined;
}

/** Where counts live: its parts by concern, and the connection to it. */
export interface Store
  extends
    PacketStore,
    PacketStreamReader,
    DeviceStore,
    HistoryStore,
    ValueStore,
    EventStore,
    DeliveryLease,
    InstanceRegistry,
    CredentialStore,
    AuditStore,
    AlertStore,
    LabelStore {
  /** One line for the start-up log: which store this is and where. Holds no credentials. */
  readonly description: string;

  /** Resolves when the store answers and can be written to. */
  ping(): Promise<void>;

  /** What the store reports of itself, its clock at the moment of the call. */
  status(): Promise<StoreStatus>;

  /** Its shards, if it is made of several. */
  shards?(): Promise<readonly ShardReport[]>;

  /** Releases connections and files. Calls in flight may reject. */
  close(): Promise<void>;
}
