/**
 * The events the store keeps, in memory: each is read from the store once for all requests, and those of one device
 * are found without the store.
 *
 * @module
 */
import { type DeviceEvent, EVENTS_KEPT } from "../store/events.ts";
import type { Store } from "../store/store.ts";

/** Events read at a time. */
const PAGE_EVENTS = 1_000;

/** At most {@linkcode EVENTS_KEPT} events. */
export class EventLog {
  readonly #store: Pick<Store, "events">;
  /** Oldest first. */
  #events: readonly DeviceEvent[] = [];
  #reading: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  /** Reads nothing yet. */
  constructor(store: Pick<Store, "events">) {
    this.#store = store;
  }

  /** Id of the newest event, 0 if there is none; await {@linkcode refresh} first. */
  get newestId(): number {
    return this.#events.at(-1)?.id ?? 0;
  }

  /** Resolves when every event stored before this call is here. Rejects as the store does. */
  refresh(): Promise<void> {
    if (this.#reading === undefined) {
      this.#reading = this.#read().finally(() => this.#reading = undefined);
      return this.#reading;
    }
    // The read in progress may have missed the newest: callers from now on share the one after it.
    this.#next ??= this.#reading.catch(() => {}).then(() => {
      this.#next = undefined;
      return this.refresh();
    });
    return this.#next;
  }

  /**
   * Up to `limit` events after the one with id `after`, or the newest; oldest first. With `deviceId`, of
   * this device only; with `before`, of those before the one with that id; with `isWanted`, of such devices.
   */
  list(
    after: number | undefined,
    limit: number,
    deviceId?: string,
    before = Infinity,
    isWanted?: (deviceId: string) => boolean,
  ): readonly DeviceEvent[] {
    const later = after === undefined
      ? this.#events
      : this.#events.slice(this.#events.findLastIndex(({ id }) => id <= after) + 1);
    const own = deviceId === undefined && before === Infinity && isWanted === undefined
      ? later
      : later.filter((event) =>
        event.id < before && (deviceId ?? event.deviceId) === event.deviceId &&
        (isWanted?.(event.deviceId) ?? true)
      );
    return after === undefined ? own.slice(-limit) : own.slice(0, limit);
  }

  async #read(): Promise<void> {
    const last = this.#events.at(-1);
    // Read once more, the newest event shows whether the store continues from it: it does not when it was emptied or
    // put back to an earlier state, or has had more events since than it keeps.
    const [again, ...newer] = last === undefined ? [] : await this.#store.events(last.id - 1, PAGE_EVENTS);
    const continues = last !== undefined && again !== undefined && isSame(last, again);
    if (continues && newer.length === 0) return;
    const events = continues ? [...this.#events, ...newer] : [];
    let isMore = !continues || newer.length === PAGE_EVENTS - 1;
    while (isMore) {
      const page = await this.#store.events(events.at(-1)?.id ?? 0, PAGE_EVENTS);
      events.push(...page);
      isMore = page.length === PAGE_EVENTS;
    }
    this.#events = events.slice(-EVENTS_KEPT);
  }
}

function isSame(one: DeviceEvent, other: DeviceEvent): boolean {
  return one.id === other.id && one.kind === other.kind && one.deviceId === other.deviceId &&
    one.atMs === other.atMs;
}
