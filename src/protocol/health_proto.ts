/**
 * `proto/health.proto`, gRPC's standard health service, as grpc-js wants it.
 *
 * @module
 */
import { fileURLToPath } from "node:url";

import type { MethodDefinition } from "@grpc/grpc-js";
import { loadSync, type ServiceDefinition } from "@grpc/proto-loader";

const file = fileURLToPath(new URL("../../proto/health.proto", import.meta.url));

/** With defaults: a request for the server as a whole is an empty message. */
export const healthService: ServiceDefinition = loadSync(file, {
  defaults: true,
})["grpc.health.v1.Health"] as ServiceDefinition;

/** The service to check; empty: the server as a whole. */
export interface HealthRequest {
  /** Its full name. */
  readonly service: string;
}

/** The status of the service. */
export interface HealthResponse {
  /** One of {@linkcode ServingStatus}. */
  readonly status: number;
}

/** `HealthCheckResponse.ServingStatus`. */
export enum ServingStatus {
  UNKNOWN = 0,
  SERVING = 1,
  NOT_SERVING = 2,
  SERVICE_UNKNOWN = 3,
}

/** `rpc Check(HealthCheckRequest) returns (HealthCheckResponse)` */
export const checkHealth = healthService["Check"] as MethodDefinition<HealthRequest, HealthResponse>;
