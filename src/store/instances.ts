/**
 * What ingest processes report of themselves.
 *
 * @module
 */
import type { InstanceReport } from "../metrics/ingest_metrics.ts";

/** The latest report of each ingest process. */
export interface InstanceRegistry {
  /** Publishes the report of an ingest process, in place of its earlier one. */
  reportInstance(report: InstanceReport): Promise<void>;

  /** Deletes the report of an instance. */
  removeInstance(instance: string): Promise<void>;

  /** The reports that are not older than {@linkcode INSTANCE_EXPIRY_MS}, by host, address and worker. */
  instances(nowMs: number): Promise<readonly InstanceReport[]>;
}

/** An instance that has not reported for so long is gone. */
export const INSTANCE_EXPIRY_MS = 10_000;
