/**
 * A real `redis-server` of a test's own, on a free port, with its files in a temporary folder.
 *
 * @module
 */
import { Redis } from "ioredis";

import { until } from "./until.ts";
import { freePort } from "./free_port.ts";

/** Settings as in `redis.conf`; a value with spaces is several arguments. */
export type RedisSettings = Readonly<Record<string, string>>;

/**
 * Starts a server and resolves when it answers. Ends with {@linkcode RedisServer.stop}. With `sentinel`, the lines of
 * its configuration, it is a sentinel.
 */
export async function startRedis(
  settings: RedisSettings = {},
  sentinel?: readonly string[],
): Promise<RedisServer> {
  const dir = await Deno.makeTempDir({ prefix: "tally-redis-" });
  // A sentinel writes its state to its file.
  if (sentinel !== undefined) await Deno.writeTextFile(`${dir}/sentinel.conf`, `${sentinel.join("\n")}\n`);
  for (let tries = 1;; tries++) {
    const server = new RedisServer(freePort(), dir, withBusPort(settings), sentinel !== undefined);
    try {
      await server.start();
      return server;
    } catch (error) {
      await server.kill9();
      // Another program may have taken the port since.
      if (tries < 3) continue;
      await Deno.remove(dir, { recursive: true });
      throw error;
    }
  }
}

/** The port of a cluster's nodes among themselves is otherwise the server's + 10,000, which another program may have. */
function withBusPort(settings: RedisSettings): RedisSettings {
  if (settings["cluster-enabled"] !== "yes" || "cluster-port" in settings) return settings;
  return { ...settings, "cluster-port": `${freePort()}` };
}

/** A running server, or one that a test has killed and may start again. */
export class RedisServer implements AsyncDisposable {
  /** With the password, if it requires one. */
  readonly url: string;
  #process: Deno.ChildProcess | undefined;
  #ended = false;

  /** Starts nothing yet. */
  constructor(
    readonly port: number,
    readonly dir: string,
    readonly settings: RedisSettings,
    readonly isSentinel = false,
  ) {
    const { requirepass } = settings;
    this.url = `redis://${requirepass === undefined ? "" : `default:${requirepass}@`}127.0.0.1:${port}`;
  }

  /** Starts the server on the port and files it had before. */
  async start(): Promise<void> {
    const settings = { bind: "127.0.0.1", port: `${this.port}`, dir: this.dir, save: "", ...this.settings };
    const mode = this.isSentinel ? [`${this.dir}/sentinel.conf`, "--sentinel"] : [];
    const args = mode.concat(
      Object.entries(settings).flatMap(([name, value]) => [`--${name}`, ...value.split(" ")]),
    );
    try {
      this.#process = new Deno.Command("redis-server", { args, stdout: "null", stderr: "null" }).spawn();
    } catch (error) {
      throw new Error("could not run redis-server: install it (Debian: apt-get install redis-server)", {
        cause: error,
      });
    }
    this.#ended = false;
    this.#process.status.then(() => this.#ended = true);
    await until(async () => {
      if (this.#ended) throw new Error(`redis-server ended at start: redis-server ${args.join(" ")}`);
      return await this.call("PING").catch(() => undefined) === "PONG";
    }, "redis-server answers");
    // Another server may have the port, and answer before this one has found that out.
    const info = String(await this.call("INFO", "server").catch(() => ""));
    const pid = /process_id:(\d+)/.exec(info)?.[1];
    if (pid !== undefined && pid !== String(this.#process.pid)) {
      throw new Error(`another redis-server, process ${pid}, has port ${this.port}`);
    }
  }

  /** Runs one command on a connection of its own. */
  call(command: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#run((redis) => redis.call(command, args));
  }

  /** The same; texts in the reply are bytes. */
  callBuffer(command: string, ...args: (string | number)[]): Promise<unknown> {
    return this.#run((redis) => redis.callBuffer(command, args));
  }

  async #run(command: (redis: Redis) => Promise<unknown>): Promise<unknown> {
    const redis = new Redis(this.url, { lazyConnect: true, enableReadyCheck: false, retryStrategy: null });
    redis.on("error", () => {});
    const ended = new Promise((resolve) => redis.once("end", resolve));
    try {
      await redis.connect();
      return await command(redis);
    } finally {
      if (redis.status !== "end") redis.disconnect();
      await ended;
    }
  }

  /** Keeps the data as it is now; the function it resolves to starts the server with that data. */
  async snapshot(): Promise<() => Promise<void>> {
    if (this.settings["appendonly"] === "yes") return await this.#snapshotLog();
    await this.call("SAVE");
    const file = `${this.dir}/dump.rdb`;
    const bytes = await Deno.readFile(file);
    return async () => {
      await this.kill9();
      await Deno.writeFile(file, bytes);
      await this.start();
    };
  }

  /** SIGSTOP: connections stay open, nothing is answered. */
  pause(): void {
    this.#signal("SIGSTOP");
  }

  /** SIGCONT. */
  resume(): void {
    this.#signal("SIGCONT");
  }

  /** SIGKILL, as by a crash. */
  async kill9(): Promise<void> {
    this.#signal("SIGKILL");
    await this.#process?.status;
    this.#process = undefined;
  }

  /** Kills the server and starts it again. */
  async restart(): Promise<void> {
    await this.kill9();
    await this.start();
  }

  /** Ends the server and removes its files. */
  async stop(): Promise<void> {
    await this.kill9();
    await Deno.remove(this.dir, { recursive: true });
  }

  /** As {@linkcode RedisServer.stop}. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  /** With `appendonly yes` the server reads its log alone. A command that it was writing is cut off at the next start. */
  async #snapshotLog(): Promise<() => Promise<void>> {
    const folder = `${this.dir}/appendonlydir`;
    const files = new Map<string, Uint8Array>();
    this.pause();
    try {
      for await (const { name } of Deno.readDir(folder)) {
        files.set(name, await Deno.readFile(`${folder}/${name}`));
      }
    } finally {
      this.resume();
    }
    return async () => {
      await this.kill9();
      await Deno.remove(folder, { recursive: true });
      await Deno.mkdir(folder);
      for (const [name, bytes] of files) await Deno.writeFile(`${folder}/${name}`, bytes);
      await this.start();
    };
  }

  #signal(signal: Deno.Signal): void {
    if (!this.#ended) this.#process?.kill(signal);
  }
}

/** The rules of the user that OPERATIONS.md recommends, without a password: what `ACL SETUSER` takes. */
export async function documentedPermissions({ cluster = false } = {}): Promise<string[]> {
  const document = await Deno.readTextFile(new URL("../../.github/OPERATIONS.md", import.meta.url));
  const blocks = [...document.matchAll(/ACL SETUSER tally ([\s\S]*?)```/g)].map(([, rules]) => rules!);
  if (blocks.length !== 2) throw new Error("OPERATIONS.md has not two of ACL SETUSER tally");
  return blocks.slice(0, cluster ? 2 : 1).join(" ").replaceAll("\\\n", " ").trim().split(/\s+/)
    .map((word) => word.replaceAll("'", ""));
}
