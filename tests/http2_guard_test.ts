import { connect } from "node:http2";

import { assertEquals } from "@std/assert";

import { guardHttp2Sessions } from "../src/http2_guard.ts";

/** Without the guard, some 600 to 2,500 of them are enough to kill the server on Deno 2.9.6. */
const GOODBYES = 800;

Deno.test("A server survives thousands of clients that say GOAWAY, and so do the clients", async () => {
  guardHttp2Sessions();
  await using server = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "-A", new URL("http2_guard_child.ts", import.meta.url).pathname, "guarded"],
    stdout: "piped",
  }).spawn();
  const output = server.stdout.getReader();
  const port = Number(new TextDecoder().decode((await output.read()).value));
  let answered = 0;
  for (let i = 0; i < GOODBYES; i++) {
    const session = connect(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const closed = new Promise((resolve) => session.on("close", resolve));
    const stream = session.request({ ":method": "POST" });
    stream.on("trailers", () => answered++);
    stream.on("error", () => {});
    stream.resume();
    stream.end("call");
    await new Promise((resolve) => stream.on("close", resolve));
    session.destroy();
    await closed;
  }
  server.kill();
  await output.cancel();
  assertEquals(answered, GOODBYES);
});
