/**
 * The protos that a server serves as file descriptors, for clients that have no proto file. Loaded by the first
 * reflection call.
 *
 * @module
 */
import protobuf from "protobufjs";
// Adds `toDescriptor` to protobufjs's classes.
import "protobufjs/ext/descriptor/index.js";

import healthProto from "../../proto/health.proto" with { type: "text" };
import telemetryProto from "../../proto/telemetry.proto" with { type: "text" };
import { reflectionProtos } from "./reflection_proto.ts";

/** One proto file. */
export interface DescribedFile {
  /** Name under which it is requested. */
  readonly name: string;
  /** Serialized `google.protobuf.FileDescriptorProto`. */
  readonly bytes: Uint8Array;
  /** Full names of all that it declares, without a leading dot. */
  readonly symbols: readonly string[];
  /** Those of its services. */
  readonly services: readonly string[];
}

/** A field of a descriptor, as far as it is changed here. */
interface FieldDescriptor {
  name: string;
  typeName?: string;
}

interface MessageDescriptor {
  name: string;
  field: FieldDescriptor[];
  nestedType: MessageDescriptor[];
}

interface FileDescriptor {
  name: string;
  messageType: MessageDescriptor[];
}

/** protobufjs's types lack what `ext/descriptor` adds. */
interface Describable {
  toDescriptor(syntax: string): { readonly file: [protobuf.Message & FileDescriptor] };
}

/** All that the device port serves; the telemetry service under each of its names. */
export function servedFiles(): DescribedFile[] {
  const inPackage = telemetryProto.replace('syntax = "proto3";', 'syntax = "proto3"; package app.telemetry;');
  return [
    describeFile("telemetry.proto", telemetryProto),
    describeFile("app/telemetry.proto", inPackage),
    describeFile("grpc/health/v1/health.proto", healthProto),
    describeFile("grpc/reflection/v1/reflection.proto", reflectionProtos[0]),
    describeFile("grpc/reflection/v1alpha/reflection.proto", reflectionProtos[1]),
  ];
}

/** Describes the proto file of this name, a text in proto3 without imports and of one package. */
export function describeFile(name: string, proto: string): DescribedFile {
  const { root } = protobuf.parse(proto, new protobuf.Root(), { keepCase: true });
  root.resolveAll();
  const { file: [file] } = (root as unknown as Describable).toDescriptor("proto3");
  file.name = name;
  for (const message of file.messageType) qualifyNames(message, messageOf(root, file, message.name));
  const declared = [...declarations(root)];
  return {
    name,
    bytes: file.$type.encode(file).finish(),
    symbols: declared.map(({ fullName }) => fullName.slice(1)),
    services: declared.filter((object) => object instanceof protobuf.Service).map(({ fullName }) =>
      fullName.slice(1)
    ),
  };
}

function messageOf(
  root: protobuf.Root,
  file: FileDescriptor & { package?: string },
  name: string,
): protobuf.Type {
  return root.lookupType(file.package ? `${file.package}.${name}` : name);
}

/** Makes names full ones, and those of maps' entries what protoc makes of them: protobufjs has both in a short form. */
function qualifyNames(message: MessageDescriptor, type: protobuf.Type): void {
  for (const field of message.field) {
    const resolved = type.fields[field.name]!;
    const typeName = resolved.resolvedType?.fullName;
    if (resolved instanceof protobuf.MapField) {
      const entry = message.nestedType.find(({ name }) => name === field.typeName)!;
      entry.name = entryName(field.name);
      field.typeName = `${type.fullName}.${entry.name}`;
      if (typeName !== undefined) entry.field.find(({ name }) => name === "value")!.typeName = typeName;
    } else if (typeName !== undefined) field.typeName = typeName;
  }
  for (const nested of message.nestedType) {
    const nestedType = type.nested?.[nested.name];
    if (nestedType instanceof protobuf.Type) qualifyNames(nested, nestedType);
  }
}

/** `device_counts` becomes `DeviceCountsEntry`. */
function entryName(field: string): string {
  return field.replace(/(?:^|_)(.)/g, (_, letter: string) => letter.toUpperCase()) + "Entry";
}

function* declarations(parent: protobuf.NamespaceBase): Generator<protobuf.ReflectionObject> {
  for (const object of parent.nestedArray) {
    if (
      object instanceof protobuf.Type || object instanceof protobuf.Enum || object instanceof protobuf.Service
    ) yield object;
    if (object instanceof protobuf.Type) yield* object.fieldsArray;
    if (object instanceof protobuf.Service) yield* object.methodsArray;
    if (object instanceof protobuf.Namespace) yield* declarations(object);
  }
}
