/**
 * Makes sure that what the tests run is there: `deno task test` does this first. On Debian and Ubuntu
 * it installs what is missing, as root or with a sudo that asks for no password; elsewhere it says
 * what to install and ends with exit code 1. No test is left out instead.
 *
 * @module
 */

/** Something the tests run, and where it comes from. */
interface Need {
  readonly name: string;
  /** Exits with 0 where it is installed. */
  readonly probe: readonly [program: string, ...args: string[]];
  readonly apt: readonly string[];
  /** Programs to take out of their package instead of installing that, which would start a service. */
  readonly aptPrograms?: { readonly package: string; readonly paths: readonly string[] };
  readonly brew: readonly string[];
}

const needs: readonly Need[] = [
  {
    name: "redis-server, the store most tests run against",
    probe: ["redis-server", "--version"],
    apt: ["redis-server"],
    brew: ["brew install redis"],
  },
  {
    name: "openssl, to make certificates",
    probe: ["openssl", "version"],
    apt: ["openssl"],
    brew: ["brew install openssl"],
  },
  {
    name: "protoc, to make the Python client from the proto",
    probe: ["protoc", "--version"],
    apt: ["protobuf-compiler"],
    brew: ["brew install protobuf"],
  },
  {
    name: "grpc_python_plugin, protoc's part for gRPC in Python",
    probe: ["sh", "-c", "command -v grpc_python_plugin"],
    apt: ["protobuf-compiler-grpc"],
    brew: ["brew install grpc"],
  },
  {
    name: "/usr/bin/python3 with grpcio, protobuf and redis, to run clients in another language",
    probe: ["/usr/bin/python3", "-c", "import grpc, google.protobuf, redis"],
    apt: ["python3", "python3-grpcio", "python3-protobuf", "python3-redis"],
    brew: ["/usr/bin/python3 -m pip install --user grpcio protobuf redis"],
  },
  {
    name: "Chromium or Chrome, to look at the monitor page with",
    probe: [
      "sh",
      "-c",
      "command -v chromium-headless-shell || command -v chromium || command -v google-chrome",
    ],
    apt: ["chromium-headless-shell"],
    brew: ["brew install --cask chromium"],
  },
  {
    name: "libfaketime, to set the clock of one process; only Linux has it where chaos looks",
    probe: ["sh", "-c", "test $(uname) != Linux || ls /usr/lib/*/faketime/libfaketimeMT.so.1"],
    apt: ["libfaketime"],
    brew: [],
  },
  {
    name: "prometheus, to read what it is given, and promtool, to check that and the alerts",
    probe: ["sh", "-c", "prometheus --version && promtool --version"],
    apt: [],
    aptPrograms: { package: "prometheus", paths: ["usr/bin/prometheus", "usr/bin/promtool"] },
    brew: ["brew install prometheus"],
  },
  {
    name: "haproxy, to balance streams over several ingests; Debian's service of it listens nowhere",
    probe: ["sh", "-c", "PATH=$PATH:/usr/sbin haproxy -v"],
    apt: ["haproxy"],
    brew: ["brew install haproxy"],
  },
  {
    name: "nginx, to do the same",
    probe: ["sh", "-c", "PATH=$PATH:/usr/sbin nginx -v"],
    apt: ["libpcre2-8-0"],
    aptPrograms: { package: "nginx", paths: ["usr/sbin/nginx"] },
    brew: ["brew install nginx"],
  },
];

const missing = await missingNeeds();
if (missing.length > 0) {
  console.log(`Missing for the tests:\n${missing.map(({ name }) => `  ${name}\n`).join("")}`);
  if (!await installWithApt(missing)) giveUp(missing);
  const stillMissing = await missingNeeds();
  if (stillMissing.length > 0) giveUp(stillMissing);
}

async function missingNeeds(): Promise<Need[]> {
  const found = await Promise.all(needs.map(({ probe }) => succeeds(...probe)));
  return needs.filter((_, index) => !found[index]);
}

/** False where apt is not to be had or fails; its own output says why. */
async function installWithApt(needs: readonly Need[]): Promise<boolean> {
  if (!await succeeds("apt-get", "--version")) return false;
  const isRoot = Deno.uid() === 0;
  if (!isRoot && !await succeeds("sudo", "-n", "true")) return false;
  const asRoot = (...[program, ...args]: [string, ...string[]]) =>
    isRoot ? runs(program, ...args) : runs("sudo", "-n", program, ...args);
  const apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-qq", "-o", "Dpkg::Use-Pty=0"] as const;

  const packages = needs.flatMap(({ apt }) => apt);
  console.log(`Installing with apt-get: ${needs.flatMap(aptPackages).join(" ")}`);
  if (!await asRoot(...apt, "update")) return false;
  if (packages.length > 0 && !await asRoot(...apt, "install", "-y", "--no-install-recommends", ...packages)) {
    return false;
  }
  for (const { aptPrograms } of needs) {
    if (aptPrograms === undefined) continue;
    const { package: name, paths } = aptPrograms;
    const script = `cd "$(mktemp -d)" && apt-get -qq download ${name} && dpkg -x ${name}_*.deb . && ` +
      `install ${paths.join(" ")} /usr/local/bin/ && rm -r "$PWD"`;
    if (!await asRoot("sh", "-c", script)) return false;
  }
  return true;
}

function aptPackages({ apt, aptPrograms }: Need): string[] {
  return [...apt, ...aptPrograms === undefined ? [] : [aptPrograms.package]];
}

function giveUp(missing: readonly Need[]): never {
  const packages = missing.flatMap(aptPackages).join(" ");
  console.error(
    `Cannot run the tests: ${missing.length} of the programs they need could not be installed.\n` +
      `  Debian, Ubuntu:  sudo apt-get update && sudo apt-get install ${packages}\n` +
      `  macOS:           ${missing.flatMap(({ brew }) => brew).join(" && ")}`,
  );
  Deno.exit(1);
}

async function succeeds(program: string, ...args: string[]): Promise<boolean> {
  return await exitCode(program, args, "null") === 0;
}

async function runs(program: string, ...args: string[]): Promise<boolean> {
  return await exitCode(program, args, "inherit") === 0;
}

async function exitCode(
  program: string,
  args: string[],
  output: "null" | "inherit",
): Promise<number | undefined> {
  try {
    const command = new Deno.Command(program, { args, stdin: "null", stdout: output, stderr: output });
    return (await command.output()).code;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
