/** Which certificates of clients are trusted, on handshakes and on resumed sessions. */
import { X509Certificate } from "node:crypto";
import { createServer } from "node:net";

import { assertEquals, assertThrows } from "@std/assert";

import { Handshakes } from "../../src/ingest/listen/handshakes.ts";
import { ClientTrust } from "../../src/tls/client_certificates.ts";
import { TlsFiles } from "../../src/tls/tls_files.ts";
import { Certificates } from "../support/certificates.ts";
import { ingestDefaults } from "../support/harness.ts";
import { openssl } from "../support/openssl_client.ts";

/** A port with TLS that notes of each connection whose certificate it has, or why that is refused. */
async function startPort(certificates: Certificates, crl: string) {
  await using parts = new AsyncDisposableStack();
  const file = (name: string) => ({ setting: name, path: certificates.file(name) });
  const files = await TlsFiles.open({
    cert: file("server.pem"),
    key: file("server.key"),
    clientCa: file("ca.pem"),
    clientCrl: file(crl),
  }, { log: ingestDefaults.log, now: Date.now });
  parts.defer(() => files.close());
  const outcomes: (string | undefined)[] = [];
  const counters = {
    tlsHandshakes: 0,
    tlsHandshakesResumed: 0,
    tlsHandshakesFailed: 0,
    tlsCertificatesRefused: 0,
  };
  const handshakes = new Handshakes({ files, log: ingestDefaults.log, now: Date.now }, counters, {
    accept(socket) {
      outcomes.push(socket.certificate?.commonName);
      socket.on("error", () => {});
      socket.end("accepted");
    },
    refuse(socket, reason) {
      outcomes.push(reason);
      socket.end("refused");
    },
    trustChanged: () => {},
  });
  const server = createServer((socket) => handshakes.begin(socket));
  const listening = Promise.withResolvers<void>();
  server.listen(0, "127.0.0.1", () => listening.resolve());
  await listening.promise;
  parts.defer(() => new Promise<void>((resolve) => server.close(() => resolve())));
  const moved = parts.move();
  const { port } = server.address() as { port: number };
  return { port, files, outcomes, counters, [Symbol.asyncDispose]: () => moved.disposeAsync() };
}

/** Arguments of openssl for a certificate. */
const certArgs = (certificates: Certificates, name: string, chain?: string) => [
  ...["-cert", certificates.file(`${name}.pem`), "-key", certificates.file(`${name}.key`)],
  ...chain === undefined ? [] : ["-cert_chain", certificates.file(`${chain}.pem`)],
];

const NO_AUTHORITY = "no certificate authority of TALLY_TLS_CLIENT_CA has issued the certificate";

Deno.test("Handshakes: a certificate is refused on the first connection and on resumed ones, whatever node:tls reports", async () => {
  await using certificates = await Certificates.make();
  await certificates.issue("trusted");
  await certificates.issue("revoked");
  await certificates.issue("expired", { days: -1 });
  await certificates.authority("foreign");
  await certificates.issue("stranger", { commonName: "trusted", authority: "foreign" });
  await certificates.revoke("list", ["revoked"]);
  await using tls = await startPort(certificates, "list.crl");
  const cases = [
    ["trusted", "trusted"],
    ["revoked", "the certificate is revoked"],
    ["expired", "the certificate has expired"],
    ["stranger", NO_AUTHORITY],
  ] as const;
  let resumed = 0;
  // With the second groups the server requests another key share (HelloRetryRequest).
  for (const groups of [[], ["-groups", "P-521:P-256"]]) {
    for (const [name, expected] of cases) {
      for (const version of ["-tls1_2", "-tls1_3"]) {
        const args = [version, ...groups, "-sess_out", certificates.file("session")];
        tls.outcomes.length = 0;
        await openssl(tls.port, ...args, ...certArgs(certificates, name));
        const again = await openssl(tls.port, ...args, "-sess_in", certificates.file("session"));
        if (again.resumed) resumed++;
        assertEquals(tls.outcomes, [expected, expected], `${name} ${version} ${groups}`);
      }
    }
  }
  assertEquals(resumed, 16);
  tls.outcomes.length = 0;
  await openssl(tls.port);
  assertEquals(tls.outcomes, [undefined]);
});

Deno.test("Handshakes: a certificate that is revoked after its session began is refused when the session is resumed", async () => {
  await using certificates = await Certificates.make();
  await certificates.issue("device-1");
  await certificates.revoke("list", []);
  await using tls = await startPort(certificates, "list.crl");
  const session = certificates.file("session");
  await openssl(tls.port, ...certArgs(certificates, "device-1"), "-sess_out", session);
  await certificates.revoke("list", ["device-1"]);
  await tls.files.check();
  const { resumed } = await openssl(tls.port, "-sess_in", session);
  assertEquals([resumed, tls.outcomes], [true, ["device-1", "the certificate is revoked"]]);
});

Deno.test("ClientTrust.verify() accepts chains over intermediates, and refuses those that an authority does not allow", async () => {
  await using certificates = await Certificates.make();
  await certificates.authority("middle", { authority: "ca" });
  await certificates.authority("strict", { authority: "ca", pathLength: 0 });
  await certificates.authority("below", { authority: "strict" });
  await certificates.issue("leaf", { authority: "middle", extensions: ["extendedKeyUsage=clientAuth"] });
  await certificates.issue("deep", { authority: "below" });
  await certificates.issue("server-only", { extensions: ["extendedKeyUsage=serverAuth"] });
  await certificates.issue("critical", { extensions: ["1.2.3.4=critical,ASN1:UTF8String:x"] });
  await certificates.issue("forged", { authority: "leaf" });
  await certificates.issue("future");
  const trust = new ClientTrust(certificates.text("ca.pem"), "");
  const verify = (...names: string[]) => {
    const chain = names.map((name) => new X509Certificate(certificates.text(`${name}.pem`)));
    const verified = trust.verify(chain, Date.now());
    return typeof verified === "string" ? verified : verified.commonName;
  };
  assertEquals(verify("leaf", "middle"), "leaf");
  assertEquals(verify("leaf", "server", "middle"), "leaf");
  assertEquals(verify("leaf"), NO_AUTHORITY);
  assertEquals(
    verify("deep", "below", "strict"),
    "the chain has an issuer that may not issue certificates",
  );
  assertEquals(
    verify("forged", "leaf", "middle"),
    "the chain has an issuer that may not issue certificates",
  );
  assertEquals(verify("server-only"), "the certificate is not for client authentication");
  assertEquals(
    verify("critical"),
    "found a critical extension that is not understood, object identifier 2a0304",
  );
  const early = trust.verify([new X509Certificate(certificates.text("leaf.pem"))], Date.now() - 86_400_000);
  assertEquals(early, "the certificate is not valid yet");
});

Deno.test("ClientTrust.verify() reads common name, DNS names and URIs, separators within them included", async () => {
  await using certificates = await Certificates.make();
  await certificates.issue("device", {
    commonName: "a, DNS:b",
    names: "DNS:one.example,DNS:two.example,URI:urn:device:7,email:c@d.e",
  });
  const trust = new ClientTrust(certificates.text("ca.pem"), "");
  const certificate = new X509Certificate(certificates.text("device.pem"));
  const { fingerprint, ...verified } = trust.verify([certificate], Date.now()) as never as Record<
    string,
    unknown
  >;
  assertEquals(verified, {
    commonName: "a, DNS:b",
    dnsNames: ["one.example", "two.example"],
    uris: ["urn:device:7"],
    serialNumber: certificate.serialNumber,
    expiresMs: certificate.validToDate.getTime(),
  });
  assertEquals(fingerprint, certificate.fingerprint256.replaceAll(":", "").toLowerCase());
});

Deno.test("ClientTrust refuses authorities and revocation lists that are not valid", async () => {
  await using certificates = await Certificates.make();
  await certificates.authority("foreign");
  await certificates.revoke("foreign", [], "foreign");
  await certificates.revoke("old", [], "ca", 1);
  const ca = certificates.text("ca.pem");
  const build = (authorities: string, list: string) => () => new ClientTrust(authorities, list);
  assertThrows(build("nothing", ""), Error, 'no "BEGIN CERTIFICATE"');
  assertThrows(build(certificates.text("server.pem"), ""), Error, "CN=server is not a certificate authority");
  assertThrows(build(ca, "nothing"), Error, 'found no "BEGIN X509 CRL"');
  const foreign = "found a list that none of the certificate authorities has signed";
  assertThrows(build(ca, certificates.text("foreign.crl")), Error, foreign);
  const [head, ...rest] = certificates.text("old.crl").split("\n");
  const damaged = [head, rest[0]!.replace(/.$/, (letter) => letter === "A" ? "B" : "A"), ...rest.slice(1)]
    .join("\n");
  assertThrows(build(ca, damaged), Error);
  const { nextUpdateMs } = new ClientTrust(ca, certificates.text("old.crl"));
  assertEquals(Math.round((nextUpdateMs - Date.now()) / 3_600_000), 24);
});
