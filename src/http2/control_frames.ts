/**
 * The frames that control a connection and its streams: PRIORITY, RST_STREAM, SETTINGS, PING, GOAWAY and WINDOW_UPDATE
 * (RFC 9113, 6.3 to 6.9). Each has a cost, because it carries nothing and some want a reply.
 *
 * @module
 */
import type { AbuseBudget } from "./abuse_budget.ts";
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
import type { ControlFrameHandler } from "./frame_reader.ts";
import type { FrameWriter } from "./frame_writer.ts";
import type { PeerSettings } from "./peer_settings.ts";
import type { StreamTable } from "./stream_table.ts";

const settingsAck = frame(SETTINGS, ACK, 0, new Uint8Array(0));

/** See the module. */
export class ControlFrames implements ControlFrameHandler {
  /** `peerGoesAway` is called when GOAWAY is received. */
  constructor(
    readonly table: StreamTable,
    readonly writer: FrameWriter,
    readonly settings: PeerSettings,
    readonly budget: AbuseBudget,
    readonly peerGoesAway: () => void,
  ) {}

  /** See {@linkcode ControlFrameHandler}. */
  frame(type: number, flags: number, streamId: number, payload: Uint8Array): void {
    switch (type) {
      case PRIORITY:
        return this.#priority(streamId, payload);
      case RST_STREAM:
        assertPayloadLength(payload, 4);
        this.table.assertOpened(streamId);
        return this.table.resetByPeer(streamId);
      case SETTINGS:
        return this.#settings(flags, streamId, payload);
      case PUSH_PROMISE:
        throw new Http2Error(PROTOCOL_ERROR, "PUSH_PROMISE from a client");
      case PING:
        return this.#ping(flags, streamId, payload);
      case GOAWAY:
        assertConnection(streamId, "GOAWAY");
        if (payload.length < 8) throw new Http2Error(FRAME_SIZE_ERROR, "GOAWAY of less than 8 bytes");
        this.budget.controlFrame();
        return this.peerGoesAway();
      case WINDOW_UPDATE:
        assertPayloadLength(payload, 4);
        return this.#windowUpdate(streamId, readUint32(payload, 0) & MAX_WINDOW_BYTES);
      default:
        // Unknown types are ignored (RFC 9113, 5.5).
        this.budget.controlFrame();
    }
  }

  /** Deprecated, and without effect (RFC 9113, 5.3.2). */
  #priority(streamId: number, payload: Uint8Array): void {
    if (streamId === 0) throw new Http2Error(PROTOCOL_ERROR, "PRIORITY on stream 0");
    this.budget.controlFrame();
    const wrongLength = payload.length !== 5;
    if (!wrongLength && (readUint32(payload, 0) & MAX_WINDOW_BYTES) !== streamId) return;
    // Of an idle stream there is nothing to reset.
    if (streamId > this.table.lastStreamId) {
      throw new Http2Error(
        wrongLength ? FRAME_SIZE_ERROR : PROTOCOL_ERROR,
        "a PRIORITY frame that is malformed",
      );
    }
    if (this.table.get(streamId) === undefined) return;
    this.table.resetStream(streamId, wrongLength ? FRAME_SIZE_ERROR : PROTOCOL_ERROR, true);
  }

  #settings(flags: number, streamId: number, payload: Uint8Array): void {
    assertConnection(streamId, "SETTINGS");
    if ((flags & ACK) !== 0) {
      assertPayloadLength(payload, 0);
      return this.budget.controlFrame();
    }
    this.budget.controlFrame(this.table.limits.settingsFrameCost);
    const before = this.settings.initialWindowBytes;
    this.settings.read(payload, this.table.limits.maxSettingsEntries);
    if (this.settings.initialWindowBytes !== before) this.table.initialWindowChanged();
    this.writer.send(settingsAck);
  }

  #ping(flags: number, streamId: number, payload: Uint8Array): void {
    assertConnection(streamId, "PING");
    assertPayloadLength(payload, 8);
    this.budget.controlFrame();
    if ((flags & ACK) === 0) this.writer.send(frame(PING, ACK, 0, payload));
  }

  #windowUpdate(streamId: number, bytes: number): void {
    this.budget.controlFrame();
    if (streamId === 0) {
      if (bytes === 0) throw new Http2Error(PROTOCOL_ERROR, "a WINDOW_UPDATE of 0 bytes");
      if (this.writer.increaseWindow(bytes)) return;
      throw new Http2Error(FLOW_CONTROL_ERROR, "the connection's window is above 2^31 - 1 bytes");
    }
    this.table.assertOpened(streamId);
    const stream = this.table.get(streamId);
    if (stream === undefined) return; // it is closed; the peer could not know yet
    if (bytes === 0) this.table.resetStream(streamId, PROTOCOL_ERROR, true);
    else if (!stream.increaseSendWindow(bytes)) this.table.resetStream(streamId, FLOW_CONTROL_ERROR, true);
  }
}

function assertConnection(streamId: number, type: string): void {
  if (streamId !== 0) throw new Http2Error(PROTOCOL_ERROR, `${type} on stream ${streamId}`);
}

function assertPayloadLength(payload: Uint8Array, bytes: number): void {
  if (payload.length !== bytes) {
    throw new Http2Error(FRAME_SIZE_ERROR, `a frame of ${payload.length} bytes: expected ${bytes}`);
  }
}
