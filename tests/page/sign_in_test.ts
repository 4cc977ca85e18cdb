/** The page on an api that requires a token, in a real browser. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Page } from "playwright-core";

import { revokeTokens } from "../../src/identity/issued_tokens.ts";
import { makeToken } from "../../src/identity/token.ts";
import { delta } from "../support/batches.ts";
import { visit } from "../support/browser.ts";
import { temporaryStore } from "../support/harness.ts";
import { receive, startMonitor } from "../support/monitor.ts";
import { addReaderToken, testAuditor } from "../support/reader_tokens.ts";
import { until } from "../support/until.ts";

/** Chromium writes on its console that a request was refused. */
const REFUSED = ["401 (Unauthorized)", "403 (Forbidden)"];

const dialogOf = (page: Page) => page.getByRole("dialog", { name: "This api requires a token" });

async function signIn(page: Page, token: string): Promise<void> {
  await page.getByRole("textbox", { name: "Token" }).fill(token);
  await page.getByRole("button", { name: "Open" }).click();
}

Deno.test("With API_AUTH=token the page requests a token, keeps it in its tab, and forgets it on demand", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump", 3)]);
  await using monitor = await startMonitor(store, { apiAuth: "token" });
  const [reader, metrics] = [await addReaderToken(store, ["read"]), await addReaderToken(store, ["metrics"])];
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  const urls: string[] = [];
  page.on("request", (request) => urls.push(request.url()));
  await dialogOf(page).waitFor();
  await page.keyboard.press("Escape");
  assert(await dialogOf(page).isVisible(), "there is nothing without a token");
  assert(!await page.getByRole("link", { name: "pump" }).isVisible());

  await signIn(page, makeToken());
  await page.getByText("The token is unknown or was revoked.").waitFor();
  await signIn(page, metrics.token);
  await page.getByText("found a token for metrics; expected one for read").waitFor();
  await signIn(page, `  ${reader.token} `);
  await page.getByRole("link", { name: "pump" }).waitFor();
  assert(!await dialogOf(page).isVisible());
  assert(!await page.getByRole("link", { name: "Metrics" }).isVisible());

  await receive(store, [delta("valve", 1)]);
  await page.getByRole("link", { name: "valve" }).waitFor();
  await page.reload();
  await page.getByRole("link", { name: "pump" }).waitFor();
  assertEquals(urls.filter((url) => url.includes("tally_")), [], "no token is in a URL");
  assertEquals(await page.evaluate("document.cookie + JSON.stringify(localStorage)"), "{}");

  const opening = page.context().waitForEvent("page");
  await page.evaluate("window.open('/', '_blank', 'noopener'), 0");
  const other = await opening;
  await dialogOf(other).waitFor();
  await other.close();

  await page.getByRole("button", { name: "Forget token" }).click();
  await dialogOf(page).waitFor();
  assertEquals(await page.evaluate("sessionStorage.length"), 0);
  visitor.assertNoProblems(REFUSED);
});

Deno.test("A page whose token is revoked stops within 5 s, and requests another one", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump", 3)]);
  await using monitor = await startMonitor(store, { apiAuth: "token" });
  const [first, second] = [await addReaderToken(store, ["read"]), await addReaderToken(store, ["read"])];
  await using visitor = await visit(monitor.url);
  const { page } = visitor;
  await signIn(page, first.token);
  await page.locator("#connection", { hasText: "Live" }).waitFor();
  await revokeTokens(store, testAuditor(store), "test", [first.record.id]);
  await until(() => dialogOf(page).isVisible(), "the page requests a token", 5);
  assertStringIncludes(await page.locator("#connection").innerText(), "Locked");
  await signIn(page, second.token);
  await page.locator("#connection", { hasText: "Live" }).waitFor();
  visitor.assertNoProblems([...REFUSED, "net::ERR"]);
});

Deno.test("Device view: deleting needs a token with the scope admin", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump", 3)]);
  await using monitor = await startMonitor(store, { apiAuth: "token" });
  const [reader, admin] = [await addReaderToken(store, ["read"]), await addReaderToken(store, ["admin"])];
  await using visitor = await visit(`${monitor.url}?device=pump`);
  const { page } = visitor;
  const remove = async () => {
    await page.getByRole("heading", { name: "pump" }).waitFor();
    await page.getByRole("button", { name: "Delete…" }).click();
    await page.locator("#confirm-delete").click();
  };
  await signIn(page, reader.token);
  await remove();
  await page.getByText("expected one for admin").waitFor();
  await page.reload();
  await page.getByRole("button", { name: "Forget token" }).click();
  await signIn(page, admin.token);
  await remove();
  await page.getByRole("heading", { name: "No packets yet" }).waitFor();
  visitor.assertNoProblems(REFUSED);
});

Deno.test("The page shows that anyone may read and delete where that is so, and only there", async () => {
  for (const anonymousAccess of [true, false]) {
    await using store = await temporaryStore();
    await receive(store, [delta("pump", 3)]);
    await using monitor = await startMonitor(store, { anonymousAccess });
    await using visitor = await visit(monitor.url);
    const { page } = visitor;
    await page.getByRole("link", { name: "pump" }).waitFor();
    const line = page.getByText(
      "Anonymous access: anyone who reaches this port may read everything and delete",
    );
    await until(async () => await line.isVisible() === anonymousAccess, `${anonymousAccess}`);
    assert(!await page.getByRole("button", { name: "Forget token" }).isVisible());
    visitor.assertNoProblems();
  }
});

Deno.test("/docs sends requests with the token that is entered there", async () => {
  await using store = await temporaryStore();
  await receive(store, [delta("pump", 3)]);
  await using monitor = await startMonitor(store, { apiAuth: "token" });
  const { token } = await addReaderToken(store, ["read"]);
  await using visitor = await visit(`${monitor.url}docs#/Fleet/getFleet`);
  const { page } = visitor;
  await page.getByRole("button", { name: "Authorize" }).first().click();
  await page.locator("#auth-bearer-value").fill(token);
  await page.getByRole("button", { name: "Apply credentials" }).click();
  await page.getByRole("button", { name: "Close" }).first().click();
  await page.getByRole("button", { name: "Try it out" }).click();
  const answer = page.waitForResponse((response) => response.url().endsWith("/fleet"));
  await page.getByRole("button", { name: "Execute" }).click();
  assertEquals((await answer).status(), 200);
});
