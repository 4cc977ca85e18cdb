/**
 * A store for tests of what the api does with counts, whatever they come from, and of faults and device ids
 * that the real stores cannot be made to show.
 *
 * @module
 */
import type { ApiStore } from "../../src/api/api.ts";
import type { DeviceCount, DeviceSummary } from "../../src/store/devices.ts";
import type { DeviceValues } from "../../src/store/values.ts";

/** Counts in a list, all of it read each time; fails on demand, answers late on demand. */
export class ListedStore implements ApiStore {
  readonly description = "a list";
  /** Times it was read. */
  reads = 0;
  /** What every call rejects with. */
  failure: Error | undefined;
  /** What readings wait for. */
  gate: Promise<void> | undefined;

  /** Holds `devices`. */
  constructor(public devices: readonly DeviceCount[] = []) {}

  ping(): Promise<void> {
    return this.#answer(undefined);
  }

  changes() {
    return this.#answer({ version: this.reads, devices: "all" as const });
  }

  async *scan(): AsyncIterable<readonly DeviceSummary[]> {
    this.reads++;
    await this.gate;
    for (let start = 0; start < this.devices.length; start += 1_000) {
      yield await this.#answer(this.devices.slice(start, start + 1_000).map(summary));
    }
    await this.#answer(undefined);
  }

  summaries(deviceIds: readonly string[]) {
    return this.#answer(this.devices.filter(({ deviceId }) => deviceIds.includes(deviceId)).map(summary));
  }

  async device(deviceId: string) {
    const [found] = await this.summaries([deviceId]);
    return found && { ...found, payload: new Uint8Array() };
  }

  payloads() {
    return this.#answer(new Map());
  }

  history() {
    return this.#answer(undefined);
  }

  fleetHistory() {
    return this.#answer({ seconds: [], minutes: [], hours: [] });
  }

  latestValues() {
    return this.#answer(new Map<string, DeviceValues>());
  }

  valueHistory() {
    return this.#answer(undefined);
  }

  valueChanges() {
    return this.#answer({ cursor: "", deviceIds: [] });
  }

  waitingSamples() {
    return this.#answer({ bytes: 0, dropped: 0 });
  }

  packetsOf() {
    return this.#answer({ entries: [], next: "", isEnd: true });
  }

  removedPackets() {
    return this.#answer(0);
  }

  remove() {
    return this.#answer(false);
  }

  removeUnseen() {
    return this.#answer(0);
  }

  markOffline() {
    return this.#answer(0);
  }

  events() {
    return this.#answer([]);
  }

  claimDelivery() {
    return this.#answer(undefined);
  }

  commitDelivery() {
    return this.#answer(false);
  }

  instances() {
    return this.#answer([]);
  }

  addTokens() {
    return this.#answer(undefined);
  }

  tokensByHash() {
    return this.#answer(new Map());
  }

  tokens() {
    return this.#answer([]);
  }

  revokeTokens() {
    return this.#answer([]);
  }

  markTokensUsed() {
    return this.#answer(undefined);
  }

  credentialsVersion() {
    return this.#answer("");
  }

  appendAudit() {
    return this.#answer(undefined);
  }

  audit() {
    return this.#answer([]);
  }

  setLabels() {
    return this.#answer(undefined);
  }

  labels() {
    return this.#answer(new Map());
  }

  notes() {
    return this.#answer("");
  }

  async *scanLabels() {
    yield await this.#answer([]);
  }

  labelChanges() {
    return this.#answer({ version: 1, devices: new Map() });
  }

  alertDocuments() {
    return this.#answer({ version: "", documents: [] });
  }

  putAlertDocuments() {
    return this.#answer({ versions: [] });
  }

  removeAlertDocuments() {
    return this.#answer([]);
  }

  claimAlerts() {
    return this.#answer(undefined);
  }

  alertState() {
    return this.#answer({ version: "", entries: new Map() });
  }

  alertEntry() {
    return this.#answer(undefined);
  }

  writeAlertState() {
    return this.#answer(undefined);
  }

  #answer<T>(value: T): Promise<T> {
    return this.failure === undefined ? Promise.resolve(value) : Promise.reject(this.failure);
  }
}

function summary({ deviceId, count }: DeviceCount): DeviceSummary {
  return { deviceId, count, firstSeenMs: 0, lastSeenMs: 0, timestampMs: 0, online: true };
}
