import { assertEquals, assertStrictEquals, assertThrows } from "@std/assert";

import { AuthError } from "../../src/identity/auth_error.ts";
import {
  CertificateAuthenticator,
  type CertificateField,
} from "../../src/identity/certificate_authenticator.ts";
import type { PeerCertificate } from "../../src/identity/identity.ts";

const certificate: PeerCertificate = {
  commonName: "sensor-1",
  dnsNames: ["a.example.com", "b*"],
  uris: ["urn:device:1"],
  serialNumber: "01",
  fingerprint: "ab",
  expiresMs: 2000,
};

for (
  const [field, devices] of [
    ["cn", ["sensor-1"]],
    ["san-dns", ["a.example.com", "b*"]],
    ["san-uri", ["urn:device:1"]],
  ] as readonly [CertificateField, string[]][]
) {
  Deno.test(`CertificateAuthenticator.verify() finds the devices in ${field}`, () => {
    const authenticator = new CertificateAuthenticator(field, () => 1999);
    const identity = authenticator.verify(certificate);
    const expected = { kind: "mtls", subject: devices.join(","), devices, expiresMs: 2000 };
    assertEquals({ ...identity }, { ...expected, kind: "mtls" });
    assertStrictEquals(authenticator.verify(certificate), identity, "one object per connection");
  });
}

Deno.test("CertificateAuthenticator.verify() refuses certificates without a device, and expired ones", () => {
  let nowMs = 0;
  const verify = (more: Partial<PeerCertificate>, field: CertificateField = "cn") =>
    assertThrows(
      () => new CertificateAuthenticator(field, () => nowMs).verify({ ...certificate, ...more }),
      AuthError,
    ).failure;
  assertEquals(verify({ commonName: "" }), "wrong_certificate");
  assertEquals(verify({ commonName: "a\nb" }), "wrong_certificate");
  assertEquals(verify({ dnsNames: [] }, "san-dns"), "wrong_certificate");
  nowMs = 2000;
  assertEquals(verify({}), "expired");
});

Deno.test("CertificateAuthenticator.verify() notices that a certificate expires on its connection", () => {
  let nowMs = 0;
  const authenticator = new CertificateAuthenticator("cn", () => nowMs);
  authenticator.verify(certificate);
  nowMs = 2000;
  assertThrows(() => authenticator.verify(certificate), AuthError, "expired");
});
