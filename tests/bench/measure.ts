/**
 * Loads a server and checks, every time, that its store holds exactly what was sent to it.
 *
 * @module
 */
import { Child } from "./child.ts";
import type { Load, LoadResult } from "./load.ts";
import type { Probe, ProbeResult, Reading, ReadingResult } from "./reader.ts";
import type { Subject } from "./subject.ts";

/** A load without what the bench decides by itself. */
export type LoadShape = Omit<Load, "port" | "ca" | "skipPackets" | "firstDevice">;

/** Sixteen streams of packets of a thousand devices, as fast as they go: loads are told as what differs. */
export const usualLoad = {
  rpc: "StreamPackets",
  packing: "message",
  packetsPerMessage: 1,
  framesPerWrite: 16,
  connections: 16,
  streamsPerConnection: 1,
  devices: 1000,
  minPackets: 0,
  packetsPerSecond: undefined,
} as const satisfies Partial<LoadShape>;

/** One run. */
export interface Measured {
  readonly packets: number;
  readonly packetsPerSecond: number;
  readonly connectMs: number;
  readonly refused: number;
  readonly failed: number;
  readonly generatorCpu: number;
}

/** The processes that load and read. */
export class LoadProcesses implements AsyncDisposable {
  readonly #generators: Child[] = [];
  #reader: Child | undefined;
  #stopped = false;

  /** Runs loads at the same time, each in a process of its own. */
  run(loads: readonly Load[]): Promise<LoadResult[]> {
    while (this.#generators.length < loads.length) this.#generators.push(this.#start("./load_process.ts"));
    return Promise.all(loads.map((load, index) => this.#generators[index]!.ask<LoadResult>(load)));
  }

  /** Reads, or probes. */
  read(task: Reading): Promise<ReadingResult> {
    return (this.#reader ??= this.#start("./reader_process.ts")).ask(task);
  }

  /** See {@linkcode Probe}. */
  probe(task: Probe): Promise<ProbeResult> {
    return (this.#reader ??= this.#start("./reader_process.ts")).ask(task);
  }

  /** Kills them: whoever waits for one is told, and none is started again. */
  stop(): void {
    this.#stopped = true;
    for (const child of [...this.#generators, this.#reader]) child?.kill();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of [...this.#generators, this.#reader]) await child?.[Symbol.asyncDispose]();
  }

  #start(script: string): Child {
    if (this.#stopped) throw new Error("the bench was stopped");
    return Child.start(script);
  }
}

/** A subject, and what was sent to it so far. */
export class Ledger {
  /** What was wrong with it first. */
  wrong: string | undefined;
  /** Of each generator, which has devices of its own: what it sent, and of how many devices at most. */
  readonly #generators: { sent: number; devices: number }[];
  #probed = 0;

  /** `generators` processes share each load. */
  constructor(readonly subject: Subject, readonly processes: LoadProcesses, generators: number) {
    this.#generators = Array.from({ length: generators }, () => ({ sent: 0, devices: 0 }));
  }

  /**
   * Loads it, and compares, which costs the store time: `done` is called before that. All loads of a ledger send the
   * same packets in the same way.
   */
  async load(
    shape: LoadShape,
    meanwhile: () => Promise<void> = () => Promise.resolve(),
    done: () => Promise<void> = () => Promise.resolve(),
  ): Promise<Measured> {
    const [results] = await Promise.all([this.processes.run(this.#shares(shape)), meanwhile()]);
    await done();
    results.forEach(({ sent }, index) => this.#generators[index]!.sent += sent);
    const failed = sum(results.map((result) => result.failed));
    if (failed > 0) {
      this.wrong ??= `${failed} calls failed: ${results.flatMap(({ failures }) => failures).join("; ")}`;
    }
    await this.compare();
    const packets = sum(results.map(({ sent }) => sent));
    const startedMs = Math.min(...results.map((result) => result.startedMs));
    const endedMs = Math.max(...results.map((result) => result.endedMs));
    return {
      packets,
      packetsPerSecond: packets / (endedMs - startedMs) * 1000,
      connectMs: Math.max(...results.map(({ connectMs }) => connectMs)),
      refused: sum(results.map(({ refused }) => refused)),
      failed,
      generatorCpu: Math.max(...results.map(({ generatorCpu }) => generatorCpu)),
    };
  }

  /** Probes it, see {@linkcode Probe}; the probe's packets are part of what it must have counted. */
  async probe(apiPort: number, durationMs: number): Promise<ProbeResult> {
    const result = await this.processes.probe({ ingestPort: this.subject.port, apiPort, durationMs });
    this.#probed += result.freshnessMs.length;
    return result;
  }

  /** Notes when the store does not hold exactly what was sent. */
  async compare(): Promise<void> {
    const counted = await this.subject.counted();
    if (counted === undefined) return;
    const packets = sum(this.#generators.map(({ sent }) => sent)) + this.#probed;
    const devices = sum(this.#generators.map(({ sent, devices }) => Math.min(sent, devices))) +
      Math.min(this.#probed, 1);
    if (counted.packets === packets && counted.devices === devices) return;
    this.wrong ??= `the store holds ${counted.packets} packets of ${counted.devices} devices, ` +
      `sent were ${packets} of ${devices}`;
  }

  /** A load for each generator, which goes on in its ring where it ended. */
  #shares(shape: LoadShape): Load[] {
    const count = this.#generators.length;
    const share = (total: number, index: number) =>
      Math.floor(total * (index + 1) / count) - Math.floor(total * index / count);
    let firstDevice = 0;
    return this.#generators.map((generator, index) => {
      generator.devices = share(shape.devices, index);
      const load = {
        ...shape,
        port: this.subject.port,
        ca: this.subject.ca,
        connections: share(shape.connections, index),
        minPackets: share(shape.minPackets, index),
        packetsPerSecond: shape.packetsPerSecond === undefined ? undefined : shape.packetsPerSecond / count,
        devices: generator.devices,
        firstDevice,
        skipPackets: generator.sent,
      };
      firstDevice += generator.devices;
      return load;
    });
  }
}

function sum(values: readonly number[]): number {
  return values.reduce((total, value) => total + value, 0);
}
