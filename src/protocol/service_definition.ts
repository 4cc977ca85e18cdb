/**
 * A gRPC service, from the text of its proto file.
 *
 * The text is imported as a module, so that the device client can be loaded from `https:`, `npm:` and `jsr:` URLs
 * and needs no permission to read files, which `@grpc/proto-loader` does. The functions are equal to those that
 * proto-loader makes with the options `keepCase`, `longs: Number` and `defaults`.
 *
 * @module
 */
import type { Buffer } from "node:buffer";

import protobuf from "protobufjs";

/** A method as grpc-js takes it: its path, its kind, and the functions that write and read its messages. */
export interface MethodDefinition<RequestMessage, ResponseMessage> {
  /** `/<full name of the service>/<method>`. */
  readonly path: string;
  /** Whether the client sends any number of messages. */
  readonly requestStream: boolean;
  /** Whether the server sends any number of messages. */
  readonly responseStream: boolean;
  /** Message → protobuf; throws for a value of another type than its field's. */
  readonly requestSerialize: (message: RequestMessage) => Buffer;
  /** Protobuf → message; throws for malformed bytes. */
  readonly requestDeserialize: (bytes: Buffer) => RequestMessage;
  /** See {@linkcode requestSerialize}. */
  readonly responseSerialize: (message: ResponseMessage) => Buffer;
  /** See {@linkcode requestDeserialize}. */
  readonly responseDeserialize: (bytes: Buffer) => ResponseMessage;
}

/** The methods of a service by their names in the proto. */
export type ServiceDefinition = Readonly<Record<string, MethodDefinition<unknown, unknown>>>;

/** 64-bit numbers and enums as `number`s, absent fields with their defaults. */
const conversion = { longs: Number, defaults: true };

/** The service with the full name `name` in the proto file `proto`, a text without imports of other files. */
export function serviceDefinition(proto: string, name: string): ServiceDefinition {
  const root = protobuf.parse(proto, new protobuf.Root(), { keepCase: true }).root.resolveAll();
  const methods = root.lookupService(name).methodsArray.map((method) => {
    const request = codec(method.resolvedRequestType!), response = codec(method.resolvedResponseType!);
    return [method.name, {
      path: `/${name}/${method.name}`,
      requestStream: method.requestStream ?? false,
      responseStream: method.responseStream ?? false,
      requestSerialize: request.serialize,
      requestDeserialize: request.deserialize,
      responseSerialize: response.serialize,
      responseDeserialize: response.deserialize,
    }];
  });
  return Object.fromEntries(methods);
}

function codec(type: protobuf.Type) {
  return {
    serialize: (message: unknown): Buffer =>
      // protobufjs writes into a Buffer where there are Buffers.
      type.encode(type.fromObject(message as Record<string, unknown>)).finish() as Buffer,
    deserialize: (bytes: Buffer): unknown => type.toObject(type.decode(bytes), conversion),
  };
}
