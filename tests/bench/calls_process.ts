/**
 * The process that calls: each line of its input is {@linkcode Calls}, each line of its output what came of them.
 *
 * @module
 */
import { type Calls, runCalls } from "./calls.ts";
import { answer } from "./child.ts";

await answer((calls: Calls) => runCalls(calls));
