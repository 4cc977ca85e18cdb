/**
 * Files that browsers load from the api: read and compressed at the first request, then kept.
 *
 * @module
 */
import { createHash } from "node:crypto";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

import type { Context } from "@hono/hono";

import { notModified } from "./conditional.ts";
import { chooseEncoding } from "./negotiate.ts";

/** A file, in the encodings it is served in. */
export class Asset {
  readonly #contentType: string;
  readonly #load: () => string | Promise<string>;
  #ready:
    | Promise<{ plain: Uint8Array<ArrayBuffer>; zipped: Uint8Array<ArrayBuffer>; etag: string }>
    | undefined;

  /** `load` is called once, at the first request. */
  constructor(contentType: string, load: () => string | Promise<string>) {
    this.#contentType = contentType;
    this.#load = load;
  }

  /** The response to a GET or HEAD. */
  async respond(c: Context): Promise<Response> {
    const { plain, zipped, etag } = await (this.#ready ??= this.#prepare());
    const isZipped = chooseEncoding(c.req.header("Accept-Encoding")) === "gzip";
    const tag = isZipped ? `"${etag}-gzip"` : `"${etag}"`;
    c.header("Cache-Control", "no-cache");
    c.header("Vary", "Accept-Encoding");
    const unchanged = notModified(c, tag);
    if (unchanged !== undefined) return unchanged;
    c.header("Content-Type", this.#contentType);
    if (isZipped) c.header("Content-Encoding", "gzip");
    return c.body(isZipped ? zipped : plain);
  }

  async #prepare() {
    const plain = new TextEncoder().encode(await this.#load());
    const zipped = new Uint8Array(await promisify(gzip)(plain));
    return { plain, zipped, etag: createHash("sha256").update(plain).digest("base64url").slice(0, 22) };
  }
}
