/**
 * What a Redis holds of each device: its count, and the packets in segment logs that are not merged yet.
 *
 * @module
 */
import type { ShardKeys } from "../../src/store/redis/keys.ts";
import { until } from "../support/until.ts";

/** In one step, for merging goes on meanwhile. Written by the documents of the layout, not with the code of `src`. */
const script = `
local counts = {}
local found = redis.call('HGETALL', KEYS[1])
for i = 1, #found, 2 do counts[found[i]] = tonumber(found[i + 1]) end

local function fnv(id)
  local hash = 0x811c9dc5
  for i = 1, #id do
    hash = bit.bxor(hash, string.byte(id, i)) % 2 ^ 32
    hash = (hash * 403 + hash % 256 * 2 ^ 24) % 2 ^ 32
  end
  return bit.bxor(hash, bit.rshift(hash, 15)) % 2 ^ 32
end

for _, name in ipairs(redis.call('HKEYS', KEYS[2])) do
  local log = ARGV[1] .. name
  local committed, merge = unpack(redis.call('HMGET', log, 'committed', 'merge'))
  local merged, to, buckets, done = string.match(merge or '', '^(%d+) (%d+) (%d+) (%d+)$')
  merged, to, buckets, done = tonumber(merged), tonumber(to), tonumber(buckets), tonumber(done)
  for number = (merged or 0) + 1, committed or 0 do
    local segment = redis.call('GET', ARGV[2] .. redis.call('HGET', log, number))
    local _, idBytes = struct.unpack('>dd', segment)
    local at, packetsAt = 41, 41 + idBytes
    while at < 41 + idBytes do
      local length = string.byte(segment, at)
      local id = string.sub(segment, at + 1, at + length)
      if number > to or fnv(id) % buckets >= done then
        counts[id] = (counts[id] or 0) + struct.unpack('>d', segment, packetsAt)
      end
      at, packetsAt = at + 1 + length, packetsAt + 8
    end
  end
end

local list = {}
for id, count in pairs(counts) do
  list[#list + 1] = id
  list[#list + 1] = string.format('%.0f', count)
end
return list`;

interface Server {
  call(command: string, ...args: (string | number)[]): Promise<unknown>;
}

/** Packets of each device that the server holds under these keys. */
export async function storedCounts(
  server: Server,
  keys: ShardKeys,
): Promise<Map<string, number>> {
  const args = [2, keys.counts, keys.logs, keys.log(""), keys.segment("")];
  const list = await server.call("EVAL", script, ...args) as string[];
  const counts = new Map<string, number>();
  for (let i = 0; i < list.length; i += 2) counts.set(list[i]!, Number(list[i + 1]));
  return counts;
}

/** The first ingest defers all it can, the others what they do by default. */
export function deferringSettings(ingest: number): Record<string, string> {
  return ingest === 0 ? { TALLY_DEFER_FROM: "1" } : {};
}

/** A log whose owner was killed is merged 15 seconds later. */
export const ALL_COUNTED_SECONDS = 60;

/** Waits until no log holds packets, on any of the servers. */
export async function untilAllCounted(
  servers: () => Promise<readonly (readonly [Server, ShardKeys])[]>,
): Promise<void> {
  const areEmpty = async () => {
    const found = await Promise.all(
      (await servers()).map(([server, { logs }]) => server.call("EXISTS", logs)),
    );
    return found.every((exists) => exists === 0);
  };
  await until(() => areEmpty().catch(() => false), "all packets are counted", ALL_COUNTED_SECONDS);
}
