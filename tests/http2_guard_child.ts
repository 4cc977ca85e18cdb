/** An HTTP/2 server for http2_guard_test.ts: prints its port, and answers a turn later, as Tally does. */
import { createServer, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";

import { guardHttp2Sessions } from "../src/http2_guard.ts";

if (Deno.args[0] === "guarded") guardHttp2Sessions();

const server = createServer();
server.on("stream", (stream: ServerHttp2Stream) => {
  stream.on("error", () => {});
  stream.resume();
  stream.on("end", () =>
    setTimeout(() => {
      stream.respond({ ":status": 200 }, { waitForTrailers: true });
      stream.on("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
      stream.end("answer");
    }, 3));
});
server.listen(0, "127.0.0.1", () => console.log((server.address() as AddressInfo).port));
