/** @module */

/** Keeps faults apart that must not overlap: those that run alone, and all others. */
export class FaultLock {
  readonly #shared = new Set<Promise<unknown>>();
  #alone: Promise<unknown> | undefined;

  /** Runs `body` together with others that share, but while nothing runs alone. */
  async shared<T>(body: () => Promise<T>): Promise<T> {
    while (this.#alone !== undefined) await this.#alone;
    const running = body();
    const ended = running.catch(() => {}).finally(() => this.#shared.delete(ended));
    this.#shared.add(ended);
    return await running;
  }

  /** Runs `body` when nothing else does; what comes meanwhile waits. */
  async alone<T>(body: () => Promise<T>): Promise<T> {
    while (this.#alone !== undefined) await this.#alone;
    const running = Promise.all(this.#shared).then(body);
    const ended = this.#alone = running.catch(() => {}).finally(() => this.#alone = undefined);
    await ended;
    return await running;
  }
}
