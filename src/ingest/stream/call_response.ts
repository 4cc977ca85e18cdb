/**
 * The response side of a call, as a stream uses it.
 *
 * @module
 */
import type { Ack } from "../../protocol/messages.ts";

/** A claimed session, as the initial metadata states it. */
export interface ClaimedSession {
  /** Packets of it that are settled. */
  readonly committed: number;
  /** Acknowledged packets that the store no longer holds, and that the device does not send again. */
  readonly lost: number;
  /** For a device that keeps acknowledged packets: see `claim_text.ts`. */
  readonly claim: string | undefined;
}

/** The response side of a call; one implementation per path. Calls after the end are ignored. */
export interface CallResponse {
  /** Initial metadata of a stream with a session. */
  sendHeaders(claimed: ClaimedSession): void;
  /** Sends an Ack. False: the device does not read; `onWritable` is called when it does. */
  sendAck(ack: Ack, onWritable: () => void): boolean;
  /** Ends the call: OK, or the error; `committed` goes into the trailers of an error. */
  end(error: unknown, committed: number): void;
}
