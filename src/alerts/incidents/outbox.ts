/**
 * Messages that wait for their channels. They are stored with the incident that they are about, in one step, so that
 * a process that takes over delivers what the one before it had not.
 *
 * @module
 */
import type { AlertStateChange } from "../../store/alerts.ts";
import { parseObject } from "../rules/rule.ts";
import { afterPrefix, type Incident, memoryFields, type MessageKind } from "./incident.ts";

/** Messages that wait; at this bound the oldest are dropped, which is logged and counted. */
export const MESSAGES_KEPT = 500;

/** A message about an incident, as of when it was made. */
export interface Message {
  /** One more than the message before it. */
  readonly id: number;
  /** What it is about. */
  readonly kind: MessageKind;
  /** When it was made, Unix milliseconds. */
  readonly at_ms: number;
  /** The incident as it was then. */
  readonly incident: Incident;
  /** Names of the channels that have not accepted it yet. */
  readonly channels: readonly string[];
}

/** The messages, in memory, of the process that evaluates rules. */
export class Outbox {
  readonly #messages = new Map<number, Message>();
  readonly #dirty = new Set<number>();
  /** Stored, so that they may be sent. */
  readonly #stored = new Set<number>();
  readonly #onDropped: (message: Message) => void;
  #lastId: number;

  /** `memory`: a section of the state; `lastId`: of the newest message ever. */
  constructor(memory: ReadonlyMap<string, string>, lastId: number, onDropped: (message: Message) => void) {
    this.#lastId = lastId;
    this.#onDropped = onDropped;
    const ids = [...memory.keys()].flatMap((field) => afterPrefix(field, "message") ?? []).map(Number);
    for (const id of ids.sort((a, b) => a - b)) {
      const message = parseObject(memory.get(memoryFields.message(id))!) as Message | undefined;
      if (message === undefined) continue;
      this.#messages.set(id, message);
      this.#stored.add(id);
      this.#lastId = Math.max(this.#lastId, id);
    }
  }

  /** Id of the newest message. */
  get lastId(): number {
    return this.#lastId;
  }

  /** Messages that wait. */
  get size(): number {
    return this.#messages.size;
  }

  /** Adds a message about an incident for these channels, and notes it in the incident. */
  add(kind: MessageKind, incident: Incident, channels: readonly string[], nowMs: number): void {
    incident.sent = { kind, at_ms: nowMs, devices: incident.devices };
    if (channels.length === 0) return;
    const id = ++this.#lastId;
    this.#messages.set(id, { id, kind, at_ms: nowMs, incident: { ...incident }, channels });
    this.#dirty.add(id);
    if (this.#messages.size <= MESSAGES_KEPT) return;
    const oldest = this.#messages.values().next().value!;
    this.#remove(oldest.id);
    this.#onDropped(oldest);
  }

  /** The oldest message that may be sent to a channel. */
  next(channel: string): Message | undefined {
    for (const message of this.#messages.values()) {
      if (this.#stored.has(message.id) && message.channels.includes(channel)) return message;
    }
  }

  /** The channel has accepted the message, or refused it for good. */
  done(messageId: number, channel: string): void {
    const message = this.#messages.get(messageId);
    if (message === undefined) return;
    const channels = message.channels.filter((name) => name !== channel);
    if (channels.length === 0) return this.#remove(messageId);
    this.#messages.set(messageId, { ...message, channels });
    this.#dirty.add(messageId);
  }

  /** Leaves out channels that are not configured any more. */
  keepChannels(names: readonly string[]): void {
    for (const { id, channels } of [...this.#messages.values()]) {
      for (const channel of channels) if (!names.includes(channel)) this.done(id, channel);
    }
  }

  /** Changes of the state since the call before: of messages about `incidents`, and others that are stored already. */
  changes(incidents: ReadonlySet<number>): { readonly changes: AlertStateChange[]; readonly ids: number[] } {
    const ids = [...this.#dirty].filter((id) => {
      const message = this.#messages.get(id);
      return message === undefined || this.#stored.has(id) || incidents.has(message.incident.id);
    });
    const changes = ids.map((id): AlertStateChange => {
      this.#dirty.delete(id);
      const message = this.#messages.get(id);
      return {
        section: "memory",
        field: memoryFields.message(id),
        body: message && JSON.stringify(message),
      };
    });
    return { changes, ids };
  }

  /** The changes are stored: these messages may be sent. */
  stored(ids: readonly number[]): void {
    for (const id of ids) if (this.#messages.has(id)) this.#stored.add(id);
  }

  #remove(id: number): void {
    this.#messages.delete(id);
    this.#stored.delete(id);
    this.#dirty.add(id);
  }
}
