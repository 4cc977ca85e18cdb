/**
 * The sender of packets: the credentials of a call become a {@linkcode DeviceIdentity}.
 *
 * @module
 */
import { AuthError } from "./auth_error.ts";
import type { CertificateAuthenticator } from "./certificate_authenticator.ts";
import type { DeviceIdentity, PeerCertificate } from "./identity.ts";
import type { JwtAuthenticator } from "./jwt_authenticator.ts";
import { bearerToken, isToken } from "./token.ts";
import type { TokenAuthenticator } from "./token_authenticator.ts";

/** What a device presents with a call. */
export interface DeviceCredentials {
  /** The metadata entry `authorization`. */
  readonly authorization: string | undefined;
  /** The certificate of its connection, verified by TLS. */
  readonly certificate: PeerCertificate | undefined;
}

/** Finds an identity that takes a request or a computation; rejects as {@linkcode DeviceAuthenticator.authenticate}. */
export type IdentityLookup = () => Promise<DeviceIdentity>;

/** What is accepted; at least one. */
export interface DeviceAuthMethods {
  /** Accepts tokens. */
  readonly token?: TokenAuthenticator | undefined;
  /** Accepts JWTs. */
  readonly jwt?: JwtAuthenticator | undefined;
  /** Accepts certificates. */
  readonly mtls?: CertificateAuthenticator | undefined;
}

/** Verifies credentials where they are required. */
export class DeviceAuthenticator {
  #refreshingKeys: Promise<void> | undefined;

  /** `now`: server time, Unix milliseconds. */
  constructor(readonly methods: DeviceAuthMethods, readonly now: () => number) {}

  /**
   * The identity of a caller, or the function that looks it up. A bearer token takes precedence over a certificate. Throws
   * {@linkcode AuthError}; a lookup rejects with that, and with another error when the identity cannot be known now.
   */
  authenticate({ authorization, certificate }: DeviceCredentials): DeviceIdentity | IdentityLookup {
    const { token, jwt, mtls } = this.methods;
    if (authorization !== undefined && (token !== undefined || jwt !== undefined)) {
      const bearer = bearerToken(authorization);
      if (bearer !== undefined && token !== undefined && (isToken(bearer) || jwt === undefined)) {
        return token.verify(bearer);
      }
      if (bearer !== undefined && jwt !== undefined) return jwt.verify(bearer);
      throw new AuthError("unknown");
    }
    if (certificate !== undefined && mtls !== undefined) return mtls.verify(certificate);
    throw new AuthError("missing");
  }

  /** Reads what may have changed; call it once a second. Rejects when the store does. */
  async refresh(): Promise<void> {
    const { jwt, token } = this.methods;
    // Not awaited: a slow server of keys must not delay that tokens end.
    if (jwt !== undefined) {
      this.#refreshingKeys ??= jwt.refresh().finally(() => this.#refreshingKeys = undefined);
    }
    await token?.refresh();
  }

  /** Those of the identities, all that are in use, that have expired or were revoked since. */
  ended(identities: ReadonlySet<DeviceIdentity>): ReadonlyMap<DeviceIdentity, AuthError> {
    const { token, jwt } = this.methods;
    const ended = new Map<DeviceIdentity, AuthError>();
    const nowMs = this.now();
    for (const identity of identities) {
      if (identity.expiresMs <= nowMs) ended.set(identity, new AuthError("expired"));
      else if (jwt?.revoked(identity)) ended.set(identity, new AuthError("revoked"));
    }
    for (const identity of token?.revoked(identities) ?? []) ended.set(identity, new AuthError("revoked"));
    return ended;
  }

  /** Resolves when nothing is read any more. */
  async close(): Promise<void> {
    await this.#refreshingKeys;
  }
}
