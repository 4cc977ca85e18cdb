/**
 * Network addresses as text.
 *
 * @module
 */

/** Whether only programs of this machine reach what listens on the host; a name other than `localhost` may be any address. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127(\.\d{1,3}){3}$/.test(host);
}

/** `host:port`, an IPv6 address in brackets: `127.0.0.1:80`, `[::1]:80`. */
export function formatAddress(host: string, port: number): string {
  return `${host.includes(":") ? `[${host}]` : host}:${port}`;
}
