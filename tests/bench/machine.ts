/**
 * The machine that is measured on.
 *
 * @module
 */
import { arch, cpus, platform, release } from "node:os";

/** What figures depend on. */
export interface Machine {
  readonly date: string;
  readonly cores: number;
  readonly cpu: string;
  readonly system: string;
  readonly deno: string;
  readonly redis: string | undefined;
}

/** Looks at it. */
export async function machineFacts(): Promise<Machine> {
  return {
    date: new Date().toISOString().slice(0, 10),
    cores: navigator.hardwareConcurrency,
    cpu: cpus()[0]?.model.trim() ?? arch(),
    system: `${platform()} ${release()}`,
    deno: Deno.version.deno,
    redis: await redisVersion(),
  };
}

async function redisVersion(): Promise<string | undefined> {
  try {
    const { stdout } = await new Deno.Command("redis-server", { args: ["--version"] }).output();
    return /v=(\S+)/.exec(new TextDecoder().decode(stdout))?.[1] ?? "of unknown version";
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** In one line. */
export function describeMachine({ date, cores, cpu, system, deno, redis }: Machine): string {
  const [version] = /^\S+ \d+\.\d+/.exec(system) ?? [system];
  return `${date}, ${cores} cores (${cpu}), ${version}, Deno ${deno}, Redis ${redis ?? "missing"}`;
}

/** Files a process has open besides its connections. */
const OTHER_FILES = 100;

/** As many as the system lets a process have. Where that is not to be known, a row shows who was refused. */
export async function maxConnections(progress: (text: string) => void): Promise<number> {
  const most = 10_000;
  // Deno raises the soft limit to the hard one.
  const { stdout } = await new Deno.Command("sh", { args: ["-c", "ulimit -Hn"] }).output();
  const files = Number(new TextDecoder().decode(stdout)); // NaN when it is "unlimited"
  if (!(files - OTHER_FILES < most)) return most;
  const fewer = files - OTHER_FILES;
  progress(`a process may have ${files} files open: no row has more than ${fewer} connections (ulimit -n)`);
  return fewer;
}
