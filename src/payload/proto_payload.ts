/**
 * Protobuf → samples, by a schema that the operator gives.
 *
 * @module
 */
import type { Type } from "protobufjs";

import { addObject } from "./object_payload.ts";
import type { Sample } from "./sample.ts";

/** The schema of payloads. */
export interface PayloadSchema {
  /** Text of a .proto file. It may import Google's well-known types only. */
  readonly text: string;
  /** Name of the message in it, with its package. */
  readonly message: string;
}

/** Adds a payload to a sample; false: it is no such message. */
export type AddProto = (sample: Sample, payload: Uint8Array) => boolean;

/**
 * Reads the schema.
 *
 * @throws {Error} The text is no .proto file, or has no such message.
 */
export async function protoReader({ text, message }: PayloadSchema): Promise<AddProto> {
  // Loaded where a schema is set only: it takes some MB.
  const { default: protobuf } = await import("protobufjs");
  const { root } = protobuf.parse(text, { keepCase: true });
  const type: Type = root.lookupType(message);
  root.resolveAll();
  return (sample, payload) => {
    try {
      const decoded = type.decode(payload);
      // Of another message or format, no field is known.
      if (Object.keys(decoded).length === 0) return false;
      // What is not on the wire has its default value: a temperature of 0 too.
      addObject(sample, type.toObject(decoded, { longs: Number, enums: String, defaults: true }));
      return true;
    } catch {
      return false;
    }
  };
}
