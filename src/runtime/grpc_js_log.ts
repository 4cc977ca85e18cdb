/**
 * Log lines of grpc-js: by default raw lines on standard error, with text that a peer has sent.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

/** Characters kept of one line: a peer chooses its length. */
const MAX_LENGTH = 500;

/**
 * For `setLogger()` of grpc-js: writes its lines to `log`, at debug level, as a peer chooses their number too.
 * Without a log they are dropped.
 */
export function grpcJsLogger(log?: Logger): Pick<Console, "error" | "info" | "debug"> {
  const write = (...parts: unknown[]) => {
    log?.debug("grpc-js: {text}", { text: parts.map(String).join(" ").slice(0, MAX_LENGTH) });
  };
  return { error: write, info: write, debug: write };
}
