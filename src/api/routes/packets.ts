/**
 * `/devices/{id}/packets`: what the packet stream has of a device.
 *
 * @module
 */
import { createRoute, type OpenAPIHono } from "@hono/zod-openapi";

import { PacketView, readBatch, readPacket } from "../../protocol/packet.ts";
import type { PacketEntry, PacketPage } from "../../store/packet_stream.ts";
import type { Store } from "../../store/store.ts";
import { jsonResponse } from "../http/json_response.ts";
import { invalid, json, unavailable, unchanged, unknownDevice } from "../http/openapi.ts";
import { payloadJson } from "../responses/device_json.ts";
import { DevicePath } from "../schemas/device.ts";
import { PacketList, PacketParameters, PacketQuery } from "../schemas/packet.ts";
import { notFound } from "./device.ts";

/** What the routes need. */
export interface PacketsOptions {
  /** Has the packet stream. */
  readonly store: Pick<Store, "device" | "packetsOf">;
}

/** How long a request searches a stream that has much of other devices, ms: then it responds with what it found. */
const SEARCH_MS = 250;

const about = {
  method: "get" as const,
  tags: ["Devices"],
  summary: "Show packets of a device, page by page",
  description:
    "Where TALLY_PACKET_STREAM keeps them. A page may be empty although there are more, until `is_end`: " +
    "the stream has packets of all devices.",
  responses: {
    200: json(PacketList, "The packets"),
    304: unchanged,
    400: invalid,
    404: unknownDevice,
    503: unavailable,
  },
};

const byId = createRoute({
  ...about,
  path: "/devices/by-id/packets",
  operationId: "getDevicePacketsById",
  request: { query: PacketQuery },
});

const byPath = createRoute({
  ...about,
  path: "/devices/{id}/packets",
  operationId: "getDevicePackets",
  request: { params: DevicePath, query: PacketParameters },
});

/** Adds the routes. */
export function addPackets(app: OpenAPIHono, options: PacketsOptions): void {
  app.openapi(byId, async (c) => {
    const { id, after, limit } = c.req.valid("query");
    return jsonResponse<PacketList>(c, await packetList(options, id, after, limit));
  });
  app.openapi(byPath, async (c) => {
    const { after, limit } = c.req.valid("query");
    return jsonResponse<PacketList>(c, await packetList(options, c.req.valid("param").id, after, limit));
  });
}

async function packetList(
  { store }: PacketsOptions,
  deviceId: string,
  after: string,
  limit: number,
): Promise<PacketList> {
  // What was removed is in the stream until newer packets replace it, but no longer shown.
  if (await store.device(deviceId) === undefined) throw notFound(deviceId);
  const untilMs = performance.now() + SEARCH_MS;
  let page: PacketPage;
  do {
    page = await store.packetsOf(deviceId, after, limit);
    after = page.next;
  } while (page.entries.length === 0 && !page.isEnd && performance.now() < untilMs);
  return { packets: page.entries.flatMap(packetsJson), next: page.next, is_end: page.isEnd };
}

function packetsJson({ id, receivedAtMs, packets }: PacketEntry): PacketList["packets"] {
  const found: PacketList["packets"] = [], view = new PacketView();
  readBatch(packets, 0, packets.length, (start, end) => {
    readPacket(packets, start, end, view);
    const payload = packets.subarray(view.payloadStart, view.payloadEnd);
    found.push({
      entry: id,
      received_ms: receivedAtMs,
      timestamp_ms: view.timestamp,
      payload: payloadJson({ bytes: payload, totalBytes: payload.length }),
    });
  });
  return found;
}
