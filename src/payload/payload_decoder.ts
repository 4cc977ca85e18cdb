/**
 * Payloads → samples, without any set-up: JSON, decimals in ASCII, MessagePack and CBOR; and protobuf by schema.
 *
 * A payload is tried as, in this order:
 *
 * 1. a protobuf message, if there is a schema: it must be one, and have a field of the schema;
 * 2. JSON, if its first byte that is no space is `{` or `[`;
 * 3. a decimal, such as `21.5`, `-3` or `1e3`, if it has nothing else but spaces around it;
 * 4. MessagePack, then CBOR: only if the whole payload is one map or array of at least {@linkcode MIN_BINARY_BYTES} bytes,
 *    so that bytes of another format are hardly ever taken for values (of random ones, 1 in 500 at most).
 *
 * Bounded whatever is sent: nothing is read of a payload above {@linkcode MAX_DECODED_BYTES}, each byte is read at most
 * four times, and no more than `maxNames` numbers and texts are kept.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { ByteReader, notThisFormat } from "./byte_reader.ts";
import { addCbor } from "./cbor.ts";
import { addMessagePack } from "./message_pack.ts";
import { addObject } from "./object_payload.ts";
import { type AddProto, type PayloadSchema, protoReader } from "./proto_payload.ts";
import { BARE_NAME, Sample } from "./sample.ts";

/** A longer payload is not decoded: some 30 µs of processor time. */
export const MAX_DECODED_BYTES = 4096;

/** A shorter payload is not taken for MessagePack or CBOR: a random one would be too often. */
export const MIN_BINARY_BYTES = 4;

/** Longest decimal. */
const MAX_DECIMAL_BYTES = 32;

/** How payloads are decoded. */
export interface PayloadOptions {
  /** Numbers, and texts, that are kept of a payload, and of a device. */
  readonly maxNames: number;
  /** Default: there is none. */
  readonly schema?: PayloadSchema | undefined;
}

/** What a payload has; undefined: it cannot be decoded, or has nothing. Never throws. */
export type DecodePayload = (payload: Uint8Array) => Sample | undefined;

/**
 * Prepares to decode.
 *
 * @throws {Error} The schema cannot be read.
 */
export async function payloadDecoder({ maxNames, schema }: PayloadOptions): Promise<DecodePayload> {
  const addProto = schema === undefined ? undefined : await protoReader(schema);
  return (payload) => {
    if (payload.length === 0 || payload.length > MAX_DECODED_BYTES) return undefined;
    const sample = decode(payload, maxNames, addProto);
    return sample === undefined || sample.isEmpty && sample.dropped === 0 ? undefined : sample;
  };
}

const OPENING_BRACE = 0x7b, OPENING_BRACKET = 0x5b;

function decode(payload: Uint8Array, maxNames: number, addProto: AddProto | undefined): Sample | undefined {
  if (addProto !== undefined) {
    const sample = new Sample(maxNames);
    if (addProto(sample, payload)) return sample;
  }
  let first = 0;
  while (isSpace(payload[first])) first++;
  const byte = payload[first];
  if (byte === undefined) return undefined;
  if (byte === OPENING_BRACE || byte === OPENING_BRACKET) return readJson(payload, maxNames);
  // Digits, signs and the point; MessagePack and CBOR begin with 0x80 or more here.
  if (byte < 0x80) return readDecimal(payload, maxNames);
  if (payload.length < MIN_BINARY_BYTES) return undefined;
  return readBinary(payload, maxNames, addMessagePack) ?? readBinary(payload, maxNames, addCbor);
}

function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function readJson(payload: Uint8Array, maxNames: number): Sample | undefined {
  const sample = new Sample(maxNames);
  try {
    addObject(sample, JSON.parse(textOf(payload)));
    return sample;
  } catch {
    return undefined;
  }
}

/** Most payloads are ASCII, which takes a third of the time. Throws where the bytes are no UTF-8. */
function textOf(payload: Uint8Array): string {
  for (let i = 0; i < payload.length; i++) if (payload[i]! > 127) return utf8.decode(payload);
  return Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("latin1");
}

function readDecimal(payload: Uint8Array, maxNames: number): Sample | undefined {
  if (payload.length > MAX_DECIMAL_BYTES) return undefined;
  const text = Buffer.from(payload.buffer, payload.byteOffset, payload.length).toString("latin1").trim();
  if (!/^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return undefined;
  const sample = new Sample(maxNames);
  sample.number(BARE_NAME, Number(text));
  return sample;
}

/** Undefined: it is not of the format as a whole. */
function readBinary(
  payload: Uint8Array,
  maxNames: number,
  add: (sample: Sample, reader: ByteReader) => void,
): Sample | undefined {
  const sample = new Sample(maxNames), reader = new ByteReader(payload);
  try {
    add(sample, reader);
  } catch (error) {
    if (error !== notThisFormat) throw error;
    return undefined;
  }
  return reader.left === 0 ? sample : undefined;
}
