import { once } from "node:events";
import { connect as connectHttp2, createServer as createHttp2Server } from "node:http2";
import { createServer } from "node:net";

import { assert, assertEquals, assertThrows } from "@std/assert";

import { guardHttp2 } from "../../src/http2_guard.ts";
import { encodeHeaders, HeaderBlockError, HeaderDecoder, type HeaderField } from "../../src/ingest/hpack.ts";
import { forSeeds, type Random } from "../random.ts";
import { END_HEADERS, frame, HEADERS, preface, RawConnection, SETTINGS } from "./raw_connection.ts";

const bytesOf = (hex: string) => Uint8Array.from(hex.match(/[0-9a-f]{2}/g)!, (byte) => parseInt(byte, 16));

const LIMIT = 16_384;

const pseudoHeaders: HeaderField[] = [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", "/x"],
  [":authority", "localhost"],
];

/** RFC 7541, appendix C: blocks of one connection each, and what they say. */
const examples: [string, [hex: string, fields: HeaderField[]][]][] = [
  ["C.2.1, a literal that is kept", [[
    "400a637573746f6d2d6b65790d637573746f6d2d686561646572",
    [["custom-key", "custom-header"]],
  ]]],
  ["C.2.2, a literal that is not kept", [["040c2f73616d706c652f70617468", [[":path", "/sample/path"]]]]],
  ["C.2.3, a literal that is never kept", [[
    "100870617373776f726406736563726574",
    [["password", "secret"]],
  ]]],
  ["C.2.4, an entry of the static table", [["82", [[":method", "GET"]]]]],
  ["C.3, requests without Huffman's code", [
    ["828684410f7777772e6578616d706c652e636f6d", [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
    ]],
    ["828684be58086e6f2d6361636865", [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
      ["cache-control", "no-cache"],
    ]],
    ["828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565", [
      [":method", "GET"],
      [":scheme", "https"],
      [":path", "/index.html"],
      [":authority", "www.example.com"],
      ["custom-key", "custom-value"],
    ]],
  ]],
  ["C.4, requests with Huffman's code", [
    ["828684418cf1e3c2e5f23a6ba0ab90f4ff", [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
    ]],
    ["828684be5886a8eb10649cbf", [
      [":method", "GET"],
      [":scheme", "http"],
      [":path", "/"],
      [":authority", "www.example.com"],
      ["cache-control", "no-cache"],
    ]],
    ["828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf", [
      [":method", "GET"],
      [":scheme", "https"],
      [":path", "/index.html"],
      [":authority", "www.example.com"],
      ["custom-key", "custom-value"],
    ]],
  ]],
];

for (const [title, blocks] of examples) {
  Deno.test(`The RFC's example ${title}, reads as it says`, () => {
    const decoder = new HeaderDecoder();
    for (const [hex, fields] of blocks) assertEquals(decoder.decode(bytesOf(hex), LIMIT), fields);
  });
}

/** Names and values with repetitions, so that tables are used; every byte that a header may have. */
function randomFields(random: Random): HeaderField[] {
  const visible = Array.from({ length: 94 }, (_, i) => String.fromCharCode(i + 33)).join("");
  return Array.from({ length: random.int(1, 12) }, (_, i): HeaderField => {
    const name = `x-${i}-${random.pick(["a", "some-longer-name", "grpc"])}`;
    const letters = Array.from({ length: random.pick([0, 1, 5, 40, 300]) }, () => random.pick([...visible]));
    return [name, random.chance(0.4) ? random.pick(["yes", "no", visible]) : letters.join("")];
  });
}

Deno.test("What node:http2 packs, with its table and Huffman's code, reads as it was given", async () => {
  const packed: Uint8Array[] = [];
  const server = createServer((socket) => {
    let received = Buffer.alloc(0);
    socket.on("error", () => {});
    socket.write(frame(SETTINGS, 0, 0));
    socket.on("data", (chunk: Buffer) => {
      received = Buffer.concat([received, chunk]);
      for (let at = 24;;) {
        const length = received.length < at + 9 ? Infinity : received.readUIntBE(at, 3);
        if (received.length < at + 9 + length) break;
        const whole = received.subarray(at, at += 9 + length);
        if (whole[3] === HEADERS) {
          assert((whole[4]! & END_HEADERS) !== 0);
          const hasPriority = (whole[4]! & 32) !== 0;
          packed.push(new Uint8Array(whole.subarray(hasPriority ? 14 : 9)));
          socket.emit("headers");
        }
        received = Buffer.concat([received.subarray(0, 24), received.subarray(at)]);
        at = 24;
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await forSeeds(5, async (random) => {
    packed.length = 0;
    const accepted = once(server, "connection");
    const session = connectHttp2(`http://127.0.0.1:${port}`);
    session.on("error", () => {});
    const [socket] = await accepted;
    const sent: HeaderField[][] = [];
    for (let i = 0; i < 30; i++) {
      const fields = i > 0 && random.chance(0.3) ? random.pick(sent) : randomFields(random);
      sent.push(fields);
      const came = once(socket, "headers");
      session.request({ ":path": "/x", ...Object.fromEntries(fields) }).on("error", () => {});
      await came;
    }
    const decoder = new HeaderDecoder();
    packed.forEach((block, i) => {
      const fields = decoder.decode(block, 1e6)!;
      assertEquals(fields.filter(([name]) => !name.startsWith(":")), sent[i]!);
      assertEquals(Object.fromEntries(fields)[":path"], "/x");
    });
    assertEquals(packed.length, sent.length);
    session.destroy();
    socket.destroy();
  });
  await new Promise((resolve) => server.close(resolve));
});

Deno.test("What is packed here reads as it was given, here and by node:http2", async () => {
  guardHttp2();
  const server = createHttp2Server();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  using connection = new RawConnection(port);
  await connection.send(preface);
  let stream = 1;
  await forSeeds(30, async (random) => {
    const fields = randomFields(random);
    const request: HeaderField[] = [...pseudoHeaders, ...fields];
    const block = encodeHeaders(request);
    assertEquals(new HeaderDecoder().decode(block, 1e6), request);
    const shown = once(server, "stream");
    await connection.send(frame(HEADERS, END_HEADERS, stream, block));
    stream += 2;
    const [serverStream, headers] = await shown;
    serverStream.on("error", () => {});
    for (const [name, value] of request) assertEquals(headers[name], value);
  });
  connection[Symbol.dispose]();
  await connection.closed;
  await new Promise((resolve) => server.close(resolve));
});

Deno.test("Headers over the limit are not given out, and the next block reads as ever", () => {
  const decoder = new HeaderDecoder();
  const kept = bytesOf("400a637573746f6d2d6b65790d637573746f6d2d686561646572");
  assertEquals(decoder.decode(kept, 54), undefined);
  assertEquals(decoder.decode(bytesOf("be"), 55), [["custom-key", "custom-header"]]);
  // A byte each for what stands in the table: 16 KB would become 0.9 MB.
  assertEquals(decoder.decode(new Uint8Array(16_384).fill(0xbe), LIMIT), undefined);
});

Deno.test("The table forgets the oldest, and all that is larger than itself", () => {
  const decoder = new HeaderDecoder();
  const keep = (name: string, value: string) =>
    decoder.decode(new Uint8Array([0x40, ...encodeHeaders([[name, value]]).subarray(1)]), 1e6);
  for (let i = 0; i < 5; i++) keep("name", String(i).repeat(1000)); // 1,036 bytes each, of 4,096
  assertEquals(decoder.decode(bytesOf("be"), 1e6), [["name", "4".repeat(1000)]]);
  assertEquals(decoder.decode(bytesOf("c0"), 1e6), [["name", "2".repeat(1000)]]);
  assertThrows(() => decoder.decode(bytesOf("c1"), 1e6), HeaderBlockError);
  // A table of 1,100 bytes has room for one of them.
  decoder.decode(bytesOf("3fad08"), 1e6);
  assertEquals(decoder.decode(bytesOf("be"), 1e6), [["name", "4".repeat(1000)]]);
  assertThrows(() => decoder.decode(bytesOf("bf"), 1e6), HeaderBlockError);
  keep("name", "5".repeat(2000));
  assertThrows(() => decoder.decode(bytesOf("be"), 1e6), HeaderBlockError);
});

for (
  const [what, hex] of [
    ["an entry zero", "80"],
    ["an entry that no table has", "be"],
    ["a name that no table has", "7e0161"],
    ["an integer that never ends", "ffffffffffffff"],
    ["an integer that is cut off", "ff80"],
    ["a string that is cut off", "400a6375"],
    ["a value that is missing", "400161"],
    ["a table larger than allowed", "3fe21f"],
    ["a table size behind a header", "8220"],
    ["a Huffman string of eight bits of padding", "0082ffff00"],
    ["a Huffman string padded with zeros", "00810000"],
    ["a Huffman string with the end inside", "0084ffffffff00"],
  ] as const
) {
  Deno.test(`A block with ${what} is not HPACK`, () => {
    assertThrows(() => new HeaderDecoder().decode(bytesOf(hex), LIMIT), HeaderBlockError);
  });
}

Deno.test("Random blocks are read or refused, and never come to more than the limit", () =>
  forSeeds(3000, (random) => {
    const decoder = new HeaderDecoder();
    for (let i = 0; i < 5; i++) {
      const block = random.chance(0.5)
        ? random.bytes(random.int(0, 60))
        : new Uint8Array(encodeHeaders(randomFields(random)));
      if (block.length > 0) block[random.int(0, block.length - 1)] = random.int(0, 255);
      let fields;
      try {
        fields = decoder.decode(block, 200);
      } catch (error) {
        assert(error instanceof HeaderBlockError);
        return;
      }
      const size = (fields ?? []).reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
      assert(size <= 200);
    }
  }));
