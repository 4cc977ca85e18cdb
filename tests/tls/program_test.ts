/** TLS of the program and its tools, as a user switches it on. */
import { assertEquals, assertStringIncludes } from "@std/assert";

import { Certificates } from "../support/certificates.ts";
import { Program } from "../support/program.ts";
import { dataFolder, Tool } from "../support/tool.ts";
import { until } from "../support/until.ts";

/** The settings of a server's files. */
const settingsOf = (certificates: Certificates, cert = "server.pem", key = "server.key") => ({
  TALLY_TLS_CERT: certificates.file(cert),
  TALLY_TLS_KEY: certificates.file(key),
  TALLY_LOG_FORMAT: "json",
});

Deno.test("TALLY_TLS_CERT: both ports have TLS, and send, simulate and health connect with --ca and --cert", async () => {
  await using folder = await dataFolder();
  await using certificates = await Certificates.make(folder.path);
  await certificates.issue("device");
  const env = { ...settingsOf(certificates), TALLY_TLS_CLIENT_CA: certificates.file("ca.pem") };
  await using program = await Program.start([], env);
  const api = await program.line("api listening"), ingest = await program.line("ingest listening");
  assertEquals([api["tls"], ingest["tls"]], [true, true]);
  const target = ["--target", `localhost:${ingest["port"]}`];
  const secured = [...target, "--ca", certificates.file("ca.pem")];
  const own = ["--cert", certificates.file("device.pem"), "--key", certificates.file("device.key")];
  const run = async (tool: string, ...args: string[]) => {
    await using running = new Tool(`tools/${tool}`, args);
    return { code: await running.end(), ...running };
  };
  assertEquals((await run("health", ...secured)).stdout, "SERVING\n");
  assertEquals((await run("send", ...secured, ...own)).stdout, "Ack: stored 10, rejected 0, committed 10\n");
  assertEquals(
    (await run("simulate", ...secured, "--devices", "3", "--rate", "20", "--duration", "1s")).code,
    0,
  );
  assertEquals((await run("health", ...target, "--timeout", "2s")).code, 1);
  const untrusted = await run("health", ...target, "--tls", "on", "--timeout", "2s");
  assertEquals(untrusted.code, 1);
  assertStringIncludes(untrusted.stderr, "certificate");
  const both = await run("health", ...target, "--cert", certificates.file("device.pem"));
  assertStringIncludes(both.stderr, "--cert and --key: found one of them; set both, or neither");
  using client = Deno.createHttpClient({ caCerts: [certificates.text("ca.pem")] });
  const fleetOf = async () => {
    const response = await fetch(`https://localhost:${api["port"]}/fleet`, { client });
    return (await response.json()).instances[0];
  };
  await until(async () => (await fleetOf())?.tls_handshakes >= 3, "the handshakes are reported");
  const { tls, tls_reload_failed: failed, tls_certificate_expires_ms: expiresMs } = await fleetOf();
  assertEquals([tls, failed], [true, false]);
  assertEquals(Math.round(expiresMs / 86_400_000), 30);
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

Deno.test("TALLY_DEVICE_AUTH=mtls: a device sends for the common name of its certificate, and for no other", async () => {
  await using folder = await dataFolder();
  await using certificates = await Certificates.make(folder.path);
  await certificates.issue("device-1");
  const env = { ...settingsOf(certificates), TALLY_TLS_CLIENT_CA: certificates.file("ca.pem") };
  for (const fastPath of ["on", "off"]) {
    const auth = { TALLY_DEVICE_AUTH: "mtls", TALLY_FAST_PATH: fastPath };
    await using program = await Program.start(["--role", "ingest"], { ...env, ...auth });
    const { port } = await program.line("ingest listening");
    const secured = ["--target", `localhost:${port}`, "--ca", certificates.file("ca.pem")];
    const own = ["--cert", certificates.file("device-1.pem"), "--key", certificates.file("device-1.key")];
    const run = async (tool: string, ...args: string[]) => {
      await using running = new Tool(`tools/${tool}`, [...secured, ...args]);
      await running.end();
      return running.stdout + running.stderr;
    };
    assertEquals(
      await run("send", ...own, "--device", "device-1"),
      "Ack: stored 10, rejected 0, committed 10\n",
    );
    assertStringIncludes(await run("send", ...own, "--device", "device-2"), "DEVICE_NOT_ALLOWED");
    assertStringIncludes(await run("send", "--device", "device-1"), "UNAUTHENTICATED");
    assertEquals(await run("health"), "SERVING\n");
  }
});

Deno.test("TALLY_HTTP_TLS_CERT: the readers' port has TLS with a certificate of its own", async () => {
  await using folder = await dataFolder();
  await using certificates = await Certificates.make(folder.path);
  await using program = await Program.start(["--role", "api"], {
    TALLY_HTTP_TLS_CERT: certificates.file("server.pem"),
    TALLY_HTTP_TLS_KEY: certificates.file("server.key"),
    TALLY_LOG_FORMAT: "json",
  });
  const { port, tls } = await program.line("api listening");
  assertEquals(tls, true);
  using client = Deno.createHttpClient({ caCerts: [certificates.text("ca.pem")] });
  assertEquals(await (await fetch(`https://localhost:${port}/metrics`, { client })).json(), []);
});

Deno.test("TALLY_TLS_CERT and others: files that cannot be used end the start with what to change", async () => {
  await using folder = await dataFolder();
  await using certificates = await Certificates.make(folder.path);
  await certificates.issue("old", { days: -1 });
  await certificates.issue("device");
  const named = (cert: string, key: string) =>
    `Cannot use TALLY_TLS_CERT ${certificates.file(cert)} and TALLY_TLS_KEY ${
      certificates.file(key)
    }: found `;
  const cases: [Record<string, string>, string][] = [
    [
      settingsOf(certificates, "server.pem", "ca.key"),
      named("server.pem", "ca.key") + "a key that is not that of",
    ],
    [
      settingsOf(certificates, "old.pem", "old.key"),
      named("old.pem", "old.key") + "a certificate that expired on",
    ],
    [settingsOf(certificates, "server.key", "server.key"), "a certificate file that is not PEM"],
    [settingsOf(certificates, "server.pem", "server.pem"), "a key file that is not a private key in PEM"],
    [settingsOf(certificates, "none.pem"), `${certificates.file("none.pem")}: found that it cannot be read`],
    [
      { ...settingsOf(certificates), TALLY_TLS_CLIENT_CA: certificates.file("device.pem") },
      "CN=device is not a certificate authority's certificate",
    ],
  ];
  for (const [env, expected] of cases) {
    await using program = await Program.start(["--role", "ingest"], env);
    const { code, lines, stderr } = await program.end();
    assertEquals(code, 1);
    assertStringIncludes(JSON.stringify(lines.at(-1) ?? stderr), expected);
  }
});

Deno.test("TALLY_TLS_CERT outside of data: the start ends with the command that allows it", async () => {
  await using certificates = await Certificates.make();
  await using program = await Program.start([], settingsOf(certificates));
  const { code, lines } = await program.end();
  assertEquals(code, 1);
  const text = JSON.stringify(lines.at(-1));
  assertStringIncludes(text, `Cannot use ${certificates.file("server.pem")}`);
  assertStringIncludes(text, `${certificates.file("server.pem")},${certificates.file("server.key")}`);
});
