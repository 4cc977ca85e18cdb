/**
 * Ending a connection before it is served.
 *
 * @module
 */
import type { Duplex } from "node:stream";

import {
  concat,
  frame,
  FRAME_HEADER_BYTES,
  GOAWAY,
  INADEQUATE_SECURITY,
  numbersFrame,
  settingsFrame,
} from "./frames.ts";

/**
 * Sends the server's preface and GOAWAY with INADEQUATE_SECURITY and `reason`, which clients of gRPC show in their
 * error, and closes the socket, after `lingerMs` at the latest.
 */
export function refuseConnection(socket: Duplex, reason: string, lingerMs: number): void {
  const goaway = numbersFrame(GOAWAY, 0, 0, INADEQUATE_SECURITY).subarray(FRAME_HEADER_BYTES);
  const timer = setTimeout(() => socket.destroy(), lingerMs);
  socket.once("close", () => clearTimeout(timer));
  socket.resume(); // what is received is discarded
  socket.end(concat([
    settingsFrame([]),
    frame(GOAWAY, 0, 0, concat([goaway, new TextEncoder().encode(reason)])),
  ]));
}
