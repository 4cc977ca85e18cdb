/**
 * Segment logs of processes that have ended, or hang: any other takes them over, and merges them.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import type { Logger } from "@logtape/logtape";

import type { ForeignCounts } from "../model/foreign_counts.ts";
import { readSegment } from "./device_columns.ts";
import type { RedisClient } from "./redis_client.ts";
import { adoptLogScript, logsScript, segmentsScript } from "./scripts.ts";
import { type MergeState, type Segment, SegmentLog } from "./segment_log.ts";

/** Bytes of segments that are read before they are merged. */
const READ_BYTES = 64 * 2 ** 20;

/** What it takes to merge a log. */
export interface Adopter {
  /** Has the logs. */
  readonly client: RedisClient;
  /** Receives counts of other programs that are set aside. */
  readonly foreign: ForeignCounts;
  /** Receives lines for the operator. */
  readonly log: Logger;
}

/** Takes over all logs whose lease has ended, except the one named `own`, one after the other. */
export async function adoptLogs(
  adopter: Adopter,
  own: string | undefined,
  signal: AbortSignal,
): Promise<void> {
  const { client } = adopter;
  const found = await client.read("list segment logs", logsScript, [client.keys.logs], []) as Buffer[];
  for (let i = 0; i < found.length && !signal.aborted; i += 2) {
    const name = found[i]!.toString();
    if (name !== own) await adoptLog(adopter, name, signal);
  }
}

async function adoptLog(adopter: Adopter, name: string, signal: AbortSignal): Promise<void> {
  const { client, foreign, log: logger } = adopter, owner = crypto.randomUUID(), { keys } = client;
  const logKeys = [keys.log(name), keys.logs];
  const reply = await client.write("take over a segment log", adoptLogScript, logKeys, [name, owner]);
  const fields = fieldsOf(reply as Buffer[]);
  if (fields.size === 0) return;
  const committed = Number(fields.get("committed")), state = readState(fields.get("merge")!);
  logger.info("merging {segments} segments of a process that has ended", {
    segments: committed - state.merged,
  });
  const log = new SegmentLog(client, foreign, name, owner, state);
  let indexes = new Map<string, number>();
  for (let number = state.merged + 1, bytes = 0; number <= committed; number++) {
    const segment = { number, name: fields.get(String(number))! };
    const value = await readValue(adopter, segment.name);
    const length = value?.length ?? 0;
    bytes += length;
    append(log, { ...segment, bytes: length }, value, indexes);
    // What was being merged must be merged as it was divided, and nothing else with it.
    const isRead = number === state.to || number === committed ||
      (number > state.to && bytes >= READ_BYTES);
    if (!isRead) continue;
    await log.merge(signal);
    if (log.isLost || signal.aborted) return;
    indexes = new Map();
    bytes = 0;
  }
}

async function readValue({ client, log }: Adopter, name: string): Promise<Buffer | null> {
  const reply = await client.read("read a segment", segmentsScript, [client.keys.segment(name)], []);
  const [value] = reply as [Buffer | null];
  if (value === null) log.error("segment {name} is missing: its packets are not counted", { name });
  return value;
}

function fieldsOf(reply: readonly Buffer[]): Map<string, string> {
  const fields = new Map<string, string>();
  for (let i = 0; i < reply.length; i += 2) fields.set(reply[i]!.toString(), reply[i + 1]!.toString());
  return fields;
}

/** `indexes`: of the ids that have one, which the others get. */
function append(
  log: SegmentLog,
  about: Omit<Segment, "receivedAtMs">,
  value: Buffer | null,
  indexes: Map<string, number>,
): void {
  const { receivedAtMs, deltas } = value === null
    ? {
      receivedAtMs: log.unmerged.generations.at(-1)?.segments.at(-1)?.receivedAtMs ?? Date.now(),
      deltas: [],
    }
    : readSegment(value);
  const ofDeltas = deltas.map(({ deviceId }) => {
    let index = indexes.get(deviceId);
    if (index === undefined) indexes.set(deviceId, index = indexes.size);
    return index;
  });
  log.append({ ...about, receivedAtMs }, deltas, ofDeltas);
}

function readState(text: string): MergeState {
  const [merged, to, buckets, done] = text.split(" ").map(Number) as [number, number, number, number];
  return { merged, to, buckets, done };
}
