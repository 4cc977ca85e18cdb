/**
 * `compose.yaml` as far as it can be tried without containers: what is published, and that the health checks
 * and commands in it are right for what runs.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

import { parseYaml } from "@redocly/openapi-core";
import { assert, assertEquals, assertMatch } from "@std/assert";

import { parseConfig } from "../src/config/read_config.ts";
import { parseRedisUrl } from "../src/store/redis/redis_url.ts";
import { framedPacket, packet, RawCall, startTestIngest, temporaryStore } from "./support/harness.ts";
import { freeNodePort } from "./support/free_port.ts";
import { RedisServer, startRedis } from "./support/redis_server.ts";
import { TallyProcess } from "./support/tally_process.ts";
import { until } from "./support/until.ts";
import { startTestApi } from "./support/test_api.ts";

interface Service {
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly profiles?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck: { readonly test: readonly string[] };
  readonly depends_on?: Readonly<Record<string, { readonly condition: string }>>;
}

/** Services that run without and with the profile `scale`. */
const always = ["redis", "ingest", "api"] as const;
const nodes = Array.from({ length: 6 }, (_, index) => `redis-${index + 1}`);
const firstNodes = nodes.slice(0, 3).map((name) => `${name}:6379`);
const scaled = ["ingest-2", "ingest-3", "haproxy", "redis-cluster"] as const;

const root = new URL("..", import.meta.url);
const compose = parseYaml(await Deno.readTextFile(new URL("compose.yaml", root))) as {
  services: Record<string, Service> & Record<(typeof always)[number] | (typeof scaled)[number], Service>;
  volumes: Readonly<Record<string, unknown>>;
};

/** Settings of a service, with or without a profile: the file has one form only of what Compose replaces in values. */
function environmentOf({ environment = {} }: Service, profiles: string): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).map(([name, value]) => [
      name,
      value.replaceAll(/\$\{COMPOSE_PROFILES:\+([^}]*)\}/g, (_, text) => profiles === "" ? "" : text),
    ]),
  );
}

Deno.test("compose.yaml publishes ports on 127.0.0.1 only", () => {
  for (const { ports = [] } of Object.values(compose.services)) {
    for (const port of ports) assertMatch(port, /^127\.0\.0\.1:\d+:\d+$/);
  }
  assertEquals([compose.services.ingest.ports?.length, compose.services.api.ports?.length], [1, 1]);
});

Deno.test("compose.yaml has valid settings, and commands with their permissions", async () => {
  const { permissions } = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  for (const name of ["ingest", "ingest-2", "ingest-3", "api"] as const) {
    const role = name === "api" ? "api" : "ingest";
    const { command } = compose.services[name];
    const args = command.slice(command.indexOf("src/main.ts") + 1);
    const environment = environmentOf(compose.services[name], "");
    const { config, renamed } = parseConfig(args, (name) => environment[name]);
    assertEquals([config.role, config.redisUrl, renamed], [role, "redis://redis", []]);
    const inCluster = environmentOf(compose.services[name], "scale");
    const { config: { redisUrl } } = parseConfig(args, (name) => inCluster[name]);
    const target = parseRedisUrl(redisUrl!);
    assert(target?.cluster);
    assertEquals(target.endpoints.map(({ host, port }) => `${host}:${port}`), firstNodes);
    const set = command.find((argument) => argument.startsWith("-P="))!.slice(3);
    const { allow } = permissions[set].env;
    for (const name of Object.keys(environment)) {
      assert(allow.includes(name) || (allow.includes("TALLY_*") && name.startsWith("TALLY_")), name);
    }
  }
});

Deno.test("compose.yaml has the services it is to have, and each volume and service that one of them names", () => {
  const { services, volumes } = compose;
  const inProfile = Object.keys(services).filter((name) => services[name]!.profiles !== undefined);
  assertEquals(inProfile.sort(), [...nodes, ...scaled].sort());
  assertEquals(Object.keys(services).sort(), [...always, ...inProfile].sort());
  for (const { profiles = ["scale"] } of Object.values(services)) assertEquals(profiles, ["scale"]);
  const named = Object.values(services).flatMap(({ volumes = [] }) => volumes)
    .map((volume) => volume.split(":")[0]!).filter((source) => !source.startsWith("."));
  assertEquals(named.sort(), Object.keys(volumes).sort());
  for (const { profiles, depends_on = {} } of Object.values(services)) {
    for (const name of Object.keys(depends_on)) {
      assert(services[name] !== undefined, name);
      assert(profiles !== undefined || services[name].profiles === undefined, name);
    }
  }
});

Deno.test("compose.yaml's profile scale has six nodes of a Redis Cluster, and what makes them one after they are up", () => {
  const { services } = compose, { environment, depends_on } = services["redis-cluster"];
  assertEquals(environment!["NODES"], nodes.map((name) => `${name}:6379`).join(" "));
  const isHealthy = { condition: "service_healthy" };
  assertEquals(depends_on, Object.fromEntries(nodes.map((name) => [name, isHealthy])));
  for (const name of nodes) {
    const { command, volumes } = services[name]!;
    assertEquals(command, services["redis-1"]!.command);
    assertEquals(volumes, [`${name}-data:/data`]);
  }
});

/** The servers of a cluster, by the lines of CLUSTER NODES of all of them. */
async function untilCluster(servers: readonly RedisServer[]): Promise<string> {
  const nodes = async (server: RedisServer) => {
    const lines = String(await server.call("CLUSTER", "NODES")).trim().split("\n");
    return lines.map((line) => {
      const [id, address, flags, master, , , , state, slots] = line.split(" ");
      return [id, address!.split("@")[0], flags!.replace("myself,", ""), master, state, slots].join(" ");
    }).sort().join("\n");
  };
  let seen = "";
  await until(
    async () => {
      const views = new Set(await Promise.all(servers.map(nodes)));
      [seen = ""] = views;
      const isWhole = servers.every(({ port }) => seen.includes(`127.0.0.1:${port} `));
      return views.size === 1 && isWhole && /^(.* (master|slave) .* connected.*\n?){6}$/.test(seen) &&
        seen.match(/ slave /g)?.length === 3;
    },
    "all nodes see three masters and three replicas",
    30,
  );
  return seen;
}

Deno.test("create_cluster.sh makes real servers a cluster, once, and joins them when their addresses have changed", async () => {
  const { command, volumes } = compose.services["redis-cluster"];
  const [script, path] = volumes![0]!.split(":");
  assertEquals(command, ["sh", path!]);
  const run = async (servers: readonly RedisServer[]) => {
    const NODES = servers.map(({ port }) => `127.0.0.1:${port}`).join(" ");
    const args = [fileURLToPath(new URL(script!, root))];
    const { code, stdout, stderr } = await new Deno.Command("sh", { args, env: { NODES } }).output();
    const output = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
    assertEquals(code, 0, output);
    assertMatch(output, /the cluster is ready\n$/);
  };
  // 0: the default, which CLUSTER MEET assumes.
  const settings = { ...settingsOf(compose.services["redis-1"]!.command), "cluster-port": "0" };
  await using parts = new AsyncDisposableStack();
  let servers: RedisServer[] = [];
  parts.defer(async () => void await Promise.all(servers.map((server) => server.stop())));
  for (const _ of nodes) servers.push(await startRedis(settings));

  // Tally waits for a cluster that is not there yet.
  const url = `redis+cluster://${servers.slice(0, 3).map(({ port }) => `127.0.0.1:${port}`).join(",")}`;
  const ingest = await TallyProcess.start("ingest", { REDIS_URL: url });
  parts.defer(async () => {
    ingest.kill("SIGKILL");
    await ingest.ended;
  });
  await run(servers);
  const made = await untilCluster(servers);
  const { code, ack } = await new RawCall(ingest.port).finish(framedPacket(packet("a")));
  assertEquals([code, ack?.stored], [0, 1]);
  await run(servers);
  assertEquals(await untilCluster(servers), made);

  for (const server of servers) await server.kill9();
  servers = servers.map(({ dir }) => new RedisServer(freeNodePort(), dir, settings));
  for (const server of servers) await server.start();
  await run(servers);
  const idsOf = (nodes: string) => nodes.split("\n").map((line) => line.split(" ")[0]);
  assertEquals(idsOf(await untilCluster(servers)), idsOf(made));
});

/** Of the command of a Redis: what `startRedis` takes. */
function settingsOf([, ...args]: readonly string[]): Record<string, string> {
  const settings: Record<string, string> = {};
  for (let i = 0; i < args.length; i += 2) settings[args[i]!.replace(/^--/, "")] = args[i + 1]!;
  return settings;
}

Deno.test("compose.yaml's profile scale has HAProxy in front of the ingests that haproxy.cfg names", async () => {
  const { services } = compose;
  assertEquals([services["ingest-2"].ports, services["ingest-3"].ports], [[], []]);
  const [file] = services.haproxy.volumes![0]!.split(":");
  const balancing = await Deno.readTextFile(new URL(file!, root));
  const servers = Array.from(
    balancing.matchAll(/^ +server \S+ ([\w-]+):(\d+)$/gm),
    ([, name, port]) => [name, port],
  );
  assertEquals(servers, ["ingest", "ingest-2", "ingest-3"].map((name) => [name, "50051"]));
  assertEquals(services.haproxy.ports, ["127.0.0.1:50061:50051"]);
  assertMatch(balancing, /^ +bind :50051 /m);
  for (const name of ["ingest", "ingest-2", "ingest-3"] as const) {
    const environment = environmentOf(services[name], "scale");
    const { config } = parseConfig([], (variable) => environment[variable]);
    assertMatch(balancing, new RegExp(`check port ${config.opsPort} `));
    assertEquals([config.opsHost, config.grpcHost, config.grpcPort], ["0.0.0.0", "0.0.0.0", 50_051]);
  }
});

/** Runs a health check, on other ports than those in the file. */
async function check(service: Service, ports: Record<string, number>): Promise<number> {
  const [, program, ...args] = service.healthcheck.test;
  assertEquals(program, "deno");
  const replaced = args.map((argument) =>
    Object.entries(ports).reduce((text, [from, to]) => text.replace(from, String(to)), argument)
  );
  const { code } = await new Deno.Command(Deno.execPath(), {
    args: replaced,
    cwd: root,
    stdout: "null",
    stderr: "null",
  }).output();
  return code;
}

Deno.test("compose.yaml: ingest's health check exits with 0 only while it serves", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const { ingest: service } = compose.services;
  // It checks the default port, on which ingest listens there.
  assertEquals(parseConfig([], () => undefined).config.grpcPort, 50_051);
  const on = (port: number): Service => ({
    ...service,
    healthcheck: { test: [...service.healthcheck.test, "--target", `127.0.0.1:${port}`] },
  });
  assertEquals(await check(on(ingest.port), {}), 0);
  await ingest.drain();
  assertEquals(await check(on(ingest.port), {}), 1);
});

Deno.test("compose.yaml: the api's health check exits with 0 only while it is ready", async () => {
  await using store = await temporaryStore();
  const api = await startTestApi(store);
  const { api: service } = compose.services;
  assertEquals(await check(service, { "8000": api.port }), 0);
  await api.close(1_000);
  assertEquals(await check(service, { "8000": api.port }), 1);
});
