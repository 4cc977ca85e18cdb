/** TLS of the device port, with certificates made by openssl. */
import { connect as connectTcp } from "node:net";
import { connect, type ConnectionOptions } from "node:tls";

import { status } from "@grpc/grpc-js";
import { assert, assertEquals } from "@std/assert";

import { countsOf } from "../support/batches.ts";
import { Certificates } from "../support/certificates.ts";
import { framedBatch, framedPacket, packet, RawCall } from "../support/harness.ts";
import { openssl } from "../support/openssl_client.ts";
import { startTlsIngest } from "../support/tls_ingest.ts";
import { until } from "../support/until.ts";

/** A certificate with its key, as clients of Node take it. */
const pairOf = (certificates: Certificates, name: string) => ({
  cert: certificates.text(`${name}.pem`),
  key: certificates.text(`${name}.key`),
});

/** Connects without TLS, sends `bytes`, and resolves when the server has closed the connection. */
function connectPlain(port: number, bytes: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connectTcp(port, "127.0.0.1", () => bytes !== "" && socket.write(bytes));
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.resume();
  });
}

/** The subject of the certificate that a new connection is shown. */
function subjectShown(port: number, ca: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { port, host: "127.0.0.1", servername: "localhost", ca, ALPNProtocols: ["h2"] },
      () => {
        resolve(String(socket.getPeerCertificate().subject.CN));
        socket.destroy();
      },
    );
    socket.on("error", reject);
  });
}

Deno.test("TelemetryServer over TLS serves calls of devices and health checks", async () => {
  await using certificates = await Certificates.make();
  await using tally = await startTlsIngest(certificates);
  const { ingest, store, target } = tally;
  await using call = new RawCall(target());
  const end = await call.finish(framedPacket(packet()), framedPacket(packet()));
  assertEquals([end.code, end.ack?.stored], [status.OK, 2]);
  await using health = new RawCall(target(), "/grpc.health.v1.Health/Check");
  assertEquals((await health.finish(new Uint8Array(5))).code, status.OK);
  assertEquals(await countsOf(store), { "sensor-1": 2 });
  assertEquals([ingest.counters.tlsHandshakes, ingest.counters.tlsHandshakesFailed], [2, 0]);
});

Deno.test("TelemetryServer over TLS accepts TLS 1.2 and 1.3 with h2, resumes sessions, and refuses others", async () => {
  await using certificates = await Certificates.make();
  await using tally = await startTlsIngest(certificates);
  const { port, counters } = tally.ingest;
  for (const version of ["1_2", "1_3"]) {
    const session = certificates.file(`session${version}`);
    const first = await openssl(port, `-tls${version}`, "-sess_out", session);
    const second = await openssl(port, `-tls${version}`, "-sess_in", session);
    const expected = [`TLSv${version.replace("_", ".")}`, false, true];
    assertEquals([first.version, first.resumed, second.resumed], expected);
  }
  assertEquals([counters.tlsHandshakes, counters.tlsHandshakesResumed, counters.tlsHandshakesFailed], [
    4,
    2,
    0,
  ]);
  assertEquals((await openssl(port, "-tls1_1")).connected, false);
  assertEquals((await openssl(port, "-alpn", "http/1.1")).connected, false);
  await until(() => counters.tlsHandshakesFailed === 2, "both are counted");
});

Deno.test("TelemetryServer over TLS closes a client of plain text at once", async () => {
  await using certificates = await Certificates.make();
  await using tally = await startTlsIngest(certificates);
  const { ingest, target } = tally;
  await using call = new RawCall(target());
  await call.send(framedPacket(packet()));
  await connectPlain(ingest.port, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0");
  await connectPlain(ingest.port, "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
  assertEquals(ingest.counters.tlsHandshakesFailed, 2);
  assertEquals((await call.finish()).ack?.stored, 1);
});

Deno.test("TelemetryServer over TLS ends handshakes that take too long, and the oldest of too many", async () => {
  await using certificates = await Certificates.make();
  await using tally = await startTlsIngest(certificates, { tls: { timeoutMs: 1500, maxInProgress: 3 } });
  const { ingest, target } = tally;
  await using call = new RawCall(target());
  await call.send(framedPacket(packet()));
  const closed: number[] = [];
  const silent = Array.from({ length: 4 }, async (_, index) => {
    await connectPlain(ingest.port, index === 1 ? "\x16\x03\x01\x02" : "");
    closed.push(index);
  });
  await until(() => closed.length === 1, "one of four is closed for the fourth");
  assertEquals([closed, ingest.counters.tlsHandshakesFailed], [[0], 1]);
  await Promise.all(silent);
  assertEquals(ingest.counters.tlsHandshakesFailed, 4);
  assertEquals((await call.finish()).ack?.stored, 1);
});

Deno.test("TelemetryServer over TLS uses new files for new connections, and open streams continue", async () => {
  await using certificates = await Certificates.make();
  await certificates.issue("next", { names: "DNS:localhost,IP:127.0.0.1" });
  await certificates.authority("other");
  await using tally = await startTlsIngest(certificates);
  const { ingest, store, files, target } = tally;
  const ca = certificates.text("ca.pem");
  const calls = Array.from({ length: 10 }, () => new RawCall(target(), "StreamBatches"));
  await until(() => ingest.counters.openStreams === 10, "all streams are open");
  const replace = async (certificate: string, key: string) => {
    await Deno.copyFile(certificates.file(certificate), certificates.file("server.pem"));
    await Deno.copyFile(certificates.file(key), certificates.file("server.key"));
  };
  const former = [certificates.text("server.pem"), certificates.text("server.key")] as const;
  assertEquals(await subjectShown(ingest.port, ca), "server");
  // The key is not that of the certificate.
  await replace("next.pem", "other.key");
  await until(() => files.state.reloadFailed, "the wrong pair is noticed");
  assertEquals(await subjectShown(ingest.port, ca), "server");
  await replace("next.pem", "next.key");
  await until(() => !files.state.reloadFailed, "the right pair is read");
  assertEquals(await subjectShown(ingest.port, ca), "next");
  // As Kubernetes does it: a symbolic link is replaced.
  await Deno.mkdir(certificates.file("later"));
  await Deno.writeTextFile(certificates.file("later/server.pem"), former[0]);
  await Deno.symlink("later/server.pem", certificates.file("link"));
  await Deno.writeTextFile(certificates.file("server.key"), former[1]);
  await Deno.rename(certificates.file("link"), certificates.file("server.pem"));
  await until(
    () => files.material.pair.cert === former[0] && !files.state.reloadFailed,
    "the link is followed",
  );
  assertEquals(await subjectShown(ingest.port, ca), "server");
  const ends = await Promise.all(calls.map((call) => call.finish()));
  assertEquals(ends.map(({ code }) => code), calls.map(() => status.OK));
  await using call = new RawCall(target());
  assertEquals((await call.finish(framedPacket(packet()))).ack?.stored, 1);
  assertEquals(await countsOf(store), { "sensor-1": 1 });
});

Deno.test("TelemetryServer with client certificates serves clients without one, and sends the reason to refused ones", async () => {
  await using certificates = await Certificates.make();
  await certificates.issue("device-1");
  await certificates.issue("device-2");
  await certificates.revoke("list", ["device-2"]);
  await using tally = await startTlsIngest(certificates, { clients: true, crl: "list.crl" });
  const { ingest, target } = tally;
  const send = async (more: ConnectionOptions) => {
    await using call = new RawCall(target(more));
    return (await call.finish(framedPacket(packet()))).code;
  };
  assertEquals(await send({}), status.OK);
  assertEquals(await send(pairOf(certificates, "device-1")), status.OK);
  assertEquals(await send(pairOf(certificates, "device-2")), -1);
  assertEquals(ingest.counters.tlsCertificatesRefused, 1);
  const args = ["-cert", certificates.file("device-2.pem"), "-key", certificates.file("device-2.key")];
  const { output } = await openssl(ingest.port, ...args);
  assert(output.includes("client certificate: the certificate is revoked"), output);
});

Deno.test("TelemetryServer closes connections whose certificate is revoked, and no others", async () => {
  await using certificates = await Certificates.make();
  await certificates.issue("device-1");
  await certificates.issue("device-2");
  await certificates.revoke("list", []);
  await using tally = await startTlsIngest(certificates, { clients: true, crl: "list.crl" });
  const { ingest, target } = tally;
  const open = (more: ConnectionOptions) => new RawCall(target(more), "StreamBatches");
  await using honest = open(pairOf(certificates, "device-1"));
  await using revoked = open(pairOf(certificates, "device-2"));
  await using without = open({});
  await Promise.all([honest, revoked, without].map((call) => call.send(framedBatch([packet()]))));
  await until(() => ingest.counters.openStreams === 3, "three streams are open");
  await certificates.revoke("list", ["device-2"]);
  assertEquals((await revoked.end).code, -1);
  assertEquals((await honest.finish()).code, status.OK);
  assertEquals((await without.finish()).code, status.OK);
});
