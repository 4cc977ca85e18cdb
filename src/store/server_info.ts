/**
 * What the Redis store must know of its server.
 *
 * @module
 */

/** What a server says of itself. */
export interface ServerInfo {
  /** Of Redis. */
  readonly version: string;
  /** WAITAOF is there. */
  readonly hasWaitAof: boolean;
  /** It keeps an append-only file. */
  readonly appendOnly: boolean;
  /** What Redis evicts when its memory is full; undefined when it evicts nothing. */
  readonly evictionPolicy: string | undefined;
}

/** Reads the reply to INFO. */
export function parseInfo(text: string): ServerInfo {
  const fields = new Map(
    text.split("\r\n").map((line) => {
      const colon = line.indexOf(":");
      return [line.slice(0, colon), line.slice(colon + 1)];
    }),
  );
  const version = fields.get("redis_version") ?? "unknown";
  const [major = 0, minor = 0] = version.split(".").map(Number);
  const policy = fields.get("maxmemory_policy");
  const bounded = (fields.get("maxmemory") ?? "0") !== "0";
  return {
    version,
    hasWaitAof: major > 7 || (major === 7 && minor >= 2),
    appendOnly: fields.get("aof_enabled") === "1",
    evictionPolicy: bounded && policy !== "noeviction" ? policy : undefined,
  };
}
