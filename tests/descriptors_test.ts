/** The program with few file descriptors: both ports stay, or come back, and nothing ends. */
import { connect, type Socket } from "node:net";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals } from "@std/assert";

import { framedPacket, packet, RawCall } from "./harness.ts";
import { Program } from "./program.ts";
import { until } from "./until.ts";

/** Fewer than the connections of these tests; Deno itself has some 25 files open. */
const shell = "ulimit -n 120";

/** Connections that are open, as far as their own side has been told. */
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

Deno.test("MAX_CONNECTIONS above the file limit: the device port accepts again when there are files again", async () => {
  await using program = await Program.start(["--role", "ingest"], { MAX_CONNECTIONS: "1000" }, { shell });
  const port = Number((await program.line("ingest listening"))["port"]);
  assertEquals(await sendOne(port), status.OK);
  {
    using connections = new Connections();
    await connections.open(port, 200);
    await program.line("no file descriptors left: devices wait");
  }
  await program.line("file descriptors left again: devices are accepted");
  assertEquals(await sendOne(port), status.OK);
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

Deno.test("MAX_CONNECTIONS by default: surplus devices are refused, the others and readers are served", async () => {
  await using program = await Program.start([], {}, { shell });
  const http = Number((await program.line("api listening"))["port"]);
  const port = Number((await program.line("ingest listening"))["port"]);
  await using early = new RawCall(port);
  await early.send(framedPacket(packet()));
  {
    using connections = new Connections();
    await connections.open(port, 200);
    const { maxConnections } = await program.line(
      "device connections at their limit: further ones are refused",
    );
    await until(() => connections.size < Number(maxConnections), "the surplus is closed");
    for (const path of ["/healthz", "/readyz", "/", "/metrics"]) {
      assertEquals(await httpStatus(http, path), 200, path);
    }
    const fleet = await (await fetch(`http://127.0.0.1:${http}/fleet`)).json();
    const [instance] = fleet.instances;
    assertEquals([instance.max_connections, instance.accepting], [maxConnections, true]);
  }
  await program.line("device connections below their limit again");
  assertEquals(await sendOne(port), status.OK);
  assertEquals((await early.finish(framedPacket(packet()))).ack?.stored, 2);
  await until(async () => {
    const fleet = await (await fetch(`http://127.0.0.1:${http}/fleet`)).json();
    return fleet.instances[0].connections_refused > 50;
  }, "the refused connections are counted");
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
  const lines = program.seen.filter(({ message }) => message.startsWith("device connections"));
  assert(lines.length < 10, `${lines.length} lines`);
});

Deno.test("HTTP_MAX_CONNECTIONS above the file limit: the api accepts again, and does not end", async () => {
  await using program = await Program.start(["--role", "api"], { HTTP_MAX_CONNECTIONS: "1000" }, { shell });
  const port = Number((await program.line("api listening"))["port"]);
  {
    using connections = new Connections();
    await connections.open(port, 200, "GET / HTTP/1.1\r\nHost: half");
    await program.line("no file descriptors left: idle readers are cut, others wait");
  }
  await until(async () => await httpStatus(port, "/healthz") === 200, "it answers again");
  program.signal("SIGTERM");
  assertEquals((await program.end()).code, 0);
});

Deno.test("HTTP_MAX_CONNECTIONS by default: half requests give way, readers are served", async () => {
  await using program = await Program.start(["--role", "api"], {}, { shell });
  const port = Number((await program.line("api listening"))["port"]);
  using connections = new Connections();
  await connections.open(port, 200, "GET / HTTP/1.1\r\nHost: half");
  for (const path of ["/healthz", "/readyz", "/", "/metrics"]) {
    assertEquals(await httpStatus(port, path), 200, path);
  }
  await until(() => connections.size < 120, "the surplus is closed");
});
