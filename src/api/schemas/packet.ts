/**
 * Packets of the packet stream.
 *
 * @module
 */
import { z } from "@hono/zod-openapi";

import { isCursor } from "../../store/packet_stream.ts";
import { unixMs } from "./fields.ts";
import { deviceId, limit, query } from "./parameters.ts";
import { Payload } from "./device.ts";

/** A page of a device's packets. */
export type PacketList = z.infer<typeof PacketList>;

/** @internal */
export const PacketList = z.object({
  packets: z.array(
    z.object({
      entry: z.string().openapi({
        description: "The entry of the stream that it is in: `after` for what follows that",
      }),
      received_ms: unixMs.openapi({ description: "When it was stored, Unix milliseconds" }),
      timestamp_ms: unixMs.openapi({
        description: "Its timestamp, Unix milliseconds; without one the time of its arrival",
      }),
      payload: Payload,
    }).openapi("StreamedPacket"),
  ).openapi({ description: "In the order in which they were accepted" }),
  next: z.string().openapi({
    description: "`after` of the next page, also if this one is empty; it is the last if `is_end`",
  }),
  is_end: z.boolean().openapi({
    description: "Nothing was stored after this yet; the same `after` returns what comes",
  }),
}).openapi("PacketList");

const cursorExpected = "expected `next` of the page before, or an entry";

const after = z.string({ error: cursorExpected }).refine(isCursor, { error: cursorExpected }).openapi({
  type: "string",
  maxLength: 33,
  description: "`next` of the page before, or an entry; empty: from the oldest that is kept",
  example: "1700000000000-0",
}).default("");

/**
 * Which packets.
 * @internal
 */
export const PacketParameters = query({ after, limit });

/**
 * The same with the device.
 * @internal
 */
export const PacketQuery = query({ id: deviceId, after, limit });
