/**
 * Network addresses as text.
 *
 * @module
 */

/** `host:port`, an IPv6 address in brackets: `127.0.0.1:80`, `[::1]:80`. */
export function formatAddress(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
