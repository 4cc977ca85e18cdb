/**
 * Counts in Redis. What is kept is named in `keys.ts`; each method that writes is one script, one atomic
 * step: `apply.lua`, `claim.lua`, `offline.lua`, `remove.lua` and a few lines below.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { Logger } from "@logtape/logtape";

import {
  decodeHistory,
  deviceHistory,
  fleetHistory,
  HOUR_MS,
  MINUTE_MS,
  noPeriods,
  SECOND_MS,
} from "../model/periods.ts";
import {
  changesKey,
  countsKey,
  deliveredKey,
  deliveryOwnerKey,
  eventsKey,
  fleetKey,
  fleetKeySpansMs,
  type FleetPeriod,
  historiesKey,
  instancesKey,
  lineageKey,
  nothingKey,
  payloadsKey,
  probeKey,
  producerKey,
  recordsKey,
  removedKey,
  sessionKey,
  setAsideKey,
  versionKey,
} from "./keys.ts";
import { ForeignCounts } from "../model/foreign_counts.ts";
import { currentReports } from "../model/current_reports.ts";
import {
  packDevices,
  readChanges,
  readCount,
  readEvent,
  readPayload,
  readRecord,
  readSummaries,
} from "./records.ts";
import { SessionClaims } from "./session_claims.ts";
import { type Argument, Connection, type ConnectionOptions, evalCommand } from "./redis_connection.ts";
import { Durability } from "./durability.ts";
import {
  applyScript,
  changesScript,
  claimDeliveryScript,
  commitDeliveryScript,
  deviceScript,
  eventsScript,
  fleetScript,
  offlineScript,
  payloadsScript,
  removeScript,
  reportScript,
  scanScript,
  summariesScript,
  trimFleetScript,
} from "./scripts.ts";
import { checkServer, parseInfo, type ServerInfo } from "./server_info.ts";
import type { Changes, DeviceState, DeviceSummary, PayloadPreview } from "../devices.ts";
import type { DeviceEvent } from "../events.ts";
import {
  type FleetHistory,
  type History,
  HISTORY_HOURS,
  HISTORY_MINUTES,
  HISTORY_SECONDS,
} from "../history.ts";
import type { InstanceReport } from "../../metrics/ingest_metrics.ts";
import { INSTANCE_EXPIRY_MS } from "../instances.ts";
import {
  type AckAfter,
  type Batch,
  type FencedSessions,
  PRODUCER_EXPIRY_MS,
  SESSION_EXPIRY_MS,
  type SessionClaim,
} from "../packets.ts";
import type { Store, StoreStatus } from "../store.ts";
import { StoreError } from "../store_error.ts";

/** Where Redis is, and how it is used. */
export interface RedisStoreOptions extends ConnectionOptions {
  /** What `apply` and `claimSession` wait for. */
  readonly ackAfter: AckAfter;
}

/**
 * A store on the Redis at `url`. Resolves also when Redis cannot be reached: it is then tried again for
 * ever, and every method rejects until it answers.
 *
 * @throws {StoreError} Redis answers, but cannot do what `ackAfter` asks, does not have the database, or is part
 * of a cluster.
 */
export async function openRedisStore(options: RedisStoreOptions): Promise<Store> {
  const store = new RedisStore(options);
  try {
    await store.connected(options.commandTimeoutMs);
    const info = await store.info().catch(() => undefined);
    if (info !== undefined) store.check(info);
    return store;
  } catch (refusal) {
    await store.close();
    throw refusal;
  }
}

/** Devices asked for in one HSCAN. */
const SCAN_COUNT = 1000;

class RedisStore implements Store {
  readonly description: string;
  readonly #address: string;
  /** WAIT holds its connection up, so readers have one of their own. */
  readonly #writes: Connection;
  readonly #reads: Connection;
  readonly #ackAfter: AckAfter;
  readonly #durability: Durability;
  readonly #claims: SessionClaims;
  readonly #foreign: ForeignCounts;
  readonly #log: Logger;
  #checked = false;

  constructor(options: RedisStoreOptions) {
    const { ackAfter, commandTimeoutMs, log } = options;
    this.#ackAfter = ackAfter;
    this.#log = log;
    this.#writes = new Connection(options, "writes");
    this.#reads = new Connection(options, "reads");
    // Half for the replicas or the disk; half for the script before, and the way there and back.
    const durabilityTimeoutMs = Math.max(1, Math.floor(commandTimeoutMs / 2));
    this.#durability = new Durability(this.#writes, ackAfter, durabilityTimeoutMs);
    this.#claims = new SessionClaims(this.#durability);
    this.#foreign = new ForeignCounts(countsKey, log);
    this.#address = this.#writes.address;
    this.description = `Redis at ${this.#address}`;
  }

  async connected(timeoutMs: number): Promise<void> {
    await Promise.all([this.#writes.firstAttempt(timeoutMs), this.#reads.firstAttempt(timeoutMs)]);
    const { refusal } = this.#writes;
    if (refusal !== undefined) throw new StoreError(`could not use Redis at ${this.#address}: ${refusal}`);
  }

  async ping(): Promise<void> {
    await this.#checkOnce();
    await this.#writes.send("write a probe", ["set", probeKey, "", "PX", 1]);
  }

  async status(): Promise<StoreStatus> {
    const [[time], info] = await Promise.all([
      this.#reads.send("read the clock", ["time"]),
      // The user may lack the permission.
      this.#reads.send("read what it evicts", ["info", "memory"]).catch(() => [""]),
    ]) as [[[Buffer, Buffer]], unknown[]];
    const [seconds, microseconds] = time.map(Number) as [number, number];
    const clockMs = seconds * 1000 + Math.floor(microseconds / 1000);
    return { clockMs, evictionPolicy: parseInfo(String(info[0])).evictionPolicy };
  }

  async claimSession(session: string, offset: number): Promise<SessionClaim> {
    await this.#checkOnce();
    return await this.#claims.claim(session, offset);
  }

  async apply(batch: Batch): Promise<FencedSessions> {
    await this.#checkOnce();
    const { devices, sessions, receivedAtMs } = batch;
    const keys = [
      ...[countsKey, recordsKey, payloadsKey, historiesKey, versionKey, changesKey, eventsKey],
      ...[lineageKey, setAsideKey, nothingKey],
      ...(["second", "minute", "hour"] as const).map((period) => fleetKey(period, receivedAtMs)),
      producerKey(batch.producer),
    ];
    const args: Argument[] = [
      batch.sequence,
      batch.previous,
      receivedAtMs,
      PRODUCER_EXPIRY_MS,
      SESSION_EXPIRY_MS,
      ...packDevices(devices),
    ];
    for (const { session, epoch, from, to } of sessions) {
      keys.push(sessionKey(session));
      args.push(`${epoch} ${from}`, `${epoch} ${to}`);
    }
    const attempt = `apply a batch of ${devices.length} devices and ${sessions.length} sessions`;
    const command = evalCommand(applyScript, keys, args);
    const [fenced, aside] = await this.#durability.send(attempt, command) as [number[], Buffer[]];
    for (let i = 0; i < aside.length; i += 2) {
      this.#foreign.setAside(aside[i]!.toString(), aside[i + 1]!.toString(), setAsideKey);
    }
    return Array.from({ length: fenced.length / 3 }, (_, i) => {
      const [index, reverted, committed] = fenced.slice(3 * i) as [number, number, number];
      const kind = reverted === 1 ? "reverted" : "superseded";
      return { session: sessions[index]!.session, kind, committed };
    });
  }

  async *scan(): AsyncGenerator<readonly DeviceSummary[]> {
    // HSCAN may give a field more than once while the hash grows or shrinks.
    const seen = new Set<string>();
    let cursor = "0";
    do {
      const [next, fields, records] = await this.#reads.evaluate(
        "scan the devices",
        scanScript,
        [countsKey, recordsKey],
        [cursor, SCAN_COUNT],
      ) as [Buffer, Buffer[], (Buffer | null)[]];
      const deviceIds = records.map((_, i) => fields[2 * i]!.toString());
      const counts = records.map((_, i) => fields[2 * i + 1]!);
      const page = this.#readSummaries(deviceIds, counts, records)
        .filter(({ deviceId }) => !seen.has(deviceId));
      for (const { deviceId } of page) seen.add(deviceId);
      if (page.length > 0) yield page;
      cursor = next.toString();
    } while (cursor !== "0");
  }

  async summaries(deviceIds: readonly string[]): Promise<readonly DeviceSummary[]> {
    if (deviceIds.length === 0) return [];
    const [counts, records] = await this.#reads.evaluate(
      `read ${deviceIds.length} devices`,
      summariesScript,
      [countsKey, recordsKey],
      deviceIds,
    ) as [(Buffer | null)[], (Buffer | null)[]];
    return this.#readSummaries(deviceIds, counts, records);
  }

  async changes(since?: number): Promise<Changes> {
    const [version, entries] = await this.#reads.evaluate(
      "read what changed",
      changesScript,
      [versionKey, changesKey],
      since === undefined ? [] : [since],
    ) as [Buffer, Buffer[]?];
    const devices = new Map<string, DeviceSummary | undefined>();
    for (const entry of entries ?? []) readChanges(entry, devices);
    return { version: Number(version), devices: entries === undefined ? "all" : devices };
  }

  async device(deviceId: string): Promise<DeviceState | undefined> {
    const [count, record, long] = await this.#reads.evaluate(
      `read device ${deviceId}`,
      deviceScript,
      [countsKey, recordsKey, payloadsKey],
      [deviceId],
    ) as (Buffer | null)[];
    const [summary] = this.#readSummaries([deviceId], [count!], [record!]);
    return summary && { ...summary, payload: readPayload(record!, long!) };
  }

  async payloads(
    deviceIds: readonly string[],
    maxBytes: number,
  ): Promise<ReadonlyMap<string, PayloadPreview>> {
    if (deviceIds.length === 0) return new Map();
    const previews = await this.#reads.evaluate(
      `read the payloads of ${deviceIds.length} devices`,
      payloadsScript,
      [recordsKey, payloadsKey],
      [maxBytes, ...deviceIds],
    ) as ([number, Buffer] | null)[];
    return new Map(deviceIds.flatMap((deviceId, i) => {
      const preview = previews[i];
      if (!preview) return [];
      const [totalBytes, bytes] = preview;
      return [[deviceId, { totalBytes, bytes: Uint8Array.from(bytes) }]];
    }));
  }

  async history(deviceId: string, nowMs: number): Promise<History | undefined> {
    const [count, record, history] = await this.#reads.evaluate(
      `read the history of device ${deviceId}`,
      deviceScript,
      [countsKey, recordsKey, historiesKey],
      [deviceId],
    ) as (Buffer | null)[];
    if (!count || readCount(count) === undefined) return undefined;
    return deviceHistory(readRecord(record!), history ? decodeHistory(history) : noPeriods, nowMs);
  }

  async fleetHistory(nowMs: number): Promise<FleetHistory> {
    const kinds: [FleetPeriod, number, number][] = [
      ["second", SECOND_MS, HISTORY_SECONDS],
      ["minute", MINUTE_MS, HISTORY_MINUTES],
      ["hour", HOUR_MS, HISTORY_HOURS],
    ];
    const wanted = kinds.flatMap(([period, periodMs, count]) => {
      const keys = new Set([fleetKey(period, nowMs)]);
      for (let ago = count - 1; ago > 0; ago--) keys.add(fleetKey(period, nowMs - ago * periodMs));
      return [...keys].map((key) => ({ periodMs, key }));
    });
    const hashes = await this.#reads.evaluate(
      "read the fleet's history",
      fleetScript,
      wanted.map(({ key }) => key),
      [],
    ) as Buffer[][];
    const packets = new Map<string, number>();
    for (const [i, fields] of hashes.entries()) {
      const { periodMs } = wanted[i]!;
      for (let at = 0; at < fields.length; at += 2) {
        packets.set(`${periodMs} ${Number(fields[at]) * periodMs}`, Number(fields[at + 1]));
      }
    }
    return fleetHistory(nowMs, (periodMs, startMs) => packets.get(`${periodMs} ${startMs}`));
  }

  async removedPackets(): Promise<number> {
    const [packets] = await this.#reads.send("read the packets of removed devices", ["get", removedKey]);
    return Number(packets ?? 0);
  }

  async trimFleetHistory(untilMs: number): Promise<void> {
    const kinds: [FleetPeriod, number, number][] = [
      ["second", SECOND_MS, HISTORY_SECONDS],
      ["minute", MINUTE_MS, HISTORY_MINUTES],
      ["hour", HOUR_MS, HISTORY_HOURS],
    ];
    // No period is kept for longer than twice as long as it is shown.
    const keys = kinds.flatMap(([period, periodMs, count]) => {
      const spanMs = fleetKeySpansMs[period];
      const spans = Math.ceil(2 * count * periodMs / spanMs) + 1;
      return Array.from({ length: spans }, (_, i) => ({
        key: fleetKey(period, untilMs + i * spanMs),
        last: Math.floor(untilMs / periodMs),
      }));
    });
    await this.#writes.evaluate(
      "trim the fleet's history",
      trimFleetScript,
      keys.map(({ key }) => key),
      keys.map(({ last }) => last),
    );
  }

  async remove(deviceId: string): Promise<boolean> {
    const keys = [
      countsKey,
      recordsKey,
      payloadsKey,
      historiesKey,
      versionKey,
      changesKey,
      nothingKey,
      removedKey,
    ];
    return await this.#writes.evaluate(`remove device ${deviceId}`, removeScript, keys, [deviceId]) ===
      1;
  }

  async markOffline(deviceIds: readonly string[], lastSeenBeforeMs: number, nowMs: number): Promise<number> {
    if (deviceIds.length === 0) return 0;
    return await this.#writes.evaluate(
      `mark ${deviceIds.length} devices offline`,
      offlineScript,
      [recordsKey, eventsKey, versionKey, changesKey, lineageKey, nothingKey],
      [lastSeenBeforeMs, nowMs, ...deviceIds],
    ) as number;
  }

  async events(after: number | undefined, limit: number): Promise<readonly DeviceEvent[]> {
    const attempt = "read events";
    const entries = after === undefined
      ? (await this.#reads.send(attempt, ["lrange", eventsKey, -limit, -1]))[0]
      : await this.#reads.evaluate(attempt, eventsScript, [eventsKey], [after, limit]);
    return (entries as Buffer[]).map((entry) => readEvent(entry.toString()));
  }

  async claimDelivery(owner: string, ttlMs: number): Promise<number | undefined> {
    const delivered = await this.#writes.evaluate(
      "claim the delivery of events",
      claimDeliveryScript,
      [deliveryOwnerKey, deliveredKey, eventsKey, lineageKey, versionKey],
      [owner, ttlMs],
    ) as Buffer | null;
    return delivered === null ? undefined : Number(delivered);
  }

  async commitDelivery(owner: string, eventId: number): Promise<boolean> {
    const keys = [deliveryOwnerKey, deliveredKey];
    const args = [owner, eventId];
    return await this.#writes.evaluate("commit delivered events", commitDeliveryScript, keys, args) === 1;
  }

  async reportInstance(report: InstanceReport): Promise<void> {
    const args = [report.instance, report.reportedMs, JSON.stringify(report), INSTANCE_EXPIRY_MS];
    await this.#writes.evaluate("report an instance", reportScript, [instancesKey], args);
  }

  async removeInstance(instance: string): Promise<void> {
    await this.#writes.send("remove an instance", ["hdel", instancesKey, instance]);
  }

  async instances(nowMs: number): Promise<readonly InstanceReport[]> {
    const [reports] = await this.#reads.send("read the instances", ["hvals", instancesKey]) as [Buffer[]];
    return currentReports(reports.map((value) => value.toString("utf8", value.indexOf(" ") + 1)), nowMs);
  }

  async close(): Promise<void> {
    await Promise.all([this.#writes.close(), this.#reads.close()]);
  }

  /** What the server says of itself. */
  async info(): Promise<ServerInfo> {
    const [text] = await this.#writes.send("ask for INFO", ["info"]);
    return parseInfo(String(text));
  }

  /** Throws {@linkcode StoreError} if the server cannot do what `ackAfter` asks. */
  check(info: ServerInfo): void {
    checkServer(info, this.#ackAfter, this.#address, this.#log);
    this.#checked = true;
  }

  #readSummaries(
    deviceIds: readonly string[],
    counts: readonly (Buffer | null)[],
    records: readonly (Buffer | null)[],
  ): DeviceSummary[] {
    return readSummaries(deviceIds, counts, records, (id, value) => this.#foreign.found(id, value));
  }

  /** For the Redis that could not be reached when the store was opened. */
  async #checkOnce(): Promise<void> {
    if (this.#ackAfter.kind === "synced" && !this.#checked) this.check(await this.info());
  }
}
