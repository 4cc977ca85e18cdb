/**
 * A real HAProxy or nginx of a test's own, with the configuration of `.github/balancing`.
 *
 * @module
 */
import { until } from "./until.ts";
import { freePort } from "./free_port.ts";

/** Which one, and the file that it runs. */
export const balancers = { haproxy: "haproxy.cfg", nginx: "nginx.conf" } as const;

/** Where an ingest listens: for devices, and for health checks. */
export interface IngestPorts {
  readonly port: number;
  readonly opsPort: number;
}

/** In the files, the ingests in this order, each with the port 50051 and the ops port 9464. */
const names = ["ingest", "ingest-2", "ingest-3"];

/** A running balancer; its files go away with it. */
export class LoadBalancer implements AsyncDisposable {
  readonly #process: Deno.ChildProcess;
  readonly #folder: string;
  readonly #read: Promise<void>;
  /** What it wrote so far. */
  log = "";

  private constructor(process: Deno.ChildProcess, folder: string, readonly port: number) {
    this.#process = process;
    this.#folder = folder;
    this.#read = (async () => {
      for await (const text of process.stderr.pipeThrough(new TextDecoderStream())) this.log += text;
    })();
  }

  /** Starts it in front of `ingests`, three; resolves when it listens. */
  static async start(
    program: keyof typeof balancers,
    ingests: readonly IngestPorts[],
  ): Promise<LoadBalancer> {
    const folder = await Deno.makeTempDir({ prefix: `tally-${program}-` });
    const file = `${folder}/${balancers[program]}`;
    const port = freePort();
    const text = await Deno.readTextFile(
      new URL(`../../.github/balancing/${balancers[program]}`, import.meta.url),
    );
    const here = replaced(text, ingests)
      .replace("bind :50051", `bind 127.0.0.1:${port}`)
      .replace("listen 50051", `listen 127.0.0.1:${port}`)
      .replace("http {", `http { ${nginxFolders(folder)}`);
    await Deno.writeTextFile(file, here);
    const nginxArgs = ["-p", folder, "-e", "stderr", "-g", `daemon off; pid ${folder}/nginx.pid;`];
    const args = program === "haproxy" ? ["-f", file] : ["-c", file, ...nginxArgs];
    const process = start(program, args);
    const balancer = new LoadBalancer(process, folder, port);
    let ended = false;
    process.status.then(() => ended = true);
    await until(async () => {
      if (ended) throw new Error(`${program} ended at its start: ${balancer.log}`);
      return await Deno.connect({ hostname: "127.0.0.1", port }).then((socket) => {
        socket.close();
        return true;
      }, () => false);
    }, `${program} listens`);
    return balancer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Not SIGKILL, which would leave nginx's workers.
    this.#process.kill("SIGTERM");
    await this.#process.status;
    await this.#read;
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Debian has both where the path of an ordinary user does not lead. */
function start(program: string, args: string[]): Deno.ChildProcess {
  return new Deno.Command("sh", {
    args: ["-c", 'PATH=$PATH:/usr/sbin exec "$0" "$@"', program, ...args],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

/** The text with the ports of the ingests on this machine. HAProxy's health checks have a port of their own. */
function replaced(text: string, ingests: readonly IngestPorts[]): string {
  return names.reduce((text, name, index) => {
    const { port, opsPort } = ingests[index]!;
    if (!text.includes(` ${name}:50051`)) throw new Error(`no server ${name}:50051 in the configuration`);
    const check = text.includes("httpchk") ? ` port ${opsPort}` : "";
    return text.replace(` ${name}:50051`, ` 127.0.0.1:${port}${check}`);
  }, text);
}

/** What nginx has in folders of the system's by default. */
function nginxFolders(folder: string): string {
  const buffers = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((name) =>
    `${name}_temp_path ${folder}/${name};`
  );
  return `access_log off; ${buffers.join(" ")}`;
}
