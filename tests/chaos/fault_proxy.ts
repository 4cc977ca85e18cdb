/**
 * A TCP proxy that cuts, delays and loses what it passes on, on demand.
 *
 * @module
 */

/** Passes bytes both ways between whoever connects to {@linkcode port} and a port on this machine. */
export class FaultProxy implements AsyncDisposable {
  /** Each chunk waits this long, in both directions. */
  delayMs = 0;
  /** Replies lost so far; see {@linkcode loseReply}. */
  repliesLost = 0;

  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #links = new Set<Link>();
  readonly #serving: Promise<void>;
  #loseReplyTo: string | undefined;

  /** `target`: the port to pass a new connection on to; undefined: refuse it. */
  constructor(readonly target: () => number | undefined) {
    this.#serving = this.#serve();
  }

  /** Where to connect to. */
  get port(): number {
    return this.#listener.addr.port;
  }

  /** Closes every connection in mid-flight; returns how many. */
  cut(): number {
    const links = [...this.#links];
    for (const link of links) link.close();
    return links.length;
  }

  /**
   * The next request that holds `text` is passed on; what comes back is thrown away, and then the
   * connection is closed: the request was carried out, and its sender gets no reply. Undefined: lose none.
   */
  loseReply(text: string | undefined): void {
    this.#loseReplyTo = text;
  }

  /** Closes everything. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    this.cut();
    await this.#serving;
  }

  async #serve(): Promise<void> {
    const links: Promise<void>[] = [];
    for await (const client of this.#listener) links.push(this.#link(client));
    await Promise.all(links);
  }

  async #link(client: Deno.TcpConn): Promise<void> {
    const port = this.target();
    const server = port === undefined
      ? undefined
      : await Deno.connect({ hostname: "127.0.0.1", port }).catch(() => undefined);
    if (server === undefined) return client.close();
    const link = new Link(client, server);
    this.#links.add(link);
    await Promise.all([
      this.#pass(link, client, server, (chunk) => this.#watchRequest(link, chunk)),
      this.#pass(link, server, client, () => !this.#loses(link)),
    ]);
    this.#links.delete(link);
  }

  /** Passes chunks on, one after the other, so that a slow reader holds the writer up. */
  async #pass(
    link: Link,
    from: Deno.TcpConn,
    to: Deno.TcpConn,
    wanted: (chunk: Uint8Array) => boolean,
  ): Promise<void> {
    const buffer = new Uint8Array(64 * 1024);
    try {
      for (let read; (read = await from.read(buffer)) !== null;) {
        const chunk = buffer.subarray(0, read);
        if (this.delayMs > 0) await link.wait(this.delayMs);
        if (!wanted(chunk)) continue;
        for (let written = 0; written < read;) written += await to.write(chunk.subarray(written));
      }
    } catch {
      // The connection is gone, here or there: the other half follows.
    }
    link.close();
  }

  #watchRequest(link: Link, chunk: Uint8Array): boolean {
    if (this.#loseReplyTo !== undefined && latin1.decode(chunk).includes(this.#loseReplyTo)) {
      this.#loseReplyTo = undefined;
      link.losesReply = true;
    }
    return true;
  }

  #loses(link: Link): boolean {
    if (!link.losesReply) return false;
    // The first reply may belong to an earlier request: the one that matters follows soon.
    if (link.closeLater(REPLY_AFTER_REPLY_MS)) this.repliesLost++;
    return true;
  }
}

/** How long after one reply the next is still thrown away. */
const REPLY_AFTER_REPLY_MS = 50;

const latin1 = new TextDecoder("latin1");

/** Two connections that end together. */
class Link {
  losesReply = false;
  #closed = false;
  #closing: ReturnType<typeof setTimeout> | undefined;
  readonly #waits = new Map<ReturnType<typeof setTimeout>, () => void>();

  constructor(readonly client: Deno.TcpConn, readonly server: Deno.TcpConn) {}

  /** Resolves after `durationMs`, or when the link is closed. */
  wait(durationMs: number): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((resolve) => {
      const timer = setTimeout(() => {
        this.#waits.delete(timer);
        resolve();
      }, durationMs);
      this.#waits.set(timer, resolve);
    });
  }

  /** False: it was called before. */
  closeLater(delayMs: number): boolean {
    if (this.#closing !== undefined) return false;
    this.#closing = setTimeout(() => this.close(), delayMs);
    return true;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#closing);
    for (const [timer, resolve] of this.#waits) {
      clearTimeout(timer);
      resolve();
    }
    this.client.close();
    this.server.close();
  }
}
