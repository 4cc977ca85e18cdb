/**
 * Incidents for readers, as the store has them: any api has them, whichever evaluates the rules.
 *
 * @module
 */
import type { AlertStore } from "../store/alerts.ts";
import { type Incident, type IncidentDevices, incidentOf, memoryFields } from "./incidents/incident.ts";
import { parseObject } from "./rules/rule.ts";

/** What the process that evaluates notes besides incidents. */
export interface AlertProgress {
  /** When it wrote last, Unix milliseconds. */
  readonly seen_ms: number;
  /** Id of the newest incident. */
  readonly incident_id: number;
  /** Id of the newest message. */
  readonly message_id: number;
  /** By rule: devices to which it applies when that has lasted for long enough. */
  readonly pending: Readonly<Record<string, number>>;
}

/** Read from the store again after each change. */
export class IncidentLog {
  readonly #store: Pick<AlertStore, "alertState" | "alertEntry">;
  #version: string | undefined;
  /** Newest first. */
  #incidents: readonly Incident[] = [];
  #reading: Promise<void> | undefined;

  /** Reads nothing yet. */
  constructor(store: Pick<AlertStore, "alertState" | "alertEntry">) {
    this.#store = store;
  }

  /** Newest first; await {@linkcode refresh} first. */
  get incidents(): readonly Incident[] {
    return this.#incidents;
  }

  /** Resolves when everything that was stored before this call is here. Rejects as the store does. */
  async refresh(): Promise<void> {
    await this.#reading?.catch(() => {});
    await (this.#reading ??= this.#read().finally(() => this.#reading = undefined));
  }

  /** The devices of an incident. */
  async devices(incidentId: number): Promise<IncidentDevices> {
    const body = await this.#store.alertEntry("memory", memoryFields.devices(incidentId));
    const { firing = [], cleared = [] } = (parseObject(body ?? "") ?? {}) as Partial<IncidentDevices>;
    return { firing, cleared };
  }

  /** Undefined: no process has evaluated rules yet. */
  async progress(): Promise<AlertProgress | undefined> {
    return parseProgress(await this.#store.alertEntry("memory", memoryFields.progress));
  }

  async #read(): Promise<void> {
    const found = await this.#store.alertState("incidents", this.#version);
    if (found === undefined) return;
    this.#incidents = [...found.entries.values()].flatMap((body) => incidentOf(body) ?? [])
      .sort((a, b) => b.id - a.id);
    this.#version = found.version;
  }
}

/** What an entry of the state holds as the progress. */
export function parseProgress(body: string | undefined): AlertProgress | undefined {
  const parsed = parseObject(body ?? "") as Partial<AlertProgress> | undefined;
  if (parsed === undefined) return undefined;
  const { seen_ms = 0, incident_id = 0, message_id = 0, pending = {} } = parsed;
  return { seen_ms, incident_id, message_id, pending };
}
