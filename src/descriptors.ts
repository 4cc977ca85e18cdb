/**
 * File descriptors: how many this process may open, and how many of them connections may take.
 *
 * @module
 */
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A file that every role may read. */
const readablePath = fileURLToPath(new URL("./store/apply.lua", import.meta.url));

/** Descriptors kept back for the store, log, and files that the program opens while it runs. */
const RESERVED = 64;

/** More are not looked for: each takes some 5 µs at the start. */
const MAX_COUNTED = 100_000;

/**
 * How many files this process can open besides those it has open, `atMost` at the most. Found by opening
 * them: Deno has no `getrlimit`, and `/proc/self/limits` takes all permissions.
 */
export function countDescriptors(atMost: number): number {
  const opened: number[] = [];
  try {
    while (opened.length < atMost) opened.push(openSync(readablePath, "r"));
  } catch (error) {
    if (!isExhausted(error)) throw error;
  } finally {
    for (const descriptor of opened) closeSync(descriptor);
  }
  return opened.length;
}

/** Whether this process can open one more file. */
export function hasDescriptors(): boolean {
  return countDescriptors(1) === 1;
}

/** Whether `error` says that there are no file descriptors left, for this process or for the system. */
export function isExhausted(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code;
  return code === "EMFILE" || code === "ENFILE";
}

/** What {@linkcode connectionLimits} goes by. */
export interface WantedConnections {
  /** `MAX_CONNECTIONS`. */
  readonly maxConnections: number | "auto";
  /** `HTTP_MAX_CONNECTIONS`. */
  readonly httpMaxConnections: number | "auto";
  /** `HTTP_MAX_CONNECTIONS_PER_ADDRESS`. */
  readonly httpMaxConnectionsPerAddress: number | "auto";
  /** `MAX_STREAMS`; 0 without the ingest role. */
  readonly maxStreams: number;
  /** `LIVE_MAX_CLIENTS`; 0 without the api role. */
  readonly liveMaxClients: number;
}

/** Bounds of the connections of one process. */
export interface ConnectionLimits {
  /** Devices' connections open at once. */
  readonly maxConnections: number;
  /** Readers' connections open at once. */
  readonly httpMaxConnections: number;
  /** Of these from one address. */
  readonly httpMaxConnectionsPerAddress: number;
  /** Both bounds fit into the file descriptors that were found. */
  readonly fit: boolean;
}

/**
 * The bounds that were given, and for `auto` of devices twice `maxStreams`, of readers 1,000 above
 * `liveMaxClients`, or as many as the file descriptors allow: then readers have a quarter of those, devices the
 * rest. Of one address: three quarters of the readers.
 */
export function connectionLimits(wanted: WantedConnections, count = countDescriptors): ConnectionLimits {
  const { maxStreams, liveMaxClients } = wanted;
  const devices = given(wanted.maxConnections) ?? 2 * maxStreams;
  const readers = given(wanted.httpMaxConnections) ?? (liveMaxClients > 0 ? liveMaxClients + 1000 : 0);
  const sum = devices + readers + RESERVED;
  const found = count(Math.min(sum, MAX_COUNTED));
  const free = found >= sum ? sum : found - Math.min(RESERVED, Math.floor(found / 4));
  const readersShare = Math.max(1, devices === 0 ? free : Math.floor(free / 4));
  const httpMaxConnections = found >= sum
    ? readers
    : given(wanted.httpMaxConnections) ?? Math.min(readers, readersShare);
  const devicesShare = Math.max(1, free - httpMaxConnections);
  const maxConnections = given(wanted.maxConnections) ?? Math.min(devices, devicesShare);
  return {
    maxConnections,
    httpMaxConnections,
    httpMaxConnectionsPerAddress: given(wanted.httpMaxConnectionsPerAddress) ??
      Math.ceil(httpMaxConnections * 3 / 4),
    fit: found === MAX_COUNTED || maxConnections + httpMaxConnections <= free,
  };
}

function given(value: number | "auto"): number | undefined {
  return value === "auto" ? undefined : value;
}
