/**
 * The log of grpc-js: by default, raw lines on standard error that may contain what a peer has sent.
 *
 * @module
 */
import { setLogger } from "@grpc/grpc-js";
import type { Logger } from "@logtape/logtape";

/** Characters kept of one line: a peer chooses its length. */
const MAX_LENGTH = 500;

/** Redirects grpc-js's lines to `log`, as debug lines: a peer controls their number too. Without a log they are dropped. */
export function redirectGrpcJsLog(log?: Logger): void {
  const write = (...parts: unknown[]) => {
    log?.debug("grpc-js: {text}", { text: parts.map(String).join(" ").slice(0, MAX_LENGTH) });
  };
  setLogger({ error: write, info: write, debug: write });
}
