/**
 * From the metadata of a call to its stream.
 *
 * @module
 */
import type { CallContext } from "./call_context.ts";
import type { CallResponse } from "./call_response.ts";
import { DeviceStream, type StreamKind } from "./device_stream.ts";
import type { IngestState } from "./ingest_state.ts";
import { parseSessionStart } from "./session_start.ts";

/** Opens the stream of a call; undefined when its metadata is invalid: then the call has ended with the error. */
export function openStream(
  ingest: IngestState,
  kind: StreamKind,
  context: CallContext,
  response: CallResponse,
): DeviceStream | undefined {
  let start;
  try {
    start = parseSessionStart(context.metadata);
  } catch (error) {
    response.end(error, 0);
    return undefined;
  }
  return new DeviceStream(ingest, kind, start, context, response);
}
