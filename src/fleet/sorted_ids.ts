/**
 * Device ids in order, while devices come and go: sorted as they are added, so that no request waits for a
 * sort of all.
 *
 * @module
 */

/** Ids that are sorted in one go, 0.5 ms of work. */
const RUN_IDS = 1_000;

/** Ids by UTF-16 code units. */
export class SortedIds {
  /** Each sorted, and at least twice as long as the one after it. */
  #runs: (readonly string[])[] = [];
  #unsorted: string[] = [];
  #removed = false;

  /** Adds an id that was never added, or was removed since. */
  add(id: string): void {
    if (this.#unsorted.push(id) < RUN_IDS) return;
    this.#sort();
    // Each id is merged once for every doubling, however many there are.
    while (this.#runs.length > 1 && this.#runs.at(-2)!.length < 2 * this.#runs.at(-1)!.length) this.#merge();
  }

  /** An id is not known any more. */
  remove(): void {
    this.#removed = true;
  }

  /** All ids that `isKnown`; shared, never to be changed. */
  all(isKnown: (id: string) => boolean): readonly string[] {
    if (this.#unsorted.length > 0) this.#sort();
    while (this.#runs.length > 1) this.#merge();
    const [ids = []] = this.#runs;
    if (!this.#removed) return ids;
    // One that was removed and came back is there twice.
    const known = ids.filter((id, i) => id !== ids[i - 1] && isKnown(id));
    this.#runs = [known];
    this.#removed = false;
    return known;
  }

  #sort(): void {
    this.#runs.push(this.#unsorted.sort());
    this.#unsorted = [];
  }

  #merge(): void {
    const later = this.#runs.pop()!, earlier = this.#runs.pop()!;
    this.#runs.push(merged(earlier, later));
  }
}

/** Both are sorted. */
function merged(a: readonly string[], b: readonly string[]): string[] {
  const ids: string[] = [];
  let i = 0;
  for (const id of b) {
    while (i < a.length && a[i]! < id) ids.push(a[i++]!);
    ids.push(id);
  }
  while (i < a.length) ids.push(a[i++]!);
  return ids;
}
