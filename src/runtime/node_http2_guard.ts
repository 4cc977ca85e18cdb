/**
 * Keeps `node:http2` of Deno from freeing an HTTP/2 session while it is being read.
 *
 * Up to 2.9.6 at least, a session that ends while received bytes are being processed is freed at once, and nghttp2
 * continues with the freed memory: the process dies of SIGSEGV or SIGABRT sooner or later
 * (https://github.com/denoland/deno/issues/36788). GOAWAY on a connection without open calls has this effect, and every
 * gRPC client sends it when it closes. Deno intends to wait until nghttp2 has returned; this module does.
 * `tests/runtime/node_http2_guard_test.ts` fails when the module is no longer needed.
 *
 * @module
 */
import { connect } from "node:http2";
import { Duplex } from "node:stream";

/** The native half of an HTTP/2 session; these methods enter nghttp2, which calls back before it returns. */
interface NativeSession {
  receive(bytes: Uint8Array): void;
  sendPending(): void;
  getOutgoingChunk(): Uint8Array;
  destroy(...details: unknown[]): void;
}

let installed: boolean | undefined;

/** Guards all sessions of this process, of servers and clients. False: this version of Deno has no native sessions. */
export function guardHttp2(): boolean {
  return installed ??= install();
}

function install(): boolean {
  const native = nativePrototype();
  if (native === undefined) return false;
  const { receive, sendPending, getOutgoingChunk, destroy } = native;
  /** Sessions that nghttp2 is working on, each with the calls to make when it has returned. */
  const busy = new Map<NativeSession, (() => void)[]>();

  function enter<Result>(session: NativeSession, work: () => Result): Result {
    const deferred: (() => void)[] = [];
    busy.set(session, deferred);
    try {
      return work();
    } finally {
      busy.delete(session);
      for (const run of deferred) run();
    }
  }

  native.receive = function (bytes) {
    enter(this, () => receive.call(this, bytes));
  };
  native.getOutgoingChunk = function () {
    return busy.has(this) ? new Uint8Array(0) : enter(this, () => getOutgoingChunk.call(this));
  };
  native.sendPending = function () {
    if (!busy.has(this)) sendPending.call(this);
  };
  native.destroy = function (...details) {
    const deferred = busy.get(this);
    if (deferred === undefined) destroy.apply(this, details);
    else deferred.push(() => destroy.apply(this, details));
  };
  return true;
}

/** The prototype of native sessions, found through a session that is not connected. */
function nativePrototype(): NativeSession | undefined {
  const nowhere = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
  const session = connect("http://localhost", { createConnection: () => nowhere });
  session.on("error", () => {});
  const candidates = Object.getOwnPropertySymbols(session)
    .map((symbol) => (session as unknown as Record<symbol, unknown>)[symbol])
    .filter((value) => typeof value === "object" && value !== null)
    .map((value) => Object.getPrototypeOf(value));
  session.destroy();
  return candidates.find((prototype) =>
    prototype !== null &&
    ["receive", "sendPending", "getOutgoingChunk", "destroy"].every((method) =>
      typeof Object.getOwnPropertyDescriptor(prototype, method)?.value === "function"
    )
  );
}
