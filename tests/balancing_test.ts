/**
 * Real HAProxy and nginx, with the files of `.github/LOAD_BALANCING.md`, in front of real ingest processes on one Redis.
 */
import { setTimeout as delay } from "node:timers/promises";

import { assert, assertEquals, assertLessOrEqual, assertStringIncludes } from "@std/assert";

import { TelemetryClient } from "../src/client/client.ts";
import { framed, framedBatch, framedPacket, packet, RawCall } from "./support/harness.ts";
import { freePort } from "./support/free_port.ts";
import { balancers, type IngestPorts, LoadBalancer } from "./support/load_balancer.ts";
import { type RedisServer, startRedis } from "./support/redis_server.ts";
import { TallyProcess } from "./support/tally_process.ts";
import { until } from "./support/until.ts";

/** An ingest process on ports that the balancers have in their configurations. */
class Ingest implements AsyncDisposable {
  private constructor(readonly process: TallyProcess, readonly ports: IngestPorts) {}

  static async start(
    redis: RedisServer,
    ports: IngestPorts,
    env: Record<string, string> = {},
  ): Promise<Ingest> {
    const process = await TallyProcess.start("ingest", {
      REDIS_URL: redis.url,
      TALLY_GRPC_PORT: String(ports.port),
      TALLY_OPS_PORT: String(ports.opsPort),
      TALLY_FLUSH_INTERVAL: "10ms",
      ...env,
    });
    return new Ingest(process, ports);
  }

  /** Device streams that are open here. */
  async streams(): Promise<number> {
    const metrics = await (await fetch(`http://127.0.0.1:${this.ports.opsPort}/metrics`)).text();
    return Number(/^tally_ingest_streams(?:\{.*\})? (\d+)$/m.exec(metrics)![1]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill("SIGKILL");
    await this.process.ended;
  }
}

const threePorts = (): IngestPorts[] =>
  Array.from({ length: 3 }, () => ({ port: freePort(), opsPort: freePort() }));

const programs = Object.keys(balancers) as (keyof typeof balancers)[];

Deno.test("haproxy.cfg and nginx.conf pass on running Acks, early ends, large streams and many streams", async () => {
  const ports = threePorts();
  await using redis = await startRedis();
  await using _ingest = await Ingest.start(redis, ports[0]!);
  for (const program of programs) {
    await using balancer = await LoadBalancer.start(program, ports);
    const gateway = RawCall.session(balancer.port, program, 0, "StreamBatches");
    assertEquals(await gateway.committed, "0", `${program}: before the first packet`);
    for (let acks = 1; acks <= 3; acks++) {
      await gateway.send(framedBatch([packet()]));
      await until(() => gateway.acks.at(-1)?.stored === acks, `${program} passes on Ack ${acks}`);
    }
    // More than both allow on one connection by default, all of them open at once.
    const calls = Array.from({ length: 150 }, () => new RawCall(balancer.port, "StreamBatches", {}, gateway));
    for (const call of calls) call.send(framedBatch([packet()]));
    await until(() => calls.every(({ acks }) => acks.length > 0), `${program} opens 150 streams`);
    assertEquals((await gateway.finish()).code, 0);

    // 2.4 MB: nginx's default is 1 MiB.
    const large = framedPacket(packet("large", "x".repeat(60_000)));
    const whole = await new RawCall(balancer.port).finish(...Array.from({ length: 40 }, () => large));
    assertEquals([whole.code, whole.ack?.stored], [0, 40], program);

    // The call ends before its device does, and the reason arrives.
    await using wrong = RawCall.session(balancer.port, `${program}-wrong`);
    await wrong.send(framed(new Uint8Array([255, 255, 255])));
    const { code, details, committed } = await wrong.end;
    assertEquals([code, committed], [3, "0"], program);
    assertStringIncludes(details, "not a protobuf Packet");
  }
});

/** Devices that send until they are stopped. */
class Fleet {
  readonly sent = new Map<string, number>();
  /** Why streams ended. */
  readonly ends: string[] = [];
  readonly #clients: TelemetryClient[] = [];
  readonly #loops: Promise<void>[] = [];
  #sends = true;

  async start(prefix: string, port: number, devices: number): Promise<void> {
    for (let index = 0; index < devices; index++) {
      const client = await TelemetryClient.open({
        target: `127.0.0.1:${port}`,
        minBackoffMs: 5,
        maxBackoffMs: 200,
        onDisconnected: ({ message }) => this.ends.push(message),
      });
      this.#clients.push(client);
      this.#loops.push(this.#send(client, `${prefix}-${index}`));
    }
  }

  async stop(): Promise<void> {
    this.#sends = false;
    await Promise.all(this.#loops);
    await Promise.all(this.#clients.map((client) => client.close()));
  }

  async #send(client: TelemetryClient, device_id: string): Promise<void> {
    while (this.#sends) {
      await client.send({ device_id, timestamp: 0, payload: new Uint8Array(8) });
      this.sent.set(device_id, (this.sent.get(device_id) ?? 0) + 1);
      await delay(10);
    }
  }
}

const DEVICES = 10;

Deno.test("haproxy.cfg and nginx.conf: streams spread over an ingest that is added, leave those that end, and count exactly", async () => {
  const age = { TALLY_MAX_CONNECTION_AGE: "1s", TALLY_MAX_CONNECTION_AGE_GRACE: "100ms" };
  const ports = threePorts();
  await using redis = await startRedis();
  await using first = await Ingest.start(redis, ports[0]!, age);
  await using second = await Ingest.start(redis, ports[1]!, age);
  await using haproxy = await LoadBalancer.start("haproxy", ports);
  await using nginx = await LoadBalancer.start("nginx", ports);
  const fleet = new Fleet();
  await fleet.start("haproxy", haproxy.port, DEVICES);
  await fleet.start("nginx", nginx.port, DEVICES);
  /** All streams are open, at least `least` of them on each of `ingests`. */
  const spread = (least: number, ...ingests: Ingest[]) =>
    until(async () => {
      const streams = await Promise.all(ingests.map((ingest) => ingest.streams()));
      const all = streams.reduce((sum, count) => sum + count, 0);
      return all === 2 * DEVICES && streams.every((count) => count >= least);
    }, `${ingests.length} ingests have ${least} streams or more each`);
  await spread(8, first, second);

  await until(() => haproxy.log.includes("ingest-3 is DOWN"), "haproxy finds the third missing");
  await using third = await Ingest.start(redis, ports[2]!, age);
  await until(
    () => /ingest-3 is UP, reason: Layer7 check passed/.test(haproxy.log),
    "its check of /readyz passes",
  );
  await spread(5, first, second, third);
  assert(fleet.ends.some((end) => end.includes("TALLY_MAX_CONNECTION_AGE")), fleet.ends.join("\n"));

  first.process.kill("SIGKILL");
  await spread(8, second, third);
  second.process.kill("SIGTERM");
  assertEquals((await second.process.ended).code, 0);
  await spread(2 * DEVICES, third);
  await fleet.stop();

  const counts = await redis.call("HGETALL", "device_metrics") as string[];
  const stored = new Map<string, number>();
  for (let index = 0; index < counts.length; index += 2) {
    stored.set(counts[index]!, Number(counts[index + 1]));
  }
  assertEquals(stored, fleet.sent);
  // Those of a killed ingest end with the balancer's status, which is not final.
  assertLessOrEqual(
    1,
    fleet.ends.filter((end) => /CANCELLED|INTERNAL/.test(end)).length,
    fleet.ends.join("\n"),
  );
});
