import { assertEquals } from "@std/assert";

import project from "../../deno.json" with { type: "json" };
import { countsOf } from "../support/batches.ts";
import { startTestIngest, temporaryStore } from "../support/harness.ts";

const root = new URL("../../", import.meta.url);

/** Serves the files of the repository that a module may import, as a package registry does. */
function serveFiles(): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen() {} }, async ({ url }) => {
    const { pathname } = new URL(url);
    if (!/^\/(src|proto)\/[\w/]+\.(ts|proto)$|^\/deno\.json$/.test(pathname)) {
      return new Response(null, { status: 404 });
    }
    const type = pathname.endsWith(".ts") ? "text/typescript" : "text/plain";
    return new Response(await Deno.readTextFile(new URL(pathname.slice(1), root)), {
      headers: { "Content-Type": type },
    });
  });
}

Deno.test("TelemetryClient, imported from a URL, sends with no permission but for the network", async () => {
  await using store = await temporaryStore();
  await using ingest = await startTestIngest({ store });
  await using files = serveFiles();
  const clientUrl = `http://127.0.0.1:${files.addr.port}/${project.exports["./device"]}`;
  const program = `
    import { TelemetryClient } from ${JSON.stringify(clientUrl)};
    const client = await TelemetryClient.open({ target: "127.0.0.1:${ingest.port}" });
    await client.send({ device_id: "sensor-1", timestamp: 0, payload: new Uint8Array([1, 2, 3]) });
    console.log((await client.close()).stored);
    Deno.exit();
  `;
  const folder = await Deno.makeTempDir();
  try {
    // Packages by the names that deno.json gives them; nothing else of it reaches the program.
    const packages = Object.entries(project.imports).filter(([, target]) => target.startsWith("npm:"));
    await Deno.writeTextFile(`${folder}/main.ts`, program);
    await Deno.writeTextFile(
      `${folder}/imports.json`,
      JSON.stringify({ imports: Object.fromEntries(packages) }),
    );
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "--no-lock", "--reload=http://127.0.0.1", "--ignore-env"]
        .concat("--allow-net=127.0.0.1", "--allow-import=127.0.0.1", "--import-map=imports.json", "main.ts"),
      cwd: folder,
    }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "1\n"], new TextDecoder().decode(stderr));
    assertEquals(await countsOf(store), { "sensor-1": 1 });
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
