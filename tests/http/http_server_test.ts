/** The readers' port by itself: bounds and deadlines of connections, with requests written by hand. */
import { connect, type Socket } from "node:net";

import { getLogger } from "@logtape/logtape";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

import { HttpServer } from "../../src/http/http_server.ts";
import { networkOf } from "../../src/runtime/network.ts";
import { PlainHttpServer } from "../../src/http/plain_http_server.ts";
import { type Handler, HttpCounters, type HttpServerOptions } from "../../src/http/reader_server.ts";
import { until } from "../support/until.ts";

const large = new Uint8Array(50_000_000);

/** Requests that hang until `release`. */
class Routes {
  readonly held = Promise.withResolvers<void>();
  /** Requests that came for `/held`. */
  holding = 0;
  source: ReadableStreamDefaultController<Uint8Array> | undefined;

  readonly handler: Handler = async (request, connection) => {
    const { pathname } = new URL(request.url);
    if (pathname === "/held") {
      this.holding++;
      await this.held.promise;
    }
    if (pathname === "/body") return new Response(String((await request.bytes()).length));
    if (pathname === "/large") return new Response(large);
    if (pathname === "/chunks") return new Response(ReadableStream.from([large, large]));
    if (pathname !== "/events") return new Response(`answer to ${pathname}`);
    const body = new ReadableStream<Uint8Array>({ start: (controller) => void (this.source = controller) });
    return new Response(connection.eventStream(body), { headers: { "content-type": "text/event-stream" } });
  };
}

interface Served extends AsyncDisposable {
  readonly port: number;
  readonly counters: HttpCounters;
  readonly routes: Routes;
}

const defaults = {
  host: "127.0.0.1",
  port: 0,
  maxConnections: 100,
  maxConnectionsPerAddress: 100,
  responseTimeoutMs: 60_000,
  onError: () => new Response(null, { status: 500 }),
};

function serve(options: Partial<HttpServerOptions> = {}): Served {
  const counters = new HttpCounters(), routes = new Routes();
  const server = new HttpServer(
    {
      host: "127.0.0.1",
      port: 0,
      maxConnections: 100,
      maxConnectionsPerAddress: 100,
      responseTimeoutMs: 60_000,
      onError: () => new Response(null, { status: 500 }),
      log: getLogger(["tally", "test"]),
      ...options,
    },
    counters,
    routes.handler,
  );
  return {
    port: server.address.port,
    counters,
    routes,
    [Symbol.asyncDispose]: () => server.close(Promise.resolve()),
  };
}

/** A connection, and what came by it. */
class Reader implements Disposable {
  readonly socket: Socket;
  text = "";
  closed = false;

  constructor(port: number, from = "127.0.0.1") {
    this.socket = connect({ port, host: "127.0.0.1", localAddress: from });
    this.socket.on("data", (chunk: Uint8Array) => this.text += new TextDecoder().decode(chunk));
    this.socket.on("error", () => {});
    this.socket.on("close", () => this.closed = true);
    this.socket.on("end", () => this.closed = true);
  }

  /** Sends `text` as it is. */
  send(text: string): this {
    this.socket.write(text);
    return this;
  }

  /** Sends a GET of `path`. */
  get(path: string): this {
    return this.send(`GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`);
  }

  async answered(text: string): Promise<void> {
    await until(() => this.text.includes(text), `${text} has come`);
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

Deno.test("HttpServer closes a connection whose request head is incomplete after headTimeoutMs", async () => {
  await using server = serve({ headTimeoutMs: 100 });
  using unused = new Reader(server.port), half = new Reader(server.port).send("GET / HTTP/1.1\r\nHo");
  using slow = new Reader(server.port);
  const trickle = setInterval(() => slow.send("GET /".charAt(0)), 20);
  await until(() => unused.closed && half.closed && slow.closed, "all are closed");
  clearInterval(trickle);
  await until(() => server.counters.connections === 0, "they are forgotten");
  assertEquals(server.counters, Object.assign(new HttpCounters(), { connectionsCut: 3 }));
});

Deno.test("HttpServer closes an idle connection after idleTimeoutMs, also one with half of a second request", async () => {
  await using server = serve({ headTimeoutMs: 10, idleTimeoutMs: 300 });
  using idle = new Reader(server.port).get("/a"), half = new Reader(server.port).get("/a");
  await idle.answered("answer to /a");
  await half.answered("answer to /a");
  half.send("GET /b HTTP/1.1\r\n");
  // The head of a first request has a shorter timeout, which does not count here.
  using unused = new Reader(server.port);
  await until(() => unused.closed, "a connection without a request is closed");
  idle.get("/c");
  await idle.answered("answer to /c");
  await until(() => idle.closed && half.closed, "both are closed");
});

Deno.test("HttpServer answers pipelined requests in order, and keeps the connection", async () => {
  await using server = serve();
  using reader = new Reader(server.port);
  reader.send(
    "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nGET /2 HTTP/1.1\r\nHost: a\r\n\r\nGET /3 HTTP/1.1\r\nHost: a\r\n\r\n",
  );
  await reader.answered("answer to /3");
  assertEquals(reader.text.match(/answer to \/\d/g), ["answer to /1", "answer to /2", "answer to /3"]);
  reader.get("/4");
  await reader.answered("answer to /4");
  assertEquals(server.counters, Object.assign(new HttpCounters(), { connections: 1 }));
});

Deno.test("HttpServer at maxConnections replaces the connection that is idle longest, and none with a request in progress", async () => {
  await using server = serve({ maxConnections: 3 });
  using held = new Reader(server.port).get("/held"), events = new Reader(server.port).get("/events");
  await until(
    () => server.routes.source !== undefined && server.routes.holding === 1,
    "both requests are in progress",
  );
  using half = new Reader(server.port).send("GET");
  await until(() => server.counters.connections === 3, "all are accepted");
  using next = new Reader(server.port).get("/next");
  await next.answered("answer to /next");
  assert(half.closed && !held.closed && !events.closed);
  using other = new Reader(server.port).get("/held");
  await until(() => next.closed, "the idle one gives way");
  using refused = new Reader(server.port).get("/refused");
  await until(() => refused.closed, "it is refused");
  assertEquals([server.counters.connectionsRefused, server.counters.connectionsCut], [1, 2]);
  server.routes.held.resolve();
  await held.answered("answer to /held");
  await other.answered("answer to /held");
  using last = new Reader(server.port).get("/last");
  await last.answered("answer to /last");
});

Deno.test("HttpServer at maxConnectionsPerAddress serves other addresses", async () => {
  await using server = serve({ maxConnectionsPerAddress: 2 });
  using a = new Reader(server.port).get("/held"), b = new Reader(server.port).get("/held");
  await until(() => server.routes.holding === 2, "both are in progress");
  using c = new Reader(server.port).get("/c");
  await until(() => c.closed, "the third is refused");
  using other = new Reader(server.port, "127.0.0.2").get("/other");
  await other.answered("answer to /other");
  assertEquals(server.counters.connectionsRefused, 1);
  server.routes.held.resolve();
  await a.answered("answer to /held");
  await b.answered("answer to /held");
  using d = new Reader(server.port).get("/d");
  await d.answered("answer to /d");
  await until(() => a.closed !== b.closed, "one of the idle ones gave way");
});

Deno.test("HttpServer closes a connection whose response is not read, or whose body is not received, after responseTimeoutMs", async () => {
  await using server = serve({ responseTimeoutMs: 200, idleTimeoutMs: 400 });
  using stuck = new Reader(server.port).get("/chunks");
  stuck.socket.pause();
  // The engine takes a body of one piece as sent when it has it: then this is an idle connection.
  using handedOver = new Reader(server.port).get("/large");
  handedOver.socket.pause();
  using half = new Reader(server.port).send(
    "POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345",
  );
  using whole = new Reader(server.port).send("POST /body HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n12");
  await whole.answered("\r\n\r\n2");
  await until(() => half.closed, "the half body is given up");
  await until(() => server.counters.connectionsCut >= 3, "all are closed");
});

Deno.test("HttpServer keeps an event stream open, and closes the connection when its source cancels it", async () => {
  await using server = serve({ headTimeoutMs: 50, idleTimeoutMs: 50, responseTimeoutMs: 50 });
  using events = new Reader(server.port).get("/events");
  await until(() => server.routes.source !== undefined, "it is open");
  // Closed by the same check of deadlines, which are past for the older event stream too.
  using unused = new Reader(server.port);
  await until(() => unused.closed, "a connection without a request is closed");
  server.routes.source!.enqueue(new TextEncoder().encode("data: 1\n\n"));
  await events.answered("data: 1");
  events.socket.pause();
  server.routes.source!.enqueue(large);
  server.routes.source!.enqueue(large);
  using later = new Reader(server.port);
  await until(() => later.closed && server.counters.connections === 1, "only the event stream is open");
  assertEquals(server.counters.connectionsCut, 2);
  server.routes.source!.error(new Error("the reader takes nothing"));
  await until(() => server.counters.connections === 0, "its connection is closed");
});

Deno.test("HttpServer.close() closes idle connections, cuts unfinished ones, and frees the port", async () => {
  const server = serve();
  using idle = new Reader(server.port).get("/a"), held = new Reader(server.port).get("/held");
  using half = new Reader(server.port).send("GET / HT");
  await idle.answered("answer to /a");
  await until(() => server.counters.connections === 3, "all are open");
  await server[Symbol.asyncDispose]();
  await until(() => idle.closed && held.closed && half.closed, "all are closed");
  server.routes.held.resolve();
  Deno.listen({ hostname: "127.0.0.1", port: server.port }).close();
});

Deno.test("HttpServer serves a reader beside 3,000 incomplete requests", async () => {
  await using server = serve({ maxConnections: 200, maxConnectionsPerAddress: 150, headTimeoutMs: 60_000 });
  const attackers: Reader[] = [];
  for (let i = 0; i < 3000; i++) {
    attackers.push(new Reader(server.port).send("GET / HTTP/1.1\r\nHost: half"));
    if (i % 300 !== 0) continue;
    using reader = new Reader(server.port).get(`/healthz${i}`);
    await reader.answered(`answer to /healthz${i}`);
  }
  await until(() => attackers.filter(({ closed }) => !closed).length <= 150, "the oldest were closed");
  assertEquals(server.counters.connectionsRefused, 0);
  for (const attacker of attackers) attacker[Symbol.dispose]();
  assertStringIncludes(await (await fetch(`http://127.0.0.1:${server.port}/x`)).text(), "answer to /x");
});

Deno.test("PlainHttpServer serves requests, and closes within its deadline", async () => {
  const routes = new Routes();
  const server = new PlainHttpServer({ ...defaults, log: getLogger(["tally", "test"]) }, routes.handler);
  const { port } = server.address;
  using idle = new Reader(port).get("/a"), held = new Reader(port).get("/held");
  await idle.answered("answer to /a");
  await until(() => routes.holding === 1, "it is in progress");
  const deadline = server.idle();
  routes.held.resolve();
  await deadline;
  await held.answered("answer to /held");
  await server.close(new Promise(() => {}));
  await until(() => idle.closed && held.closed, "both are closed");
  Deno.listen({ hostname: "127.0.0.1", port }).close();
});

Deno.test("networkOf() returns the address, or the /64 network of an IPv6 address", () => {
  assertEquals(networkOf("192.0.2.7"), "192.0.2.7");
  assertEquals(networkOf("::ffff:192.0.2.7"), "192.0.2.7");
  assertEquals(networkOf("::1"), "0:0:0:0");
  assertEquals(networkOf("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2");
  assertEquals(networkOf("2001:db8::6"), "2001:db8:0:0");
  assertEquals(networkOf("1::3:4:5:6:7:8"), "1:0:3:4");
});
