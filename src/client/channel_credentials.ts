/**
 * Credentials of a channel: TLS or plain text.
 *
 * @module
 */
import { Buffer } from "node:buffer";

import { type ChannelCredentials, credentials } from "@grpc/grpc-js";

import type { ClientTls } from "./client_options.ts";

/** For grpc-js; plain text where `tls` is undefined. Throws where a text is not PEM. */
export function channelCredentials(tls: ClientTls | undefined): ChannelCredentials {
  if (tls === undefined) return credentials.createInsecure();
  const { ca, cert, key } = tls;
  return credentials.createSsl(bytesOf(ca), bytesOf(key), bytesOf(cert));
}

function bytesOf(pem: string | undefined): Buffer | null {
  return pem === undefined ? null : Buffer.from(pem);
}
