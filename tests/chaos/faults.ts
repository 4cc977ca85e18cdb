/**
 * What goes wrong on every store, by name. Each fault heals what it has done; faults may overlap.
 *
 * @module
 */
import type { Random } from "../support/random.ts";
import type { TallyProcess } from "../support/tally_process.ts";
import { intrude } from "./devices.ts";
import type { FakedClock } from "./faked_clock.ts";
import type { JournalDamageKind } from "./journal_damage.ts";
import { FullPipes } from "./log_pipe.ts";
import type { Fault, Scene } from "./scene.ts";
import { SqlitePlace } from "./sqlite_place.ts";
import type { StorePlace } from "./store_place.ts";

/** How long a fault may wait for its occasion. */
const OCCASION_MS = 10_000;

/** How long a process may take to answer whose log nobody reads. */
const ANSWER_TIMEOUT_MS = 10_000;

/** How far a clock jumps, and how long it stays there: Tally follows a jump of the store's clock after 10 s. */
const CLOCK_JUMPS_SECONDS = [3600, -3600, 2 * 86_400];
const LONG_JUMP_BACK_SECONDS = -2 * 86_400;
const MIN_JUMP_MS = 2000, MAX_JUMP_MS = 8000;

/** All kinds of faults that do not depend on the store. */
export function commonFaults(scene: Scene, store: StorePlace): Fault[] {
  return [
    ...ingestFaults(scene),
    ...apiFaults(scene),
    ...clockFaults(scene, store),
    ...clientFaults(scene),
    ...fileFaults(scene),
    ...(FullPipes.isPossible ? logFaults(scene, store) : []),
  ];
}

function ingestFaults(scene: Scene): Fault[] {
  const { ingests, workers } = scene.parts;
  return [
    scene.ofIngest("kill -9 an ingest", async (ingest, random) => {
      await ingest.kill9();
      if (await scene.pause(random.int(0, 1500))) await ingest.start();
    }),
    scene.ofIngest("SIGTERM an ingest", async (ingest, random) => {
      await ingest.terminate();
      if (await scene.pause(random.int(0, 1500))) await ingest.start();
    }),
    scene.ofIngest("SIGSTOP an ingest", async (ingest, random) => {
      await ingest.pause();
      await scene.pause(random.int(100, 6000));
      await ingest.resume();
    }),
    ...workers === 1 ? [] : [{
      name: "kill -9 a worker",
      inject: (random: Random) =>
        scene.lock.shared(async () => {
          const up = ingests.filter(({ state }) => state === "up");
          return up.length > 0 && await random.pick(up).kill9Worker(random);
        }),
    }],
  ];
}

function apiFaults(scene: Scene): Fault[] {
  const { api } = scene.parts;
  return [
    scene.shared("SIGSTOP the api", () => true, async (random) => {
      api.kill("SIGSTOP");
      await scene.pause(random.int(100, 6000));
      api.kill("SIGCONT");
    }),
  ];
}

/**
 * With a file the machine's clock is the store's. A worker that is started again while that is days late takes good
 * packets for the future, and rejects them: no process has a better clock then.
 */
function clockFaults(scene: Scene, store: StorePlace): Fault[] {
  const { apiClock, workers, secure } = scene.parts;
  const startsLate = store instanceof SqlitePlace && workers > 1;
  const all = startsLate ? CLOCK_JUMPS_SECONDS : [...CLOCK_JUMPS_SECONDS, LONG_JUMP_BACK_SECONDS];
  // A worker does not start with a certificate that is not valid yet.
  const jumps = secure && workers > 1 ? all.filter((seconds) => seconds > 0) : all;
  if (apiClock === undefined) return [];
  async function jump(clock: FakedClock, random: Random): Promise<void> {
    await clock.set(random.pick(jumps));
    await scene.pause(random.int(MIN_JUMP_MS, MAX_JUMP_MS));
    await clock.set(0);
  }
  return [
    scene.ofIngest("jump of an ingest's clock", (ingest, random) => jump(ingest.clock!, random)),
    scene.shared("jump of the api's clock", () => true, (random) => jump(apiClock, random)),
  ];
}

function clientFaults(scene: Scene): Fault[] {
  const { front, gateways, sessionClients } = scene.parts;
  return [
    { name: "cut client connections", inject: () => Promise.resolve(front.cut() > 0) },
    {
      name: "two streams of a session",
      async inject(random) {
        const giveUpAt = performance.now() + OCCASION_MS;
        while (!await scene.lock.shared(() => intrude(random.pick(sessionClients), front.port, random))) {
          if (performance.now() > giveUpAt || !await scene.pause(100)) return false;
        }
        return true;
      },
    },
    {
      name: "restart a gateway",
      async inject(random) {
        await random.pick(gateways).restart();
        return true;
      },
    },
  ];
}

function fileFaults(scene: Scene): Fault[] {
  const { gateways } = scene.parts;
  const kinds: readonly JournalDamageKind[] = ["cut short", "zeros at the end", "one flipped byte"];
  return kinds.map((kind) => ({
    name: `a gateway's file: ${kind}`,
    inject: (random) => random.pick(gateways).damageFile(kind, random),
  }));
}

/** Alone, with a store that works: what is not answered then waits for the reader of a log. */
function logFaults(scene: Scene, store: StorePlace): Fault[] {
  const { api, ingests, anonymous, violated, signal } = scene.parts;
  async function withFullPipes(process: TallyProcess, answers: () => Promise<boolean>): Promise<boolean> {
    const readAgain = process.holdOutput();
    try {
      await using _full = new FullPipes(process.pid);
      if (!await scene.pause(500)) return false;
      await store.interrupt();
      const giveUpAt = performance.now() + ANSWER_TIMEOUT_MS;
      while (!await answers()) {
        if (signal.aborted) return false;
        if (performance.now() > giveUpAt) {
          return violated("a process whose log nobody reads does not answer"), true;
        }
        await scene.pause(50);
      }
      return true;
    } finally {
      readAgain();
    }
  }
  return [
    {
      name: "nobody reads an ingest's log",
      inject: (random) =>
        scene.lock.alone(async () => {
          const running = ingests.flatMap(({ process }) => process ?? []);
          if (running.length === 0) return false;
          const process = random.pick(running);
          return await withFullPipes(process, () => random.pick(anonymous).call(process.port));
        }),
    },
    {
      name: "nobody reads the api's log",
      inject: () =>
        scene.lock.alone(() =>
          withFullPipes(api, async () => {
            const url = `http://127.0.0.1:${api.port}/metrics`;
            const answer = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
            await answer?.body?.cancel();
            return answer?.ok ?? false;
          })
        ),
    },
  ];
}
