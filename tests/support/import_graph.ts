/**
 * Which file of `src` imports what, from `deno info`.
 *
 * @module
 */
import { relative } from "node:path";

import { sourceFiles } from "./source_files.ts";

const root = new URL("../..", import.meta.url).pathname;
const source = `${root}src/`;

/** One import of a file of `src`. */
export interface Import {
  /** Path below `src`. */
  readonly from: string;
  /** Path below `src`, or `npm:name` or `node:name`. */
  readonly to: string;
  /** `import type`, or a type in JSDoc: gone when the program runs. */
  readonly typesOnly: boolean;
  /** `await import(…)`. */
  readonly dynamic: boolean;
  /** The file is read as text, and its own imports are not loaded. */
  readonly asText: boolean;
}

/** The parts of `deno info --json` that are used. */
interface DenoInfo {
  readonly modules: readonly {
    readonly kind: string;
    readonly specifier: string;
    readonly dependencies?: readonly {
      readonly code?: { readonly specifier?: string };
      readonly type?: { readonly specifier?: string };
      readonly isDynamic?: boolean;
      readonly assertionType?: string;
    }[];
  }[];
}

/** What `deno info` finds from one file on. */
async function denoInfo(file: string): Promise<DenoInfo> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", file],
    cwd: root,
  }).output();
  if (!success) throw new Error(`deno info ${file} failed: ${new TextDecoder().decode(stderr)}`);
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** Every import of every file of `src`. */
export async function readImports(): Promise<Import[]> {
  const imports: Import[] = [];
  const seen = new Set<string>();
  // The entry points first: most other files are reached from them.
  const entries = ["src/main.ts", "src/demo.ts", "src/page/main.js"];
  for (const file of new Set([...entries, ...sourceFiles(["ts", "js"])])) {
    if (seen.has(below(file))) continue;
    for (const { kind, specifier, dependencies = [] } of (await denoInfo(file)).modules) {
      const from = target(specifier);
      if (kind !== "esm" || !specifier.startsWith(`file://${source}`) || seen.has(from)) continue;
      seen.add(from);
      for (const { code, type, isDynamic = false, assertionType } of dependencies) {
        const to = code?.specifier ?? type?.specifier;
        if (to === undefined) throw new Error(`deno info: an import of ${from} leads to no file`);
        imports.push({
          from,
          to: target(to),
          typesOnly: code === undefined,
          dynamic: isDynamic,
          asText: assertionType !== undefined,
        });
      }
    }
  }
  return imports;
}

/** A path below `src`. */
export function below(file: string): string {
  return file.replace(/^src\//, "");
}

/** A path below `src`, or the name of a package without its version and path. */
function target(specifier: string): string {
  if (specifier.startsWith("file://")) return relative(source, new URL(specifier).pathname);
  return specifier.replace(/^npm:\/?((?:@[^/]+\/)?[^/@]+).*$/, "npm:$1");
}

/** Groups of files that import each other in a circle, types included. */
export function importCycles(imports: readonly Import[]): string[][] {
  const next = new Map<string, string[]>();
  for (const { from, to, asText } of imports) {
    if (!asText) next.set(from, [...next.get(from) ?? [], to]);
  }
  const reachable = new Map(Array.from(next.keys(), (file) => [file, closure(next, file)]));
  const cycles = new Map<string, string[]>();
  for (const [file, files] of reachable) {
    if (!files.has(file)) continue;
    const cycle = [...files].filter((other) => reachable.get(other)?.has(file)).sort();
    cycles.set(cycle.join(), cycle);
  }
  return [...cycles.values()];
}

/** What is reached from `start` over one import or more. */
function closure(next: ReadonlyMap<string, readonly string[]>, start: string): Set<string> {
  const found = new Set<string>();
  const waiting = [...next.get(start) ?? []];
  for (let file = waiting.pop(); file !== undefined; file = waiting.pop()) {
    if (found.has(file)) continue;
    found.add(file);
    waiting.push(...next.get(file) ?? []);
  }
  return found;
}

/** What is loaded when `entry` is: files and packages. */
export function loadedWith(imports: readonly Import[], entry: string): Set<string> {
  const next = new Map<string, string[]>();
  for (const { from, to, typesOnly, dynamic, asText } of imports) {
    if (!typesOnly && !dynamic && !asText) next.set(from, [...next.get(from) ?? [], to]);
  }
  return closure(next, entry);
}
