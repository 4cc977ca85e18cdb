/**
 * Rules, mutes and acknowledgements in memory, as the store has them.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { AlertDocument, AlertStore } from "../store/alerts.ts";
import { type Mute, muteOf } from "./incidents/mute.ts";
import { parseObject, type Rule, ruleOf } from "./rules/rule.ts";

/** That a person has seen an incident and takes care of it. */
export interface Acknowledgement {
  /** When, Unix milliseconds. */
  readonly at_ms: number;
  /** Name of the reader's token. */
  readonly by: string;
  /** What the person wrote; may be empty. */
  readonly note: string;
}

/** What people have set of alerts. */
export class AlertSettings {
  /** By id. */
  rules: readonly Rule[] = [];
  /** By id. */
  mutes: readonly Mute[] = [];
  /** By the incident's id. */
  acknowledgements: ReadonlyMap<string, Acknowledgement> = new Map();
  readonly #store: Pick<AlertStore, "alertDocuments">;
  readonly #log: Logger;
  #version: string | undefined;
  #reading: Promise<void> | undefined;

  /** Reads nothing yet. */
  constructor(store: Pick<AlertStore, "alertDocuments">, log: Logger) {
    this.#store = store;
    this.#log = log;
  }

  /** Another text after each change; undefined: nothing was read yet. */
  get version(): string | undefined {
    return this.#version;
  }

  /** Whether the store has ever had a rule, as far as it shows. */
  get isUsed(): boolean {
    return this.rules.length > 0 || !["", "0", undefined].includes(this.#version);
  }

  /** Resolves when everything that was stored before this call is here. Rejects as the store does. */
  async refresh(): Promise<void> {
    // A reading in progress may have missed the newest.
    await this.#reading?.catch(() => {});
    await (this.#reading ??= this.#read().finally(() => this.#reading = undefined));
  }

  async #read(): Promise<void> {
    const found = await this.#store.alertDocuments(this.#version);
    if (found === undefined) return;
    const { version, documents } = found;
    const of = (kind: AlertDocument["kind"]) => documents.filter((document) => document.kind === kind);
    this.rules = this.#parsed(of("rule"), ruleOf);
    this.mutes = this.#parsed(of("mute"), muteOf);
    this.acknowledgements = new Map(
      of("acknowledgement").map(({ id, body }) => [id, (parseObject(body) ?? {}) as Acknowledgement]),
    );
    this.#version = version;
  }

  #parsed<T>(documents: readonly AlertDocument[], parse: (document: AlertDocument) => T | undefined): T[] {
    return documents.flatMap((document) => {
      const parsed = parse(document);
      if (parsed === undefined) {
        const { kind, id } = document;
        this.#log.error("The {kind} {id} in the store is none that Tally wrote, and is left out", {
          kind,
          id,
        });
      }
      return parsed ?? [];
    });
  }
}
