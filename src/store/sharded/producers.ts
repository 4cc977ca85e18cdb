/**
 * What this process has applied, by producer: each shard has sequences of its own, with gaps.
 *
 * @module
 */
import { type Batch, PRODUCER_EXPIRY_MS, type RefusedDevice } from "../packets.ts";

/** Producers remembered: one per process, and what tests add. */
const MAX_PRODUCERS = 64;

/**
 * Steps in which a batch is applied. Each has a name of its own for the producer, so that a shard distinguishes them:
 * a batch may come to it once in each.
 */
export type Step = "apply" | "close";

/** A sequence that a shard has applied. */
interface Applied {
  readonly sequence: number;
  /** When the packets of that batch were received. */
  readonly atMs: number;
}

/** What each shard applied last. */
export class AppliedSequences {
  readonly #applied: (Applied | undefined)[] = [];

  /** A shard has applied a batch. */
  set(shard: number, sequence: number, atMs: number): void {
    this.#applied[shard] = { sequence, atMs };
  }

  /** Its sequence; undefined: none, or so long before `nowMs` that the shard may have forgotten it. */
  recent(shard: number, nowMs: number): number | undefined {
    const applied = this.#applied[shard];
    if (applied === undefined || Math.abs(nowMs - applied.atMs) >= PRODUCER_EXPIRY_MS / 2) return undefined;
    return applied.sequence;
  }

  /** Its sequence, however old. */
  last(shard: number): number | undefined {
    return this.#applied[shard]?.sequence;
  }
}

/** One producer. */
export class Producer {
  /** Sequence of the last batch that was applied as a whole, and what it refused. */
  completed = 0;
  /** See {@linkcode Producer.completed}. */
  refused: readonly RefusedDevice[] = [];
  /** Sequence that each shard applied last, by step. */
  readonly #applied: Record<Step, AppliedSequences> = {
    apply: new AppliedSequences(),
    close: new AppliedSequences(),
  };
  /** The batch that is being applied, and the devices that shards have refused of it. */
  #sequence = 0;
  #refused: RefusedDevice[] = [];

  /** Begins with a batch, or goes on with it. */
  begin(sequence: number): void {
    if (sequence === this.#sequence) return;
    this.#sequence = sequence;
    this.#refused = [];
  }

  /** The batch is applied in all shards. */
  complete(): readonly RefusedDevice[] {
    this.completed = this.#sequence;
    return this.refused = this.#refused;
  }

  /** Whether the shard has applied the batch in that step. */
  isApplied(step: Step, shard: number): boolean {
    return this.#applied[step].last(shard) === this.#sequence;
  }

  /** The shard has applied the batch in that step. */
  applied(step: Step, shard: number, atMs: number, refused: readonly RefusedDevice[]): void {
    this.#applied[step].set(shard, this.#sequence, atMs);
    this.#refused.push(...refused);
  }

  /**
   * The `previous` of the batch for one shard. Where this process did not apply the batch before, it is that one's: a
   * shard that did not get it takes itself for reverted, and notes so.
   */
  previous({ previous, receivedAtMs }: Batch, step: Step, shard: number): number {
    if (previous === 0 || previous !== this.completed) return previous;
    return this.#applied[step].recent(shard, receivedAtMs) ?? 0;
  }
}

/** The producers that applied last. */
export class Producers {
  readonly #producers = new Map<string, Producer>();

  /** The producer of that name. */
  get(name: string): Producer {
    const known = this.#producers.get(name);
    if (known !== undefined) return known;
    const producer = new Producer();
    this.#producers.set(name, producer);
    if (this.#producers.size > MAX_PRODUCERS) {
      this.#producers.delete(this.#producers.keys().next().value!);
    }
    return producer;
  }
}
