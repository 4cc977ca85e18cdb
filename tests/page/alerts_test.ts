/**
 * Rules and incidents on the page.
 */
import { assert, assertEquals } from "@std/assert";
import type { Page } from "playwright-core";

import { AlertReceiver } from "../support/alert_receiver.ts";
import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { receive, startMonitor } from "../support/monitor.ts";
import { until } from "../support/until.ts";

const quick = { watchIntervalMs: 50, groupWaitMs: 0, updateAfterMs: 0 };

const incidents = (page: Page) => page.getByRole("region", { name: "Incidents" }).getByRole("listitem");
const rules = (page: Page) => page.getByRole("region", { name: "Rules" }).getByRole("listitem");

Deno.test("Alerts: a rule made on the page fires, is acknowledged, and is resolved; hostile names are text", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const hostile = `<img src=x onerror="window.broken = true">\u202E`;
  const shown = hostile.replace("\u202E", "[U+202E]");
  await receive(store, [delta(hostile, 1), delta("calm", 1)]);
  const { webhook, slackUrl } = receiver.channels;
  await using monitor = await startMonitor(store, { ...quick, webhook, slackUrl });
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await page.getByRole("link", { name: "Alerts" }).click();
  await page.getByText("There is no rule yet.").waitFor();
  await page.getByText("No incident.").waitFor();

  await page.getByRole("button", { name: "New rule" }).click();
  await page.getByRole("dialog").getByLabel("Name").fill(`<b>Silent</b>`);
  await page.getByRole("dialog").getByLabel("Devices, * for any text").fill("<*");
  await page.getByRole("dialog").getByLabel("For", { exact: true }).fill("0");
  await page.getByRole("button", { name: "Save" }).click();
  await page.getByText("Cannot use the parameter condition.after_ms: found 0").waitFor();
  await page.getByRole("dialog").getByLabel("For", { exact: true }).fill("3");
  await page.getByRole("dialog").getByLabel("Unit").selectOption("seconds");
  await page.getByRole("dialog").getByLabel("Severity").selectOption("Critical");
  await page.getByRole("dialog").getByLabel("Send to slack").uncheck();
  await page.getByRole("button", { name: "Save" }).click();
  await rules(page).getByText("<*: no packet for 3 s").waitFor();

  await incidents(page).getByText("<b>Silent</b>").waitFor();
  assertEquals(await incidents(page).count(), 1);
  await incidents(page).getByRole("link", { name: shown }).waitFor();
  await rules(page).getByText("<*: no packet for 3 s · 1 open").waitFor();
  await page.locator("#open-incidents").getByText("1").waitFor({ timeout: 15_000 });
  await page.getByRole("button", { name: "Acknowledge <b>Silent</b>" }).click();
  await incidents(page).getByText("acknowledged by anonymous").waitFor();
  await receive(store, [delta(hostile, 1)]);
  await incidents(page).getByText(/^Resolved after /).waitFor();
  await until(() => receiver.incidents.length === 2, "both messages are sent");
  assertEquals(receiver.incidents, ["firing <b>Silent</b> 1", "resolved <b>Silent</b> 1"]);
  assert(!receiver.received.some(({ path }) => path === "/slack"));
  assertEquals(await page.evaluate("window.broken"), undefined);
  visitor.assertNoProblems(["400 (Bad Request)"]);
});

Deno.test("Alerts: a rule is changed, muted and deleted on the page, and a channel is tested", async () => {
  await using receiver = new AlertReceiver();
  await using store = await temporaryStore();
  const { slackUrl } = receiver.channels;
  await using monitor = await startMonitor(store, { ...quick, slackUrl });
  const rule = {
    ...{ name: "Hot", enabled: true, severity: "warning", devices: "green-*", tag: null, channels: null },
    condition: { kind: "value", value: "temperature", above: 40, hysteresis: 2, for_ms: 60_000 },
  };
  await (await fetch(`${monitor.url}rules`, {
    method: "POST",
    body: JSON.stringify(rule),
    headers: { "content-type": "application/json" },
  })).json();
  await using visitor = await visit(`${monitor.url}?view=alerts`);
  const { page } = visitor;
  page.on("dialog", (dialog) => dialog.accept());
  await rules(page).getByText("green-*: temperature above 40 for 1 min").waitFor();
  await rules(page).getByRole("button", { name: "Edit" }).click();
  assertEquals(await page.getByRole("dialog").getByLabel("Above").inputValue(), "40");
  assertEquals(await page.getByRole("dialog").getByLabel("For", { exact: true }).inputValue(), "1");
  await page.getByRole("dialog").getByLabel("Below").fill("-5.5");
  await page.getByRole("button", { name: "Save" }).click();
  await rules(page).getByText("green-*: temperature above 40 or below -5.5 for 1 min").waitFor();
  await rules(page).getByRole("button", { name: "Mute for 1 h" }).click();
  const mutes = page.getByRole("region", { name: "Mutes" });
  await mutes.getByText(/^Hot, all devices: until /).waitFor();
  await mutes.getByRole("button", { name: "Remove" }).click();
  await mutes.getByText("Nothing is muted, and no maintenance window is set.").waitFor();
  await page.getByRole("button", { name: "Send a test" }).click();
  await page.getByText("slack accepted it.").waitFor();
  assertEquals(receiver.received.map(({ body }) => body.text.split("\n")[0]), ["*Test: Tally*"]);
  receiver.answer = () => new Response(null, { status: 403 });
  await page.getByRole("button", { name: "Send a test" }).click();
  await page.getByText("slack refused it: it answered 403").waitFor();
  const downloading = page.waitForEvent("download");
  await page.getByRole("button", { name: "Export" }).click();
  const exported = await Deno.readTextFile(await (await downloading).path());
  await rules(page).getByRole("button", { name: "Delete" }).click();
  await page.getByText("There is no rule yet.").waitFor();
  await page.locator("#import-file").setInputFiles({
    ...{ name: "rules.json", mimeType: "application/json", buffer: Buffer.from(exported) },
  });
  await rules(page).getByText("green-*: temperature above 40 or below -5.5 for 1 min").waitFor();
  visitor.assertNoProblems();
});

Deno.test("Alerts: a mute and a maintenance window are made on the page", async () => {
  await using store = await temporaryStore();
  await using monitor = await startMonitor(store, quick);
  const rule = { name: "<i>Silent</i>", enabled: true, severity: "warning", devices: "*", tag: null };
  const added = await fetch(`${monitor.url}rules`, {
    method: "POST",
    body: JSON.stringify({ ...rule, channels: null, condition: { kind: "offline", after_ms: 300_000 } }),
    headers: { "content-type": "application/json" },
  });
  const { id } = await added.json();
  const stored = async () => (await (await fetch(`${monitor.url}mutes`)).json()).mutes;
  await using visitor = await visit(`${monitor.url}?view=alerts`);
  const { page } = visitor;
  const mutes = page.getByRole("region", { name: "Mutes" }), dialog = page.getByRole("dialog");
  await rules(page).first().waitFor();
  await page.getByRole("button", { name: "New mute" }).click();
  await dialog.getByLabel("For", { exact: true }).fill("0");
  await dialog.getByRole("button", { name: "Save" }).click();
  await dialog.getByText("Cannot use the parameter for_ms: found 0").waitFor();
  await dialog.getByLabel("For", { exact: true }).fill("1.5");
  await dialog.getByRole("button", { name: "Save" }).click();
  await mutes.getByText(/^All rules, all devices: until /).waitFor();
  const [{ from_ms, until_ms, active }] = await stored();
  assertEquals([until_ms - from_ms, active], [90 * 60_000, true]);
  await mutes.getByRole("button", { name: "Remove" }).click();
  await mutes.getByText("Nothing is muted, and no maintenance window is set.").waitFor();

  await page.getByRole("button", { name: "New mute" }).click();
  assertEquals(await dialog.getByLabel("For", { exact: true }).inputValue(), "1");
  await dialog.getByLabel("Rule").selectOption("<i>Silent</i>");
  await dialog.getByLabel("Devices, * for any text").fill("pump-*");
  await dialog.getByLabel("With the tag").fill("site=oslo");
  const begins = `${new Date(Date.now() + 86_400_000).toISOString().slice(0, 10)}T02:30`;
  await dialog.getByLabel("Begins; empty: now").fill(begins);
  await dialog.getByLabel("Unit").selectOption("minutes");
  await dialog.getByLabel("For", { exact: true }).fill("45");
  await dialog.getByLabel("Repeats").selectOption("every week");
  await dialog.getByLabel("Why").fill("<b>backup</b>");
  await dialog.getByRole("button", { name: "Save" }).click();
  await mutes.getByText(/^<i>Silent<\/i>, pump-\*, site=oslo: weekly, 45 min from .* · <b>backup<\/b>$/)
    .waitFor();
  const [window] = await stored();
  assertEquals([window.rule_id, window.repeat, window.active], [id, "weekly", false]);
  assertEquals(
    window.from_ms,
    await page.evaluate<number>(`Date.parse(${JSON.stringify(begins)})`),
    "the time is that of the page's clock",
  );
  visitor.assertNoProblems(["400 (Bad Request)"]);
});
