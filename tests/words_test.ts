/**
 * Words that the project does not use, in what people read: `src`, `proto`, the documents and the titles of
 * tests. A protocol and a program send, receive, report, request and store; one thing has one name, the
 * field's. `.github/CONTRIBUTING.md` has the rules of style.
 */
import { assert, assertEquals } from "@std/assert";

import { sourceFiles, sourceText } from "./support/source_files.ts";

/** What is not written, what is written instead, and a sentence that each pattern must find. */
const rules: readonly (readonly [pattern: RegExp, instead: string, example: string])[] = [
  [/\bmelt/, "coalesce", "Packets of one device melt into one."],
  [/\b(takes?|taken|took)( [\w,]+){0,3} back\b/, "cancel, reset", "A device may take 1,000 calls back."],
  [/\bsigns? of life\b/, "keepalive PING", "The connection is asked for a sign of life."],
  [
    /\bwho(ever)? (takes|reads|asks|has|does|wants|serves|sends|says|writes|ends|called)\b/,
    "the part's name: handler, consumer, caller, peer",
    "Returns who takes the stream.",
  ],
  [
    /\bnobody\b/,
    "say what does not happen: no response is sent, unused",
    "The device is gone: nobody is told.",
  ],
  [/\b(said|says|saying)\b/, "sends, reports, states", "The server says GOAWAY."],
  [
    /\bsay(?= (how|so|that|what|when|whether|which|who|why|to))/,
    "report, state",
    "Tally is to say what it is.",
  ],
  [/\b(tells?|told|telling)\b/, "reports, sends; distinguishes", "Each stream is told what became of it."],
  [/\b(hears?|heard|hearing)\b/, "receives", "Every device has heard all."],
  [/\b(hung|hangs?) up\b/, "closes the connection", "The device has hung up."],
  [/\bat hand\b/, "current", "The batch at hand."],
  [/\bof no use\b/, "discarded, unused", "What comes is of no use."],
  [/\b(quick|ordinary) (way|path)\b/, "fast path, grpc-js path", "The quick way is disabled."],
  [/\bway back\b/, "response side of the call, response", "It destroys the way back."],
  [/\bforesaw\b/, "unexpected", "Errors they foresaw."],
  [/\bwithout a word\b/, "without GOAWAY", "It ends without a word."],
  [/\bgoodbyes?\b/, "GOAWAY", "A client that sends its goodbye."],
  [/\b(is|are|be|was) borne\b/, "exceeds a limit", "More than is borne."],
  [/\b(nothing|none) heeds?\b|\bheeded\b/, "ignored, deprecated", "Priority is not heeded."],
  [/\bbehind (its?|that|this|them|the)\b/, "after; end offset", "An integer behind its prefix."],
  [/\b(fall(s|en)?|fell|falling) silent\b/, "go offline", "Devices that fall silent."],
  [/\bstands? at the end of the line\b/, "is re-queued at the tail", "It stands at the end of the line."],
  [/\bunder way\b/, "in flight, in progress", "Calls under way."],
  [/\bis believed\b/, "is accepted", "An unknown session is believed."],
];

/** A line of a file. */
interface Line {
  /** `path:number`. */
  readonly place: string;
  readonly text: string;
}

function linesOf(path: string): Line[] {
  return sourceText(path).split("\n").map((text, index) => ({ place: `${path}:${index + 1}`, text }));
}

/** The titles of the tests of a file, of all their ways to be written. */
function titlesOf(path: string): Line[] {
  const titles = sourceText(path).matchAll(/\b(?:test|step)\(\s*(?:\{\s*name:\s*)?(["'`])([^]*?)\1/g);
  return Array.from(titles, ([, , text]) => ({ place: path, text: text! }));
}

/** Each line that breaks a rule, with what to write instead. */
function breaches(lines: readonly Line[]): string[] {
  return lines.flatMap(({ place, text }) =>
    rules.flatMap(([pattern, instead]) => {
      const found = new RegExp(pattern, "i").exec(text)?.[0];
      return found === undefined ? [] : [`${place}: "${found}"; write: ${instead}`];
    })
  );
}

Deno.test("src, proto and the documents use the words of the field", () => {
  const paths = [
    ...sourceFiles(["ts", "js", "css", "html", "lua", "md"], "src"),
    ...sourceFiles(["proto"], "proto"),
    ...sourceFiles(["md", "yml"], ".github"),
    ...["README.md", "CHANGELOG.md", "compose.yaml", "deno.json"],
  ];
  assertEquals(breaches(paths.flatMap(linesOf)), []);
});

Deno.test("titles of tests use the words of the field", () => {
  assertEquals(breaches(sourceFiles(["ts"], "tests").flatMap(titlesOf)), []);
  const all = sourceFiles(["ts"], "tests").flatMap(titlesOf);
  assert(all.length > 400, `only ${all.length} titles were found`);
});

Deno.test("breaches() finds every word of the list, and leaves the field's own alone", () => {
  for (const [pattern, instead, example] of rules) {
    const found = breaches([{ place: "a.ts:1", text: example }]);
    assert(found.some((breach) => breach.endsWith(`write: ${instead}`)), `${pattern} misses: ${example}`);
  }
  const good = [
    "GOAWAY was sent or received; frames queued in one tick are flushed in one write.",
    "An essay on what a reader behind a proxy takes from the backlog.",
    "The client cancelled; no response is sent. Whoever it was, calls in flight are reset.",
  ];
  assertEquals(breaches(good.map((text) => ({ place: "a.ts:1", text }))), []);
});
