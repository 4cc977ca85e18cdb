/**
 * HPACK against the examples of RFC 7541, a model of its dynamic table, and nghttp2 (by `node:http2`).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { once } from "node:events";
import { createServer, type OutgoingHttpHeaders, type ServerHttp2Stream } from "node:http2";
import type { AddressInfo } from "node:net";

import { assert, assertEquals, assertThrows } from "@std/assert";

import { HeaderDecoder } from "../../src/http2/hpack/decoder.ts";
import { encodeHeaders } from "../../src/http2/hpack/encoder.ts";
import { HeaderBlockError, type HeaderField } from "../../src/http2/hpack/tables.ts";
import { guardHttp2 } from "../../src/runtime/node_http2_guard.ts";
import { frame } from "../support/http2_frames.ts";
import { END_HEADERS, END_STREAM, HEADERS } from "../support/http2_numbers.ts";
import { forSeeds, type Random } from "../support/random.ts";
import { until } from "../support/until.ts";
import { blocksOfClient, INDEXING, latin1, literal, ModelSender, PLAIN, sizeOf } from "./hpack_senders.ts";
import { preface, RawConnection } from "./raw_connection.ts";

const noLimit = 2 ** 30;

const staticNames =
  (":authority :method :path :scheme :status accept-charset accept-encoding accept-language " +
    "accept-ranges accept access-control-allow-origin age allow authorization cache-control " +
    "content-disposition content-encoding content-language content-length content-location content-range " +
    "content-type cookie date etag expect expires from host if-match if-modified-since if-none-match if-range " +
    "if-unmodified-since last-modified link location max-forwards proxy-authenticate proxy-authorization " +
    "range referer refresh retry-after server set-cookie strict-transport-security transfer-encoding " +
    "user-agent vary via www-authenticate").split(" ");

function fromHex(hex: string): Uint8Array {
  return new Uint8Array(Buffer.from(hex.replaceAll(" ", ""), "hex"));
}

/** The fields of a header list as the RFC prints it. */
function listed(text: string): HeaderField[] {
  return text.trim().split("\n").map((line) => {
    const [, name, value] = /^\s*(:?[^:]+): (.*)$/.exec(line)!;
    return [name!, value!];
  });
}

const requests = [
  listed(`:method: GET
          :scheme: http
          :path: /
          :authority: www.example.com`),
  listed(`:method: GET
          :scheme: http
          :path: /
          :authority: www.example.com
          cache-control: no-cache`),
  listed(`:method: GET
          :scheme: https
          :path: /index.html
          :authority: www.example.com
          custom-key: custom-value`),
];
const responses = [
  listed(`:status: 302
          cache-control: private
          date: Mon, 21 Oct 2013 20:13:21 GMT
          location: https://www.example.com`),
  listed(`:status: 307
          cache-control: private
          date: Mon, 21 Oct 2013 20:13:21 GMT
          location: https://www.example.com`),
  listed(`:status: 200
          cache-control: private
          date: Mon, 21 Oct 2013 20:13:22 GMT
          location: https://www.example.com
          content-encoding: gzip
          set-cookie: foo=ASDJKHQKBZXOQWEOPIUAXQWEOIU; max-age=3600; version=1`),
];
/** The responses are for a dynamic table of 256 bytes. */
const tableOf256 = "3fe101";

for (
  const [section, blocks, lists] of [
    ["C.2.1", ["400a637573746f6d2d6b65790d637573746f6d2d686561646572"], [[["custom-key", "custom-header"]]]],
    ["C.2.2", ["040c2f73616d706c652f70617468"], [[[":path", "/sample/path"]]]],
    ["C.2.3", ["100870617373776f726406736563726574"], [[["password", "secret"]]]],
    ["C.2.4", ["82"], [[[":method", "GET"]]]],
    ["C.3", [
      "828684410f7777772e6578616d706c652e636f6d",
      "828684be58086e6f2d6361636865",
      "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565",
    ], requests],
    ["C.4", [
      "828684418cf1e3c2e5f23a6ba0ab90f4ff",
      "828684be5886a8eb10649cbf",
      "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf",
    ], requests],
    ["C.5", [
      `${tableOf256}4803333032580770726976617465611d4d6f6e2c203231204f637420323031332032303a31333a32312047` +
      "4d546e1768747470733a2f2f7777772e6578616d706c652e636f6d",
      "4803333037c1c0bf",
      "88c1611d4d6f6e2c203231204f637420323031332032303a31333a323220474d54c05a04677a69707738666f6f3d4153444a" +
      "4b48514b425a584f5157454f50495541585157454f49553b206d61782d6167653d333630303b2076657273696f6e3d31",
    ], responses],
    ["C.6", [
      `${tableOf256}488264025885aec3771a4b6196d07abe941054d444a8200595040b8166e082a62d1bff6e919d29ad171863c7` +
      "8f0b97c8e9ae82ae43d3",
      "4883640effc1c0bf",
      "88c16196d07abe941054d444a8200595040b8166e084a62d1bffc05a839bd9ab77ad94e7821dd7f2e6c7b335dfdfcd5b3960" +
      "d5af27087f3672c1ab270fb5291f9587316065c003ed4ee5b1063d5007",
    ], responses],
  ] as [string, string[], HeaderField[][]][]
) {
  Deno.test(`HeaderDecoder.decode() decodes the example of RFC 7541, ${section}`, () => {
    const decoder = new HeaderDecoder();
    assertEquals(blocks.map((block) => decoder.decode(fromHex(block), noLimit)), lists);
  });
}

/** A literal without indexing, whose value is these Huffman codes. */
function huffmanLiteral(codes: ArrayLike<number>): Uint8Array {
  return Uint8Array.of(0, 1, 97, 0x80 | codes.length, ...Array.from(codes));
}

Deno.test("huffmanText() decodes control characters by the codes of RFC 7541, appendix B", () => {
  // The others are in what nghttp2 sends. All of these begin with a one, so that none is missing in front.
  const codes =
    "1ff8 7fffd8 fffffe2 fffffe3 fffffe4 fffffe5 fffffe6 fffffe7 fffffe8 ffffea 3ffffffc fffffe9 " +
    "fffffea 3ffffffd fffffeb fffffec fffffed fffffee fffffef ffffff0 ffffff1 ffffff2 3ffffffe ffffff3 " +
    "ffffff4 ffffff5 ffffff6 ffffff7 ffffff8 ffffff9 ffffffa ffffffb";
  for (const [i, code] of codes.split(" ").entries()) {
    const bits = parseInt(code, 16).toString(2);
    const padded = bits.padEnd(Math.ceil(bits.length / 8) * 8, "1");
    const bytes = padded.match(/.{8}/g)!.map((byte) => parseInt(byte, 2));
    assertEquals(new HeaderDecoder().decode(huffmanLiteral(bytes), noLimit), [["a", String.fromCharCode(i)]]);
  }
});

for (
  const [what, hex] of [
    ["the field 0", "80"],
    ["a field after both tables", "be"],
    ["a name after both tables", "7e 00"],
    ["an integer that does not end", "ff 80"],
    ["an integer of five bytes after its prefix", "3f 80 80 80 80 00"],
    ["a name that does not end", "00 02 61"],
    ["a name and no value", "00 01 61"],
    ["a value that does not end", "00 01 61 02 62"],
    ["a string of 2^28 bytes", "00 01 61 7f 80 ff ff 7f"],
    ["a table of 4,097 bytes", "3f e2 1f"],
    ["a change of the table's size after a field", "82 20 01 61 00"],
    ["padding with zeros", "00 01 61 81 00"],
    ["padding that ends in a zero", "00 01 61 81 06"],
    ["eight bits of padding", "00 01 61 81 ff"],
    ["eleven bits of padding", "00 01 61 82 07 ff"],
    ["EOS", "00 01 61 84 ff ff ff ff"],
    ["EOS before a character", "00 01 61 85 ff ff ff fc 1f"],
  ] as const
) {
  Deno.test(`HeaderDecoder.decode() refuses a block with ${what}`, () => {
    assertThrows(() => new HeaderDecoder().decode(fromHex(hex), noLimit), HeaderBlockError);
  });
}

Deno.test("HeaderDecoder.decode() accepts blocks just within the limits", () => {
  const decode = (hex: string) => new HeaderDecoder().decode(fromHex(hex), noLimit);
  assertEquals(decode(""), []);
  assertEquals(decode("3f e1 1f 20 20 82"), [[":method", "GET"]], "table of 4,096 bytes, then of none");
  assertEquals(decode("00 01 61 81 07"), [["a", "0"]], "three bits of padding");
  // "<" has 15 bits, "&" has 8: one bit of padding, and none.
  assertEquals(decode("00 01 61 82 ff f9"), [["a", "<"]]);
  assertEquals(decode("00 01 61 81 f8"), [["a", "&"]]);
  assertEquals(decode("00 01 61 82 fc 07"), [["a", "X0"]]);
  assertEquals(decode("00 01 61 00"), [["a", ""]]);
  assertEquals(decode("00 01 61 80"), [["a", ""]]);
  assertEquals(decode("00 00 00"), [["", ""]]);
});

Deno.test("HeaderDecoder.decode(): the static table has the names of RFC 7541, appendix A", () => {
  // The first entry of each name.
  const indexes = [1, 2, 4, 6, 8, ...Array.from({ length: 47 }, (_, i) => 15 + i)];
  const names = indexes.map((index) =>
    new HeaderDecoder().decode(literal(PLAIN, index, "x"), noLimit)?.[0]?.[0]
  );
  assertEquals(names, staticNames);
});

Deno.test("HeaderDecoder.decode(): a field larger than the dynamic table empties it", () => {
  const decoder = new HeaderDecoder();
  decoder.decode(literal(INDEXING, "a", "1"), noLimit);
  assertEquals(decoder.decode(Uint8Array.of(0xbe), noLimit), [["a", "1"]]);
  // One byte more than 4,096 with its name and 32.
  const large: HeaderField = ["b", "x".repeat(4064)];
  assertEquals(decoder.decode(literal(INDEXING, ...large), noLimit), [large]);
  assertThrows(() => decoder.decode(Uint8Array.of(0xbe), noLimit), HeaderBlockError);
});

Deno.test("HeaderDecoder.decode(): the dynamic table holds exactly 4,096 bytes", () => {
  const decoder = new HeaderDecoder();
  const fields: HeaderField[] = [["a", "1"], ["b", "x".repeat(4096 - 34 - 33)]];
  for (const field of fields) decoder.decode(literal(INDEXING, ...field), noLimit);
  assertEquals(decoder.decode(Uint8Array.of(0xbf, 0xbe), noLimit), fields);
  const larger: HeaderField = ["c", "x".repeat(4096 - 34 - 33 + 1)];
  decoder.decode(Buffer.concat([literal(INDEXING, "a", "1"), literal(INDEXING, ...larger)]), noLimit);
  assertEquals(decoder.decode(Uint8Array.of(0xbe), noLimit), [larger]);
  assertThrows(() => decoder.decode(Uint8Array.of(0xbf), noLimit), HeaderBlockError);
});

Deno.test("HeaderDecoder.decode(): a smaller dynamic table evicts the fields that do not fit", () => {
  const decoder = new HeaderDecoder();
  decoder.decode(literal(INDEXING, "a", "1"), noLimit);
  assertThrows(() => decoder.decode(fromHex("20 3f e1 1f be"), noLimit), HeaderBlockError);
});

Deno.test("HeaderDecoder.decode() returns no list above the limit, and still updates the dynamic table", () => {
  const decoder = new HeaderDecoder();
  const fields: HeaderField[] = [["a", "x".repeat(60)], ["b", "yy"], ["c", ""]];
  const block = Buffer.concat(fields.map((field) => literal(INDEXING, ...field)));
  const bytes = (1 + 60 + 32) + (1 + 2 + 32) + (1 + 32);
  assertEquals(decoder.decode(block, bytes - 1), undefined);
  assertEquals(decoder.decode(Uint8Array.of(0xc0, 0xbf, 0xbe), bytes), fields);
  assertEquals(decoder.decode(Uint8Array.of(0xc0, 0xbf, 0xbe, 0xbe), bytes), undefined);
  const again = new Uint8Array(100_000).fill(0xc0);
  assertEquals(decoder.decode(again, 16_384), undefined);
});

Deno.test("HeaderDecoder.decode(): the dynamic table equals that of a model", async () => {
  await forSeeds(100, (random) => {
    const decoder = new HeaderDecoder(), sender = new ModelSender(random);
    for (let i = 0; i < 50; i++) {
      const { block, fields } = sender.next();
      const bytes = fields.reduce((sum, field) => sum + sizeOf(field), 0);
      if (random.chance(0.2)) assertEquals(decoder.decode(block, bytes - 1), undefined);
      else assertEquals(decoder.decode(block, bytes), fields);
    }
  });
});

Deno.test("HeaderDecoder.decode() refuses or decodes mutated blocks, within the limit", async () => {
  let decoded = 0, refused = 0;
  await forSeeds(300, (random) => {
    const decoder = new HeaderDecoder(), sender = new ModelSender(random);
    try {
      for (let i = 0; i < 20; i++) {
        const block = random.chance(0.2)
          ? random.bytes(random.int(0, 60))
          : changed(random, sender.next().block);
        const fields = decoder.decode(block, 1000) ?? [];
        const bytes = fields.reduce((sum, field) => sum + sizeOf(field), 0);
        assert(bytes <= 1000, `${bytes} bytes`);
        decoded++;
      }
    } catch (error) {
      if (!(error instanceof HeaderBlockError)) throw error;
      refused++;
    }
  });
  assert(decoded > 0 && refused > 0);
});

Deno.test("HeaderDecoder.decode() restores the fields given to encodeHeaders(), which uses no dynamic table", async () => {
  await forSeeds(100, (random) => {
    const decoder = new HeaderDecoder();
    decoder.decode(literal(INDEXING, "a", "1"), noLimit);
    const fields = Array.from({ length: random.int(0, 20) }, (): HeaderField => [
      random.chance(0.5) ? random.pick(staticNames) : latin1(random, 0, 200),
      random.pick([
        "",
        "GET",
        "200",
        "/",
        "gzip, deflate",
        latin1(random, 0, 200),
        latin1(random, 0, 20_000),
      ]),
    ]);
    assertEquals(decoder.decode(encodeHeaders(fields), noLimit), fields);
    assertEquals(decoder.decode(Uint8Array.of(0xbe), noLimit), [["a", "1"]]);
  });
});

Deno.test("encodeHeaders() encodes fields of the static table in one byte", () => {
  const statuses = ["200", "204", "206", "304", "400", "404", "500"];
  const fields: HeaderField[] = [
    [":method", "GET"],
    [":method", "POST"],
    [":path", "/"],
    [":path", "/index.html"],
    [":scheme", "http"],
    [":scheme", "https"],
    ...statuses.map((status): HeaderField => [":status", status]),
    ["accept-charset", ""],
    ["accept-encoding", "gzip, deflate"],
  ];
  assertEquals(encodeHeaders(fields), Uint8Array.from(fields, (_, i) => 0x82 + i));
});

Deno.test("HeaderDecoder.decode() decodes blocks of nghttp2", async () => {
  await forSeeds(6, async (random) => {
    const sent = Array.from({ length: 60 }, () => randomFields(random));
    const decoder = new HeaderDecoder();
    const blocks = await blocksOfClient(sent.map(asObject));
    const decoded = blocks.map((block) => decoder.decode(block, noLimit) ?? []);
    assertEquals(decoded.map(sorted), sent.map(sorted));
  });
});

Deno.test("encodeHeaders(): nghttp2 decodes the blocks, and its responses are decoded", async () => {
  guardHttp2();
  await forSeeds(6, async (random) => {
    const received = new Map<number, HeaderField[]>();
    const answers = Array.from({ length: 30 }, (): HeaderField[] => [
      [":status", random.pick(["200", "204", "206", "304", "400", "404", "500", "418"])],
      ...randomFields(random).filter(([name]) => !name.startsWith(":")),
    ]);
    const server = createServer();
    server.on("stream", (stream: ServerHttp2Stream, _headers: unknown, _flags: unknown, names: string[]) => {
      received.set(stream.id!, names.flatMap((name, i) => i % 2 === 0 ? [[name, names[i + 1]!]] : []));
      stream.on("error", () => {});
      stream.respond({ ...asObject(answers[stream.id! >> 1]!), date: "today" }, { endStream: true });
    });
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    try {
      using connection = new RawConnection((server.address() as AddressInfo).port);
      const sent = answers.map(() => randomFields(random, headerValue));
      await connection.send(
        preface,
        ...sent.map((fields, i) =>
          frame(HEADERS, END_HEADERS | END_STREAM, 2 * i + 1, encodeHeaders(fields))
        ),
      );
      const blocks = () => connection.received.filter(({ type }) => type === HEADERS);
      await until(() => blocks().length === sent.length, "every request is answered");
      assertEquals(sent.map((_, i) => received.get(2 * i + 1)), sent);
      const decoder = new HeaderDecoder();
      for (const { stream, payload } of blocks()) {
        const fields = decoder.decode(payload, noLimit) ?? [];
        assertEquals(sorted(fields), sorted([...answers[stream >> 1]!, ["date", "today"]]));
      }
    } finally {
      server.close();
    }
  });
});

/** Some bytes of `block` changed, left out or doubled. */
function changed(random: Random, block: Uint8Array): Uint8Array {
  const bytes = [...block];
  for (let i = random.int(0, 3); i > 0; i--) {
    const at = random.int(0, bytes.length);
    bytes.splice(at, random.int(0, 2), ...random.bytes(random.int(0, 2)));
  }
  return Uint8Array.from(bytes);
}

/**
 * Any characters but NUL, at which `node:http2` takes its fields apart; often few among many of a short code, as
 * nghttp2 uses Huffman codes only where that makes a text shorter.
 */
function anyValue(random: Random): string {
  const usual = "e".repeat(random.pick([0, 30, 60, 60, 2000]));
  const at = random.int(0, usual.length);
  return (usual.slice(0, at) + latin1(random, 1, 8) + usual.slice(at)).replaceAll("\0", "x");
}

/** What a server of nghttp2's takes: no control characters but tabs, and no blanks around. */
function headerValue(random: Random): string {
  // deno-lint-ignore no-control-regex -- those are what is left out
  return anyValue(random).replace(/[\x01-\x08\x0a-\x1f\x7f]/g, "x").replace(/^[\t ]|[\t ]$/g, "x");
}

/** Few names and values, so that many come again; pseudo headers first. */
function randomFields(random: Random, value = anyValue): HeaderField[] {
  const names = staticNames.filter((name) =>
    !/^(:.*|host|content-length|transfer-encoding|cookie|date|authorization)$/.test(name)
  );
  const picked = new Set(
    Array.from({ length: random.int(0, 8) }, () => random.pick([...names, "te-x", "x-y-z"])),
  );
  return [
    [":method", random.pick(["GET", "POST", "PUT"])],
    [":scheme", random.pick(["http", "https"])],
    [":authority", random.pick(["localhost", `device-${random.int(0, 9)}`])],
    [":path", random.pick(["/", "/index.html", `/path/${random.int(0, 9)}`])],
    ...Array.from(picked, (name): HeaderField => [
      name,
      random.chance(0.5) ? `${name} of ${random.int(0, 3)}` : value(random),
    ]),
  ];
}

function asObject(fields: HeaderField[]): OutgoingHttpHeaders {
  return Object.fromEntries(fields);
}

function sorted(fields: HeaderField[]): HeaderField[] {
  return fields.toSorted(([a], [b]) => a < b ? -1 : 1);
}
