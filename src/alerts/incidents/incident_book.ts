/**
 * The incidents, in memory, of the process that evaluates rules.
 *
 * A storm is one incident: devices join the newest open one of their rule as long as others keep joining. So there are
 * few, whatever the fleet does.
 *
 * @module
 */
import type { AlertStateChange } from "../../store/alerts.ts";
import type { Findings } from "../rules/facts.ts";
import { parseObject, type Rule } from "../rules/rule.ts";
import {
  afterPrefix,
  FIRST_DEVICES,
  type Incident,
  type IncidentDevices,
  incidentOf,
  memoryFields,
  newIncident,
} from "./incident.ts";

/** A device joins an incident that another one joined so recently: devices that report each minute go offline within one. */
export const JOIN_MS = 60_000;

/** An incident takes no further devices for longer than this, unless its rule has too many. */
export const MAX_JOINING_MS = 10 * 60_000;

/** Open incidents of one rule: at this bound devices join the newest one, however old it is. */
export const MAX_OPEN_PER_RULE = 5;

/** Devices that an incident names; further ones are counted only, and all that come later join it. */
export const DEVICES_KEPT = 20_000;

/** Devices that it names once it has ended. */
export const RESOLVED_DEVICES_KEPT = 1_000;

/** Incidents that have ended and are kept; the oldest are dropped. */
export const RESOLVED_KEPT = 1_000;

/** Bytes of devices written in one step. */
const MAX_BYTES_PER_WRITE = 4 * 2 ** 20;

/** An incident with its devices: true where the rule applies to one. */
interface Entry {
  readonly incident: Incident;
  readonly devices: Map<string, boolean>;
  /** Devices to which the rule applies, that are not among `devices`. */
  unnamed: number;
}

/** Opens, joins and resolves incidents. */
export class IncidentBook implements Findings {
  /** Oldest first. */
  readonly #entries = new Map<number, Entry>();
  readonly #open = new Map<string, Entry[]>();
  /** By rule and device. */
  readonly #byDevice = new Map<string, Map<string, Entry>>();
  readonly #dirty = new Set<Entry>();
  readonly #dropped: number[] = [];
  readonly #onResolved: (incident: Incident) => void;
  #lastId: number;
  #resolved = 0;
  /** Unix milliseconds of what is found next. */
  nowMs = 0;

  /** `incidents`, `memory`: sections of the state; `lastId`: of the newest incident ever. */
  constructor(
    incidents: ReadonlyMap<string, string>,
    memory: ReadonlyMap<string, string>,
    lastId: number,
    onResolved: (incident: Incident) => void,
  ) {
    this.#lastId = lastId;
    this.#onResolved = onResolved;
    const found = [...incidents.values()].flatMap((body) => incidentOf(body) ?? []);
    for (const incident of found.sort((a, b) => a.id - b.id)) {
      const stored = memory.get(memoryFields.devices(incident.id));
      const { firing = [], cleared = [] } =
        (stored === undefined ? {} : parseObject(stored) ?? {}) as Partial<IncidentDevices>;
      const devices = new Map([
        ...cleared.map((id) => [id, false] as const),
        ...firing.map((id) => [id, true] as const),
      ]);
      const entry: Entry = { incident, devices, unnamed: 0 };
      // Those that it does not name are found again, but those of a group.
      if (incident.state === "firing" && incident.devices > 0 && incident.kind !== "group") {
        incident.firing = firing.length;
        if (devices.size >= DEVICES_KEPT) incident.devices = devices.size;
      }
      this.#entries.set(incident.id, entry);
      this.#lastId = Math.max(this.#lastId, incident.id);
      if (incident.state === "resolved") this.#resolved++;
      else {
        this.#openOf(incident.rule_id).push(entry);
        const own = this.#devicesOf(incident.rule_id);
        for (const id of firing) own.set(id, entry);
      }
    }
    for (const field of memory.keys()) {
      const id = afterPrefix(field, "devices");
      if (id !== undefined && !this.#entries.has(Number(id))) this.#dropped.push(Number(id));
    }
  }

  /** Id of the newest incident. */
  get lastId(): number {
    return this.#lastId;
  }

  /** Open ones, by rule. */
  open(): Incident[] {
    return [...this.#open.values()].flatMap((entries) => entries.map(({ incident }) => incident));
  }

  /** Rules that have open ones. */
  openRules(): string[] {
    return [...this.#open].filter(([, entries]) => entries.length > 0).map(([ruleId]) => ruleId);
  }

  /** Whether the rule has an open one, and the devices of all of them to which it applies. */
  restored(ruleId: string): { isFiring: boolean; firing: string[] } {
    return {
      isFiring: this.#openOf(ruleId).length > 0,
      firing: [...this.#devicesOf(ruleId).keys()],
    };
  }

  /** Devices of an incident to which the rule applies. */
  *firingDevices(incidentId: number): Iterable<string> {
    for (const [deviceId, isFiring] of this.#entries.get(incidentId)?.devices ?? []) {
      if (isFiring) yield deviceId;
    }
  }

  /** An incident has changed elsewhere. */
  touch(incidentId: number): void {
    const entry = this.#entries.get(incidentId);
    if (entry !== undefined) this.#dirty.add(entry);
  }

  fired(rule: Rule, deviceIds: readonly string[], sinceMs: number, value: number | undefined): void {
    const entry = this.#joinable(rule) ?? this.#begin(rule, sinceMs, value);
    const { incident, devices } = entry;
    for (const deviceId of deviceIds) {
      if (!devices.has(deviceId) && devices.size >= DEVICES_KEPT) entry.unnamed++;
      else {
        if (devices.has(deviceId)) incident.devices--;
        devices.set(deviceId, true);
        this.#devicesOf(rule.id).set(deviceId, entry);
      }
      incident.devices++;
      incident.firing++;
      if (incident.first.length < FIRST_DEVICES && !incident.first.includes(deviceId)) {
        incident.first = [...incident.first, deviceId];
      }
    }
    incident.joined_ms = this.nowMs;
    this.#dirty.add(entry);
  }

  cleared(rule: Pick<Rule, "id">, deviceId: string | undefined): void {
    if (deviceId === undefined) {
      for (const entry of [...this.#openOf(rule.id)]) this.#resolve(entry);
      return;
    }
    const own = this.#devicesOf(rule.id);
    const entry = own.get(deviceId) ?? this.#openOf(rule.id).find(({ unnamed }) => unnamed > 0);
    if (entry === undefined) return;
    if (own.delete(deviceId)) entry.devices.set(deviceId, false);
    else entry.unnamed--;
    entry.incident.firing--;
    this.#dirty.add(entry);
    if (entry.incident.firing === 0) this.#resolve(entry);
  }

  /**
   * Changes of the state since the call before. Where they are large, some incidents are left for the next call;
   * `written`: ids of those that are not.
   */
  changes(): { readonly changes: AlertStateChange[]; readonly written: ReadonlySet<number> } {
    const changes: AlertStateChange[] = this.#dropped.splice(0).flatMap((id) => [
      { section: "incidents", field: String(id), body: undefined },
      { section: "memory", field: memoryFields.devices(id), body: undefined },
    ]);
    const written = new Set<number>();
    let bytes = 0;
    for (const entry of this.#dirty) {
      if (bytes > MAX_BYTES_PER_WRITE) break;
      const { incident } = entry;
      const devices = JSON.stringify(devicesOf(entry));
      bytes += devices.length;
      changes.push(
        { section: "incidents", field: String(incident.id), body: JSON.stringify(incident) },
        { section: "memory", field: memoryFields.devices(incident.id), body: devices },
      );
      written.add(incident.id);
      this.#dirty.delete(entry);
    }
    return { changes, written };
  }

  #begin(rule: Rule, sinceMs: number, value: number | undefined): Entry {
    const incident = newIncident(rule, { id: ++this.#lastId, atMs: this.nowMs, sinceMs, value });
    const entry: Entry = { incident, devices: new Map(), unnamed: 0 };
    this.#entries.set(incident.id, entry);
    this.#openOf(rule.id).push(entry);
    return entry;
  }

  #joinable(rule: Rule): Entry | undefined {
    const open = this.#openOf(rule.id);
    const newest = open.at(-1);
    if (newest === undefined) return undefined;
    const { joined_ms, started_ms } = newest.incident;
    const isJoining = this.nowMs - joined_ms <= JOIN_MS && this.nowMs - started_ms <= MAX_JOINING_MS;
    return isJoining || newest.devices.size >= DEVICES_KEPT || open.length >= MAX_OPEN_PER_RULE
      ? newest
      : undefined;
  }

  #resolve(entry: Entry): void {
    const { incident } = entry;
    const open = this.#openOf(incident.rule_id);
    open.splice(open.indexOf(entry), 1);
    const own = this.#devicesOf(incident.rule_id);
    for (const [deviceId, isFiring] of entry.devices) {
      if (!isFiring) continue;
      entry.devices.set(deviceId, false);
      if (own.get(deviceId) === entry) own.delete(deviceId);
    }
    for (const deviceId of [...entry.devices.keys()].slice(RESOLVED_DEVICES_KEPT)) {
      entry.devices.delete(deviceId);
    }
    entry.unnamed = 0;
    incident.firing = 0;
    incident.state = "resolved";
    incident.resolved_ms = this.nowMs;
    this.#dirty.add(entry);
    this.#onResolved(incident);
    if (++this.#resolved > RESOLVED_KEPT) this.#dropOldest();
  }

  #dropOldest(): void {
    for (const [id, entry] of this.#entries) {
      if (entry.incident.state !== "resolved") continue;
      this.#entries.delete(id);
      this.#dirty.delete(entry);
      this.#dropped.push(id);
      this.#resolved--;
      return;
    }
  }

  #openOf(ruleId: string): Entry[] {
    let open = this.#open.get(ruleId);
    if (open === undefined) this.#open.set(ruleId, open = []);
    return open;
  }

  #devicesOf(ruleId: string): Map<string, Entry> {
    let devices = this.#byDevice.get(ruleId);
    if (devices === undefined) this.#byDevice.set(ruleId, devices = new Map());
    return devices;
  }
}

function devicesOf({ devices }: Entry): IncidentDevices {
  const firing: string[] = [], cleared: string[] = [];
  for (const [deviceId, isFiring] of devices) (isFiring ? firing : cleared).push(deviceId);
  return { firing, cleared };
}
