/**
 * Ever new devices and sessions, against their limits.
 *
 * @module
 */
import { streamBatches, streamPackets } from "../../src/protocol/telemetry_proto.ts";
import { requestHeaders } from "../http2/raw_connection.ts";
import { END_STREAM, FRAME_HEADER_BYTES } from "../support/http2_numbers.ts";
import { type Attack, BATCHES_PATH, MAY_BE_COUNTED, PACKETS_PATH } from "./attacker.ts";
import { messageFrame } from "./frames.ts";

const PACKETS_PER_MESSAGE = 200, CALLS_PER_WRITE = 50;

const packetOf = (deviceId: string) => ({
  device_id: deviceId,
  timestamp: 1_700_000_000,
  payload: new Uint8Array(4),
});

/** See the module. */
export const quotaAttacks: readonly Attack[] = [
  {
    name: "Packets of random device ids at full speed, TALLY_MAX_DEVICES=10000",
    settings: { TALLY_MAX_DEVICES: "10000" },
    most: { devices: 10_000 },
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await connection.send(requestHeaders(1, BATCHES_PATH));
        while (connection.open) {
          const packets = Array.from(
            { length: PACKETS_PER_MESSAGE },
            () => packetOf(MAY_BE_COUNTED + crypto.randomUUID()),
          );
          const message = messageFrame(1, streamBatches.requestSerialize({ packets }));
          attacker.validPackets += packets.length;
          if (!await connection.data(1, message.subarray(FRAME_HEADER_BYTES))) return;
        }
      }),
  },
  {
    name: "Calls of random sessions with a packet each, TALLY_MAX_SESSIONS=2000",
    settings: { TALLY_MAX_SESSIONS: "2000" },
    most: { sessions: 2000 },
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        const packet = streamPackets.requestSerialize(packetOf(`${MAY_BE_COUNTED}device`));
        for (let first = 1; connection.open; first += 2 * CALLS_PER_WRITE) {
          const ids = Array.from({ length: CALLS_PER_WRITE }, (_, i) => first + 2 * i);
          attacker.validPackets += ids.length;
          await connection.send(...ids.flatMap((id) => [
            requestHeaders(id, PACKETS_PATH, { "telemetry-session": crypto.randomUUID() }),
            messageFrame(id, packet, { flags: END_STREAM }),
          ]));
          while (connection.open && connection.outcomes.size * 2 < first) await connection.roomChanged();
        }
      }),
  },
];
