/**
 * A table of settings as text: for `--help`, and as Markdown.
 *
 * @module
 */
import type { Setting, SettingTable } from "./settings.ts";

/** Longest line of a help text, in characters. */
const HELP_WIDTH = 80;

/** The part of `--help` about the settings, three lines or so each, under the headings of their groups. */
export function settingsHelp(table: SettingTable): string {
  return groups(table).map(([heading, settings]) => {
    const entries = settings.map(helpEntry).join("\n");
    return heading === undefined ? entries : `${heading}\n\n${entries}`;
  }).join("\n");
}

/** All settings in Markdown, as `deno fmt` formats it: a heading and a table for each group. */
export function settingsMarkdown(table: SettingTable): string {
  return groups(table).map(([heading, settings]) => {
    const rows = settings.map((setting) => [
      nameCell(setting),
      defaultCell(setting),
      setting.help,
      setting.allowed,
      setting.role ?? "",
    ]);
    const title = heading === undefined ? "" : `## ${heading}\n\n`;
    return title + markdownTable(["Setting", "Default", "Meaning", "Allowed", "Role"], rows);
  }).join("\n");
}

/** The settings that most users set, as one Markdown table, each group's name before its first row. */
export function commonSettingsMarkdown(table: SettingTable): string {
  const rows = groups(table).flatMap(([heading = "", settings]) =>
    settings.filter(({ common }) => common).map((setting, index) => [
      index === 0 ? heading : "",
      nameCell(setting),
      defaultCell(setting),
      setting.help,
    ])
  );
  return markdownTable(["", "Setting", "Default", "Meaning"], rows);
}

/** Settings that are not hidden by their heading, in the order of the table. */
function groups(table: SettingTable): [string | undefined, Setting<unknown>[]][] {
  const shown = Object.values(table).filter(({ hidden }) => !hidden);
  return [...Map.groupBy(shown, ({ group }) => group)];
}

function helpEntry(setting: Setting<unknown>): string {
  const names = [`--${setting.flag}`, ...(setting.env === undefined ? [] : [setting.env])].join(", ");
  const given = setting.default === undefined ? "Not set by default" : `Default ${setting.default}`;
  const role = setting.role === undefined ? "" : ` Role: ${setting.role}.`;
  return `  ${names}\n` + wrapped(setting.help, 6) +
    wrapped(`${given}; allowed: ${setting.allowed}.${role}`, 6);
}

/** `text` in lines of {@linkcode HELP_WIDTH} at most, each after `indent` spaces. */
function wrapped(text: string, indent: number): string {
  const lines: string[] = [];
  for (const word of text.split(" ")) {
    const line = lines.at(-1);
    if (line !== undefined && indent + line.length + 1 + word.length <= HELP_WIDTH) {
      lines.splice(-1, 1, `${line} ${word}`);
    } else lines.push(word);
  }
  return lines.map((line) => `${" ".repeat(indent)}${line}\n`).join("");
}

function nameCell({ env, flag }: Setting<unknown>): string {
  return `\`${env ?? `--${flag}`}\``;
}

function defaultCell(setting: Setting<unknown>): string {
  return setting.default === undefined ? "not set" : `\`${setting.default}\``;
}

function markdownTable(head: readonly string[], body: readonly (readonly string[])[]): string {
  const rows = [head, ...body].map((row) => row.map((cell) => cell.replaceAll("|", "\\|")));
  const widths = head.map((_, column) => Math.max(3, ...rows.map((row) => row[column]!.length)));
  const line = (cells: readonly string[], fill = " ") =>
    `| ${cells.map((cell, column) => cell.padEnd(widths[column]!, fill)).join(" | ")} |\n`;
  const [first, ...rest] = rows;
  return line(first!) + line(widths.map(() => ""), "-") + rest.map((row) => line(row)).join("");
}
