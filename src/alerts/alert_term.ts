/**
 * The time in which this process is the one that evaluates rules: from reading the state to losing the lease.
 *
 * @module
 */
import type { FleetCache } from "../fleet/fleet_cache.ts";
import type { FleetValues } from "../fleet/fleet_values.ts";
import type { ObservedTime } from "../fleet/observed_time.ts";
import type { AlertStateChange, AlertStore } from "../store/alerts.ts";
import type { AlertSettings } from "./alert_settings.ts";
import { parseProgress } from "./incident_log.ts";
import { addDueMessages } from "./incidents/due_messages.ts";
import { afterPrefix, type Incident, memoryFields } from "./incidents/incident.ts";
import { IncidentBook } from "./incidents/incident_book.ts";
import { ActiveMutes } from "./incidents/mute.ts";
import { type Message, Outbox } from "./incidents/outbox.ts";
import { Evaluator } from "./rules/evaluator.ts";
import { LabelFacts } from "./rules/fleet_facts.ts";
import type { Moment } from "./rules/facts.ts";
import { parseObject, type Rule } from "./rules/rule.ts";

/** What is pending, and the time, are written this often; a process that takes over is so much late at most. */
const PROGRESS_INTERVAL_MS = 5_000;

/** While the state was not written for longer, no process evaluated, and silence does not count. */
const WATCH_GAP_MS = 20_000;

/** Afterwards devices connect again. */
const CATCH_UP_MS = 5_000;

/** What {@linkcode AlertTerm} needs. */
export interface TermOptions {
  /** Has the devices. */
  readonly fleet: FleetCache;
  /** Their values. */
  readonly values: FleetValues;
  /** Which time counts as silence. */
  readonly observedTime: ObservedTime;
  /** Rules and mutes. */
  readonly settings: AlertSettings;
  /** Names of the channels that are configured. */
  readonly channels: readonly string[];
  /** See `due_messages.ts`. */
  readonly groupWaitMs: number;
  /** See `due_messages.ts`. */
  readonly updateAfterMs: number;
  /** A message was dropped, as too many wait. */
  readonly onDropped: (message: Message) => void;
}

/** The state in memory. */
export class AlertTerm {
  /** Of the state in the store. */
  version: string;
  /** What is still to be sent. */
  readonly outbox: Outbox;
  readonly #book: IncidentBook;
  readonly #options: TermOptions;
  readonly #labels: LabelFacts;
  readonly #evaluator: Evaluator;
  /** By rule: since when devices are pending, as the process before had it. */
  readonly #restoredPending = new Map<string, ReadonlyMap<string, number>>();
  readonly #storedPending = new Set<string>();
  #settingsVersion: string | undefined;
  #progressAtMs = -Infinity;
  #nowMs: number;

  /** Continues from the state in the store. */
  constructor(
    version: string,
    incidents: ReadonlyMap<string, string>,
    memory: ReadonlyMap<string, string>,
    moment: Moment,
    options: TermOptions,
  ) {
    this.version = version;
    this.#options = options;
    this.#nowMs = moment.unixMs;
    const progress = parseProgress(memory.get(memoryFields.progress));
    this.outbox = new Outbox(memory, progress?.message_id ?? 0, options.onDropped);
    this.outbox.keepChannels(options.channels);
    const onResolved = (incident: Incident) => {
      if (incident.sent !== null) {
        this.outbox.add("resolved", incident, this.#channelsOf(incident), this.#nowMs);
      }
    };
    this.#book = new IncidentBook(incidents, memory, progress?.incident_id ?? 0, onResolved);
    for (const [field, body] of memory) {
      const ruleId = afterPrefix(field, "pending");
      if (ruleId === undefined) continue;
      this.#storedPending.add(ruleId);
      this.#restoredPending.set(ruleId, new Map(Object.entries(parseObject(body) ?? {})));
    }
    const { fleet, values } = options;
    this.#labels = new LabelFacts(fleet);
    const seenMs = progress?.seen_ms ?? moment.unixMs;
    const observedTime = moment.unixMs - seenMs > WATCH_GAP_MS
      ? watchedTime(options.observedTime, seenMs, moment.unixMs + CATCH_UP_MS)
      : options.observedTime;
    this.#evaluator = new Evaluator({
      ...{ fleet: fleet.index, values, tags: this.#labels },
      ...{ observedTime, findings: this.#book, moment },
    });
  }

  /** Evaluates the rules, and adds the messages that are due. */
  evaluate(moment: Moment): void {
    this.#nowMs = this.#book.nowMs = moment.unixMs;
    const { settings } = this.#options;
    if (settings.version !== this.#settingsVersion) this.#applySettings(moment);
    this.#evaluator.relabel(this.#labels.takeChanged(), moment);
    this.#evaluator.step(moment);
    const { groupWaitMs, updateAfterMs } = this.#options;
    addDueMessages({
      book: this.#book,
      outbox: this.outbox,
      mutes: new ActiveMutes(settings.mutes, moment.unixMs, (deviceId, tag) => this.#hasTag(deviceId, tag)),
      isAcknowledged: (id) => settings.acknowledgements.has(String(id)),
      channelsOf: (incident) => this.#channelsOf(incident),
      ...{ nowMs: moment.unixMs, groupWaitMs, updateAfterMs },
    });
  }

  /** Writes what changed; false: another process has taken over. Rejects as the store does. */
  async write(store: Pick<AlertStore, "writeAlertState">, owner: string): Promise<boolean> {
    const incidents = this.#book.changes();
    const messages = this.outbox.changes(incidents.written);
    const changes = [...incidents.changes, ...messages.changes];
    const isProgressDue = Math.abs(this.#nowMs - this.#progressAtMs) >= PROGRESS_INTERVAL_MS;
    if (changes.length === 0 && !isProgressDue) return true;
    if (isProgressDue) changes.push(...this.#pendingChanges());
    changes.push(this.#progress());
    const version = await store.writeAlertState(owner, changes, this.#nowMs);
    if (version === undefined) return false;
    this.version = version;
    this.#progressAtMs = this.#nowMs;
    this.outbox.stored(messages.ids);
    return true;
  }

  /** Open incidents of which a message was sent. */
  announced(): Incident[] {
    return this.#book.open().filter(({ sent }) => sent !== null);
  }

  #applySettings(moment: Moment): void {
    const { settings } = this.#options;
    const rules = settings.rules.filter(({ enabled }) => enabled);
    const kinds = new Map(rules.map(({ id, condition }) => [id, condition.kind]));
    // A rule that is gone, or watches for something else, does not apply any more.
    for (const { rule_id, kind } of this.#book.open()) {
      if (kinds.get(rule_id) !== kind) this.#book.cleared({ id: rule_id }, undefined);
    }
    const restored = ({ id }: Rule) => ({
      ...this.#book.restored(id),
      pending: this.#restoredPending.get(id) ?? new Map<string, number>(),
    });
    this.#evaluator.setRules(rules, moment, restored);
    this.#restoredPending.clear();
    this.#settingsVersion = settings.version;
  }

  #pendingChanges(): AlertStateChange[] {
    const changes: AlertStateChange[] = [];
    const left = new Set(this.#storedPending);
    for (const active of this.#evaluator.rules) {
      const { id } = active.rule;
      if (active.pending > 0) left.delete(id);
      if (!active.isPendingChanged || active.pending === 0) continue;
      active.isPendingChanged = false;
      this.#storedPending.add(id);
      const body = JSON.stringify(Object.fromEntries(active.pendingSince()));
      changes.push({ section: "memory", field: memoryFields.pending(id), body });
    }
    for (const id of left) {
      this.#storedPending.delete(id);
      changes.push({ section: "memory", field: memoryFields.pending(id), body: undefined });
    }
    return changes;
  }

  #progress(): AlertStateChange {
    const pending = Object.fromEntries(
      this.#evaluator.rules.map((active) => [active.rule.id, active.pending]),
    );
    const body = JSON.stringify({
      ...{ seen_ms: this.#nowMs, incident_id: this.#book.lastId, message_id: this.outbox.lastId, pending },
    });
    return { section: "memory", field: memoryFields.progress, body };
  }

  #channelsOf({ channels }: Incident): readonly string[] {
    const configured = this.#options.channels;
    return channels === null ? configured : configured.filter((name) => channels.includes(name));
  }

  #hasTag(deviceId: string, tag: string): boolean {
    const slot = this.#options.fleet.index.slotOf(deviceId);
    const [key = "", value = ""] = tag.split("=", 2);
    return slot !== undefined && this.#labels.tagAt(slot, key) === value;
  }
}

/** Observed time without that in which no process evaluated rules, and perhaps none ran at all. */
function watchedTime(
  observedTime: Pick<ObservedTime, "observedSince">,
  gapFromMs: number,
  gapToMs: number,
): Pick<ObservedTime, "observedSince"> {
  return {
    observedSince: (fromMs, nowMs) => {
      const gapMs = Math.min(gapToMs, nowMs) - Math.max(gapFromMs, fromMs);
      return observedTime.observedSince(fromMs, nowMs) - Math.max(0, gapMs);
    },
  };
}
