/**
 * Keeps the process alive when the other side says goodbye.
 *
 * In Deno 2.9 an HTTP/2 session that is closed from within the reading of a frame, as `node:http2` does
 * on a GOAWAY, is freed while it is still being read: sooner or later the process dies with SIGSEGV or
 * an assertion of nghttp2 (denoland/deno#36788; here once in 600 to 2,500 connections that clients
 * closed). So closing waits until the reading is done. To be removed with the fault.
 *
 * @module
 */
import { performServerHandshake } from "node:http2";
import { Duplex } from "node:stream";

interface Closable {
  readonly closed: boolean;
  readonly destroyed: boolean;
  once(event: "close", listener: () => void): void;
  close(callback?: () => void): void;
  destroy(error?: Error | number, code?: number): void;
}

let guarded = false;

/** Guards every HTTP/2 session of this process, of servers and of clients, once and for all. */
export function guardHttp2Sessions(): void {
  if (guarded) return;
  guarded = true;
  // The class that both kinds of session share is not exported, but has instances.
  const silence = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const session = performServerHandshake(silence);
  session.destroy();
  const sessions = Object.getPrototypeOf(Object.getPrototypeOf(session)) as Closable;
  const { close, destroy } = sessions;
  sessions.close = function (callback) {
    queueMicrotask(() => {
      // By now it may be closed by somebody else, and `close` would say nothing.
      if (callback !== undefined && this.destroyed) callback();
      else if (callback !== undefined && this.closed) this.once("close", callback);
      else close.call(this, callback);
    });
  };
  sessions.destroy = function (...args) {
    queueMicrotask(() => destroy.apply(this, args));
  };
}
