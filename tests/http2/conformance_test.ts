/**
 * The rules of RFC 9113 (HTTP/2), 9110 (HTTP) and 7541 (HPACK) that the device port keeps, one line each, on both
 * paths: telemetry served by the fast path, and by grpc-js. `src/http2/CONFORMANCE.md` lists where each is kept.
 *
 * Not kept, because RFC 9113 made it obsolete: the priorities of RFC 7540.
 */
import { assert, assertEquals } from "@std/assert";

import { framedPacket, packet } from "../support/harness.ts";
import { frame } from "../support/http2_frames.ts";
import {
  ACK,
  CANCEL,
  CLIENT_PREFACE,
  COMPRESSION_ERROR,
  CONTINUATION,
  DATA,
  END_HEADERS,
  END_STREAM,
  ENHANCE_YOUR_CALM,
  FLOW_CONTROL_ERROR,
  FRAME_SIZE_ERROR,
  GOAWAY,
  HAS_PRIORITY,
  HEADERS,
  PADDED,
  PING,
  PRIORITY,
  PROTOCOL_ERROR,
  PUSH_PROMISE,
  REFUSED_STREAM,
  RST_STREAM,
  SETTINGS,
  STREAM_CLOSED,
  WINDOW_UPDATE,
} from "../support/http2_numbers.ts";
import { startVariant, variants } from "../support/tls_ingest.ts";
import { until } from "../support/until.ts";
import { headerBlock, preface, RawConnection, requestHeaders, uint32 } from "./raw_connection.ts";

const path = "/TelemetryIngest/StreamPackets";
const WITHOUT_SETTINGS = CLIENT_PREFACE;
const text = (value: string) => [...new TextEncoder().encode(value)];

/** What must happen: GOAWAY with a code and the end; RST_STREAM with a code, and the connection goes on; or nothing. */
type Outcome =
  | { readonly goaway: number }
  | { readonly reset: number; readonly stream?: number }
  | "accepted";
type Rule = readonly [
  section: string,
  title: string,
  outcome: Outcome,
  frames: () => Uint8Array[],
  begin?: Uint8Array,
];

const goaway = (code: number) => ({ goaway: code });
const reset = (code: number, stream = 1) => ({ reset: code, stream });
const open = (stream = 1, more?: Record<string, string>) => requestHeaders(stream, path, more);
const ended = (stream = 1) => frame(HEADERS, END_HEADERS | END_STREAM, stream, headerBlock(path));
const cancelled = (stream = 1) => frame(RST_STREAM, 0, stream, uint32(CANCEL));
const settings = (parameter: number, value: number) =>
  frame(SETTINGS, 0, 0, [0, parameter, ...uint32(value)]);
const windowUpdate = (stream: number, bytes: number) => frame(WINDOW_UPDATE, 0, stream, uint32(bytes));
/** A call whose header list is this one, in literals. */
const list = (fields: readonly (readonly [string, string])[], flags = END_HEADERS) =>
  frame(
    HEADERS,
    flags,
    1,
    fields.flatMap(([name, value]) => [0, name.length, ...text(name), value.length, ...text(value)]),
  );
const POST = [":method", "POST"] as const,
  HTTP = [":scheme", "http"] as const,
  PATH = [":path", path] as const;
const GRPC = ["content-type", "application/grpc"] as const;
/** The trailers of a call that is open. */
const trailers = (
  fields: readonly (readonly [string, string])[],
  flags = END_HEADERS | END_STREAM,
) => [open(), list(fields, flags)];

const rules: readonly Rule[] = [
  [
    "3.4",
    "a preface that is not HTTP/2's",
    goaway(PROTOCOL_ERROR),
    () => [],
    new Uint8Array(text("GET / HTTP/1.1\r\nhost: x\r\n\r\n")),
  ],
  [
    "3.4",
    "a preface without SETTINGS",
    goaway(PROTOCOL_ERROR),
    () => [frame(PING, 0, 0, new Uint8Array(8))],
    WITHOUT_SETTINGS,
  ],
  ["4.1", "a frame of an unknown type is ignored", "accepted", () => [frame(200, 255, 0, [1, 2, 3])]],
  ["4.1", "undefined flags are ignored", "accepted", () => [frame(PING, 0b1111_0110, 0, new Uint8Array(8))]],
  ["4.1", "the reserved bit of a stream id is ignored", "accepted", () => {
    const bytes = open();
    bytes[5]! |= 128;
    return [bytes];
  }],
  ["4.2", "a frame of 2^14 bytes is accepted", "accepted", () => [frame(200, 0, 0, new Uint8Array(16_384))]],
  [
    "4.2",
    "a DATA frame above SETTINGS_MAX_FRAME_SIZE",
    goaway(FRAME_SIZE_ERROR),
    () => [open(), frame(DATA, 0, 1, new Uint8Array(16_385))],
  ],
  [
    "4.2",
    "a HEADERS frame above SETTINGS_MAX_FRAME_SIZE",
    goaway(FRAME_SIZE_ERROR),
    () => [frame(HEADERS, END_HEADERS, 1, new Uint8Array(16_385))],
  ],
  [
    "4.3",
    "a header block that is not HPACK",
    goaway(COMPRESSION_ERROR),
    () => [frame(HEADERS, END_HEADERS, 1, [0x80])],
  ],
  [
    "4.3",
    "another frame inside a header block",
    goaway(PROTOCOL_ERROR),
    () => [frame(HEADERS, 0, 1, headerBlock(path)), frame(PING, 0, 0, new Uint8Array(8))],
  ],
  [
    "4.3",
    "a frame of another stream in a header block",
    goaway(PROTOCOL_ERROR),
    () => [frame(HEADERS, 0, 1, headerBlock(path)), frame(CONTINUATION, END_HEADERS, 3)],
  ],
  ["5.1", "idle: DATA", goaway(PROTOCOL_ERROR), () => [frame(DATA, 0, 1, [1])]],
  ["5.1", "idle: RST_STREAM", goaway(PROTOCOL_ERROR), () => [cancelled()]],
  ["5.1", "idle: WINDOW_UPDATE", goaway(PROTOCOL_ERROR), () => [windowUpdate(1, 100)]],
  [
    "5.1",
    "idle: CONTINUATION",
    goaway(PROTOCOL_ERROR),
    () => [frame(CONTINUATION, END_HEADERS, 1, headerBlock(path))],
  ],
  ["5.1", "idle: PRIORITY is accepted", "accepted", () => [frame(PRIORITY, 0, 1, [...uint32(3), 16])]],
  [
    "5.1",
    "half-closed (remote): DATA",
    reset(STREAM_CLOSED),
    () => [...openAndEnd(), frame(DATA, 0, 1, framedPacket(packet()))],
  ],
  [
    "5.1",
    "half-closed (remote): HEADERS",
    reset(STREAM_CLOSED),
    () => [...openAndEnd(), list([["x", "y"]], END_HEADERS | END_STREAM)],
  ],
  [
    "5.1",
    "half-closed (remote): WINDOW_UPDATE, PRIORITY, RST_STREAM are accepted",
    "accepted",
    () => [...openAndEnd(), windowUpdate(1, 9), frame(PRIORITY, 0, 1, [...uint32(3), 16]), cancelled()],
  ],
  [
    "5.1",
    "closed by the peer's RST_STREAM: DATA",
    reset(STREAM_CLOSED),
    () => [open(), cancelled(), frame(DATA, 0, 1, [1, 2, 3, 4, 5])],
  ],
  [
    "5.1",
    "closed by the peer's RST_STREAM: HEADERS",
    reset(STREAM_CLOSED),
    () => [open(), cancelled(), open()],
  ],
  [
    "5.1",
    "closed by the peer's RST_STREAM: WINDOW_UPDATE, PRIORITY, RST_STREAM are accepted",
    "accepted",
    () => [open(), cancelled(), windowUpdate(1, 9), frame(PRIORITY, 0, 1, [...uint32(3), 16]), cancelled()],
  ],
  [
    "5.1",
    "closed by RST_STREAM from here: frames in flight are ignored",
    reset(PROTOCOL_ERROR),
    () => [
      open(),
      windowUpdate(1, 0),
      frame(DATA, 0, 1, [1, 2, 3, 4, 5]),
      list([["x", "y"]]),
      windowUpdate(1, 9),
      cancelled(),
    ],
  ],
  ["5.1.1", "stream 0 cannot be opened", goaway(PROTOCOL_ERROR), () => [requestHeaders(0, path)]],
  ["5.1.1", "a client cannot open an even stream", goaway(PROTOCOL_ERROR), () => [open(2)]],
  ["5.1.1", "a stream id below the last one", goaway(PROTOCOL_ERROR), () => [open(5), open(3)]],
  [
    "5.1.2",
    "more streams than SETTINGS_MAX_CONCURRENT_STREAMS",
    reset(REFUSED_STREAM, 2001),
    () => Array.from({ length: 1001 }, (_, i) => open(2 * i + 1)),
  ],
  ["6.1", "DATA on stream 0", goaway(PROTOCOL_ERROR), () => [frame(DATA, 0, 0, [1])]],
  [
    "6.1",
    "DATA with more padding than payload",
    goaway(PROTOCOL_ERROR),
    () => [open(), frame(DATA, PADDED, 1, [3, 1, 2])],
  ],
  [
    "6.1",
    "an empty DATA frame that is padded",
    goaway(FRAME_SIZE_ERROR),
    () => [open(), frame(DATA, PADDED, 1)],
  ],
  [
    "6.2",
    "HEADERS with more padding than payload",
    goaway(PROTOCOL_ERROR),
    () => [frame(HEADERS, END_HEADERS | PADDED, 1, [9, 0x83])],
  ],
  [
    "6.2",
    "HEADERS too short for its priority",
    goaway(FRAME_SIZE_ERROR),
    () => [frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, [0, 0])],
  ],
  [
    "6.2",
    "HEADERS with padding and priority is accepted",
    "accepted",
    () => [
      frame(HEADERS, END_HEADERS | PADDED | HAS_PRIORITY, 1, [
        2,
        ...uint32(0),
        16,
        ...headerBlock(path),
        0,
        0,
      ]),
    ],
  ],
  ["6.3", "PRIORITY on stream 0", goaway(PROTOCOL_ERROR), () => [frame(PRIORITY, 0, 0, [...uint32(1), 16])]],
  ["6.3", "PRIORITY not of 5 bytes", reset(FRAME_SIZE_ERROR), () => [open(), frame(PRIORITY, 0, 1, [1, 2])]],
  [
    "6.3",
    "PRIORITY dependent on its own stream",
    reset(PROTOCOL_ERROR),
    () => [open(), frame(PRIORITY, 0, 1, [...uint32(1), 16])],
  ],
  [
    "6.3",
    "HEADERS whose priority names its own stream",
    reset(PROTOCOL_ERROR),
    () => [frame(HEADERS, END_HEADERS | HAS_PRIORITY, 1, [...uint32(1), 16, ...headerBlock(path)])],
  ],
  ["6.4", "RST_STREAM on stream 0", goaway(PROTOCOL_ERROR), () => [cancelled(0)]],
  [
    "6.4",
    "RST_STREAM not of 4 bytes",
    goaway(FRAME_SIZE_ERROR),
    () => [open(), frame(RST_STREAM, 0, 1, [0, 0, 8])],
  ],
  ["6.5", "SETTINGS on a stream", goaway(PROTOCOL_ERROR), () => [frame(SETTINGS, 0, 1)]],
  [
    "6.5",
    "SETTINGS not of six bytes each",
    goaway(FRAME_SIZE_ERROR),
    () => [frame(SETTINGS, 0, 0, [0, 4, 0])],
  ],
  [
    "6.5",
    "an acknowledgment of SETTINGS with a payload",
    goaway(FRAME_SIZE_ERROR),
    () => [frame(SETTINGS, ACK, 0, [0, 1, ...uint32(0)])],
  ],
  ["6.5.2", "SETTINGS_ENABLE_PUSH neither 0 nor 1", goaway(PROTOCOL_ERROR), () => [settings(2, 2)]],
  [
    "6.5.2",
    "SETTINGS_INITIAL_WINDOW_SIZE above 2^31 - 1",
    goaway(FLOW_CONTROL_ERROR),
    () => [settings(4, 2 ** 31)],
  ],
  ["6.5.2", "SETTINGS_MAX_FRAME_SIZE below 2^14", goaway(PROTOCOL_ERROR), () => [settings(5, 16_383)]],
  ["6.5.2", "SETTINGS_MAX_FRAME_SIZE above 2^24 - 1", goaway(PROTOCOL_ERROR), () => [settings(5, 2 ** 24)]],
  ["6.5.2", "an unknown setting is ignored", "accepted", () => [settings(200, 7)]],
  [
    "6.6",
    "PUSH_PROMISE from a client",
    goaway(PROTOCOL_ERROR),
    () => [open(), frame(PUSH_PROMISE, END_HEADERS, 1, uint32(2))],
  ],
  ["6.7", "PING on a stream", goaway(PROTOCOL_ERROR), () => [frame(PING, 0, 1, new Uint8Array(8))]],
  ["6.7", "PING not of 8 bytes", goaway(FRAME_SIZE_ERROR), () => [frame(PING, 0, 0, [1, 2, 3, 4])]],
  [
    "6.7",
    "an unexpected PING acknowledgment is ignored",
    "accepted",
    () => [frame(PING, ACK, 0, new Uint8Array(8))],
  ],
  [
    "6.8",
    "GOAWAY on a stream",
    goaway(PROTOCOL_ERROR),
    () => [open(), frame(GOAWAY, 0, 1, [...uint32(0), ...uint32(0)])],
  ],
  ["6.8", "GOAWAY of less than 8 bytes", goaway(FRAME_SIZE_ERROR), () => [frame(GOAWAY, 0, 0, uint32(0))]],
  ["6.9", "WINDOW_UPDATE of 0 on the connection", goaway(PROTOCOL_ERROR), () => [windowUpdate(0, 0)]],
  ["6.9", "WINDOW_UPDATE of 0 on a stream", reset(PROTOCOL_ERROR), () => [open(), windowUpdate(1, 0)]],
  [
    "6.9",
    "WINDOW_UPDATE not of 4 bytes",
    goaway(FRAME_SIZE_ERROR),
    () => [frame(WINDOW_UPDATE, 0, 0, [0, 0, 1])],
  ],
  [
    "6.9.1",
    "the connection's window above 2^31 - 1",
    goaway(FLOW_CONTROL_ERROR),
    () => [windowUpdate(0, 2 ** 31 - 1)],
  ],
  [
    "6.9.1",
    "a stream's window above 2^31 - 1",
    reset(FLOW_CONTROL_ERROR),
    () => [open(), windowUpdate(1, 2 ** 31 - 1)],
  ],
  [
    "6.9.2",
    "SETTINGS that take a stream's window above 2^31 - 1",
    goaway(FLOW_CONTROL_ERROR),
    () => [open(), windowUpdate(1, 2 ** 30), settings(4, 2 ** 31 - 1)],
  ],
  ["6.10", "CONTINUATION on stream 0", goaway(PROTOCOL_ERROR), () => [frame(CONTINUATION, END_HEADERS, 0)]],
  [
    "6.10",
    "CONTINUATION after a complete header block",
    goaway(PROTOCOL_ERROR),
    () => [open(), frame(CONTINUATION, END_HEADERS, 1)],
  ],
  ["6.10", "a header block in three frames is accepted", "accepted", () => thirds(headerBlock(path))],
  [
    "6.10",
    "a header block in too many frames",
    goaway(ENHANCE_YOUR_CALM),
    () => [
      frame(HEADERS, 0, 1, headerBlock(path)),
      ...Array.from({ length: 16 }, () => frame(CONTINUATION, 0, 1)),
    ],
  ],
  [
    "8.1",
    "a second HEADERS frame without END_STREAM",
    reset(PROTOCOL_ERROR),
    () => trailers([["x", "y"]], END_HEADERS),
  ],
  ["8.1", "trailers with a pseudo-header field", reset(PROTOCOL_ERROR), () => trailers([[":path", "/"]])],
  [
    "8.1",
    "trailers with a connection field",
    reset(PROTOCOL_ERROR),
    () => trailers([["connection", "close"]]),
  ],
  [
    "8.1.1",
    "content-length above the DATA sent",
    reset(PROTOCOL_ERROR),
    () => [open(1, { "content-length": "1" }), frame(DATA, END_STREAM, 1)],
  ],
  [
    "8.1.1",
    "content-length below the DATA sent",
    reset(PROTOCOL_ERROR),
    () => [open(1, { "content-length": "1" }), frame(DATA, END_STREAM, 1, [0, 0, 0, 0, 0])],
  ],
  [
    "8.1.1",
    "content-length of a request that ends with its headers",
    reset(PROTOCOL_ERROR),
    () => [frame(HEADERS, END_HEADERS | END_STREAM, 1, headerBlock(path, { "content-length": "1" }))],
  ],
  [
    "8.1.1",
    "content-length that is no number",
    reset(PROTOCOL_ERROR),
    () => [open(1, { "content-length": "-1" })],
  ],
  [
    "8.1.1",
    "content-lengths that differ",
    reset(PROTOCOL_ERROR),
    () => [list([POST, HTTP, PATH, GRPC, ["content-length", "1"], ["content-length", "2"]])],
  ],
  ["8.2.1", "a capital in a field name", reset(PROTOCOL_ERROR), () => [open(1, { "X-Test": "y" })]],
  ["8.2.1", "a space in a field name", reset(PROTOCOL_ERROR), () => [open(1, { "x test": "y" })]],
  ["8.2.1", "an empty field name", reset(PROTOCOL_ERROR), () => [list([POST, HTTP, PATH, GRPC, ["", "y"]])]],
  ...["\0", "\r", "\n"].map((
    character,
  ): Rule => [
    "8.2.1",
    `${JSON.stringify(character)} in a value`,
    reset(PROTOCOL_ERROR),
    () => [open(1, { x: `a${character}b` })],
  ]),
  ["8.2.1", "white space before a value", reset(PROTOCOL_ERROR), () => [open(1, { x: " y" })]],
  ["8.2.1", "white space after a value", reset(PROTOCOL_ERROR), () => [open(1, { x: "y\t" })]],
  ["8.2.1", "any other byte in a value is accepted", "accepted", () => [open(1, { x: "a b\x7f\x01" })]],
  ...["connection", "proxy-connection", "keep-alive", "transfer-encoding", "upgrade"].map((
    name,
  ): Rule => ["8.2.2", name, reset(PROTOCOL_ERROR), () => [open(1, { [name]: "x" })]]),
  ["8.2.2", "te other than trailers", reset(PROTOCOL_ERROR), () => [open(1, { te: "gzip" })]],
  [
    "8.3",
    "a pseudo-header field after a regular one",
    reset(PROTOCOL_ERROR),
    () => [list([POST, HTTP, GRPC, PATH])],
  ],
  ["8.3", "a pseudo-header field twice", reset(PROTOCOL_ERROR), () => [list([POST, HTTP, PATH, PATH, GRPC])]],
  [
    "8.3",
    "an unknown pseudo-header field",
    reset(PROTOCOL_ERROR),
    () => [list([POST, HTTP, PATH, [":x", "y"], GRPC])],
  ],
  [
    "8.3",
    "a pseudo-header field of responses",
    reset(PROTOCOL_ERROR),
    () => [list([POST, HTTP, PATH, [":status", "200"], GRPC])],
  ],
  ["8.3.1", "no :method", reset(PROTOCOL_ERROR), () => [list([HTTP, PATH, GRPC])]],
  ["8.3.1", "no :scheme", reset(PROTOCOL_ERROR), () => [list([POST, PATH, GRPC])]],
  ["8.3.1", "no :path", reset(PROTOCOL_ERROR), () => [list([POST, HTTP, GRPC])]],
  ["8.3.1", "an empty :path", reset(PROTOCOL_ERROR), () => [list([POST, HTTP, [":path", ""], GRPC])]],
  [
    "8.3.1",
    "a :path that does not begin with /",
    reset(PROTOCOL_ERROR),
    () => [list([POST, HTTP, [":path", "x"], GRPC])],
  ],
  [
    "8.3.1",
    "host that differs from :authority",
    reset(PROTOCOL_ERROR),
    () => [list([POST, HTTP, PATH, [":authority", "a"], GRPC, ["host", "b"]])],
  ],
  [
    "8.5",
    "CONNECT",
    reset(PROTOCOL_ERROR),
    () => [list([[":method", "CONNECT"], [":authority", "a:1"]])],
  ],
  [
    "7541 2.3.3",
    "an index in neither table",
    goaway(COMPRESSION_ERROR),
    () => [frame(HEADERS, END_HEADERS, 1, [0xff, 0x20])],
  ],
  [
    "7541 4.2",
    "a table size above SETTINGS_HEADER_TABLE_SIZE",
    goaway(COMPRESSION_ERROR),
    () => [frame(HEADERS, END_HEADERS, 1, [0x3f, 0xe2, 0x1f])],
  ],
  [
    "7541 4.2",
    "a dynamic table size update after a field",
    goaway(COMPRESSION_ERROR),
    () => [frame(HEADERS, END_HEADERS, 1, [0x83, 0x20])],
  ],
  [
    "7541 5.1",
    "an integer without end",
    goaway(COMPRESSION_ERROR),
    () => [frame(HEADERS, END_HEADERS, 1, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])],
  ],
  [
    "7541 5.2",
    "a Huffman code padded with other than ones",
    goaway(COMPRESSION_ERROR),
    () => [frame(HEADERS, END_HEADERS, 1, [0, 0x81, 0x18, 0])],
  ],
  [
    "7541 5.2",
    "a Huffman code padded with a whole byte",
    goaway(COMPRESSION_ERROR),
    () => [frame(HEADERS, END_HEADERS, 1, [0, 0x82, 0x1f, 0xff, 0])],
  ],
  ["7541 6.1", "index 0", goaway(COMPRESSION_ERROR), () => [frame(HEADERS, END_HEADERS, 1, [0x80])]],
];

/** A call that the peer has ended, and that is not answered yet: its session is being claimed. */
function openAndEnd(): Uint8Array[] {
  return [
    open(1, { "telemetry-session": crypto.randomUUID() }),
    frame(DATA, END_STREAM, 1, framedPacket(packet())),
  ];
}

function thirds(block: number[]): Uint8Array[] {
  return [
    frame(HEADERS, 0, 1, block.slice(0, 7)),
    frame(CONTINUATION, 0, 1, block.slice(7, 20)),
    frame(CONTINUATION, END_HEADERS, 1, block.slice(20)),
  ];
}

/** Whether the connection answers. */
async function assertAlive(connection: RawConnection): Promise<void> {
  const payload = crypto.getRandomValues(new Uint8Array(8));
  const answered = () =>
    connection.all(PING).some((ping) =>
      ping.flags === ACK && ping.payload.every((byte, i) => byte === payload[i])
    );
  await connection.send(frame(PING, 0, 0, payload));
  await until(answered, "the connection answers");
}

for (const variant of variants) {
  Deno.test(`Http2Connection conformance, ${variant.title}`, async (t) => {
    await using served = await startVariant(variant);
    const { target } = served;
    for (const [section, title, outcome, frames, begin = preface] of rules) {
      await t.step(`RFC ${section.includes(" ") ? section : `9113 ${section}`}: ${title}`, async () => {
        using connection = new RawConnection(target);
        await connection.send(begin, ...frames());
        if (outcome === "accepted") {
          await assertAlive(connection);
          assertEquals(connection.all(GOAWAY), []);
          assertEquals(connection.all(RST_STREAM).map(({ payload }) => payload[3]), []);
        } else if ("goaway" in outcome) {
          await connection.closed;
          assertEquals(connection.all(GOAWAY).map(({ payload }) => payload[7]), [outcome.goaway]);
        } else {
          await until(() => connection.all(RST_STREAM, outcome.stream).length > 0, "the stream is reset");
          await assertAlive(connection);
          assertEquals(connection.all(RST_STREAM).map(({ stream, payload }) => [stream, payload[3]]), [
            [outcome.stream, outcome.reset],
          ]);
          assertEquals(connection.all(GOAWAY), []);
        }
      });
    }
    await t.step("RFC 9113 5.1: closed by END_STREAM of both sides: DATA and HEADERS", async () => {
      for (const late of [frame(DATA, 0, 1, [1]), open()]) {
        using connection = new RawConnection(target);
        await connection.send(preface, ended());
        await until(
          () => connection.all(HEADERS, 1).some(({ flags }) => (flags & END_STREAM) !== 0),
          "the call ends",
        );
        await connection.send(late);
        await connection.closed;
        assertEquals(connection.all(GOAWAY).map(({ payload }) => payload[7]), [STREAM_CLOSED]);
      }
    });
    await t.step("RFC 9113 6.5.3: SETTINGS are acknowledged in their order", async () => {
      using connection = new RawConnection(target);
      await connection.send(preface, settings(3, 5), frame(PING, 0, 0, new Uint8Array(8)));
      await until(() => connection.all(PING).length === 1, "the PING is answered");
      const answers = connection.received.filter(({ flags }) => flags === ACK).map(({ type }) => type);
      assertEquals(answers, [SETTINGS, SETTINGS, PING]);
    });
    await t.step("RFC 9113 6.7: a PING is answered with its payload", async () => {
      using connection = new RawConnection(target);
      await connection.send(preface);
      await assertAlive(connection);
    });
    await t.step("RFC 9113 8.4: nothing is pushed", async () => {
      using connection = new RawConnection(target);
      await connection.send(preface, ended());
      await until(() => connection.all(HEADERS, 1).length > 0, "the call is answered");
      assert(
        connection.received.every(({ type, stream }) =>
          type !== PUSH_PROMISE && stream % 2 === 0 || stream === 1
        ),
      );
    });
  });
}
