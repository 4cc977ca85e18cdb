/**
 * `proto/reflection.proto`, gRPC's server reflection, as grpc-js takes it, under both of its names.
 *
 * @module
 */
import reflectionProto from "../../proto/reflection.proto" with { type: "text" };
import { type MethodDefinition, serviceDefinition } from "./service_definition.ts";

/** One question of a client; one field besides `host` is set. */
export interface ReflectionRequest {
  /** Not used. */
  readonly host: string;
  /** Requests the file of this name. */
  readonly file_by_filename?: string;
  /** Requests the file that declares this full name. */
  readonly file_containing_symbol?: string;
  /** Requests the file that declares an extension. */
  readonly file_containing_extension?: {
    readonly containing_type: string;
    readonly extension_number: number;
  };
  /** Requests the extensions of the message of this full name. */
  readonly all_extension_numbers_of_type?: string;
  /** Requests the services. */
  readonly list_services?: string;
}

/** The response to one request; one field besides `original_request` is set. */
export interface ReflectionResponse {
  /** The request. */
  readonly original_request: ReflectionRequest;
  /** A file, as a serialized `FileDescriptorProto`. */
  readonly file_descriptor_response?: { readonly file_descriptor_proto: readonly Uint8Array[] };
  /** Extensions of a message. */
  readonly all_extension_numbers_response?: {
    readonly base_type_name: string;
    readonly extension_number: readonly number[];
  };
  /** The services' full names. */
  readonly list_services_response?: { readonly service: readonly { readonly name: string }[] };
  /** Why there is no other response. */
  readonly error_response?: { readonly error_code: number; readonly error_message: string };
}

/** The text of the proto for each version. */
export const reflectionProtos: readonly [v1: string, v1alpha: string] = [
  reflectionProto,
  reflectionProto.replace("package grpc.reflection.v1;", "package grpc.reflection.v1alpha;"),
];

/** Its method in each version. */
export type ReflectionService = {
  readonly ServerReflectionInfo: MethodDefinition<ReflectionRequest, ReflectionResponse>;
};

/** The service in each version. */
export const reflectionServices: readonly ReflectionService[] = ["v1", "v1alpha"].map((version, index) =>
  serviceDefinition(
    reflectionProtos[index]!,
    `grpc.reflection.${version}.ServerReflection`,
  ) as unknown as ReflectionService
);
