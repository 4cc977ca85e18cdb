/**
 * One attack beside honest clients: what they kept, what it cost, and whether every count is right.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { Child } from "../bench/child.ts";
import type { Load, LoadResult } from "../bench/load.ts";
import { type LoadProcesses, usualLoad } from "../bench/measure.ts";
import { until } from "../support/until.ts";
import { AckProbe, type AckProbeResult, PROBE_DEVICE } from "./ack_probe.ts";
import { type Attack, type AttackOutcome, MAY_BE_COUNTED, NEVER_COUNTED } from "./attacker.ts";
import type { AttackTask } from "./attacker_process.ts";
import { Target } from "./target.ts";

/** How an attack is run. */
export interface AttackRun {
  readonly attackMs: number;
  /** Load without attack, before and after; 0: none. */
  readonly baselineMs: number;
  /** What the honest clients send, all together. */
  readonly packetsPerSecond: number;
}

/** What came of it. */
export interface AttackResult {
  readonly name: string;
  /** The honest clients' rate, as a share of that without attack; undefined without a baseline. */
  readonly keptShare: number | undefined;
  /** The longest that an honest device waited for an Ack, without and with the attack. */
  readonly longestWaitMs: number;
  /** Of the ingest, per second of the attack; undefined where it cannot be seen, or when it has died. */
  readonly cpuShare: number | undefined;
  readonly peakMemoryBytes: number | undefined;
  readonly lives: boolean;
  readonly outcome: AttackOutcome;
  readonly sessionsClaimed: number;
  /** What is wrong, in order of weight: a count, an honest call that failed, a promise that was broken. */
  readonly wrong: readonly string[];
}

/** The honest clients' devices. */
const LOAD_DEVICE = "bench-";

/** The attack begins when honest clients are at work, and ends before they do. */
export const LEAD_MS = 300;

/** Runs `attack` against a target of its own. */
export async function measureAttack(
  attack: Attack,
  processes: LoadProcesses,
  run: AttackRun,
): Promise<AttackResult> {
  await using target = await Target.start(attack.settings);
  await using attacker = Child.start("../attack/attacker_process.ts");
  const honest = new HonestClients(target, processes, run.packetsPerSecond);
  const before = run.baselineMs === 0 ? undefined : await honest.load(run.baselineMs);
  using probe = new AckProbe(target.port);

  const [during, { outcome, cpuShare }] = await Promise.all([
    honest.load(LEAD_MS + run.attackMs),
    delay(LEAD_MS).then(() => attackTarget(target, attacker, attack, run.attackMs)),
  ]);
  const probed = await probe.stop();
  const peakMemoryBytes = (await target.usage())?.peakMemoryBytes;
  const lives = target.lives;
  let after: number | undefined;
  if (before !== undefined && lives) {
    // The attack is over when its calls are: until then they may occupy all of TALLY_MAX_STREAMS.
    await attacker[Symbol.asyncDispose]();
    await until(() => target.openStreams() === 0, "the attacker's calls are over", 30);
    after = await honest.load(run.baselineMs);
  }
  const stoppedWell = await target.stop();

  const wrong = [
    ...honest.failures,
    ...wrongCounts(target, honest, outcome.validPackets, probed),
    ...outcome.violations,
    ...aboveMost(target, attack),
  ];
  if (lives && !stoppedWell) wrong.push(`the ingest did not stop well: ${target.output}`);
  if (!lives) wrong.unshift("the ingest has ended");
  const baseline = before === undefined ? undefined : after === undefined ? before : (before + after) / 2;
  return {
    name: attack.name,
    keptShare: baseline === undefined ? undefined : during / baseline,
    longestWaitMs: probed.longestWaitMs,
    cpuShare,
    peakMemoryBytes,
    lives,
    outcome,
    sessionsClaimed: target.sessions(),
    wrong,
  };
}

/** Attacks `target` for a time; `cpuShare` as in {@linkcode AttackResult}. */
export async function attackTarget(
  target: Target,
  attacker: Child,
  attack: Attack,
  durationMs: number,
): Promise<{ outcome: AttackOutcome; cpuShare: number | undefined }> {
  const startedAtMs = performance.now(), before = await target.usage();
  const task: AttackTask = { attack: attack.name, port: target.port, durationMs };
  const outcome = await attacker.ask<AttackOutcome>(task);
  const after = await target.usage(), seconds = (performance.now() - startedAtMs) / 1000;
  const isSeen = before !== undefined && after !== undefined;
  return { outcome, cpuShare: isSeen ? (after.cpuSeconds - before.cpuSeconds) / seconds : undefined };
}

/** A fleet that breaks no rule, and what became of what it sent. */
export class HonestClients {
  sent = 0;
  acknowledged = 0;
  readonly failures: string[] = [];

  constructor(
    readonly target: Target,
    readonly processes: LoadProcesses,
    readonly packetsPerSecond: number,
  ) {}

  /** Sends for a time; resolves to packets per second until the last Ack. */
  async load(durationMs: number): Promise<number> {
    const load: Load = {
      ...usualLoad,
      port: this.target.port,
      firstDevice: 0,
      durationMs,
      packetsPerSecond: this.packetsPerSecond,
      skipPackets: this.sent,
    };
    const [result] = await this.processes.run([load]) as [LoadResult];
    this.sent += result.sent;
    this.acknowledged += result.acknowledged;
    if (result.failed > 0) {
      this.failures.push(`${result.failed} honest calls failed: ${[...new Set(result.failures)].join("; ")}`);
    }
    return result.acknowledged / (result.endedMs - result.startedMs) * 1000;
  }
}

/** What the store holds too much of. */
export function aboveMost(target: Target, { most = {} }: Attack): string[] {
  const { devices = Infinity, sessions = Infinity } = most;
  const wrong: string[] = [];
  if (target.devices() > devices) wrong.push(`${target.devices()} devices are stored`);
  if (target.sessions() > sessions) wrong.push(`${target.sessions()} sessions are stored`);
  return wrong;
}

/** Counts that differ from what was sent; `attackPackets` are those that an attack may have counted. */
export function wrongCounts(
  target: Target,
  honest: HonestClients,
  attackPackets: number,
  probed: AckProbeResult = { sent: 0, acknowledged: 0, longestWaitMs: 0, lost: false },
): string[] {
  const wrong: string[] = [];
  /** What was sent and not acknowledged may be counted or not; where a call failed, that is all that is known. */
  const check = (who: string, counted: number, least: number, most: number) => {
    if (counted >= least && counted <= most) return;
    const expected = least === most ? `${most}` : `${least} to ${most}`;
    wrong.push(`of ${who}, ${counted} packets are counted, ${expected} should be`);
  };
  const { sent, acknowledged, failures } = honest;
  check("honest clients", target.counted(LOAD_DEVICE), failures.length > 0 ? acknowledged : sent, sent);
  check(
    "the probe",
    target.counted(PROBE_DEVICE),
    probed.lost ? probed.acknowledged : probed.sent,
    probed.sent,
  );
  check("the attacker", target.counted(MAY_BE_COUNTED), 0, attackPackets);
  check("calls that were over", target.counted(NEVER_COUNTED), 0, 0);
  if (probed.lost) wrong.push("the probe's connection was ended");
  return wrong;
}
