/**
 * A handler of calls that does whatever a handler may do, at times that a seed decides, and checks that it is
 * treated as it was promised.
 *
 * @module
 */
import type { Random } from "../support/random.ts";
import type { EngineStream, StreamEvents } from "./engine.ts";

/** What a response adds to the bytes of its messages: its header blocks, and a frame's header for each piece. */
export const RESPONSE_OVERHEAD_BYTES = 64;

/** Notes a promise that the engine has broken. Nothing is thrown: the engine might catch it. */
export type OnBroken = (what: string) => void;

/** The calls of one connection. */
export class NativeCalls {
  readonly calls = new Map<number, NativeCall>();
  /** What the responses written so far may take on the wire, in frames that are not split. */
  responseBytes = 0;
  /** The most that was received and not consumed, of all calls. */
  mostBufferedBytes = 0;
  bufferedBytes = 0;

  constructor(readonly random: Random, readonly onBroken: OnBroken) {}

  /** Serves a call. */
  opened(stream: EngineStream): StreamEvents {
    if (this.calls.has(stream.id)) this.onBroken(`stream ${stream.id} was opened twice`);
    const call = new NativeCall(this, stream);
    this.calls.set(stream.id, call);
    return call;
  }

  /** Handlers go on with what they put off. */
  step(): void {
    for (const call of this.calls.values()) call.step();
  }

  /** Every call must be over: its connection is. */
  checkClosed(): void {
    for (const { stream, over } of this.calls.values()) {
      if (!over) this.onBroken(`stream ${stream.id} was not closed with its connection`);
    }
  }
}

/** One call. */
export class NativeCall implements StreamEvents {
  readonly received_: Uint8Array[] = [];
  waiting: boolean;
  ended = false;
  over = false;
  /** It ended or reset the call before the peer had sent all. */
  endedEarly = false;
  readonly #random: Random;
  #bufferedBytes = 0;
  #responded = false;
  #finished = false;

  constructor(readonly calls: NativeCalls, readonly stream: EngineStream) {
    this.#random = calls.random;
    this.waiting = this.#random.chance(0.3);
    if (this.#random.chance(0.05)) this.#finish();
  }

  received(bytes: Uint8Array): void {
    this.#mustBeOpen("DATA");
    if (this.ended) this.calls.onBroken(`stream ${this.stream.id}: DATA after the peer's END_STREAM`);
    this.received_.push(bytes);
    if (this.#random.chance(0.2)) this.#act();
    if (this.over || !this.waiting) return;
    this.#bufferedBytes += bytes.length;
    this.calls.bufferedBytes += bytes.length;
    this.calls.mostBufferedBytes = Math.max(this.calls.mostBufferedBytes, this.calls.bufferedBytes);
  }

  remoteEnded(): void {
    this.#mustBeOpen("END_STREAM");
    if (this.ended) this.calls.onBroken(`stream ${this.stream.id}: END_STREAM twice`);
    this.ended = true;
    if (this.#random.chance(0.7)) this.#finish();
  }

  closed(): void {
    if (this.over) this.calls.onBroken(`stream ${this.stream.id} was closed twice`);
    this.over = true;
    this.calls.bufferedBytes -= this.#bufferedBytes;
    this.#bufferedBytes = 0;
  }

  step(): void {
    if (this.over) return;
    if (this.waiting && this.#random.chance(0.5)) this.#consume();
    if (this.#random.chance(0.1)) this.#act();
    if (this.ended && !this.#finished) this.#finish();
  }

  #act(): void {
    if (this.#finished) return;
    const { stream } = this;
    this.#random.pick([
      () => this.#respond(),
      () => this.#write(),
      () => this.#write(),
      () => this.#consume(),
      () => this.waiting = !this.waiting && this.#bufferedBytes === 0 ? true : this.waiting,
      () => this.#random.chance(0.2) && this.#finish(),
      () => {
        if (!this.#random.chance(0.1)) return;
        this.#finished = this.endedEarly = true;
        stream.reset(this.#random.pick([0, 2, 8]));
      },
    ])();
  }

  #consume(): void {
    this.waiting = false;
    this.calls.bufferedBytes -= this.#bufferedBytes;
    this.#bufferedBytes = 0;
    this.stream.consumed();
  }

  #respond(): void {
    if (this.#responded || this.stream.closed) return;
    this.#responded = true;
    this.calls.responseBytes += RESPONSE_OVERHEAD_BYTES;
    this.stream.respond([[":status", "200"], ["content-type", "application/grpc"]], false);
  }

  #write(): void {
    this.#respond();
    const bytes = this.#random.bytes(this.#random.pick([1, 20, 20, 2000]));
    this.calls.responseBytes += bytes.length + RESPONSE_OVERHEAD_BYTES;
    this.stream.write(bytes);
  }

  #finish(): void {
    if (this.#finished) return;
    this.#respond();
    this.#finished = true;
    this.endedEarly ||= !this.ended;
    this.calls.responseBytes += RESPONSE_OVERHEAD_BYTES;
    this.stream.end([["grpc-status", "0"]]);
  }

  #mustBeOpen(what: string): void {
    if (this.over) this.calls.onBroken(`stream ${this.stream.id}: ${what} after it was closed`);
  }
}
