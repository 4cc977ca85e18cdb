/**
 * File descriptors: how many are left, and keeping some of them free of connections.
 *
 * How many a process may have is not known: Deno has no `getrlimit`, and `/proc/self/limits` takes all
 * permissions. So this looks whether a few more files can be opened, and closes them again.
 *
 * @module
 */
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";

/** A file that every role may read: this one. */
const readablePath = fileURLToPath(import.meta.url);

/** How many files this process can open besides those it has open, `atMost` at the most: 5 to 25 µs each. */
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

/** Whether `error` means that no file descriptors are left, for this process or for the system. */
export function isExhausted(error: unknown): boolean {
  const code = (error as { code?: unknown } | undefined)?.code;
  return code === "EMFILE" || code === "ENFILE";
}

/** File descriptors that one kind of connection leaves to the rest of the process. */
export interface DescriptorReserve {
  /** How many. */
  readonly descriptors: number;
  /** How many of them are free now. */
  readonly count: () => number;
}

/**
 * For devices and for readers, who are served with what devices have left; both leave some to the store, the log
 * and other files. Smaller where the process has fewer than 512 altogether.
 */
export function descriptorReserves(
  count = countDescriptors,
): { readonly devices: DescriptorReserve; readonly readers: DescriptorReserve } {
  const found = count(512);
  const reserve = (part: number): DescriptorReserve => {
    const descriptors = Math.max(1, Math.ceil(found / part));
    return { descriptors, count: () => count(descriptors) };
  };
  return { devices: reserve(4), readers: reserve(16) };
}
