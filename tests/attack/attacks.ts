/**
 * Every attack, in the order of the table.
 *
 * @module
 */
import type { Attack } from "./attacker.ts";
import { controlFloods } from "./control_floods.ts";
import { dataAttacks } from "./data_attacks.ts";
import { headerAttacks } from "./header_attacks.ts";
import { quotaAttacks } from "./quota_attacks.ts";
import { streamAttacks } from "./stream_attacks.ts";

/** See the module. */
export const attacks: readonly Attack[] = [
  ...controlFloods,
  ...headerAttacks,
  ...streamAttacks,
  ...dataAttacks,
  ...quotaAttacks,
];
