/**
 * A real browser on a page: Chromium without a screen, driven by Playwright.
 *
 * @module
 */
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

import { assertEquals } from "@std/assert";

/** As in `setup.ts`: Debian's, then what other systems have. */
const EXECUTABLES = ["chromium-headless-shell", "chromium", "google-chrome"];

/** A browser's visit to a site; whatever goes wrong on the page is written down. */
export interface Visit extends AsyncDisposable {
  readonly page: Page;
  /** Errors on the console, uncaught ones, and requests to other hosts. */
  readonly problems: string[];
  /** Fails if the page had problems other than those whose text contains one of `expected`. */
  assertNoProblems(expected?: readonly string[]): void;
}

/** Starts a browser of its own and opens `url`. */
export async function visit(url: string, options: BrowserContextOptions = {}): Promise<Visit> {
  const browser = await launch();
  const problems: string[] = [];
  try {
    const page = await browser.newPage(options);
    page.setDefaultTimeout(10_000);
    page.on("console", (message) => {
      if (message.type() === "error") problems.push(`console: ${message.text()} ${message.location().url}`);
    });
    page.on("pageerror", (error) => problems.push(`uncaught: ${error.stack}`));
    page.on("request", (request) => {
      if (new URL(request.url()).host !== new URL(url).host) problems.push(`elsewhere: ${request.url()}`);
    });
    await page.goto(url);
    return {
      page,
      problems,
      assertNoProblems(expected = []) {
        assertEquals(problems.filter((problem) => !expected.some((text) => problem.includes(text))), []);
      },
      async [Symbol.asyncDispose]() {
        await browser.close();
      },
    };
  } catch (error) {
    await browser.close();
    throw error;
  }
}

async function launch(): Promise<Browser> {
  return await chromium.launch({
    executablePath: await findBrowser(),
    // Root cannot have the sandbox; the rest keeps the browser from talking to anyone but us.
    args: [
      "--no-sandbox",
      "--disable-gpu",
      "--disable-quic",
      "--no-first-run",
      "--disable-background-networking",
      "--disable-component-update",
      "--disable-sync",
    ],
  });
}

async function findBrowser(): Promise<string> {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  for (const path of EXECUTABLES.flatMap((name) => folders.map((folder) => `${folder}/${name}`))) {
    if (await Deno.stat(path).then(({ isFile }) => isFile, () => false)) return path;
  }
  throw new Error(`none of ${EXECUTABLES.join(", ")} is installed: deno task test installs one`);
}
