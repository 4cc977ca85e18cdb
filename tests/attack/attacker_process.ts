/**
 * The attacker's process: each line of its input is an {@linkcode AttackTask}, each line of its output the
 * {@linkcode AttackOutcome}. It shares no event loop with the honest client.
 *
 * @module
 */
import { answer } from "../bench/child.ts";
import { Attacker } from "./attacker.ts";
import { attacks } from "./attacks.ts";

/** Which attack, against which port of this machine, and for how long. */
export interface AttackTask {
  readonly attack: string;
  readonly port: number;
  readonly durationMs: number;
}

if (import.meta.main) {
  await answer(({ attack, port, durationMs }: AttackTask) => {
    const found = attacks.find(({ name }) => name === attack);
    if (found === undefined) throw new Error(`no attack is named "${attack}"`);
    return new Attacker(port, durationMs).run((attacker) => found.run(attacker));
  });
}
