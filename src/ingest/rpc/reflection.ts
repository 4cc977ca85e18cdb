/**
 * gRPC's server reflection: tools such as grpcurl read from it which services there are, without a proto file.
 *
 * Not that of `@grpc/reflection`, which reads a file of its own package when loaded, which no permission set can name.
 *
 * @module
 */
import { type Server, type ServerDuplexStream, type ServiceDefinition, status } from "@grpc/grpc-js";

import type { DescribedFile } from "../../protocol/descriptors.ts";
import {
  type ReflectionRequest,
  type ReflectionResponse,
  reflectionServices,
} from "../../protocol/reflection_proto.ts";
import { type BridgedContexts, CONTEXT_KEY } from "./bridged_contexts.ts";
import { grpcStatus } from "./grpc_status.ts";

type Call = ServerDuplexStream<ReflectionRequest, ReflectionResponse>;

/** Calls open at once in the process: people with tools are few, and health checks share the bound of bridged calls. */
const MAX_CALLS = 32;

/** A tool sends one request for each file and symbol; a call with more is not a tool's. */
const MAX_REQUESTS = 256;

/** A call that is open longer is ended: an idle one takes a place. */
const CALL_TIMEOUT_MS = 60_000;

/** Paths of the calls. */
export const reflectionPaths: ReadonlySet<string> = new Set(
  reflectionServices.map(({ ServerReflectionInfo }) => ServerReflectionInfo.path),
);

/** The reflection service of one server. */
export class Reflection {
  /** Ends each open call. */
  readonly #calls = new Set<(error?: object) => void>();
  #catalog: Promise<Catalog> | undefined;
  #closed = false;

  /** `contexts` has the context of each call. */
  constructor(readonly contexts: BridgedContexts) {}

  /** Adds the service, in both versions, to `server`. */
  addTo(server: Server): void {
    for (const service of reflectionServices) {
      server.addService(service as unknown as ServiceDefinition, {
        ServerReflectionInfo: (call: Call) => this.#serve(call),
      });
    }
  }

  /** Ends every call, and those that follow at once. */
  close(): void {
    this.#closed = true;
    for (const end of this.#calls) end();
  }

  async #serve(call: Call): Promise<void> {
    if (this.#closed) return void call.end();
    if (this.#calls.size >= MAX_CALLS) {
      return void call.emit("error", exhausted(`${MAX_CALLS} reflection calls are open`));
    }
    const end = (error?: object) => {
      if (!this.#calls.delete(end)) return;
      clearTimeout(timer);
      if (error === undefined) call.end();
      else call.emit("error", error);
    };
    const timer = setTimeout(
      () => end(exhausted(`the call was open for ${CALL_TIMEOUT_MS / 1000} s`)),
      CALL_TIMEOUT_MS,
    );
    this.#calls.add(end);
    call.on("cancelled", () => end());
    try {
      await this.contexts.take(call.metadata.get(CONTEXT_KEY)[0]);
    } catch (error) {
      return end(grpcStatus(error));
    }
    // Loaded at the first call: most processes get none.
    this.#catalog ??= import("../../protocol/descriptors.ts").then(({ servedFiles }) =>
      new Catalog(servedFiles())
    );
    const catalog = await this.#catalog;
    let requests = 0;
    call.on("data", (request: ReflectionRequest) => {
      if (!this.#calls.has(end)) return;
      if (++requests > MAX_REQUESTS) return end(exhausted(`more than ${MAX_REQUESTS} requests in one call`));
      if (call.write(catalog.respond(request))) return;
      call.pause(); // A client that does not read is not read either.
      call.once("drain", () => call.resume());
    });
    call.on("end", () => end());
  }
}

function exhausted(found: string) {
  return { code: status.RESOURCE_EXHAUSTED, details: `${found}: try again later` };
}

/** The files by their names and by what they declare. */
class Catalog {
  readonly #byName = new Map<string, DescribedFile>();
  readonly #bySymbol = new Map<string, DescribedFile>();
  readonly #services: { readonly name: string }[] = [];

  constructor(files: readonly DescribedFile[]) {
    for (const file of files) {
      this.#byName.set(file.name, file);
      for (const symbol of file.symbols) this.#bySymbol.set(symbol, file);
      for (const name of file.services) this.#services.push({ name });
    }
  }

  respond(request: ReflectionRequest): ReflectionResponse {
    const { file_by_filename: name, file_containing_symbol: symbol, all_extension_numbers_of_type: type } =
      request;
    const extended = request.file_containing_extension?.containing_type;
    const response = { original_request: request };
    const failed = (error_code: number, error_message: string) => ({
      ...response,
      error_response: { error_code, error_message },
    });
    if (request.list_services !== undefined) {
      return { ...response, list_services_response: { service: this.#services } };
    }
    if (type !== undefined && this.#bySymbol.has(type)) {
      return { ...response, all_extension_numbers_response: { base_type_name: type, extension_number: [] } };
    }
    const file = name !== undefined ? this.#byName.get(name) : this.#bySymbol.get(symbol ?? "");
    if (file !== undefined) {
      return { ...response, file_descriptor_response: { file_descriptor_proto: [file.bytes] } };
    }
    const missing = name ?? symbol ?? type ?? extended;
    if (missing === undefined) return failed(status.INVALID_ARGUMENT, "the request has none of its fields");
    return failed(status.NOT_FOUND, `nothing here is named ${JSON.stringify(missing.slice(0, 200))}`);
  }
}
