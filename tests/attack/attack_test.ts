/**
 * Each attack for half a second or more beside honest clients: the ingest lives, counts exactly what it should, and gives
 * the attacker no more than its limits. Nothing here looks at rates; `deno task attack` does.
 */
import { assert, assertEquals } from "@std/assert";

import { Child } from "../bench/child.ts";
import { LoadProcesses } from "../bench/measure.ts";
import type { Attack, AttackOutcome } from "./attacker.ts";
import { attacks } from "./attacks.ts";
import { aboveMost, attackTarget, HonestClients, LEAD_MS, wrongCounts } from "./measure_attack.ts";
import { describeOutcome } from "./report.ts";
import { Target } from "./target.ts";

/** Longer where the attacker's end must be seen: a server may linger for a second after GOAWAY. */
const ATTACK_MS = 500, ENDING_ATTACK_MS = 1600;

const PACKETS_PER_SECOND = 5000;

/**
 * An ingest in ordinary use has 150 to 350 MB. What is held for strangers, all of them together, is bounded
 * well below the rest.
 */
const MAX_MEMORY_BYTES = 800e6;

/** A session that a stranger claims stays for minutes: as many as this in a second are too many. */
const MAX_SESSIONS_PER_ATTACK = 2000;

/** What one ingest has been through. */
class Scene implements AsyncDisposable {
  attackPackets = 0;
  sessions = 0;
  readonly honest: HonestClients;

  private constructor(readonly target: Target, processes: LoadProcesses) {
    this.honest = new HonestClients(target, processes, PACKETS_PER_SECOND);
  }

  static async start(processes: LoadProcesses, settings?: Attack["settings"]): Promise<Scene> {
    return new Scene(await Target.start(settings), processes);
  }

  /** Attacks, and checks all that holds after any attack. */
  async attack(attack: Attack, attacker: Child): Promise<void> {
    const { target, honest } = this, attackMs = attack.mustEnd ? ENDING_ATTACK_MS : ATTACK_MS;
    // With limits, devices are to be known before others take the room.
    if (attack.settings !== undefined) await honest.load(LEAD_MS);
    const [, { outcome }] = await Promise.all([
      honest.load(LEAD_MS + attackMs),
      attackTarget(target, attacker, attack, attackMs),
    ]);
    assert(target.lives, `the ingest has ended:\n${target.output}`);
    assertEquals(honest.failures.splice(0), []);
    assertEquals(outcome.violations, []);
    this.attackPackets += outcome.validPackets;
    assertEquals(wrongCounts(target, honest, this.attackPackets), []);
    assertEquals(aboveMost(target, attack), []);
    const sessions = target.sessions() - this.sessions;
    this.sessions += sessions;
    assert(sessions <= MAX_SESSIONS_PER_ATTACK, `${sessions} sessions were claimed`);
    const what = describeOutcome(outcome, sessions);
    if (attack.mustEnd) assert(wasEnded(outcome), `the server let it be: ${what}`);
    const usage = await target.usage();
    if (usage !== undefined) {
      assert(
        usage.peakMemoryBytes <= MAX_MEMORY_BYTES,
        `the ingest had ${usage.peakMemoryBytes} bytes: ${what}`,
      );
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.target[Symbol.asyncDispose]();
  }
}

/** The server closed a connection, or reset calls. */
function wasEnded({ closed, goaway, resets }: AttackOutcome): boolean {
  return closed > 0 || Object.keys(goaway).length > 0 || Object.keys(resets).length > 0;
}

Deno.test("attack: ingest keeps running, counts exactly, and keeps its limits", async (t) => {
  await using processes = new LoadProcesses();
  await using attacker = Child.start("../attack/attacker_process.ts");
  let scene: Scene | undefined;
  try {
    for (const attack of attacks) {
      const passed = await t.step(attack.name, async () => {
        if (attack.settings !== undefined) {
          await using own = await Scene.start(processes, attack.settings);
          return await own.attack(attack, attacker);
        }
        scene ??= await Scene.start(processes);
        await scene.attack(attack, attacker);
      });
      if (passed) continue;
      // Its memory and counts are what they are: the others begin anew.
      await scene?.[Symbol.asyncDispose]();
      scene = undefined;
    }
    if (scene !== undefined) {
      await t.step("ingest stops cleanly after all attacks", async () => {
        assert(await scene!.target.stop(), scene!.target.output);
      });
    }
  } finally {
    await scene?.[Symbol.asyncDispose]();
  }
});
