/**
 * The rule of `.github/ARCHITECTURE.md`: which folder of `src` may import which, and which package. Its two
 * tables are read here, so that the document and the rule are one.
 */
import { assertEquals } from "@std/assert";

import { below, type Import, importCycles, loadedWith, readImports } from "./support/import_graph.ts";
import { sourceFiles, sourceText } from "./support/source_files.ts";

/** A row of the table of folders. */
interface Layer {
  /** Folder or file below `src`; empty: the files directly in `src`. */
  readonly path: string;
  /** Paths of the rows it may import, besides its own; undefined: all. */
  readonly imports: readonly string[] | undefined;
  /** Paths of the rows whose types it may import. */
  readonly types: readonly string[];
}

/** A row of the table of packages. */
interface PackageRule {
  readonly name: string;
  /** Folders below `src` that may import it. */
  readonly folders: readonly string[];
  /** Folders below `src` that may import its types; undefined: all. */
  readonly types: readonly string[] | undefined;
}

/** The cells of each row of the table under a heading of a document, without the table's head. */
function tableRows(document: string, heading: string): string[][] {
  const section = document.split(`\n## ${heading}\n`)[1]?.split("\n## ")[0];
  if (section === undefined) throw new Error(`ARCHITECTURE.md has no heading "## ${heading}"`);
  const lines = section.split("\n").filter((line) => line.startsWith("|"));
  return lines.slice(2).map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()));
}

/** Paths in backquotes; those after "types of" apart. */
function pathsIn(cell: string): { values: string[]; types: string[] } {
  const [values, types = ""] = cell.split("types of");
  const quoted = (text: string) => Array.from(text.matchAll(/`([^`]+)`/g), ([, path]) => path!);
  return { values: quoted(values!), types: quoted(types) };
}

/** The table of folders: folder, what it holds, what it may import. */
function readLayers(document: string): Layer[] {
  return tableRows(document, "Who may import whom").map(([path, , imports]) => {
    const { values, types } = pathsIn(imports!);
    return {
      path: pathsIn(path!).values[0]!.replace(/^src\/?/, "").replace(/^\*\.ts$/, ""),
      imports: imports === "everything" ? undefined : values,
      types,
    };
  });
}

/** The table of packages: package, folders that may import it, why. */
function readPackageRules(document: string): PackageRule[] {
  return tableRows(document, "Packages").map(([name, folders]) => {
    const { values, types } = pathsIn(folders!);
    return {
      name: pathsIn(name!).values[0]!,
      folders: values,
      types: folders!.endsWith("types everywhere") ? undefined : types,
    };
  });
}

/** The row that a file belongs to: the one with the longest path. */
function layerOf(layers: readonly Layer[], file: string): Layer | undefined {
  return layers
    .filter(({ path }) => path === "" ? !file.includes("/") : isWithin(file, path))
    .sort((a, b) => b.path.length - a.path.length)[0];
}

function isWithin(file: string, path: string): boolean {
  return file === path || file.startsWith(`${path}/`);
}

/** Imports between files of `src` that no row of the table allows. */
function forbiddenImports(layers: readonly Layer[], imports: readonly Import[]): string[] {
  return imports
    .filter(({ to }) => !to.includes(":") && !to.startsWith("../"))
    .filter(({ from, to, typesOnly }) => {
      const own = layerOf(layers, from);
      const other = layerOf(layers, to);
      if (own === undefined || other === undefined) return true;
      if (own === other || own.imports === undefined) return false;
      return !own.imports.includes(other.path) && !(typesOnly && own.types.includes(other.path));
    })
    .map(describe);
}

/** Imports of a package of the second table by a folder that its row does not name. */
function forbiddenPackages(rules: readonly PackageRule[], imports: readonly Import[]): string[] {
  return imports.filter(({ from, to, typesOnly }) => {
    if (!to.startsWith("npm:") && !rules.some(({ name }) => name === to)) return false;
    const rule = rules.find(({ name }) => to === name || to === `npm:${name}`);
    if (rule === undefined) return true;
    if (typesOnly && rule.types === undefined) return false;
    const allowed = [...rule.folders, ...typesOnly ? rule.types ?? [] : []];
    return !allowed.some((folder) => isWithin(from, folder));
  }).map(describe);
}

function describe({ from, to }: Pick<Import, "from" | "to">): string {
  return `${from} -> ${to}`;
}

const document = await Deno.readTextFile(new URL("../.github/ARCHITECTURE.md", import.meta.url));
const layers = readLayers(document);
const packageRules = readPackageRules(document);
const imports = await readImports();

/** The imports with one more. */
function withImport(from: string, to: string, typesOnly = false): Import[] {
  return [...imports, { from, to, typesOnly, dynamic: false, asText: false }];
}

Deno.test("ARCHITECTURE.md's table has a row for each folder of src, and no row without files", () => {
  const files = sourceFiles(["ts", "js"]).map(below);
  assertEquals(files.filter((file) => layerOf(layers, file) === undefined), []);
  assertEquals(layers.filter((layer) => !files.some((file) => layerOf(layers, file) === layer)), []);
  const known = new Set(layers.map(({ path }) => path));
  const named = layers.flatMap(({ imports = [], types }) => [...imports, ...types]);
  assertEquals(named.filter((path) => !known.has(path)), [], "names of rows");
});

Deno.test("a file of src imports only the folders that its row of ARCHITECTURE.md names", () => {
  assertEquals(forbiddenImports(layers, imports), []);
  const planted = withImport("store/redis/redis_store.ts", "store/sqlite/database.ts");
  assertEquals(forbiddenImports(layers, planted), ["store/redis/redis_store.ts -> store/sqlite/database.ts"]);
  assertEquals(forbiddenImports(layers, withImport("page/api.js", "api/schemas/device.ts")).length, 1);
  assertEquals(forbiddenImports(layers, withImport("page/api.js", "api/schemas/device.ts", true)), []);
});

Deno.test("a package is imported only by the folders that ARCHITECTURE.md names", () => {
  assertEquals(forbiddenPackages(packageRules, imports), []);
  const planted = [
    ["store/sqlite/database.ts", "npm:ioredis"],
    ["store/redis/redis_store.ts", "node:sqlite"],
    ["runtime/log.ts", "npm:left-pad"],
  ] as const;
  for (const [from, to] of planted) {
    assertEquals(forbiddenPackages(packageRules, withImport(from, to)), [`${from} -> ${to}`]);
  }
});

Deno.test("no files of src import each other in a circle, types included", () => {
  assertEquals(importCycles(imports), []);
  const { from, to } = imports.find(({ to }) => to.endsWith(".ts"))!;
  assertEquals(importCycles(withImport(to, from, true)).length, 1);
});

Deno.test("Deno.args, Deno.env, Deno.exit and signals are used by entry points only", () => {
  const uses = (text: string) => /\bDeno\.(args|env|exit|addSignalListener)\b/.test(text);
  const entryPoint = /^src\/((main|demo|credentials\/credentials|backup|runtime\/stop_signal)\.ts$|tools\/)/;
  const files = sourceFiles(["ts"]).filter((file) => uses(sourceText(file)));
  assertEquals(files.filter((file) => !entryPoint.test(file)), []);
  assertEquals(files.includes("src/main.ts"), true);
});

Deno.test("api/api.ts and main.ts load neither grpc-js nor protobufjs, which the api does not use", () => {
  for (const entry of ["api/api.ts", "main.ts"]) {
    assertEquals([...loadedWith(imports, entry)].filter((name) => /grpc|protobuf/.test(name)), [], entry);
  }
  const planted = loadedWith(withImport("fleet/fleet_cache.ts", "npm:@grpc/grpc-js"), "api/api.ts");
  assertEquals(planted.has("npm:@grpc/grpc-js"), true);
});
