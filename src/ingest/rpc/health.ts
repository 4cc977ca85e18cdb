/**
 * gRPC's standard health service, for load balancers and orchestrators.
 *
 * Our own, because the library for it reads a file of its own package when loaded, which no permission
 * set can name, notifies watchers without a change, and never ends a watch, so that an orderly
 * shutdown would wait for every watcher.
 *
 * @module
 */
import {
  type sendUnaryData,
  type Server,
  type ServerUnaryCall,
  type ServerWritableStream,
  status,
} from "@grpc/grpc-js";

import {
  type HealthListResponse,
  type HealthRequest,
  type HealthResponse,
  healthService,
  ServingStatus,
} from "../../protocol/health_proto.ts";

type Watch = ServerWritableStream<HealthRequest, HealthResponse>;

/** What the health service answers for a server and the services it was made with. */
export class Health {
  readonly #names: ReadonlySet<string>;
  readonly #watches = new Set<Watch>();
  #serving = false;
  #closed = false;

  /** `services`: full names. Not serving at first. */
  constructor(services: readonly string[]) {
    this.#names = new Set(["", ...services]);
  }

  /** Adds the service to `server`. */
  addTo(server: Server): void {
    server.addService(healthService, {
      Check: (
        { request: { service } }: ServerUnaryCall<HealthRequest, HealthResponse>,
        answer: sendUnaryData<HealthResponse>,
      ) => {
        if (this.#names.has(service)) answer(null, { status: this.#status(service) });
        else answer({ code: status.NOT_FOUND, details: `no service is named ${JSON.stringify(service)}` });
      },
      List: (_: unknown, answer: sendUnaryData<HealthListResponse>) => {
        const statuses = Object.fromEntries(
          Array.from(this.#names, (name) => [name, { status: this.#status(name) }]),
        );
        answer(null, { statuses });
      },
      Watch: (watch: Watch) => {
        watch.write({ status: this.#status(watch.request.service) });
        if (this.#closed) return watch.end();
        this.#watches.add(watch);
        watch.on("close", () => this.#watches.delete(watch));
        watch.on("cancelled", () => this.#watches.delete(watch));
      },
    });
  }

  /** Sets the status of all services; watchers are notified if it changed. */
  setServing(serving: boolean): void {
    if (serving === this.#serving) return;
    this.#serving = serving;
    for (const watch of this.#watches) watch.write({ status: this.#status(watch.request.service) });
  }

  /** Not serving from now on; ends every watch. */
  close(): void {
    this.setServing(false);
    this.#closed = true;
    for (const watch of this.#watches) watch.end();
  }

  #status(service: string): number {
    if (!this.#names.has(service)) return ServingStatus.SERVICE_UNKNOWN;
    return this.#serving ? ServingStatus.SERVING : ServingStatus.NOT_SERVING;
  }
}
