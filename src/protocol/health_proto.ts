/**
 * `proto/health.proto`, gRPC's standard health service, as grpc-js takes it.
 *
 * @module
 */
import healthProto from "../../proto/health.proto" with { type: "text" };
import { type MethodDefinition, type ServiceDefinition, serviceDefinition } from "./service_definition.ts";

/** Its methods: Check, List, Watch. A request for the server as a whole is an empty message. */
export const healthService: ServiceDefinition = serviceDefinition(healthProto, "grpc.health.v1.Health");

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

/** The status of every service. */
export interface HealthListResponse {
  /** By the full name of the service; under the empty name, the server as a whole. */
  readonly statuses: Readonly<Record<string, HealthResponse>>;
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
