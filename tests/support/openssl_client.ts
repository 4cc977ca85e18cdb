/**
 * openssl as a client: it resumes sessions and offers old versions of TLS, which clients of Deno do not.
 *
 * @module
 */

/** What a connection of openssl came to. */
export interface OpensslConnection {
  /** Whether the handshake was completed. */
  readonly connected: boolean;
  /** Whether it resumed a session. */
  readonly resumed: boolean;
  /** Version of TLS. */
  readonly version: string | undefined;
  /** Subject of the server's certificate. */
  readonly subject: string | undefined;
  /** All that it printed, and what the server sent. */
  readonly output: string;
}

/**
 * Connects with ALPN `h2`, waits until the server has closed the connection or for a moment, and closes it. `args`:
 * further arguments of `openssl s_client`.
 */
export async function openssl(port: number, ...args: string[]): Promise<OpensslConnection> {
  const child = new Deno.Command("openssl", {
    args: ["s_client", "-connect", `127.0.0.1:${port}`, "-alpn", "h2", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const ended = Promise.all([new Response(child.stdout).text(), new Response(child.stderr).text()]);
  // It reads session tickets, which come after the handshake, as long as its input is open.
  const timer = setTimeout(() => child.stdin.close().catch(() => {}), 300);
  const output = (await ended).join("\n");
  clearTimeout(timer);
  await child.status;
  await child.stdin.close().catch(() => {});
  const [, kind, version] = /^(New|Reused), (TLSv[\d.]+)/m.exec(output) ?? [];
  const [, subject] = /^subject=(.*)$/m.exec(output) ?? [];
  const connected = kind !== undefined && !/:error:|alert number/.test(output);
  return { connected, resumed: kind === "Reused", version, subject, output };
}
