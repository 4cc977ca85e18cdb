/** @module */
import { setTimeout as delay } from "node:timers/promises";

import type { Random } from "../support/random.ts";
import type { TallyProcess } from "../support/tally_process.ts";
import type { AnonymousDevice, SessionClient } from "./devices.ts";
import type { FakedClock } from "./faked_clock.ts";
import { FaultLock } from "./fault_lock.ts";
import type { FaultProxy } from "./fault_proxy.ts";
import type { Gateway } from "./gateway.ts";
import type { IngestPlace } from "./ingest_place.ts";

/** Everything that can be broken, besides the store. */
export interface SceneParts {
  readonly api: TallyProcess;
  readonly apiClock: FakedClock | undefined;
  readonly ingests: readonly IngestPlace[];
  /** Processes of each ingest that take packets. */
  readonly workers: number;
  /** The ingests have TLS. */
  readonly secure: boolean;
  /** Between the clients and the ingests. */
  readonly front: FaultProxy;
  readonly gateways: readonly Gateway[];
  readonly sessionClients: readonly SessionClient[];
  readonly anonymous: readonly AnonymousDevice[];
  /** Takes data from the store by `change`, while no ingest reaches it, and keeps account of what was lost. */
  readonly loseData: (change: () => Promise<unknown>) => Promise<void>;
  /** Told of what must not happen. */
  readonly violated: (what: string) => void;
  /** Ends faults under way; what they have broken need not be healed then. */
  readonly signal: AbortSignal;
}

/** A kind of fault. */
export interface Fault {
  readonly name: string;
  /** It takes all that was counted so far: only what is sent later is compared at the end. */
  readonly emptiesStore?: true;
  /** Does the damage and heals it; false: there was nothing to damage just now. */
  inject(random: Random): Promise<boolean>;
}

/** Before the store loses data: in that time an ingest that was stopped or cut off notices that streams were replaced. */
const QUIET_MS = 1000;

/** What can be broken, and what faults have in common. */
export class Scene {
  readonly lock = new FaultLock();
  /** One at a time: a state kept before an earlier loss would give back what was lost. */
  #losing: Promise<unknown> = Promise.resolve();

  constructor(readonly parts: SceneParts) {}

  /** False: the run is being ended. */
  pause(durationMs: number): Promise<boolean> {
    const { signal } = this.parts;
    return delay(durationMs, true, { signal }).catch(() => false);
  }

  /** A fault of something that another one may have broken already: then `isWhole` returns false. */
  shared(name: string, isWhole: () => boolean, damage: (random: Random) => Promise<unknown>): Fault {
    return {
      name,
      inject: (random) =>
        this.lock.shared(async () => {
          if (!isWhole()) return false;
          await damage(random);
          return true;
        }),
    };
  }

  /** A fault of one ingest that is up. */
  ofIngest(name: string, damage: (ingest: IngestPlace, random: Random) => Promise<unknown>): Fault {
    const up = () => this.parts.ingests.filter(({ state }) => state === "up");
    return this.shared(name, () => up().length > 0, (random) => damage(random.pick(up()), random));
  }

  /** A fault that takes data from the store. */
  ofData(name: string, damage: (random: Random) => Promise<unknown>): Fault {
    return {
      name,
      inject: async (random) => {
        const done = this.#losing.then(() => damage(random));
        this.#losing = done.catch(() => {});
        await done;
        return true;
      },
    };
  }

  /** As {@linkcode ofData}, for all that is there. */
  ofAllData(name: string, change: (random: Random) => Promise<unknown>): Fault {
    const fault = this.ofData(name, (random) => this.loseDataAlone(() => change(random)));
    return { ...fault, emptiesStore: true };
  }

  /**
   * Nothing else is broken then, nor was shortly before: a batch that an ingest holds back for seconds, of a stream
   * that has been replaced since, would be applied to what the store held before.
   */
  loseDataAlone(change: () => Promise<unknown>): Promise<void> {
    return this.lock.alone(async () => {
      if (await this.pause(QUIET_MS)) await this.parts.loseData(change);
    });
  }
}
