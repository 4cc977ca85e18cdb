import { assertEquals, assertLess, assertRejects } from "@std/assert";

import { countsOf } from "./support/batches.ts";
import { addTokens, deviceAuthenticator } from "./support/device_auth.ts";
import { Certificates } from "./support/certificates.ts";
import { startTestIngest, temporaryStore } from "./support/harness.ts";
import { PythonFolder } from "./support/python.ts";
import { startTlsIngest } from "./support/tls_ingest.ts";
import { TcpProxy } from "./support/tcp_proxy.ts";

const root = new URL("..", import.meta.url).pathname;

/** The only Python program of CLIENTS.md that uses sessions. */
async function snippet(): Promise<string> {
  const document = await Deno.readTextFile(`${root}/.github/CLIENTS.md`);
  const programs = Array.from(document.matchAll(/```python\n([^]*?)```/g), ([, program]) => program!)
    .filter((program) => program.includes("telemetry-session"));
  assertEquals(programs.length, 1, "CLIENTS.md has one Python client with telemetry-session");
  return programs[0]!;
}

/** The command of CLIENTS.md that generates the client's code. */
async function protocCommand(): Promise<string> {
  const document = await Deno.readTextFile(`${root}/.github/CLIENTS.md`);
  const commands = Array.from(document.matchAll(/```sh\n(protoc [^]*?)```/g), ([, command]) => command!);
  assertEquals(commands.length, 1, "CLIENTS.md has one protoc command");
  return commands[0]!;
}

Deno.test("CLIENTS.md: the Python client is below 40 lines", async () => {
  assertLess((await snippet()).trimEnd().split("\n").length, 40);
});

Deno.test("CLIENTS.md: protoc command and Python client store each packet once over cut connections", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using proxy = await TcpProxy.start(ingest);
  let cuts = 0;
  proxy.onBytes = () => {
    if (cuts < 3 && proxy.bytes > 100_000 * (cuts + 1)) {
      cuts++;
      setTimeout(() => proxy.cut());
    }
  };
  await using folder = await PythonFolder.make({ "send.py": await snippet() });
  // As from a checkout.
  await Deno.symlink(`${root}/proto`, `${folder.path}/proto`);
  await folder.shell(await protocCommand());
  const printed = await folder.run("send.py", `127.0.0.1:${proxy.port}`, "20000");
  assertEquals(printed, "ok=True committed=20000 rejected=0\n");
  assertEquals([cuts, ingest.counters.streams > 3], [3, true]);
  assertEquals(await countsOf(store), { "sensor-1": 20_000 });
});

Deno.test("CLIENTS.md: the Python client sends a token, and ends with an error for a wrong one", async () => {
  await using store = await temporaryStore();
  const [issued] = await addTokens(store, ["sensor-1"]);
  const authenticator = await deviceAuthenticator(store, "token");
  await using ingest = await startTestIngest({ store, authenticator });
  const program = await snippet(), wrong = `tally_${"A".repeat(43)}`;
  await using folder = await PythonFolder.make({ "send.py": program, right: `${issued!.token}\n`, wrong });
  await folder.protoc(`${root}/proto`, "telemetry.proto");
  const send = (...files: string[]) =>
    folder.run("send.py", `127.0.0.1:${ingest.port}`, "10", ...files.map((file) => `${folder.path}/${file}`));
  assertEquals(await send("right"), "ok=True committed=10 rejected=0\n");
  for (const args of [["wrong"], []]) await assertRejects(() => send(...args), Error, "UNAUTHENTICATED");
  assertEquals(await countsOf(store), { "sensor-1": 10 });
});

Deno.test("CLIENTS.md: the Python client sends over TLS with the channel that the document names", async () => {
  await using certificates = await Certificates.make();
  await using tally = await startTlsIngest(certificates);
  const document = await Deno.readTextFile(`${root}/.github/CLIENTS.md`);
  const [, channel] = /```python\n(grpc\.secure_channel.*)\n```/.exec(document) ?? [];
  const program = (await snippet()).replace("grpc.insecure_channel(target)", channel!);
  await using folder = await PythonFolder.make({
    "send.py": program.replace(
      /^import random/m,
      `import os; os.chdir(${JSON.stringify(certificates.path)})\n$&`,
    ),
  });
  await folder.protoc(`${root}/proto`, "telemetry.proto");
  assertEquals(
    await folder.run("send.py", `localhost:${tally.ingest.port}`, "100"),
    "ok=True committed=100 rejected=0\n",
  );
});

Deno.test("CLIENTS.md: the Python client resends packets that a restored store lacks", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using proxy = await TcpProxy.start(ingest);
  let wentBack = false;
  proxy.onBytes = () => {
    if (wentBack || ingest.counters.stored < 1000) return;
    wentBack = true;
    // What putting an older file in its place does: some packets and the session's end are not there any more.
    store.sql("DELETE FROM producers; UPDATE sessions SET committed = 500; UPDATE devices SET count = 500");
  };
  await using folder = await PythonFolder.make({ "send.py": await snippet() });
  await folder.protoc(`${root}/proto`, "telemetry.proto");
  const printed = await folder.run("send.py", `127.0.0.1:${proxy.port}`, "50000");
  assertEquals(printed, "ok=True committed=50000 rejected=0\n");
  assertEquals([wentBack, ingest.counters.sessionsReverted, ingest.counters.packetsLost], [true, 1, 0]);
  assertEquals(await countsOf(store), { "sensor-1": 50_000 });
});
