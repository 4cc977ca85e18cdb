/**
 * Credentials of a channel: TLS or plain text.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { isIP } from "node:net";
import { checkServerIdentity } from "node:tls";

import { type ChannelCredentials, type ChannelOptions, credentials } from "@grpc/grpc-js";

import type { ClientTls } from "./client_options.ts";

/** Sent instead of an IP address as the name of the server, which TLS allows no address to be (RFC 6066, 3). */
const NO_SERVER_NAME = "ip-address.invalid";

/**
 * Credentials and options of grpc-js for a channel to `target`, host and port; plain text where `tls` is undefined. An IP
 * address as host must be among the names of the certificate too. Throws where a text is not PEM.
 */
export function channelSecurity(
  target: string,
  tls: ClientTls | undefined,
): [ChannelCredentials, ChannelOptions] {
  if (tls === undefined) return [credentials.createInsecure(), {}];
  const { ca, cert, key } = tls;
  const pem = [bytesOf(ca), bytesOf(key), bytesOf(cert)] as const;
  const address = target.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  if (isIP(address) === 0) return [credentials.createSsl(...pem), {}];
  const verify = credentials.createSsl(...pem, {
    checkServerIdentity: (_, certificate) => checkServerIdentity(address, certificate),
  });
  return [verify, { "grpc.ssl_target_name_override": NO_SERVER_NAME }];
}

function bytesOf(pem: string | undefined): Buffer | null {
  return pem === undefined ? null : Buffer.from(pem);
}
