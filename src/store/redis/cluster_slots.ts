/**
 * Slots of a Redis Cluster: which one a key belongs to, and which node serves it.
 *
 * @module
 */
import { formatAddress } from "../../runtime/address.ts";
import type { Endpoint } from "./redis_url.ts";

/** Slots of a cluster; each belongs to one of its masters. */
export const CLUSTER_SLOTS = 16_384;

/** CRC-16/XMODEM, the one of the cluster's specification. */
const CRC_POLYNOMIAL = 0x1021;

/** The slot of all keys with the hash tag `{tag}`, and of the key `tag` itself. ASCII. */
export function clusterSlot(tag: string): number {
  let crc = 0;
  for (let at = 0; at < tag.length; at++) {
    crc ^= tag.charCodeAt(at) << 8;
    for (let bit = 0; bit < 8; bit++) crc = crc & 0x8000 ? (crc << 1) ^ CRC_POLYNOMIAL : crc << 1;
    crc &= 0xffff;
  }
  return crc % CLUSTER_SLOTS;
}

/**
 * Addresses that nodes announce, as `host:port`, and where they are reached instead: for a cluster in another network,
 * or one whose certificates are for names.
 */
export type NatMap = ReadonlyMap<string, Endpoint>;

/** Where a node is reached that announces `host` and `port` to a client that reaches another node at `from`. */
export function reachedAt(host: string | null, port: number, from: Endpoint, natMap?: NatMap): Endpoint {
  // Without a host, or with "?", the node has the one that the client already uses.
  const named = host === null || host === "" || host === "?" ? from.host : host;
  return natMap?.get(formatAddress(named, port)) ?? { host: named, port };
}

/** Slots that one master serves. */
export interface SlotRange {
  /** The first one. */
  readonly first: number;
  /** The last one. */
  readonly last: number;
  /** Where their master is reached. */
  readonly master: Endpoint;
}

/** Reads the reply to CLUSTER SLOTS of the node that is reached at `from`. */
export function parseSlots(reply: unknown, from: Endpoint, natMap?: NatMap): SlotRange[] {
  type Row = [first: number, last: number, master: [host: string | null, port: number]];
  return (reply as Row[]).map(([first, last, [host, port]]) => (
    { first, last, master: reachedAt(host, port, from, natMap) }
  ));
}

/** Where `MOVED <slot> <host>:<port>` sends the client; undefined if `message` is another one. */
export function parseMoved(message: string, from: Endpoint, natMap?: NatMap): Endpoint | undefined {
  const { host, port } = /^MOVED \d+ (?<host>.*):(?<port>\d+)$/.exec(message)?.groups ?? {};
  return port === undefined ? undefined : reachedAt(host ?? null, Number(port), from, natMap);
}
