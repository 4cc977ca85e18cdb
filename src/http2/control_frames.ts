/**
 * The frames that control a connection and its streams: PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY and WINDOW_UPDATE
 * (RFC 9113, 6.3 to 6.9). Each is charged to the connection's budget of control frames: it carries no data, costs work,
 * and some kinds require a reply.
 *
 * @module
 */
import {
  ACK,
  FLOW_CONTROL_ERROR,
  frame,
  FRAME_SIZE_ERROR,
  GOAWAY,
  Http2Error,
  MAX_WINDOW_BYTES,
  PING,
  PRIORITY,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
  readUint32,
  RST_STREAM,
  SETTINGS,
  WINDOW_UPDATE,
} from "./frames.ts";
import type { StreamTable } from "./stream_table.ts";

const settingsAck = frame(SETTINGS, ACK, 0, new Uint8Array(0));

/** The part of a connection that control frames use. */
export interface ControlHost {
  /** GOAWAY was received: the peer opens no more streams. */
  goAwayReceived(): void;
}

/**
 * Handles a whole frame that is neither DATA nor part of a header block. `payload` is valid during the call only. Throws
 * {@linkcode Http2Error} for a connection error.
 */
export function controlFrame(
  host: ControlHost,
  table: StreamTable,
  type: number,
  flags: number,
  streamId: number,
  payload: Uint8Array,
): void {
  switch (type) {
    case PRIORITY:
      return priority(table, streamId, payload);
    case RST_STREAM:
      assertPayloadLength(payload, 4);
      table.assertOpened(streamId);
      return table.resetByPeer(streamId);
    case SETTINGS:
      return settings(table, flags, streamId, payload);
    case PUSH_PROMISE:
      throw new Http2Error(PROTOCOL_ERROR, "PUSH_PROMISE from a client");
    case PING:
      return ping(table, flags, streamId, payload);
    case GOAWAY:
      assertConnection(streamId, "GOAWAY");
      if (payload.length < 8) {
        throw new Http2Error(FRAME_SIZE_ERROR, `GOAWAY of ${payload.length} bytes: expected 8 or more`);
      }
      table.budget.controlFrame();
      return host.goAwayReceived();
    case WINDOW_UPDATE:
      assertPayloadLength(payload, 4);
      return windowUpdate(table, streamId, readUint32(payload, 0) & MAX_WINDOW_BYTES);
    default:
      // Frames of unknown types are ignored (RFC 9113, 5.5).
      table.budget.controlFrame();
  }
}

/** Checks a PRIORITY frame, which is deprecated and has no effect (RFC 9113, 5.3.2). */
function priority(table: StreamTable, streamId: number, payload: Uint8Array): void {
  if (streamId === 0) throw new Http2Error(PROTOCOL_ERROR, "PRIORITY on stream 0");
  table.budget.controlFrame();
  const wrongLength = payload.length !== 5;
  if (!wrongLength && (readUint32(payload, 0) & MAX_WINDOW_BYTES) !== streamId) return;
  const code = wrongLength ? FRAME_SIZE_ERROR : PROTOCOL_ERROR;
  if (table.get(streamId) !== undefined) return table.resetStream(streamId, code, true);
  // An idle stream cannot be reset; on a closed one, only a wrong length is an error of the connection.
  if (wrongLength || streamId > table.lastStreamId) {
    throw new Http2Error(
      code,
      wrongLength
        ? `PRIORITY of ${payload.length} bytes: expected 5`
        : `PRIORITY of stream ${streamId} on itself`,
    );
  }
}

function settings(table: StreamTable, flags: number, streamId: number, payload: Uint8Array): void {
  assertConnection(streamId, "SETTINGS");
  if ((flags & ACK) !== 0) {
    assertPayloadLength(payload, 0);
    return table.budget.controlFrame();
  }
  table.budget.controlFrame(table.limits.settingsFrameCost);
  const before = table.settings.initialWindowBytes;
  table.settings.read(payload, table.limits.maxSettingsEntries);
  if (table.settings.initialWindowBytes !== before) table.initialWindowChanged();
  table.send(settingsAck);
}

function ping(table: StreamTable, flags: number, streamId: number, payload: Uint8Array): void {
  assertConnection(streamId, "PING");
  assertPayloadLength(payload, 8);
  table.budget.controlFrame();
  if ((flags & ACK) === 0) table.send(frame(PING, ACK, 0, payload));
}

function windowUpdate(table: StreamTable, streamId: number, bytes: number): void {
  table.budget.controlFrame();
  if (streamId === 0) {
    if (bytes === 0) throw new Http2Error(PROTOCOL_ERROR, "WINDOW_UPDATE of 0 bytes on the connection");
    if (table.writer.increaseWindow(bytes)) return;
    throw new Http2Error(
      FLOW_CONTROL_ERROR,
      "WINDOW_UPDATE raises the connection's window above 2^31 - 1 bytes",
    );
  }
  table.assertOpened(streamId);
  const stream = table.get(streamId);
  if (stream === undefined) return; // closed here before the frame was received
  if (bytes === 0) table.resetStream(streamId, PROTOCOL_ERROR, true);
  else if (!stream.increaseSendWindow(bytes)) table.resetStream(streamId, FLOW_CONTROL_ERROR, true);
}

function assertConnection(streamId: number, type: string): void {
  if (streamId !== 0) throw new Http2Error(PROTOCOL_ERROR, `${type} on stream ${streamId}`);
}

function assertPayloadLength(payload: Uint8Array, bytes: number): void {
  if (payload.length !== bytes) {
    throw new Http2Error(FRAME_SIZE_ERROR, `a frame of ${payload.length} bytes: expected ${bytes}`);
  }
}
