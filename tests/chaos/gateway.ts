/** @module */
import { setTimeout as delay } from "node:timers/promises";

import { type KeepAcked, TelemetryClient } from "../../src/client/client.ts";
import { TelemetryClientError } from "../../src/client/client_error.ts";
import type { Random } from "../support/random.ts";
import type { ClientAccess } from "./client_access.ts";
import { scriptedPacket, scriptedRejections } from "./device_script.ts";
import {
  CALL_TIMEOUT_MS,
  type ClientOptions,
  type Expectation,
  expectations,
  isRecent,
  type SessionClient,
} from "./devices.ts";
import {
  damageJournal,
  type IndexRange,
  type JournalDamage,
  type JournalDamageKind,
} from "./journal_damage.ts";
import type { StoreLosses } from "./store_losses.ts";

/** A gateway whose connection takes longer is started again. */
const CONNECT_TIMEOUT_MS = 10_000;

/** A gateway: `TelemetryClient` with a file, killed and started again now and then. */
export class Gateway implements SessionClient {
  readonly kind = "TelemetryClient with a file";
  /** Its file may not have the newest Acks, and it may send again what the store lost. */
  readonly forgets = true;
  readonly lostInFile: IndexRange[] = [];
  intrudedAtMs = -Infinity;
  readonly name: string;
  sent = 0;
  #settled = 0;
  #client!: TelemetryClient;
  #connected = Promise.withResolvers<void>();
  #damage: PromiseWithResolvers<boolean> & { kind: JournalDamageKind; random: Random } | undefined;
  /** Its file once lost packets that nothing in it shows: Tally alone has the number of the next. */
  #asksTally = false;
  /** So far the file may show fewer packets than `sent`. */
  #showsFewer = false;
  #isOver = false;

  private constructor(
    readonly options: ClientOptions,
    readonly file: string,
    readonly keepAcked?: KeepAcked,
  ) {
    this.name = options.name;
  }

  static async open(options: ClientOptions, file: string, keepAcked?: KeepAcked): Promise<Gateway> {
    const gateway = new Gateway(options, file, keepAcked);
    await gateway.#open();
    return gateway;
  }

  get access(): ClientAccess {
    return this.options.access;
  }

  get session(): string {
    return this.#client.session;
  }

  get settled(): number {
    return Math.max(this.#settled, this.#client.totals.committed);
  }

  get invalid(): number {
    return scriptedRejections(this.sent);
  }

  async run(ends: AbortSignal, giveUp: AbortSignal): Promise<void> {
    giveUp.addEventListener("abort", () => {
      this.#client.abort();
      this.#connected.resolve();
    });
    try {
      while (!await this.#sendAll(ends, giveUp)) {
        if (giveUp.aborted) return;
      }
    } finally {
      this.#isOver = true;
      this.#damage?.resolve(false);
    }
  }

  /** The gateway dies with what it has in memory, and comes back with its file. */
  async restart(): Promise<void> {
    this.#connected.reject(RESTARTED);
    await this.#client.abort(RESTARTED);
  }

  /** The gateway dies, its file is damaged, and it comes back with what is left. False: nothing was damaged. */
  async damageFile(kind: JournalDamageKind, random: Random): Promise<boolean> {
    if (this.#damage !== undefined || this.#isOver) return false;
    this.#damage = { ...Promise.withResolvers<boolean>(), kind, random };
    const { promise } = this.#damage;
    await this.restart();
    return await promise;
  }

  expectations(losses: StoreLosses): Expectation[] {
    return expectations(this, this.sent, losses);
  }

  /** False: something ended the client, and it was opened again. */
  async #sendAll(ends: AbortSignal, giveUp: AbortSignal): Promise<boolean> {
    try {
      await this.#send(ends);
      await this.#client.close();
      return true;
    } catch (error) {
      if (!giveUp.aborted) await this.#reopen(error);
      return false;
    }
  }

  async #send(ends: AbortSignal): Promise<void> {
    const { random } = this.options;
    if (this.#asksTally) {
      await beforeTimeout(this.#connected.promise);
      const { committed, pending } = this.#client.totals;
      this.sent = committed + pending;
    }
    while (!ends.aborted) {
      const burst = Array.from({ length: random.int(1, 200) }, (_, i) => this.sent + i);
      await Promise.all(burst.map((index) => this.#client.send(scriptedPacket(this.name, index))));
      this.sent += burst.length;
      this.#showsFewer = false;
      await delay(random.int(0, 150));
    }
  }

  async #open(damage?: JournalDamage): Promise<void> {
    const { port, access, violated } = this.options;
    const connected = this.#connected = Promise.withResolvers<void>();
    connected.promise.catch(() => {}); // Nobody may be waiting.
    const client = this.#client = await TelemetryClient.open({
      ...access.options,
      target: `127.0.0.1:${port}`,
      file: this.file,
      ...this.keepAcked === undefined ? {} : { keepAcked: this.keepAcked },
      maxBufferedPackets: 5000,
      minBackoffMs: 20,
      maxBackoffMs: 500,
      stallTimeoutMs: CALL_TIMEOUT_MS,
      onConnected: () => connected.resolve(),
    });
    const { committed, pending } = client.totals;
    const end = committed + pending;
    if (damage !== undefined) this.#checkDamage(damage, end);
    // Packets whose `send` had not resolved may be in the file or not.
    else if (end < this.sent && !this.#showsFewer) {
      violated(`${this.name}: its file has ${end} of ${this.sent} packets it had taken`);
    }
    this.sent = end;
  }

  /** What is left of the file must have been read, and the client must report what is not. */
  #checkDamage({ kind, lost, end: shown }: JournalDamage, end: number): void {
    const { violated } = this.options;
    const { lostPackets } = this.#client.recovered;
    const lostKnown = packetsOf(lost, 0, end);
    // Those of an earlier damage may not be settled yet.
    const { committed } = this.#client.totals;
    const lostBefore = this.lostInFile.reduce((sum, range) => sum + packetsOf(range, committed, end), 0);
    if (end < shown) violated(`${this.name}: its file (${kind}) shows ${shown} packets, ${end} were read`);
    if (lostPackets < lostKnown || lostPackets > lostKnown + lostBefore) {
      violated(
        `${this.name}: ${lostKnown} packets are lost in its file (${kind}), ${lostPackets} were reported`,
      );
    }
    this.lostInFile.push(lost);
    if (end < this.sent) this.#asksTally = this.#showsFewer = true;
  }

  async #reopen(error: unknown): Promise<void> {
    const { violated, name } = this.options;
    const client = this.#client;
    await client.abort();
    this.#settled = this.settled;
    // A second stream of the session may make the client give up: by design, see `TelemetryClient`.
    const isAborted = error instanceof TelemetryClientError && error.code === "ABORTED";
    const expected = error === RESTARTED || error === NOT_CONNECTED ||
      isAborted && isRecent(this.intrudedAtMs);
    if (!expected) violated(`${name} ended for good: ${error}`);
    const damage = this.#damage;
    this.#damage = undefined;
    const done = damage && await damageJournal(this.file, damage.kind, damage.random);
    await this.#open(done);
    damage?.resolve(done !== undefined);
  }
}

/** How many of the packets of `range` are from `from` on, and below `to`. */
function packetsOf(range: IndexRange, from: number, to: number): number {
  return Math.max(0, Math.min(range.to, to) - Math.max(range.from, from));
}

const RESTARTED = new Error("the gateway was restarted");
const NOT_CONNECTED = new Error("there was no connection for a while");

async function beforeTimeout(connected: Promise<void>): Promise<void> {
  const done = new AbortController();
  const timer = delay(CONNECT_TIMEOUT_MS, NOT_CONNECTED, { signal: done.signal }).catch(() => undefined);
  const late = await Promise.race([connected, timer]).finally(() => done.abort());
  if (late !== undefined) throw late;
}
