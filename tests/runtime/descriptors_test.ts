/** The program with few file descriptors: both ports stay, or come back, and nothing ends. */
import { connect, type Socket } from "node:net";

import { status } from "@grpc/grpc-js";
import { assertEquals, assertGreater, assertLess } from "@std/assert";

import { framedPacket, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { Program } from "../support/program.ts";
import { until } from "../support/until.ts";

/** Fewer than the connections of these tests; Deno itself has some 25 files open. */
const shell = "ulimit -n 120";

/** Connections that are open, as far as their own side has noticed. */
class Connections implements Disposable {
  readonly #sockets = new Set<Socket>();

  /** Opens `count` connections that send `text`; resolves when the system has connected them. */
  async open(port: number, count: number, text = ""): Promise<void> {
    await Promise.all(Array.from({ length: count }, () => {
      const socket = connect(port, "127.0.0.1");
      this.#sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => this.#sockets.delete(socket));
      socket.resume();
      if (text !== "") socket.write(text);
      return new Promise<void>((resolve) => socket.once("connect", resolve).once("close", resolve));
    }));
  }

  /** Those the other side has not closed. */
  get size(): number {
    return this.#sockets.size;
  }

  [Symbol.dispose](): void {
    for (const socket of this.#sockets) socket.destroy();
  }
}

async function sendOne(port: number): Promise<number> {
  await using call = new RawCall(port);
  return (await call.finish(framedPacket(packet()))).code;
}

async function httpStatus(port: number, path: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`, { headers: { connection: "close" } });
  await response.body?.cancel();
  return response.status;
}

Deno.test("Role all beyond the file limit: refuses devices, serves and informs readers, then accepts again", async () => {
  await using program = await Program.start([], {}, { shell });
  const http = Number((await program.line("api listening"))["port"]);
  const port = Number((await program.line("ingest listening"))["port"]);
  const instance = async () => (await (await fetch(`http://127.0.0.1:${http}/fleet`)).json()).instances[0];
  await using early = new RawCall(port);
  await early.send(framedPacket(packet()));
  assertEquals(await httpStatus(http, "/readyz"), 200);
  {
    using connections = new Connections();
    await connections.open(port, 300);
    assertEquals((await program.line("devices are refused"))["reason"], "too few file descriptors are left");
    for (const path of ["/healthz", "/", "/metrics"]) assertEquals(await httpStatus(http, path), 200, path);
    assertEquals(await httpStatus(http, "/readyz"), 503);
    await until(async () => !(await instance()).accepting, "the report has accepting false");
    await early.send(framedPacket(packet()));
  }
  await program.line("devices are accepted again");
  await until(async () => await httpStatus(http, "/readyz") === 200, "it is ready again");
  for (let i = 0; i < 10; i++) assertEquals(await sendOne(port), status.OK);
  assertEquals((await early.finish(framedPacket(packet()))).ack?.stored, 3);
  await until(async () => (await instance()).accepting, "the report has accepting true");
  assertGreater((await instance()).connections_refused, 20);
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
  const lines = program.seen.filter(({ message }) => message.startsWith("devices are"));
  assertLess(lines.length, 5);
});

Deno.test("TALLY_MAX_CONNECTIONS: connections above it are closed at once and counted, until others end", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, maxConnections: 20 });
  await using early = new RawCall(ingest.port);
  await early.send(framedPacket(packet()));
  {
    using connections = new Connections();
    await connections.open(ingest.port, 100);
    await until(() => connections.size === 19, "the surplus is closed");
    assertEquals([ingest.counters.connectionsRefused, ingest.accepting], [81, true]);
    await early.send(framedPacket(packet()));
  }
  await until(async () => await sendOne(ingest.port) === status.OK, "there is room again");
  assertEquals((await early.finish(framedPacket(packet()))).ack?.stored, 3);
});

Deno.test("Role api beyond the file limit: keeps running, and accepts readers again", async () => {
  await using program = await Program.start(["--role", "api"], { TALLY_LIVE_MAX_CLIENTS: "5000" }, { shell });
  const port = Number((await program.line("api listening"))["port"]);
  {
    using connections = new Connections();
    await connections.open(port, 200, "GET / HTTP/1.1\r\nHost: half");
  }
  await until(async () => await httpStatus(port, "/healthz") === 200, "it answers again");
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

Deno.test("Role api beyond the file limit: incomplete requests are closed in favour of readers", async () => {
  await using program = await Program.start(["--role", "api"], {}, { shell });
  const port = Number((await program.line("api listening"))["port"]);
  using connections = new Connections();
  await connections.open(port, 200, "GET / HTTP/1.1\r\nHost: half");
  for (const path of ["/healthz", "/readyz", "/", "/metrics"]) {
    assertEquals(await httpStatus(port, path), 200, path);
  }
  await until(() => connections.size < 120, "the surplus is closed");
});
