/**
 * A supervisor of workers that only beat, to be paused and stopped: it prints the pid of each worker process that
 * it starts, and what it logs. Its input's end stops it; its exit code is 0 if all went well.
 *
 * @module
 */
import { configure, getLogger } from "@logtape/logtape";

import { startWorkers } from "../../src/workers.ts";

await configure({
  sinks: { print: ({ message, properties }) => console.log(message.join(""), JSON.stringify(properties)) },
  loggers: [{ category: ["test"], sinks: ["print"] }, { category: ["logtape", "meta"], sinks: [] }],
});
const [script = ""] = Deno.args;
const workers = startWorkers({
  count: 2,
  command: (index) =>
    new Deno.Command("bash", {
      args: ["-c", script, "bash", String(index)],
      stdin: "piped",
      stdout: "inherit",
      stderr: "piped",
    }),
  stopTimeoutMs: 5000,
  heartbeatIntervalMs: 200,
  log: getLogger(["test"]),
  writeError: (bytes) => Deno.stderr.writeSync(bytes),
});
for await (const _ of Deno.stdin.readable) {
  // Only its end counts.
}
Deno.exit(await workers.drain() ? 0 : 1);
