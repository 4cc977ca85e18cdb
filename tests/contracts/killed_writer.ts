/**
 * A process that applies batches through a store until it is killed. Started by `kills_contract.ts` with one
 * argument, {@linkcode WriterPlan} as JSON; it prints what it did, a line each: see {@linkcode parseLine}.
 *
 * @module
 */
import type { Batch, DeviceDelta, SessionAdvance, SessionShards } from "../../src/store/packets.ts";
import type { Store } from "../../src/store/store.ts";
import { type Random, seededRandom } from "../support/random.ts";
import { untilStored } from "../support/redis_store.ts";
import { openStoreAt, type StoreLocation } from "../support/store_location.ts";

/** What a writer is to do. */
export interface WriterPlan {
  /** The store it writes to. */
  readonly location: StoreLocation;
  /** Unique to this run. */
  readonly producer: string;
  /** Of its random choices. */
  readonly seed: number;
  /** Its sessions, and how far each was acknowledged to it before. */
  readonly sessions: Readonly<Record<string, number>>;
}

/** Devices that all sessions share. */
const DEVICES = 150;

/** The device of packet number `offset` of a session. */
export function deviceOf(session: string, offset: number): string {
  let hash = offset * 31;
  for (let i = 0; i < session.length; i++) hash = hash * 33 + session.charCodeAt(i);
  return `device ${hash % DEVICES}`;
}

/** A line of a writer: the store has all packets of a session before this offset. */
export function parseLine(line: string): [session: string, acknowledged: number] {
  const [session, acknowledged] = JSON.parse(line);
  return [session, acknowledged];
}

/** Applies batches of random sizes, each third one twice, as after a reply that was lost. */
async function write(store: Store, { producer, sessions }: WriterPlan, random: Random): Promise<void> {
  const claims = new Map<string, { epoch: number; at: number; shards: SessionShards | undefined }>();
  for (const [session, acknowledged] of Object.entries(sessions)) {
    const claim = () => store.claimSession(session, acknowledged, Date.now());
    const { epoch, committed, lost, shards } = await untilStored(claim);
    if (lost > 0) throw new Error(`${session}: ${lost} of ${acknowledged} acknowledged packets are lost`);
    claims.set(session, { epoch, at: committed, shards });
    console.log(JSON.stringify([session, committed]));
  }
  for (let sequence = 1;; sequence++) {
    const advances: SessionAdvance[] = [];
    for (const [session, { epoch, at, shards }] of claims) {
      if (random.chance(0.7)) {
        advances.push({ session, epoch, from: at, to: at + random.int(1, 200), shards });
      }
    }
    const batch: Batch = {
      producer,
      sequence,
      previous: sequence - 1,
      receivedAtMs: Date.now(),
      devices: deltasOf(advances),
      sessions: advances,
    };
    for (let times = sequence % 3 === 0 ? 2 : 1; times > 0; times--) {
      const fenced = await untilStored(() => store.apply(batch));
      if (fenced.length > 0) throw new Error(`fenced, with no other writer: ${JSON.stringify(fenced)}`);
    }
    for (const { session, to } of advances) {
      claims.get(session)!.at = to;
      console.log(JSON.stringify([session, to]));
    }
  }
}

function deltasOf(advances: readonly SessionAdvance[]): DeviceDelta[] {
  const packets = new Map<string, number>();
  for (const { session, from, to, shards } of advances) {
    for (let offset = from; offset < to; offset++) {
      const deviceId = deviceOf(session, offset);
      if (shards !== undefined && offset < shards.offsetOf(deviceId)) continue;
      packets.set(deviceId, (packets.get(deviceId) ?? 0) + 1);
    }
  }
  // Long and short payloads: both forms in which a store may keep one.
  return [...packets].map(([deviceId, packets]) => (
    { deviceId, packets, timestampMs: Date.now(), payload: new Uint8Array(packets % 2 === 0 ? 10 : 100) }
  ));
}

if (import.meta.main) {
  const plan = JSON.parse(Deno.args[0]!) as WriterPlan;
  await write(await openStoreAt(plan.location), plan, seededRandom(plan.seed));
}
