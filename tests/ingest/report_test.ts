import { status } from "@grpc/grpc-js";
import { assert, assertEquals, assertMatch } from "@std/assert";

import { StoreError } from "../../src/store/store_error.ts";
import { RawConnection } from "../http2/raw_connection.ts";
import { framedPacket, packet, RawCall, startTestIngest, temporaryStore } from "../support/harness.ts";
import { until } from "../support/until.ts";

Deno.test("startReporting() writes the ingest's report, and removes it when it drains", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store, worker: 3, queueMaxPackets: 77 });
  await using open = new RawCall(ingest.port);
  await using call = new RawCall(ingest.port);
  await open.send(framedPacket(packet()));
  await call.finish(framedPacket(packet("a")), framedPacket(packet("")));
  using notHttp2 = new RawConnection(ingest.port);
  await notHttp2.send(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"));
  await notHttp2.closed;
  const reports = () => store.instances(Date.now());
  await until(async () => (await reports())[0]?.received === 3, "it reported");
  const [report] = await reports();
  assert(report);
  assertMatch(report.instance, /^[0-9a-f-]{36}$/);
  assertEquals(
    [report.host, report.pid, report.worker, report.ingestAddress, report.fastPath],
    ["test", Deno.pid, 3, `127.0.0.1:${ingest.port}`, ingest.fastPath],
  );
  assertEquals([report.stored, report.duplicates, report.fenced, report.streams, report.queueMaxPackets], [
    ...[2, 0, 0, 1, 77],
  ]);
  assertMatch(report.version, /^\d+\.\d+\.\d+$/);
  assert(report.cpuSeconds > 0 && report.residentBytes > 2 ** 20 && report.eventLoopLagMs >= 0);
  assertEquals(report.rejected, { DEVICE_ID_EMPTY: 1 });
  assertEquals([report.queueFull, report.failedFlushes, report.connectionsCut, report.callsRefused], [
    ...[0, 0, 1, 0],
  ]);
  assertEquals([report.maxConnections, report.accepting, report.connectionsRefused, report.logLinesDropped], [
    ...[20_000, true, 0, 0],
  ]);
  assert(report.connections >= 1 && report.rate > 0 && report.startedMs <= report.reportedMs);
  await until(async () => (await reports())[0]!.rate === 0, "the rate is of the last second");
  await ingest.drain();
  assertEquals(await reports(), []);
});

Deno.test("startReporting(): failing reports affect neither packets nor the drain", async () => {
  await using store = await temporaryStore();
  let refused = 0;
  const refuse = () => {
    refused++;
    return Promise.reject(new StoreError("no reports"));
  };
  store.reportInstance = refuse;
  store.removeInstance = refuse;
  await using ingest = await startTestIngest({ store });
  await using call = new RawCall(ingest.port);
  assertEquals((await call.finish(framedPacket(packet()))).code, status.OK);
  await until(() => refused >= 2, "it reports again");
  assertEquals(await ingest.drain(), true);
});
