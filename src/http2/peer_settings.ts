/**
 * The peer's SETTINGS (RFC 9113, 6.5).
 *
 * @module
 */
import {
  ENABLE_PUSH,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  HEADER_TABLE_SIZE,
  Http2Error,
  INITIAL_WINDOW_BYTES,
  INITIAL_WINDOW_SIZE,
  MAX_FRAME_BYTES,
  MAX_FRAME_SIZE,
  MAX_FRAME_SIZE_LIMIT,
  MAX_WINDOW_BYTES,
  PROTOCOL_ERROR,
  readUint32,
} from "./frames.ts";
import { DEFAULT_TABLE_BYTES } from "./hpack/tables.ts";

const ENTRY_BYTES = 6;

/** The peer's settings that affect what is sent to it; of several values in a frame, the last one counts. */
export class PeerSettings {
  /** SETTINGS_INITIAL_WINDOW_SIZE, bytes. */
  initialWindowBytes: number = INITIAL_WINDOW_BYTES;
  /**
   * The peer set SETTINGS_HEADER_TABLE_SIZE below the default of 4,096 bytes: the next header block must begin with a
   * dynamic table size update (RFC 7541, 4.2). It announces 0, as the encoder uses no dynamic table.
   */
  announceEmptyTable = false;

  /** Applies the payload of a SETTINGS frame; throws {@linkcode Http2Error} for a wrong value or above `maxEntries` entries. */
  read(payload: Uint8Array, maxEntries: number): void {
    if (payload.length % ENTRY_BYTES !== 0) {
      throw new Http2Error(FRAME_SIZE_ERROR, `SETTINGS of ${payload.length} bytes: expected a multiple of 6`);
    }
    if (payload.length > maxEntries * ENTRY_BYTES) {
      throw new Http2Error(ENHANCE_YOUR_CALM, `SETTINGS with more than ${maxEntries} parameters`);
    }
    for (let at = 0; at < payload.length; at += ENTRY_BYTES) {
      this.#set(payload[at]! << 8 | payload[at + 1]!, readUint32(payload, at + 2));
    }
  }

  #set(parameter: number, value: number): void {
    switch (parameter) {
      case HEADER_TABLE_SIZE:
        if (value < DEFAULT_TABLE_BYTES) this.announceEmptyTable = true;
        return;
      case ENABLE_PUSH:
        if (value > 1) {
          throw new Http2Error(PROTOCOL_ERROR, `SETTINGS_ENABLE_PUSH of ${value}: expected 0 or 1`);
        }
        return;
      case INITIAL_WINDOW_SIZE:
        if (value > MAX_WINDOW_BYTES) {
          throw new Http2Error(
            FLOW_CONTROL_ERROR,
            `SETTINGS_INITIAL_WINDOW_SIZE of ${value}: at most 2^31 - 1`,
          );
        }
        this.initialWindowBytes = value;
        return;
      case MAX_FRAME_SIZE:
        if (value < MAX_FRAME_BYTES || value > MAX_FRAME_SIZE_LIMIT) {
          throw new Http2Error(
            PROTOCOL_ERROR,
            `SETTINGS_MAX_FRAME_SIZE of ${value}: expected 2^14 to 2^24 - 1`,
          );
        }
    }
  }
}
