/**
 * A server that reads and does nothing else, to see how fast the load generator can be at most. It says OK to
 * a call when it has ended, and believes in one call per connection.
 *
 * @module
 */
import { answer, say } from "./child.ts";
import { frame, headerBlock, joined, settings, windowUpdate } from "../support/http2_frames.ts";
import {
  ACK,
  DATA,
  END_HEADERS,
  END_STREAM,
  FRAME_HEADER_BYTES,
  HEADERS,
  INITIAL_WINDOW_BYTES,
  INITIAL_WINDOW_SIZE,
  MAX_WINDOW_BYTES,
  PING,
} from "../support/http2_numbers.ts";

/** More of the connection's window is given when this much was read. */
const RENEW_BYTES = 2 ** 29;

const hello = joined(
  settings([INITIAL_WINDOW_SIZE, MAX_WINDOW_BYTES]),
  windowUpdate(0, MAX_WINDOW_BYTES - INITIAL_WINDOW_BYTES),
  frame(PING, ACK, 0, new Uint8Array(8)),
);
const answerOk = joined(
  frame(HEADERS, END_HEADERS, 1, headerBlock({ ":status": "200" })),
  frame(DATA, 0, 1, Uint8Array.of(0, 0, 0, 0, 2, 8, 1)), // Ack { ok: true }
  frame(HEADERS, END_HEADERS | END_STREAM, 1, headerBlock({ "grpc-status": "0" })),
);
/** The client's last frame. */
const end = frame(DATA, END_STREAM, 1).join();

async function serve(connection: Deno.TcpConn): Promise<void> {
  const buffer = new Uint8Array(2 ** 16);
  let tail = new Uint8Array(0), sinceRenewal = 0;
  await connection.write(hello);
  for (;;) {
    const length = await connection.read(buffer);
    if (length === null) break;
    const chunk = buffer.subarray(0, length);
    tail = (length >= FRAME_HEADER_BYTES ? chunk : joined(tail, chunk)).slice(
      -FRAME_HEADER_BYTES,
    ) as typeof tail;
    sinceRenewal += length;
    if (sinceRenewal >= RENEW_BYTES) {
      await connection.write(joined(windowUpdate(0, sinceRenewal), windowUpdate(1, sinceRenewal)));
      sinceRenewal = 0;
    }
    if (tail.join() === end) await connection.write(answerOk);
  }
  connection.close();
}

const listener = Deno.listen({ hostname: "127.0.0.1", port: 0, tcpBacklog: 4096 });
say({ port: listener.addr.port });
answer(() => undefined).then(() => Deno.exit());
for await (const connection of listener) {
  serve(connection).catch(() => {}); // the client is gone
}
