/**
 * What is measured: a server with a store of its own, both fresh, and how what it counted compares with what
 * was sent to it.
 *
 * @module
 */
import { DatabaseSync } from "node:sqlite";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";

import { openSqliteStore } from "../../src/store/sqlite/sqlite_store.ts";
import { shardKeys } from "../../src/store/redis/keys.ts";
import { Certificates } from "../support/certificates.ts";
import { freePort } from "../support/free_port.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { TallyProcess } from "../support/tally_process.ts";
import { until } from "../support/until.ts";
import { Child } from "./child.ts";
import { startMasters } from "./masters.ts";
import { Program } from "./program.ts";

/** Kinds of server: Tally in one process or in several, the plain handler, another program, and what only reads. */
export type SubjectKind =
  | "tally-redis"
  | "tally-redis-tls"
  | "tally-redis-workers"
  | "tally-sqlite"
  | "plain"
  | "peer"
  | "sink";

/** How many packets of how many devices a store holds. */
export interface Counted {
  readonly packets: number;
  readonly devices: number;
}

/** A server that is up, until it goes out of scope. */
export interface Subject extends AsyncDisposable {
  readonly kind: SubjectKind;
  /** Where it takes packets. */
  readonly port: number;
  /** PEM of the authority of its certificate; undefined: plain text. */
  readonly ca?: string | undefined;
  /** What its store holds; undefined for one that stores nothing. */
  counted(): Promise<Counted | undefined>;
  /** Its store, if that is a Redis, or the masters of a cluster. */
  readonly masters?: readonly RedisServer[] | undefined;
  /** The processes that take packets. */
  readonly pids: readonly number[];
  /** Memory of the processes that take packets: resident set. */
  memoryBytes(): Promise<number>;
  /** Starts an api process on the same store; it ends with `parts`, by default with the subject. */
  startApi(parts?: AsyncDisposableStack): Promise<number>;
}

/** What differs between subjects of one kind. */
export interface SubjectOptions {
  /** Further settings of Tally. */
  readonly settings?: Readonly<Record<string, string>>;
  /** Of Tally: a Redis Cluster with so many masters, and a shard on each, instead of one Redis. */
  readonly masters?: number;
  /** Of a peer: see `--peer` of the bench. */
  readonly command?: string;
}

/** How often a Redis whose processor time is measured is polled: some 0.1 % of it. */
const POLL_MS = 50;

/** Wait for a lock of Tally, which is held for some milliseconds. */
const LOCK_TIMEOUT_MS = 1000;

/** Starts a server and its store; `workers` concerns those in several processes. */
export async function startSubject(
  kind: SubjectKind,
  workers: number,
  options: SubjectOptions = {},
): Promise<Subject> {
  await using parts = new AsyncDisposableStack();
  if (kind === "sink") {
    const sink = parts.use(Child.start("./sink.ts"));
    const { port } = await sink.hear<{ port: number }>();
    return subject({ kind, port, pids: [sink.pid], counted: () => Promise.resolve(undefined) }, parts.move());
  }
  if (kind === "tally-sqlite") {
    const folder = await Deno.makeTempDir({ dir: await dataPath(), prefix: "bench-" });
    parts.defer(() => Deno.remove(folder, { recursive: true }));
    const settings = { TALLY_DB: `${folder}/tally.db` };
    const ingest = await startTally("ingest", settings, parts);
    const counted = () => countedInSqlite(settings.TALLY_DB);
    return subject({ kind, port: ingest.port, pids: ingest.pids, counted, settings }, parts.move());
  }
  const masters = options.masters === undefined
    ? [parts.use(await startRedis())]
    : await startMasters(options.masters, parts);
  const [redis] = masters as [RedisServer];
  const counted = () => countedInRedis(masters);
  if (kind === "plain") {
    const plain = parts.use(Child.start("./plain_ingest.ts", redis.url));
    const { port } = await plain.hear<{ port: number }>();
    return subject({ kind, port, pids: [plain.pid], counted }, parts.move());
  }
  if (kind === "peer") {
    const port = freePort();
    const peer = parts.use(
      await Program.start(`${options.command} ${port} ${redis.port} device_metrics`, port),
    );
    return subject({ kind, port, pids: [peer.pid], counted, masters }, parts.move());
  }
  const certificates = kind === "tally-redis-tls"
    ? parts.use(await Certificates.make(await dataPath()))
    : undefined;
  const tls = certificates === undefined ? {} : {
    TALLY_TLS_CERT: certificates.file("server.pem"),
    TALLY_TLS_KEY: certificates.file("server.key"),
  };
  const settings: Record<string, string> = options.masters === undefined ? { REDIS_URL: redis.url } : {
    REDIS_URL: `redis+cluster://${masters.map(({ port }) => `127.0.0.1:${port}`).join()}`,
    TALLY_SHARDS: String(options.masters),
  };
  const TALLY_INGEST_WORKERS = String(kind === "tally-redis-workers" ? workers : 1);
  const ingest = await startTally(
    "ingest",
    { ...settings, ...tls, ...options.settings, TALLY_INGEST_WORKERS },
    parts,
  );
  const ca = certificates?.text("ca.pem");
  return subject(
    { kind, port: ingest.port, ca, pids: ingest.pids, counted, settings, masters },
    parts.move(),
  );
}

/** Resolves when all that is stored is counted: what large batches hold is that some seconds later. */
export async function untilAllCounted(masters: readonly RedisServer[]): Promise<void> {
  for (const [shard, master] of masters.entries()) {
    const { logs } = shardKeys(shard, masters.length);
    await until(
      async () => {
        if (await master.call("EXISTS", logs) === 0) return true;
        await delay(POLL_MS);
        return false;
      },
      "all packets are counted",
      120,
    );
  }
}

/** Of one shard on each of the masters. */
async function countedInRedis(masters: readonly RedisServer[]): Promise<Counted> {
  await untilAllCounted(masters);
  const sum = { packets: 0, devices: 0 };
  for (const [shard, master] of masters.entries()) {
    const { counts } = shardKeys(shard, masters.length);
    const [packets, devices] = await master.call("EVAL", sumScript, 1, counts) as [number, number];
    sum.packets += packets;
    sum.devices += devices;
  }
  return sum;
}

/** The folder that Tally may read and write. */
async function dataPath(): Promise<string> {
  const data = fileURLToPath(new URL("../../data", import.meta.url));
  await Deno.mkdir(data, { recursive: true });
  return data;
}

const sumScript = `
  local packets, counts = 0, redis.call("HVALS", KEYS[1])
  for _, count in ipairs(counts) do packets = packets + tonumber(count) end
  return { packets, #counts }
`;

interface SubjectParts extends Pick<Subject, "kind" | "port" | "ca" | "counted" | "pids" | "masters"> {
  /** What an api process needs to find the store. */
  readonly settings?: Readonly<Record<string, string>>;
}

function subject(
  { kind, port, ca, pids, counted, settings, masters }: SubjectParts,
  parts: AsyncDisposableStack,
): Subject {
  return {
    kind,
    port,
    ca,
    pids,
    counted,
    masters,
    memoryBytes: () => residentBytes(pids),
    startApi: async (until = parts) => {
      if (settings === undefined) throw new Error(`${kind} has no api`);
      return (await startTally("api", settings, until)).port;
    },
    [Symbol.asyncDispose]: () => parts.disposeAsync(),
  };
}

async function startTally(
  role: "ingest" | "api",
  settings: Readonly<Record<string, string>>,
  parts: AsyncDisposableStack,
): Promise<TallyProcess> {
  // Tests have memory overwritten when it is freed; that takes time.
  const tally = await TallyProcess.start(role, {
    ...settings,
    MALLOC_PERTURB_: "0",
    TALLY_LOG_LEVEL: "info",
  });
  parts.defer(async () => {
    tally.kill("SIGTERM");
    const { code } = await tally.ended;
    if (code !== 0) throw new Error(`the ${role} ended with exit code ${code}:\n${tally.output.join("\n")}`);
  });
  return tally;
}

async function countedInSqlite(path: string): Promise<Counted> {
  await until(() => isAllCounted(path), "all packets are counted", 120);
  const store = await openSqliteStore({ path, ackAfter: { kind: "stored" } });
  try {
    let packets = 0, devices = 0;
    for await (const page of store.scan()) {
      for (const { count } of page) packets += count;
      devices += page.length;
    }
    return { packets, devices };
  } finally {
    await store.close();
  }
}

/** Whether no log has packets of large batches, which are counted some seconds later. */
function isAllCounted(path: string): boolean {
  using db = new DatabaseSync(path, { readOnly: true, timeout: LOCK_TIMEOUT_MS });
  return db.prepare("SELECT 1 FROM segment_logs").get() === undefined;
}

async function residentBytes(pids: readonly number[]): Promise<number> {
  const { stdout } = await new Deno.Command("ps", { args: ["-o", "rss=", "-p", pids.join()] }).output();
  const kilobytes = new TextDecoder().decode(stdout).trim().split(/\s+/).map(Number);
  return kilobytes.reduce((sum, each) => sum + each, 0) * 1024;
}
