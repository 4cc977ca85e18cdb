/**
 * The settings of alerts; `config.ts` has the others.
 *
 * @module
 */
import { webhookKeyKind, webhookUrlKind } from "./kinds.ts";
import { custom, duration, optional } from "../runtime/settings.ts";

const alerts = { group: "Alerts", role: "api" };

/** The settings by the names the code uses. */
export const alertSettings = {
  offlineAfterMs: duration("TALLY_OFFLINE_AFTER", {
    ...alerts,
    default: "60s",
    min: "1s",
    max: "24h",
    common: true,
    help: "Silence after which a device is offline; the same in all api processes.",
  }),
  webhookUrl: optional(custom("TALLY_ALERT_WEBHOOK_URL", {
    ...alerts,
    default: "",
    common: true,
    help: "URL that receives offline and online events (Standard Webhooks).",
  }, webhookUrlKind)),
  webhookSecret: optional(custom("TALLY_ALERT_WEBHOOK_SECRET", {
    ...alerts,
    default: "",
    help: "Key that signs these events; the receiver needs it too.",
  }, webhookKeyKind)),
} as const;
