/**
 * How often each device sends, usually: for those whose rate is next to nothing most of the time.
 *
 * @module
 */

/** An interval is measured over no less, so that what a device sends each time it wakes counts as one group. */
const MIN_SPAN_MS = 5_000;

/** The usual time from one packet to the next of each device, by its slot in the index. */
export class DeviceIntervals {
  /** The packet from which the next interval is measured, and how many came after it. */
  #fromMs = new Float64Array(1_024);
  #packets = new Uint32Array(1_024);
  /** The three newest intervals, milliseconds a packet; 0: not known. */
  #newestMs = new Float32Array(1_024);
  #middleMs = new Float32Array(1_024);
  #oldestMs = new Float32Array(1_024);

  /** Makes room for slots below `length`. */
  grow(length: number): void {
    this.#fromMs = grown(this.#fromMs, new Float64Array(length));
    this.#packets = grown(this.#packets, new Uint32Array(length));
    this.#newestMs = grown(this.#newestMs, new Float32Array(length));
    this.#middleMs = grown(this.#middleMs, new Float32Array(length));
    this.#oldestMs = grown(this.#oldestMs, new Float32Array(length));
  }

  /** A device of which nothing was measured yet, last seen at `lastSeenMs`; `meanMs`: of its life, 0 if not known. */
  begin(slot: number, lastSeenMs: number, meanMs: number): void {
    this.#fromMs[slot] = lastSeenMs;
    this.#packets[slot] = 0;
    this.#newestMs[slot] = this.#middleMs[slot] = this.#oldestMs[slot] = meanMs;
  }

  /** So many packets came since what was added before, the last one at `lastSeenMs`. */
  add(slot: number, lastSeenMs: number, added: number): void {
    const packets = this.#packets[slot]! + added;
    const spanMs = lastSeenMs - this.#fromMs[slot]!;
    if (spanMs < 0) { // The clock was set back, or the store was put back.
      this.#fromMs[slot] = lastSeenMs;
      this.#packets[slot] = 0;
      return;
    }
    if (packets === 0 || spanMs < MIN_SPAN_MS) {
      this.#packets[slot] = packets;
      return;
    }
    const newestMs = this.#newestMs[slot]!;
    const intervalMs = spanMs / packets;
    this.#fromMs[slot] = lastSeenMs;
    this.#packets[slot] = 0;
    this.#oldestMs[slot] = newestMs === 0 ? intervalMs : this.#middleMs[slot]!;
    this.#middleMs[slot] = newestMs === 0 ? intervalMs : newestMs;
    this.#newestMs[slot] = intervalMs;
  }

  /**
   * Milliseconds, the middle one of three: a pause once in a while is not usual. Before one was measured it is
   * `meanMs`, of the device's life until now; null where that is 0.
   */
  at(slot: number, meanMs: number): number | null {
    const a = this.#newestMs[slot]!, b = this.#middleMs[slot]!;
    const medianMs = Math.max(Math.min(a, b), Math.min(Math.max(a, b), this.#oldestMs[slot]!));
    const intervalMs = medianMs || meanMs;
    // To the millisecond, and below ten of them to the microsecond: the live stream sends it with each packet.
    return (intervalMs < 10 ? Math.round(intervalMs * 1_000) / 1_000 : Math.round(intervalMs)) || null;
  }
}

/** `larger` with what `column` holds. */
export function grown<Column extends Float64Array | Float32Array | Uint32Array | Uint8Array>(
  column: Column,
  larger: Column,
): Column {
  larger.set(column);
  return larger;
}
