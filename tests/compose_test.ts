/**
 * `compose.yaml` as far as it can be tried without containers: what is published, and that the health checks
 * and commands in it are right for what runs.
 *
 * @module
 */
import { parseYaml } from "@redocly/openapi-core";
import { assert, assertEquals, assertMatch } from "@std/assert";

import { parseConfig } from "../src/config/read_config.ts";
import { startTestIngest, temporaryStore } from "./support/harness.ts";
import { startTestApi } from "./support/test_api.ts";

interface Service {
  readonly command: readonly string[];
  readonly environment?: Readonly<Record<string, string>>;
  readonly ports?: readonly string[];
  readonly profiles?: readonly string[];
  readonly volumes?: readonly string[];
  readonly healthcheck: { readonly test: readonly string[] };
}

const root = new URL("..", import.meta.url);
const compose = parseYaml(await Deno.readTextFile(new URL("compose.yaml", root))) as {
  services: Record<"redis" | "ingest" | "ingest-2" | "ingest-3" | "haproxy" | "api", Service>;
};

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
    const { command, environment = {} } = compose.services[name];
    const args = command.slice(command.indexOf("src/main.ts") + 1);
    const { config, renamed } = parseConfig(args, (name) => environment[name]);
    assertEquals([config.role, config.redisHost, renamed], [role, "redis", []]);
    const set = command.find((argument) => argument.startsWith("-P="))!.slice(3);
    const { allow } = permissions[set].env;
    for (const name of Object.keys(environment)) {
      assert(allow.includes(name) || (allow.includes("TALLY_*") && name.startsWith("TALLY_")), name);
    }
  }
});

Deno.test("compose.yaml's profile scale has HAProxy in front of the ingests that haproxy.cfg names", async () => {
  const { services } = compose;
  const inProfile = Object.entries(services).filter(([, { profiles }]) => profiles?.includes("scale"));
  assertEquals(inProfile.map(([name]) => name).sort(), ["haproxy", "ingest-2", "ingest-3"]);
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
    const { config } = parseConfig([], (variable) => services[name].environment?.[variable]);
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
