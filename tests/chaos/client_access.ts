/**
 * How clients reach the ingests: in plain text without credentials, or by TLS with a credential of each client's own.
 *
 * @module
 */
import { SignJWT } from "jose";

import { ownedSession } from "../../src/identity/session_owner.ts";
import type { DeviceAuthKind } from "../../src/identity/identity.ts";
import type { ClientTls } from "../../src/client/client_options.ts";
import { Certificates } from "../support/certificates.ts";
import type { TestTarget } from "../support/harness.ts";

/** What a client connects with. */
export interface ClientAccess {
  /** For calls by hand: where a port of this machine is. */
  target(port: number): TestTarget;
  /** For calls by hand: metadata. */
  readonly headers: Record<string, string>;
  /** Options of `TelemetryClient`. */
  readonly options: { readonly token?: string; readonly tls?: ClientTls };
  /** The name of the client's session in the store. */
  storedSession(session: string): string;
}

/** Access of all clients, and the settings of the ingests that grant it. */
export interface AccessPolicy extends AsyncDisposable {
  /** Settings of the ingests. */
  readonly settings: Readonly<Record<string, string>>;
  /** Access of the client with this name, whose devices' ids begin with it. */
  of(name: string): Promise<ClientAccess>;
}

/** Anyone may send. */
export const openAccess: AccessPolicy = {
  settings: {},
  of: () =>
    Promise.resolve({
      target: (port) => port,
      headers: {},
      options: {},
      storedSession: (session) => session,
    }),
  async [Symbol.asyncDispose]() {},
};

/** Longer than any jump of a clock. */
const EXPIRES_AFTER_SECONDS = 30 * 86_400;

/**
 * TLS, and a JWT for each client: the store, which loses data in a run, would lose tokens with it. `folder` is one that
 * Tally may read.
 */
export async function securedAccess(folder: string): Promise<AccessPolicy> {
  const certificates = await Certificates.make(folder);
  const ca = certificates.text("ca.pem");
  const secret = crypto.getRandomValues(new Uint8Array(32));
  const k = secret.toBase64({ alphabet: "base64url", omitPadding: true });
  await Deno.writeTextFile(certificates.file("keys.json"), JSON.stringify({ keys: [{ kty: "oct", k }] }));
  return {
    settings: {
      TALLY_TLS_CERT: certificates.file("server.pem"),
      TALLY_TLS_KEY: certificates.file("server.key"),
      TALLY_DEVICE_AUTH: "jwt" satisfies DeviceAuthKind,
      TALLY_DEVICE_JWKS: certificates.file("keys.json"),
    },
    async of(name) {
      const exp = Math.floor(Date.now() / 1000) + EXPIRES_AFTER_SECONDS;
      const token = await new SignJWT({ sub: name, devices: [`${name}-*`], exp })
        .setProtectedHeader({ alg: "HS256" }).sign(secret);
      const identity = { kind: "jwt", subject: name, devices: [], expiresMs: exp * 1000 } as const;
      return {
        target: (port) => ({ port, tls: { ca } }),
        headers: { authorization: `Bearer ${token}` },
        options: { token, tls: { ca } },
        storedSession: (session) => ownedSession(identity, session),
      };
    },
    [Symbol.asyncDispose]: () => certificates[Symbol.asyncDispose](),
  };
}
