/**
 * A real Prometheus of a test's own, that scrapes once a second and evaluates Tally's alerts four times.
 *
 * @module
 */
import { until } from "./until.ts";
import { freePort } from "./free_port.ts";

/** An alert that fires. */
export interface Alert {
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly state: "pending" | "firing";
}

/** A running server; its files go away with it. */
export class PrometheusServer implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #dir: string;
  readonly #url: string;
  readonly #log: Promise<string>;

  private constructor(process: Deno.ChildProcess, dir: string, url: string) {
    this.#process = process;
    this.#dir = dir;
    this.#url = url;
    this.#log = new Response(process.stderr).text();
  }

  /**
   * Starts one on the apis at `targets`, each host and port, with the rules of `.github/prometheus/alerts.yml`,
   * but that nothing must last before it fires; resolves when it answers. `token`: what it sends to the apis.
   */
  static async start(targets: readonly string[], token?: string): Promise<PrometheusServer> {
    const dir = await Deno.makeTempDir({ prefix: "tally-prometheus-" });
    const rules = await Deno.readTextFile(new URL("../../.github/prometheus/alerts.yml", import.meta.url));
    await Deno.writeTextFile(`${dir}/alerts.yml`, rules.replace(/^( +for:) \w+$/gm, "$1 0s"));
    const authorization = token === undefined ? {} : { authorization: { credentials_file: "tally.token" } };
    if (token !== undefined) await Deno.writeTextFile(`${dir}/tally.token`, `${token}\n`);
    const config = {
      // A scrape may take as long as finding that the store is away; longer than the interval is not allowed.
      global: { scrape_interval: "1s", scrape_timeout: "1s", evaluation_interval: "250ms" },
      rule_files: ["alerts.yml"],
      scrape_configs: [{ job_name: "tally", static_configs: [{ targets }], ...authorization }],
    };
    await Deno.writeTextFile(`${dir}/prometheus.yml`, JSON.stringify(config)); // JSON is YAML.
    const address = `127.0.0.1:${freePort()}`;
    const process = new Deno.Command("prometheus", {
      args: [
        `--config.file=${dir}/prometheus.yml`,
        `--storage.tsdb.path=${dir}/data`,
        `--web.listen-address=${address}`,
      ],
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const server = new PrometheusServer(process, dir, `http://${address}`);
    let ended = false;
    process.status.then(() => ended = true);
    await until(async () => {
      if (ended) throw new Error(`prometheus ended at its start: ${await server.#log}`);
      const response = await fetch(`${server.#url}/-/ready`).catch(() => undefined);
      await response?.body?.cancel();
      return response?.ok === true;
    }, "prometheus answers");
    return server;
  }

  /** Each target's last scrape error, empty if there was none. */
  async scrapeErrors(): Promise<readonly string[]> {
    const { activeTargets } = await this.#get("/api/v1/targets") as {
      activeTargets: { lastError: string }[];
    };
    return activeTargets.map(({ lastError }) => lastError);
  }

  /** The value of an expression that has one series; undefined if it has none. */
  async value(expression: string): Promise<number | undefined> {
    const path = `/api/v1/query?query=${encodeURIComponent(expression)}`;
    const { result } = await this.#get(path) as { result: { value: [number, string] }[] };
    if (result.length > 1) throw new Error(`${expression} has ${result.length} series`);
    return result[0] === undefined ? undefined : Number(result[0].value[1]);
  }

  /** Labels of the series that an expression has now. */
  async series(expression: string): Promise<readonly Readonly<Record<string, string>>[]> {
    const path = `/api/v1/query?query=${encodeURIComponent(expression)}`;
    const { result } = await this.#get(path) as { result: { metric: Record<string, string> }[] };
    return result.map(({ metric }) => metric);
  }

  /** The names of the alerts that fire now. */
  async firing(): Promise<readonly string[]> {
    const { alerts } = await this.#get("/api/v1/alerts") as { alerts: Alert[] };
    const firing = alerts.filter(({ state }) => state === "firing");
    return [...new Set(firing.map(({ labels }) => labels["alertname"]!))].sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.status;
    await this.#log;
    await Deno.remove(this.#dir, { recursive: true });
  }

  async #get(path: string): Promise<unknown> {
    const response = await fetch(this.#url + path);
    const { status, data, error } = await response.json();
    if (status !== "success") throw new Error(`prometheus answered ${path} with ${error}`);
    return data;
  }
}
