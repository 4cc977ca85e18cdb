/**
 * The load generator's process: each line of its input is a {@linkcode Load}, each line of its output what
 * became of it.
 *
 * @module
 */
import process from "node:process";

import { answer } from "./child.ts";
import { type Load, runLoad } from "./load.ts";

await answer((load: Load) =>
  runLoad(load, () => {
    const { user, system } = process.cpuUsage();
    return (user + system) / 1000;
  })
);
