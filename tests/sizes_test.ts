/** Bounds of files and functions of `src`: what is longer holds two things. */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import { sourceFiles, sourceText } from "./support/source_files.ts";

const MAX_FILE_LINES = 350;
const MAX_FUNCTION_LINES = 60;
const MAX_MEDIAN_LINES = 120;

/** Something of `src` and its length. */
interface Length {
  readonly name: string;
  readonly lines: number;
}

/** Every function, method and arrow function of a TypeScript or JavaScript file, from its first line to its last. */
function functionLengths(file: string, text: string): Length[] {
  const lengths: Length[] = [];
  Deno.lint.runPlugin(
    {
      name: "lengths",
      rules: {
        functions: {
          create: () => ({
            "FunctionDeclaration, FunctionExpression, ArrowFunctionExpression"(node) {
              const lines = text.slice(...node.range).split("\n").length;
              lengths.push({ name: `${file} ${functionName(node)}()`, lines });
            },
          }),
        },
      },
    },
    file,
    text,
  );
  return lengths;
}

/** The name that a function, or what holds it, was declared with. */
function functionName(
  node: Deno.lint.FunctionDeclaration | Deno.lint.FunctionExpression | Deno.lint.ArrowFunctionExpression,
): string {
  if (node.type !== "ArrowFunctionExpression" && node.id) return node.id.name;
  const { parent } = node;
  const named = parent.type === "VariableDeclarator" ? parent.id : "key" in parent ? parent.key : undefined;
  return named !== undefined && "name" in named ? String(named.name) : "anonymous";
}

function fileLength(file: string): Length {
  return { name: file, lines: sourceText(file).trimEnd().split("\n").length };
}

function tooLong(lengths: readonly Length[], max: number): string[] {
  return lengths
    .filter(({ lines }) => lines > max)
    .map(({ name, lines }) => `${name}: ${lines} lines`);
}

Deno.test(`no file of src is longer than ${MAX_FILE_LINES} lines`, () => {
  // The markup of the page is one document.
  const files = sourceFiles(["ts", "js", "css", "lua", "md"]);
  assertEquals(tooLong(files.map(fileLength), MAX_FILE_LINES), []);
});

Deno.test(`no function of src is longer than ${MAX_FUNCTION_LINES} lines`, () => {
  const lengths = sourceFiles(["ts", "js"]).flatMap((file) => functionLengths(file, sourceText(file)));
  assert(lengths.length > 500, `only ${lengths.length} functions were found`);
  assertEquals(tooLong(lengths, MAX_FUNCTION_LINES), []);
});

Deno.test(`the median file of src has ${MAX_MEDIAN_LINES} lines at most`, () => {
  const lengths = sourceFiles(["ts", "js"]).map((file) => fileLength(file).lines).sort((a, b) => a - b);
  assertLessOrEqual(lengths[Math.floor(lengths.length / 2)]!, MAX_MEDIAN_LINES);
});

Deno.test("functionLengths() measures functions, methods and arrow functions", () => {
  const body = "\n".repeat(60);
  const text = `export function one() {${body}}
class A { static two() {${body}} }
const three = () => {${body}};
const four = { five() {${body}}, six: () => 1 };
[1].map(() => {${body}});`;
  const longer = tooLong(functionLengths("a.ts", text), MAX_FUNCTION_LINES);
  assertEquals(longer.map((line) => line.replace(/: \d+ lines/, "")), [
    "a.ts one()",
    "a.ts two()",
    "a.ts three()",
    "a.ts five()",
    "a.ts anonymous()",
  ]);
});
