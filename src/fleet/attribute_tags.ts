/**
 * Tags that devices have by what is in their payloads: with `TALLY_TAGS_FROM` only.
 *
 * They are not stored: each api makes them of the attributes that are, which are the same for all.
 *
 * @module
 */
import { setTimeout as delay } from "node:timers/promises";

import type { Logger } from "@logtape/logtape";

import { isTagValue } from "../store/labels.ts";
import { StoreError } from "../store/store_error.ts";
import type { Attribute } from "../store/values.ts";
import type { FleetCache } from "./fleet_cache.ts";
import type { FleetValues } from "./fleet_values.ts";
import { MAX_DISTINCT_KEYS, MAX_DISTINCT_TAGS } from "./label_index.ts";

/** Attributes are read this often. */
const ATTRIBUTES_INTERVAL_MS = 1_000;

/** What {@linkcode followAttributes} needs. */
export interface AttributeTagsOptions {
  /** Has the tags. */
  readonly fleet: FleetCache;
  /** Has the attributes. */
  readonly values: FleetValues;
  /** Names of attributes, which are the keys of the tags. */
  readonly keys: readonly string[];
  /** Receives a line when tags are left out, and unexpected errors. */
  readonly log: Logger;
  /** Ends it. */
  readonly signal: AbortSignal;
}

/** Keeps the tags as the attributes are until `signal` is aborted. */
export async function followAttributes(options: AttributeTagsOptions): Promise<void> {
  const { fleet, values, keys, log, signal } = options;
  const wanted = new Set(keys);
  let isLogged = false;
  const unsubscribe = values.subscribe((changed) => {
    for (const [deviceId, found] of changed) {
      const isAll = fleet.labels.setAttributes(deviceId, tagsOf(found?.attributes ?? [], wanted));
      if (isAll || isLogged) continue;
      isLogged = true;
      log.warn("Tags of attributes are left out: all devices may have {tags} distinct tags, {keys} keys", {
        ...{ tags: MAX_DISTINCT_TAGS, keys: MAX_DISTINCT_KEYS, deviceId },
      });
    }
  });
  while (!signal.aborted) {
    try {
      await fleet.refresh({ keepWarm: false });
      await values.refresh();
    } catch (error) {
      // FleetCache logs an outage of the store.
      if (!(error instanceof StoreError)) log.error("Cannot read the attributes of devices", { error });
    }
    await delay(ATTRIBUTES_INTERVAL_MS, undefined, { signal }).catch(() => {});
  }
  unsubscribe();
}

/** An attribute that cannot be the value of a tag, as an empty text, is none. */
function tagsOf(
  attributes: readonly Attribute[],
  keys: ReadonlySet<string>,
): readonly (readonly [key: string, value: string])[] {
  return attributes.filter(({ name, value }) => keys.has(name) && isTagValue(value))
    .map(({ name, value }) => [name, value]);
}
