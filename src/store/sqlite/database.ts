/**
 * A SQLite file as the parts of the store use it: transactions, statements, and the checks that each call makes.
 *
 * @module
 */
import type { DatabaseSync, StatementSync } from "node:sqlite";

import {
  failure,
  type OpenedFile,
  OpenFiles,
  readTransaction,
  transaction,
  writeApplicationId,
} from "./database_file.ts";
import { SCHEMA_VERSION, wrongVersion } from "./migrations.ts";

/** Statements by the names that the code uses. */
export type Statements<Name extends string> = Readonly<Record<Name, StatementSync>>;

/** The method is not among the types of Deno 2.9. */
type ReturnsArrays = StatementSync & { setReturnArrays(enabled: boolean): void };

/**
 * An open file with this program's tables. Calls reject once it was deleted or replaced, or a newer Tally has
 * upgraded its tables; it is closed then.
 */
export class Database {
  /** Its absolute path. */
  readonly file: string;
  readonly #db: DatabaseSync;
  readonly #lockTimeoutMs: number;
  readonly #openFiles: OpenFiles;
  readonly #readVersion: StatementSync;

  /** Owns the connection, whose file has the tables. */
  constructor({ db, identity }: OpenedFile, file: string, lockTimeoutMs: number) {
    this.file = file;
    this.#db = db;
    this.#lockTimeoutMs = lockTimeoutMs;
    this.#openFiles = new OpenFiles(file, identity);
    this.#readVersion = db.prepare("PRAGMA user_version");
  }

  /** False once it was closed, by the caller or by a check. */
  get isOpen(): boolean {
    return this.#db.isOpen;
  }

  /** Prepares statements whose rows are objects. */
  prepare<Name extends string>(statements: Readonly<Record<Name, string>>): Statements<Name> {
    const entries = Object.entries<string>(statements).map(([name, sql]) => [name, this.#db.prepare(sql)]);
    return Object.fromEntries(entries) as Statements<Name>;
  }

  /** Prepares statements whose rows are arrays: for many rows the driver takes half the time. */
  prepareArrays<Name extends string>(statements: Readonly<Record<Name, string>>): Statements<Name> {
    const prepared = this.prepare(statements);
    for (const statement of Object.values<StatementSync>(prepared)) {
      (statement as ReturnsArrays).setReturnArrays(true);
    }
    return prepared;
  }

  /** Runs `body`, which reads by one statement. `attempt` completes "could not …". */
  // deno-lint-ignore require-await -- a failure is a rejection, as the contract states
  async read<T>(attempt: string, body: () => T): Promise<T> {
    try {
      const result = body();
      this.#assertVersion();
      this.#assertFilesInPlace();
      return result;
    } catch (error) {
      throw failure(attempt, this.file, this.#closeIfUnusable() ?? error);
    }
  }

  /** As {@linkcode Database.read}; all statements of `body` read one snapshot. */
  readSnapshot<T>(attempt: string, body: () => T): Promise<T> {
    return this.read(attempt, () => readTransaction(this.#db, body));
  }

  /** Runs `body` in one transaction: all of it happens, or nothing and this rejects. */
  async write<T>(attempt: string, body: () => T): Promise<T> {
    try {
      const result = await transaction(this.#db, this.#lockTimeoutMs, () => {
        this.#assertVersion();
        return body();
      });
      // After the commit: what is reported as written was in the file that the path leads to.
      this.#assertFilesInPlace();
      return result;
    } catch (error) {
      throw failure(attempt, this.file, this.#closeIfUnusable(true) ?? error);
    }
  }

  /** Writes a page, as every batch does: that fails on a full disk. */
  async probe(): Promise<void> {
    await this.write("write to", () => this.#db.exec(writeApplicationId));
  }

  /** Closes the file. */
  close(): void {
    if (this.#db.isOpen) this.#db.close();
  }

  #schemaVersion(): number {
    return (this.#readVersion.get() as { user_version: number }).user_version;
  }

  #assertVersion(): void {
    const found = this.#schemaVersion();
    if (found !== SCHEMA_VERSION) throw wrongVersion(found);
  }

  #assertFilesInPlace(): void {
    if (this.#openFiles.lost() !== undefined) throw new Error("it was deleted or replaced");
  }

  /** With `saveLog`, what is committed to a log that alone was deleted still gets into the file. */
  #closeIfUnusable(saveLog = false): Error | undefined {
    if (!this.#db.isOpen) return undefined;
    const lost = this.#openFiles.lost();
    if (lost === undefined) return this.#closeIfUpgraded();
    try {
      if (saveLog && lost !== this.file) this.#db.exec("PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // Another connection has saved it, or it can no longer be read.
    }
    this.#db.close();
    return new Error(`${lost} was deleted or replaced while it was open; the file is opened anew`);
  }

  #closeIfUpgraded(): Error | undefined {
    try {
      const found = this.#schemaVersion();
      if (found === SCHEMA_VERSION) return undefined;
      this.#db.close();
      return wrongVersion(found);
    } catch {
      return undefined; // The file cannot be read now; the caller reports why.
    }
  }
}
