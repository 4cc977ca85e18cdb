/**
 * A TCP proxy that cuts connections on demand.
 *
 * @module
 */
import { connect, createServer, type Server, type Socket } from "node:net";

/** Passes bytes both ways between whoever connects to {@linkcode port} and a port on this machine. */
export class TcpProxy implements AsyncDisposable {
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  /** Bytes passed to the target so far. */
  bytes = 0;
  /** Called with each chunk for the target before it is passed. */
  onBytes: (() => void) | undefined;

  private constructor(server: Server, readonly target: { port: number }, readonly port: number) {
    this.#server = server;
  }

  /** `target.port` may be changed while the proxy runs: new connections go there. */
  static async start(target: { port: number }): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const proxy = new TcpProxy(server, target, (server.address() as { port: number }).port);
    server.on("connection", (socket) => proxy.#connected(socket));
    return proxy;
  }

  /** Resets every connection. */
  cut(): void {
    for (const socket of this.#sockets) socket.resetAndDestroy();
    this.#sockets.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.cut();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  #connected(device: Socket): void {
    const target = connect(this.target.port, "127.0.0.1");
    device.on("data", (chunk) => {
      this.bytes += chunk.length;
      this.onBytes?.();
    });
    for (const [from, to] of [[device, target], [target, device]] as const) {
      this.#sockets.add(from);
      from.pipe(to);
      from.on("error", () => to.destroy());
      from.on("close", () => {
        this.#sockets.delete(from);
        to.destroy();
      });
    }
  }
}
