/**
 * The monitor page: its files, as they are, from memory. They are part of the program, so serving them
 * needs no permission to read.
 *
 * @module
 */
import { createHash } from "node:crypto";

import { Hono } from "@hono/hono";

import { matchesEtag } from "./negotiate.ts";
import apiJs from "./page/api.js" with { type: "text" };
import chartJs from "./page/chart.js" with { type: "text" };
import connectionJs from "./page/connection.js" with { type: "text" };
import deviceCss from "./page/device.css" with { type: "text" };
import deviceJs from "./page/device.js" with { type: "text" };
import domJs from "./page/dom.js" with { type: "text" };
import figuresCss from "./page/figures.css" with { type: "text" };
import formatJs from "./page/format.js" with { type: "text" };
import iconSvg from "./page/icon.svg" with { type: "text" };
import indexHtml from "./page/index.html" with { type: "text" };
import mainJs from "./page/main.js" with { type: "text" };
import overviewJs from "./page/overview.js" with { type: "text" };
import pageCss from "./page/page.css" with { type: "text" };
import sparklinesJs from "./page/sparklines.js" with { type: "text" };
import tableCss from "./page/table.css" with { type: "text" };
import tableJs from "./page/table.js" with { type: "text" };

/** Every file by its path. */
const FILES: Readonly<Record<string, string>> = {
  "/": indexHtml,
  "/page/api.js": apiJs,
  "/page/chart.js": chartJs,
  "/page/connection.js": connectionJs,
  "/page/device.css": deviceCss,
  "/page/device.js": deviceJs,
  "/page/dom.js": domJs,
  "/page/figures.css": figuresCss,
  "/page/format.js": formatJs,
  "/page/icon.svg": iconSvg,
  "/page/main.js": mainJs,
  "/page/overview.js": overviewJs,
  "/page/page.css": pageCss,
  "/page/sparklines.js": sparklinesJs,
  "/page/table.css": tableCss,
  "/page/table.js": tableJs,
};

const CONTENT_TYPES: Readonly<Record<string, string>> = {
  css: "text/css",
  html: "text/html",
  js: "text/javascript",
  svg: "image/svg+xml",
};

/** Nothing from elsewhere, nothing inline: a device id that became markup would still do nothing. */
const HEADERS = {
  "Content-Security-Policy": [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join("; "),
  // Asked for each time, answered with 304: the page is never older than the api that it talks to.
  "Cache-Control": "no-cache",
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Resource-Policy": "same-origin",
  "Referrer-Policy": "no-referrer",
  "X-Content-Type-Options": "nosniff",
  "X-Frame-Options": "DENY",
};

/** Routes for `/` and the files it refers to. */
export function createPage(): Hono {
  const page = new Hono();
  for (const [path, text] of Object.entries(FILES)) {
    const body = new TextEncoder().encode(text);
    const type = path === "/" ? "html" : path.slice(path.lastIndexOf(".") + 1);
    const headers = {
      ...HEADERS,
      "Content-Type": `${CONTENT_TYPES[type]}; charset=utf-8`,
      "ETag": `"${createHash("sha256").update(body).digest("base64url").slice(0, 22)}"`,
    };
    page.get(path, (c) => {
      const isKnown = matchesEtag(c.req.header("If-None-Match"), headers.ETag);
      return isKnown ? c.body(null, 304, headers) : c.body(body, 200, headers);
    });
  }
  return page;
}
