/**
 * A gateway to be killed: sends packets, each of a device of its own, and prints the device's id as soon as
 * the packet is in the file. Arguments: target, file, what the ids begin with, how many (0: no end).
 *
 * @module
 */
import { TelemetryClient } from "../../src/client/client.ts";

const [target = "", file = "", prefix = "", count = "0"] = Deno.args;
const client = await TelemetryClient.open({ target, file, minBackoffMs: 5, maxBackoffMs: 50 });
for (let index = 0; Number(count) === 0 || index < Number(count); index += 3) {
  const ids = [0, 1, 2].map((offset) => `${prefix}-${index + offset}`);
  await Promise.all(
    ids.map((device_id) => client.send({ device_id, timestamp: 0, payload: new Uint8Array(9) })),
  );
  console.log(ids.join("\n"));
}
await client.close();
