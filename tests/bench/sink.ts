/**
 * A server that reads and does nothing else, to see how fast the load generator can be at most. It says OK to
 * a call when it has ended, and believes in one call per connection.
 *
 * @module
 */
import { answer, say } from "./child.ts";
import {
  Flag,
  frame,
  FRAME_HEADER_BYTES,
  FrameType,
  headerBlock,
  joined,
  Setting,
  settings,
  windowUpdate,
} from "./http2.ts";

/** The largest window there is. */
const WINDOW_BYTES = 2 ** 31 - 1;
const DEFAULT_WINDOW_BYTES = 65_535;

/** More of the connection's window is given when this much was read. */
const RENEW_BYTES = 2 ** 29;

const hello = joined(
  settings([Setting.INITIAL_WINDOW_SIZE, WINDOW_BYTES]),
  windowUpdate(0, WINDOW_BYTES - DEFAULT_WINDOW_BYTES),
  frame(FrameType.PING, Flag.ACK, 0, new Uint8Array(8)),
);
const answerOk = joined(
  frame(FrameType.HEADERS, Flag.END_HEADERS, 1, headerBlock({ ":status": "200" })),
  frame(FrameType.DATA, 0, 1, Uint8Array.of(0, 0, 0, 0, 2, 8, 1)), // Ack { ok: true }
  frame(FrameType.HEADERS, Flag.END_HEADERS | Flag.END_STREAM, 1, headerBlock({ "grpc-status": "0" })),
);
/** The client's last frame. */
const end = frame(FrameType.DATA, Flag.END_STREAM, 1).join();

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
