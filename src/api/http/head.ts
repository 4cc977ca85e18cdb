/**
 * Responses to HEAD: those to GET without their bodies.
 *
 * @module
 */
import type { Context, Next } from "@hono/hono";

/** Middleware. Hono drops the body of GET's response, and with it `Content-Length`: it is set here before. */
export async function measureHead(c: Context, next: Next): Promise<void> {
  await next();
  if (c.req.raw.method !== "HEAD" || c.res.body === null || c.res.headers.has("Content-Length")) return;
  c.header("Content-Length", String((await c.res.clone().arrayBuffer()).byteLength));
}

/**
 * The final response: one of unknown length, such as an event stream, must not get the `Content-Length: 0` that the
 * server sets for a response without body.
 */
export function withoutFalseLength(request: Request, response: Response): Response {
  const isKnown = response.headers.has("Content-Length") || response.status !== 200;
  return request.method !== "HEAD" || isKnown ? response : new Response(new ReadableStream(), response);
}
