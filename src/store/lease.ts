/**
 * Which process delivers events to the outside: one at a time.
 *
 * @module
 */

/** The lease, and how far its owners have delivered. */
export interface DeliveryLease {
  /**
   * Makes `owner` the only one to deliver events for `ttlMs` from now on, or renews its lease. Resolves to the id of
   * the last event delivered, or undefined while another owner holds the lease. The first owner ever begins
   * after the existing events; if there are none, at the id before the first event.
   */
  claimDelivery(owner: string, ttlMs: number, nowMs: number): Promise<number | undefined>;

  /** Events up to `eventId` are delivered. False, and nothing changes, when `owner` no longer holds the lease. */
  commitDelivery(owner: string, eventId: number, nowMs: number): Promise<boolean>;
}
