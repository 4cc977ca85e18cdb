/**
 * The readers' process: each line of its input is a {@linkcode Reading} or a {@linkcode Probe}, each line of
 * its output what came of it.
 *
 * @module
 */
import { answer } from "./child.ts";
import { type Probe, type Reading, runProbe, runReading } from "./reader.ts";

await answer((task: Reading | Probe) => "ingestPort" in task ? runProbe(task) : runReading(task));
