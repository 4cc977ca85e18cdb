/**
 * The values of a store that does not keep any: `TALLY_VALUES=off`.
 *
 * @module
 */
import type { ValueStore } from "../values.ts";

/** No device has values. */
export const noValues: ValueStore = {
  latestValues: () => Promise.resolve(new Map()),
  valueHistory: () => Promise.resolve(undefined),
  valueChanges: () => Promise.resolve({ cursor: "off", deviceIds: [] }),
  waitingSamples: () => Promise.resolve({ bytes: 0, dropped: 0 }),
};
