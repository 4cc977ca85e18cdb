/** gRPC reflection on the device port. */
import { Client, credentials, Metadata, status } from "@grpc/grpc-js";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

import type { ReflectionRequest, ReflectionResponse } from "../../src/protocol/reflection_proto.ts";
import { reflectionServices } from "../../src/protocol/reflection_proto.ts";
import { countsOf } from "../support/batches.ts";
import { addTokens, bearer, deviceAuthenticator, signJwt } from "../support/device_auth.ts";
import {
  framed,
  framedPacket,
  packet,
  RawCall,
  startTestIngest,
  temporaryStore,
} from "../support/harness.ts";
import { PythonFolder } from "../support/python.ts";
import { until } from "../support/until.ts";

const proto = new URL("../../proto", import.meta.url).pathname;
const [v1, v1alpha] = reflectionServices.map(({ ServerReflectionInfo }) => ServerReflectionInfo);

type Asked = Omit<ReflectionRequest, "host">;

interface Ended {
  readonly responses: ReflectionResponse[];
  readonly code: number;
  readonly details: string;
}

/** A call that has sent these requests, and stays open until `end`. */
function openCall(
  port: number,
  requests: readonly Asked[],
  method = v1!,
  headers: Readonly<Record<string, string>> = {},
) {
  const client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), {
    "grpc.use_local_subchannel_pool": 1,
  });
  const { path, requestSerialize, responseDeserialize } = method;
  const metadata = new Metadata();
  for (const [name, value] of Object.entries(headers)) metadata.set(name, value);
  const call = client.makeBidiStreamRequest(path, requestSerialize, responseDeserialize, metadata);
  const responses: ReflectionResponse[] = [];
  call.on("data", (response: ReflectionResponse) => responses.push(response));
  call.on("error", () => {});
  for (const request of requests) call.write({ host: "", ...request });
  const ended = new Promise<Ended>((resolve) => {
    call.on("status", ({ code, details }) => {
      client.close();
      resolve({ responses, code, details });
    });
  });
  return { ended, responses, end: () => call.end() };
}

/** The responses to requests in one call, and how it ended. */
function ask(...args: Parameters<typeof openCall>): Promise<Ended> {
  const call = openCall(...args);
  call.end();
  return call.ended;
}

const services = [
  "TelemetryIngest",
  "app.telemetry.TelemetryIngest",
  "grpc.health.v1.Health",
  "grpc.reflection.v1.ServerReflection",
  "grpc.reflection.v1alpha.ServerReflection",
];

for (const method of [v1!, v1alpha!]) {
  Deno.test(`${method.path} lists the services and serves the file of each, and of each symbol`, async () => {
    await using store = await temporaryStore();
    await using ingest = await startTestIngest({ store });
    const symbols = ["Packet", "Packet.device_id", "app.telemetry.Ack", "grpc.health.v1.Health.Check"];
    const { responses, code } = await ask(ingest.port, [
      { list_services: "" },
      ...[...services, ...symbols].map((symbol) => ({ file_containing_symbol: symbol })),
      { file_by_filename: "telemetry.proto" },
      { all_extension_numbers_of_type: "Packet" },
    ], method);
    assertEquals(code, status.OK);
    const [list, ...rest] = responses;
    assertEquals(list!.list_services_response!.service.map(({ name }) => name), services);
    const numbers = rest.pop()!.all_extension_numbers_response!;
    assertEquals([numbers.base_type_name, numbers.extension_number.length], ["Packet", 0]);
    assertEquals(
      rest.map(({ file_descriptor_response: file }) => file?.file_descriptor_proto.length),
      rest.map(() => 1),
    );
    assertEquals(rest.at(-1)!.original_request.file_by_filename, "telemetry.proto");
  });
}

Deno.test("ServerReflectionInfo: what is not there is NOT_FOUND in its response, and the call goes on", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const { responses, code } = await ask(ingest.port, [
    { file_by_filename: "other.proto" },
    { file_containing_symbol: "Other" },
    { file_containing_extension: { containing_type: "Packet", extension_number: 1 } },
    { all_extension_numbers_of_type: "Other" },
    {},
    { list_services: "" },
  ]);
  assertEquals(code, status.OK);
  assertEquals(
    responses.map(({ error_response: error }) => error?.error_code),
    [
      status.NOT_FOUND,
      status.NOT_FOUND,
      status.NOT_FOUND,
      status.NOT_FOUND,
      status.INVALID_ARGUMENT,
      undefined,
    ],
  );
});

const pythonClient = `
import sys, grpc
import reflection_pb2 as r, reflection_pb2_grpc as g
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
channel = grpc.insecure_channel(sys.argv[1])
stub = g.ServerReflectionStub(channel)
def ask(**request):
    return next(iter(stub.ServerReflectionInfo(iter([r.ServerReflectionRequest(**request)]))))
pool = descriptor_pool.DescriptorPool()
for service in ask(list_services="").list_services_response.service:
    for file in ask(file_containing_symbol=service.name).file_descriptor_response.file_descriptor_proto:
        pool.Add(descriptor_pb2.FileDescriptorProto.FromString(file))
    print(service.name, *[m.name for m in pool.FindServiceByName(service.name).methods])
theirs = descriptor_pb2.FileDescriptorSet.FromString(open(sys.argv[2], "rb").read()).file
for file in theirs:
    ours = descriptor_pb2.FileDescriptorProto()
    pool.FindFileByName(sys.argv[3] + file.name).CopyToProto(ours)
    ours.name = file.name
    for message in ours.message_type:
        for field in message.field: field.ClearField("json_name")
    for message in file.message_type:
        for field in message.field: field.ClearField("json_name")
    assert ours == file, file.name
method = pool.FindMethodByName("TelemetryIngest.StreamPackets")
of = message_factory.MessageFactory(pool).GetPrototype
packet, ack = of(method.input_type), of(method.output_type)
call = channel.stream_unary("/TelemetryIngest/StreamPackets", packet.SerializeToString, ack.FromString)
print(call(iter([packet(device_id="from-reflection", payload=b"x")] * 3)).stored)
`;

Deno.test("a Python client without proto/telemetry.proto sends packets by reflection alone; its descriptors are protoc's", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using folder = await PythonFolder.make({ "client.py": pythonClient });
  await folder.protoc(proto, "reflection.proto");
  await folder.shell(`protoc -I ${proto} --descriptor_set_out=telemetry.pb telemetry.proto`);
  const printed = await folder.run(
    "client.py",
    `127.0.0.1:${ingest.port}`,
    `${folder.path}/telemetry.pb`,
    "",
  );
  assertEquals(printed.split("\n"), [
    "TelemetryIngest StreamPackets StreamBatches",
    "app.telemetry.TelemetryIngest StreamPackets StreamBatches",
    "grpc.health.v1.Health Check List Watch",
    "grpc.reflection.v1.ServerReflection ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection ServerReflectionInfo",
    "3",
    "",
  ]);
  assertEquals(await countsOf(store), { "from-reflection": 3 });
});

Deno.test("reflection off is UNIMPLEMENTED; telemetry and health go on", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, reflection: false });
  for (const method of [v1!, v1alpha!]) {
    assertEquals((await ask(ingest.port, [{ list_services: "" }], method)).code, status.UNIMPLEMENTED);
  }
  const health = new RawCall(ingest.port, "/grpc.health.v1.Health/Check");
  assertEquals((await health.finish(framed(new Uint8Array()))).code, 0);
  assertEquals((await new RawCall(ingest.port).finish(framedPacket(packet()))).code, 0);
});

Deno.test("where devices need credentials, reflection needs those of any device, and health none", async () => {
  await using store = await temporaryStore();
  const [right, revoked] = await addTokens(store, ["sensor-1", "sensor-2"]);
  const [reader] = await addTokens(store, ["grafana"], "reader", ["admin"]);
  await store.revokeTokens([revoked!.record.id]);
  await using ingest = await startTestIngest({
    store,
    authenticator: await deviceAuthenticator(store, "token", "jwt"),
  });
  for (
    const [credential, headers, code] of [
      ["none", {}, status.UNAUTHENTICATED],
      ["malformed", bearer("tally_A"), status.UNAUTHENTICATED],
      ["unknown", bearer(`tally_${"A".repeat(43)}`), status.UNAUTHENTICATED],
      ["revoked", bearer(revoked!.token), status.UNAUTHENTICATED],
      ["of a reader", bearer(reader!.token), status.UNAUTHENTICATED],
      ["expired JWT", bearer(await signJwt("sensor-1", Date.now() - 60_000)), status.UNAUTHENTICATED],
      ["token", bearer(right!.token), status.OK],
      ["token, known from the call before", bearer(right!.token), status.OK],
      ["JWT", bearer(await signJwt("sensor-1")), status.OK],
    ] as const
  ) {
    for (const method of [v1!, v1alpha!]) {
      const { responses, code: found } = await ask(ingest.port, [{ list_services: "" }], method, headers);
      assertEquals([found, responses.length], [code, code === status.OK ? 1 : 0], credential);
    }
  }
  const health = new RawCall(ingest.port, "/grpc.health.v1.Health/Check");
  assertEquals((await health.finish(framed(new Uint8Array()))).code, 0);
  assert(await ingest.drain());
});

Deno.test("ServerReflectionInfo: 32 calls at once, beside which health is served, and a drain ends them", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const calls = Array.from({ length: 40 }, () => openCall(ingest.port, [{ list_services: "" }]));
  const codes: number[] = [];
  for (const call of calls) call.ended.then(({ code }) => codes.push(code));
  await until(() => codes.length === 8, "8 of 40 calls are refused");
  assertEquals(codes, Array(8).fill(status.RESOURCE_EXHAUSTED));
  await until(() => calls.filter(({ responses }) => responses.length === 1).length === 32, "32 are served");
  await using health = new RawCall(ingest.port, "/grpc.health.v1.Health/Check");
  assertEquals((await health.finish(framed(new Uint8Array()))).code, 0);
  assert(await ingest.drain());
  await Promise.all(calls.map(({ ended }) => ended));
  assertEquals(codes.slice(8), Array(32).fill(status.OK));
});

Deno.test("ServerReflectionInfo ends a call with too many requests, or too large a one", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  const many = await ask(ingest.port, Array.from({ length: 257 }, () => ({ list_services: "" })));
  assertEquals(many.code, status.RESOURCE_EXHAUSTED);
  assertStringIncludes(many.details, "more than 256 requests");
  const large = await ask(ingest.port, [{ file_by_filename: "x".repeat(5000) }]);
  assertEquals(large.code, status.RESOURCE_EXHAUSTED);
  assertStringIncludes(large.details, "larger than any message");
});
