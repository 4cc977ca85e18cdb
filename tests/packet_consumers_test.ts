/**
 * The programs of CLIENTS.md that read the packet stream on: they get every packet, also when they are killed.
 *
 * @module
 */
import { assert, assertEquals, assertLessOrEqual } from "@std/assert";

import type { Packet } from "../src/protocol/messages.ts";
import { shardKeys } from "../src/store/redis/keys.ts";
import { framedPacket, RawCall, startTestIngest } from "./support/harness.ts";
import { PythonFolder } from "./support/python.ts";
import { type RedisServer, startRedis } from "./support/redis_server.ts";
import { openStore } from "./support/redis_store.ts";
import { sourceText } from "./support/source_files.ts";
import { until } from "./support/until.ts";

const root = new URL("..", import.meta.url).pathname;
const { packetStream } = shardKeys();

/** The program of CLIENTS.md in a language that reads the stream. */
function consumer(language: "ts" | "python"): string {
  const blocks = sourceText(".github/CLIENTS.md").matchAll(
    new RegExp(`\`\`\`${language}\n([^]*?)\`\`\``, "g"),
  );
  const programs = Array.from(blocks, ([, program]) => program!).filter((program) => /xack/.test(program));
  assertEquals(programs.length, 1);
  const lines = programs[0]!.split("\n").filter((line) => line.trim() !== "");
  assertLessOrEqual(lines.length, 25, "it is an example of some 20 lines");
  return programs[0]!;
}

/** A consumer at work; it is killed at the end. */
class Consumer implements AsyncDisposable {
  output = "";
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  readonly #errors: Promise<string>;

  constructor([program, ...args]: readonly [string, ...string[]], cwd: string, redis: RedisServer) {
    const child = this.#child = new Deno.Command(program, {
      args,
      cwd,
      env: { REDIS_URL: redis.url },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#errors = new Response(child.stderr).text();
    this.#reading = (async () => {
      const decoded = child.stdout.pipeThrough(new TextDecoderStream());
      for await (const text of decoded) this.output += text;
    })();
  }

  get lines(): string[] {
    return this.output.split("\n").slice(0, -1);
  }

  async untilLines(count: number): Promise<void> {
    await until(() => this.lines.length >= count, `${count} packets are printed`).catch(async (error) => {
      await this[Symbol.asyncDispose]();
      throw new Error(`${this.lines.length} lines\n${await this.#errors}`, { cause: error });
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#child.status;
    await this.#reading;
    await this.#errors;
  }
}

/** Sends packets while consumers come and are killed; `start` starts one. */
async function checkConsumer(redis: RedisServer, start: () => Consumer): Promise<void> {
  const store = await openStore(redis);
  try {
    await using ingest = await startTestIngest({ store, packetStream: 100_000 });
    let sent = 0;
    const send = async (count: number) => {
      await using call = new RawCall(ingest.port, "StreamPackets");
      const packets = Array.from({ length: count }, (): Packet => {
        const index = sent++;
        return {
          device_id: `sensor-${index % 7}`,
          timestamp: timestampOf(index),
          payload: new Uint8Array(9),
        };
      });
      assertEquals((await call.finish(...packets.map(framedPacket))).ack?.stored, count);
    };
    const expected = (from: number) =>
      Array.from({ length: sent - from }, (_, i) => `sensor-${(from + i) % 7} ${timestampOf(from + i)} 9`);

    await send(1000);
    {
      await using first = start();
      await first.untilLines(1000);
      await send(500);
      await first.untilLines(1500);
      assertEquals(first.lines.toSorted(), expected(0).toSorted());
      // In order for each device.
      const ofOne = first.lines.filter((line) => line.startsWith("sensor-3 "));
      assertEquals(ofOne, expected(0).filter((line) => line.startsWith("sensor-3 ")));
      await until(async () => await pendingIn(redis) === 0, "all is acknowledged");
    }
    await send(200);
    // What another one was given and did not acknowledge.
    await redis.call(
      ...["XREADGROUP", "GROUP", "onward", "onward-1", "COUNT", "3", "STREAMS", packetStream, ">"] as const,
    );
    assert(await pendingIn(redis) > 0);
    await using second = start();
    await second.untilLines(200);
    assertEquals(second.lines.toSorted(), expected(1500).toSorted());
    await until(async () => await pendingIn(redis) === 0, "all is acknowledged");
  } finally {
    await store.close();
  }
}

const timestampOf = (index: number) => 1_700_000_000_000 + index;

async function pendingIn(redis: RedisServer): Promise<number> {
  const [pending] = await redis.call("XPENDING", packetStream, "onward") as [number];
  return pending;
}

Deno.test("CLIENTS.md: the TypeScript consumer gets every packet of the stream once, and what it did not acknowledge", async () => {
  await using redis = await startRedis();
  const folder = await Deno.makeTempDir();
  try {
    const path = `${folder}/consume.ts`;
    await Deno.writeTextFile(path, consumer("ts"));
    const command = [Deno.execPath(), "run", "--check", "--config", `${root}/deno.json`, "-A", path] as const;
    await checkConsumer(redis, () => new Consumer(command, root, redis));
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("CLIENTS.md: the Python consumer gets every packet of the stream once, and what it did not acknowledge", async () => {
  await using redis = await startRedis();
  await using folder = await PythonFolder.make({ "consume.py": consumer("python") });
  await folder.protoc(`${root}/proto`, `${root}/proto/telemetry.proto`);
  const command = ["/usr/bin/python3", `${folder.path}/consume.py`] as const;
  await checkConsumer(redis, () => new Consumer(command, folder.path, redis));
});
