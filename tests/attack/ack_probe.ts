/**
 * An honest device that sends a packet now and then, and measures how long its Ack takes.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import { streamBatches } from "../../src/protocol/telemetry_proto.ts";
import { preface, RawConnection, requestHeaders } from "../http2/raw_connection.ts";
import { frame } from "../support/http2_frames.ts";
import { DATA, END_STREAM, HEADERS } from "../support/http2_numbers.ts";
import { BATCHES_PATH } from "./attacker.ts";
import { messageFrame } from "./frames.ts";

/** Its device. */
export const PROBE_DEVICE = "probe-device";

/** Time between an Ack and the next packet. */
const INTERVAL_MS = 50;

/** How long the last Ack may take when all is over. */
const SETTLE_TIMEOUT_MS = 30_000;

const batch = streamBatches.requestSerialize({
  packets: [{ device_id: PROBE_DEVICE, timestamp: 0, payload: new Uint8Array(4) }],
});

/** What it saw. */
export interface AckProbeResult {
  readonly sent: number;
  readonly acknowledged: number;
  readonly longestWaitMs: number;
  /** The server ended its connection. */
  readonly lost: boolean;
}

/** At work from its making until {@linkcode stop}. */
export class AckProbe implements Disposable {
  readonly #connection: RawConnection;
  readonly #running: Promise<void>;
  #sent = 0;
  #acknowledged = 0;
  #longestWaitMs = 0;
  #stopped = false;
  #lost = false;

  constructor(port: number) {
    this.#connection = new RawConnection(port);
    this.#connection.closed.then(() => this.#lost = true);
    this.#running = this.#run();
  }

  /** Ends its call; resolves to what it saw. */
  async stop(): Promise<AckProbeResult> {
    this.#stopped = true;
    await this.#running;
    return {
      sent: this.#sent,
      acknowledged: this.#acknowledged,
      longestWaitMs: this.#longestWaitMs,
      lost: this.#lost,
    };
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }

  async #run(): Promise<void> {
    await this.#connection.send(preface, requestHeaders(1, BATCHES_PATH));
    while (!this.#stopped && !this.#lost) {
      this.#sent++;
      const sentAtMs = performance.now();
      await this.#connection.send(messageFrame(1, batch));
      await this.#until(() => this.#acknowledgedNow() >= this.#sent);
      this.#longestWaitMs = Math.max(this.#longestWaitMs, performance.now() - sentAtMs);
      await delay(INTERVAL_MS);
    }
    await this.#connection.send(frame(DATA, END_STREAM, 1));
    await this.#until(() => this.#connection.all(HEADERS, 1).length === 2);
    this.#acknowledgedNow();
    this.#connection[Symbol.dispose]();
  }

  async #until(condition: () => boolean): Promise<void> {
    const deadlineMs = performance.now() + SETTLE_TIMEOUT_MS;
    while (!this.#lost && !condition() && performance.now() < deadlineMs) await delay(2);
  }

  /** Acks are cumulative, and each has a frame of its own. */
  #acknowledgedNow(): number {
    const last = this.#connection.all(DATA, 1).at(-1);
    if (last === undefined) return 0;
    this.#acknowledged = streamBatches.responseDeserialize(last.payload.subarray(5) as Buffer).stored;
    return this.#acknowledged;
  }
}
