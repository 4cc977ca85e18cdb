/**
 * Certificates made by openssl: authorities, servers', clients', and lists of revoked ones.
 *
 * @module
 */

/** What a certificate is issued with. */
export interface Issue {
  /** Common name; by default the file's name. */
  readonly commonName?: string;
  /** Subject alternative names, as openssl has them. */
  readonly names?: string;
  /** Days it is valid; negative: it has expired. */
  readonly days?: number;
  /** Further extensions, as openssl's configuration has them. */
  readonly extensions?: readonly string[];
  /** The authority, by the name of its files; default `ca`. */
  readonly authority?: string;
}

/** Paths of a certificate and its key. */
export interface KeyFiles {
  readonly cert: string;
  readonly key: string;
}

/** A folder with certificates, removed at the end. */
export class Certificates implements AsyncDisposable {
  private constructor(readonly path: string) {}

  /** A folder, in `parent`, with the authority `ca` and a certificate `server` for localhost and 127.0.0.1. */
  static async make(parent?: string): Promise<Certificates> {
    const certificates = new Certificates(
      await Deno.makeTempDir({ ...parent !== undefined && { dir: parent } }),
    );
    await certificates.authority("ca");
    await certificates.issue("server", { names: "DNS:localhost,IP:127.0.0.1" });
    return certificates;
  }

  /** The path of a file here. */
  file(name: string): string {
    return `${this.path}/${name}`;
  }

  /** The text of a file here. */
  text(name: string): string {
    return Deno.readTextFileSync(this.file(name));
  }

  /** Makes an authority: `NAME.pem` and `NAME.key`; `pathLength`: intermediates that it allows. */
  async authority(name: string, { authority, pathLength }: { authority?: string; pathLength?: number } = {}) {
    const limit = pathLength === undefined ? "" : `,pathlen:${pathLength}`;
    const extensions = [`basicConstraints=critical,CA:TRUE${limit}`, "keyUsage=critical,keyCertSign,cRLSign"];
    return await this.#make(name, { extensions, ...authority && { authority } }, authority === undefined);
  }

  /** Issues a certificate: `NAME.pem` and `NAME.key`. */
  async issue(name: string, issue: Issue = {}): Promise<KeyFiles> {
    // With no extension openssl makes certificates of X.509 version 1.
    const extensions = ["basicConstraints=CA:FALSE", ...issue.extensions ?? []];
    return await this.#make(name, { ...issue, extensions }, false);
  }

  async #make(name: string, issue: Issue, selfSigned: boolean): Promise<KeyFiles> {
    const { commonName = name, names, days = 30, extensions = [], authority = "ca" } = issue;
    const all = [...extensions, ...names === undefined ? [] : [`subjectAltName=${names}`]];
    await Deno.writeTextFile(this.file("extensions"), all.join("\n"));
    const key = this.file(`${name}.key`), cert = this.file(`${name}.pem`), request = this.file(`${name}.csr`);
    await this.run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", key);
    await this.run("req", "-new", "-key", key, "-subj", `/CN=${commonName}`, "-out", request);
    const signer = selfSigned
      ? ["-signkey", key]
      : ["-CA", this.file(`${authority}.pem`), "-CAkey", this.file(`${authority}.key`)];
    const serial = `0x${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}`;
    await this.run(
      ...["x509", "-req", "-in", request, ...signer, "-set_serial", serial, "-days", String(days)],
      ...["-extfile", this.file("extensions"), "-out", cert],
    );
    return { cert, key };
  }

  /** Writes `NAME.crl`, in which an authority has revoked the certificates; `days`: until the next one. */
  async revoke(name: string, revoked: readonly string[], authority = "ca", days = 30): Promise<string> {
    const database = this.file("index.txt"), crl = this.file(`${name}.crl`);
    await Deno.writeTextFile(database, "");
    await Deno.writeTextFile(
      this.file("ca.conf"),
      `[ca]\ndefault_ca=own\n[own]\ndatabase=${database}\ndefault_md=sha256\ncrlnumber=${
        this.file("crlnumber")
      }\n`,
    );
    await Deno.writeTextFile(this.file("crlnumber"), "01\n");
    const signer = ["-keyfile", this.file(`${authority}.key`), "-cert", this.file(`${authority}.pem`)];
    const base = ["ca", "-config", this.file("ca.conf"), ...signer];
    for (const certificate of revoked) await this.run(...base, "-revoke", this.file(`${certificate}.pem`));
    await this.run(...base, "-gencrl", "-crldays", String(days), "-out", crl);
    return crl;
  }

  /** Runs openssl; rejects with its errors if it fails. */
  async run(...args: string[]): Promise<string> {
    const { success, stdout, stderr } = await new Deno.Command("openssl", { args, stdin: "null" }).output();
    if (!success) throw new Error(`openssl ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
    return new TextDecoder().decode(stdout);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}
