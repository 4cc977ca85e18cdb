/**
 * How devices authenticate, by the settings.
 *
 * @module
 */
import type { Logger } from "@logtape/logtape";

import type { Config } from "./config/config.ts";
import type { DeviceAuthSettings } from "./config/device_auth_settings.ts";
import { CertificateAuthenticator } from "./identity/certificate_authenticator.ts";
import { DeviceAuthenticator } from "./identity/device_authenticator.ts";
import { TokenAuthenticator } from "./identity/token_authenticator.ts";
import { TokenLookup } from "./identity/token_lookup.ts";
import type { CredentialStore } from "./store/credentials.ts";

/** What {@linkcode openDeviceAuthenticator} needs. */
export interface DeviceAuthOptions {
  /** The settings. */
  readonly config: Pick<Config, keyof DeviceAuthSettings>;
  /** Has the tokens. */
  readonly store: CredentialStore;
  /** Server time, Unix milliseconds. */
  readonly now: () => number;
  /** Receives a line when the keys of JWTs change. */
  readonly log: Logger;
}

/** What verifies devices; undefined: they need no credentials. Rejects if the keys of JWTs cannot be read. */
export async function openDeviceAuthenticator(
  { config, store, now, log }: DeviceAuthOptions,
): Promise<DeviceAuthenticator | undefined> {
  const { deviceAuth, deviceJwks, deviceCertField } = config;
  if (deviceAuth.size === 0) return undefined;
  return new DeviceAuthenticator({
    token: deviceAuth.has("token")
      ? new TokenAuthenticator({ lookup: new TokenLookup(store, now), now })
      : undefined,
    jwt: deviceAuth.has("jwt") && deviceJwks !== undefined
      ? await openJwtAuthenticator(deviceJwks, config, now, log)
      : undefined,
    mtls: deviceAuth.has("mtls") ? new CertificateAuthenticator(deviceCertField, now) : undefined,
  }, now);
}

/** Loads jose, which others do not need. */
async function openJwtAuthenticator(
  location: string,
  { jwtIssuer: issuer, jwtAudience: audience }: DeviceAuthOptions["config"],
  now: () => number,
  log: Logger,
) {
  const { JwkSource } = await import("./identity/jwk_source.ts");
  const { JwtAuthenticator } = await import("./identity/jwt_authenticator.ts");
  const keys = await JwkSource.open({ location, now: () => performance.now(), log });
  return new JwtAuthenticator({ keys, issuer, audience, now });
}
