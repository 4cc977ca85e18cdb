/**
 * A limit of what one address or one identity may have of something that all share.
 *
 * @module
 */
import { isLoopbackNetwork } from "../runtime/network.ts";

/** `auto`: three quarters of all, so that the rest stays for others; any number for this machine's own address. */
export type ShareLimit = number | "auto";

/** How many of `max` an address may have; `network` is of `networkOf()`. */
export function limitOfAddress(limit: ShareLimit, max: number, network: string): number {
  return limit === "auto" && isLoopbackNetwork(network) ? max : limitOfIdentity(limit, max);
}

/** How many of `max` an identity may have. */
export function limitOfIdentity(limit: ShareLimit, max: number): number {
  return limit === "auto" ? Math.ceil(max * 3 / 4) : limit;
}
