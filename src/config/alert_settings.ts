/**
 * The settings of alerts; `config.ts` has the others.
 *
 * @module
 */
import { publicUrlKind, webhookKeyKind, webhookUrlKind } from "./kinds.ts";
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
    help: "URL that receives offline and online events, and incidents.",
  }, webhookUrlKind)),
  webhookSecret: optional(custom("TALLY_ALERT_WEBHOOK_SECRET", {
    ...alerts,
    default: "",
    help: "Key that signs these events; the receiver needs it too.",
  }, webhookKeyKind)),
  slackUrl: optional(custom("TALLY_ALERT_SLACK_URL", {
    ...alerts,
    default: "",
    help: "Incoming webhook of Slack that receives messages about incidents.",
  }, webhookUrlKind)),
  ntfyUrl: optional(custom("TALLY_ALERT_NTFY_URL", {
    ...alerts,
    default: "",
    help: "Topic of ntfy that receives messages about incidents.",
  }, webhookUrlKind)),
  alertmanagerUrl: optional(custom("TALLY_ALERT_ALERTMANAGER_URL", {
    ...alerts,
    default: "",
    help: "Alertmanager that receives incidents; without the path of its API.",
  }, webhookUrlKind)),
  publicUrl: optional(custom("TALLY_PUBLIC_URL", {
    ...alerts,
    default: "",
    help: "Address of the page in messages about incidents, where it is another.",
  }, publicUrlKind)),
} as const;
