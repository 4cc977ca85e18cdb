/**
 * The client of the system whose wire contract Tally keeps, as its document gives it: `send_once.py` word
 * for word but for the port, and the proto without the one line that protoc refuses.
 */
import { assertEquals } from "@std/assert";

import { Program } from "./support/program.ts";
import { PythonFolder } from "./support/python.ts";
import { startRedis } from "./support/redis_server.ts";
import { until } from "./support/until.ts";

const proto = (packageLine: string) => `
syntax = "proto3";
${packageLine}
message Packet {
  string device_id = 1;
  int64  timestamp = 2;
  bytes  payload   = 3;
}

service TelemetryIngest {
  rpc StreamPackets (stream Packet) returns (Ack);
}

message Ack { bool ok = 1; }
`;

const sendOnce = `
import time
import grpc
from app import telemetry_pb2, telemetry_pb2_grpc

# 创建到gRPC服务器的连接
channel = grpc.insecure_channel("localhost:50051")  # 连接到本地50051端口
stub = telemetry_pb2_grpc.TelemetryIngestStub(channel)  # 创建客户端存根


def gen_packets(n=10):
    """
    生成器函数：产生测试数据包
    模拟IoT设备持续发送数据
    
    参数:
    - n: 要生成的数据包数量
    """
    for _ in range(n):
        yield telemetry_pb2.Packet(
            device_id="sensor-1",           # 模拟设备ID
            timestamp=int(time.time()),     # 当前时间戳
            payload=b"abcd",                # 模拟数据载荷
        )


# 发送10个测试数据包
stub.StreamPackets(gen_packets(10))
print("✅ Sent 10 packets")
`;

for (const packageLine of ["", "package app.telemetry;"]) {
  for (const storeName of ["Redis", "SQLite"]) {
    const title = `${packageLine || "no package"}, ${storeName}`;
    Deno.test(`The reference's client: packets stored by one process are read from another (${title})`, async () => {
      await using redis = storeName === "Redis" ? await startRedis() : undefined;
      const env = { REDIS_URL: redis?.url ?? "" };
      await using ingest = await Program.start(["--role", "ingest"], env);
      const store = String((await ingest.line("store open"))["store"]);
      const database = store.startsWith("SQLite file ") ? store.slice("SQLite file ".length) : "";
      await using api = await Program.start(["--role", "api"], { ...env, TALLY_DB: database });
      const { port: grpcPort } = await ingest.line("ingest listening");
      const { port: httpPort } = await api.line("api listening");

      await using folder = await PythonFolder.make({
        "app/telemetry.proto": proto(packageLine),
        "send_once.py": sendOnce.replace("localhost:50051", `localhost:${grpcPort}`),
      });
      await folder.protoc(folder.path, "app/telemetry.proto");
      assertEquals(await folder.run("send_once.py"), "✅ Sent 10 packets\n");

      const read = async () => await (await fetch(`http://127.0.0.1:${httpPort}/metrics`)).json();
      // An answer may be 250 ms old.
      await until(async () => (await read()).length > 0, "the device is there");
      assertEquals(await read(), [{ device_id: "sensor-1", count: 10 }]);
      for (const program of [ingest, api]) {
        program.signal("SIGINT");
        assertEquals((await program.end()).code, 0);
      }
    });
  }
}
