/**
 * Redis Clusters of one, two or three masters without replicas, which would take processor time of the same machine.
 *
 * @module
 */
import { CLUSTER_SLOTS } from "../../src/store/redis/cluster_slots.ts";
import { freePort } from "../support/free_port.ts";
import { type RedisServer, startRedis } from "../support/redis_server.ts";
import { until } from "../support/until.ts";

/** Starts as many masters, with equal parts of the slots, until `parts` is disposed; resolves when all serve. */
export async function startMasters(masters: number, parts: AsyncDisposableStack): Promise<RedisServer[]> {
  const servers: RedisServer[] = [];
  for (let i = 0; i < masters; i++) {
    const settings = { "cluster-enabled": "yes", "cluster-port": `${freePort()}` };
    servers.push(parts.use(await startRedis(settings)));
  }
  const [first] = servers;
  for (const [i, server] of servers.entries()) {
    const slot = (index: number) => Math.floor(CLUSTER_SLOTS * index / masters);
    await server.call("CLUSTER", "ADDSLOTSRANGE", slot(i), slot(i + 1) - 1);
    await server.call("CLUSTER", "SET-CONFIG-EPOCH", i + 1);
    const busPort = server.settings["cluster-port"]!;
    if (i > 0) await first!.call("CLUSTER", "MEET", "127.0.0.1", server.port, busPort);
  }
  const serves = async (server: RedisServer) => {
    const info = String(await server.call("CLUSTER", "INFO"));
    return info.includes("cluster_state:ok") && info.includes(`cluster_size:${masters}\r`);
  };
  await until(
    async () => (await Promise.all(servers.map(serves))).every(Boolean),
    `${masters} masters serve`,
    30,
  );
  return servers;
}
