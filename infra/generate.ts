/** Writes what follows from the tables: the `.avsc` files for foreign producers, and the tables in README.md and ARCHITECTURE.md. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ERRORS } from '#schemas/errors.ts';
import { OTHER_POLICY, POLICY } from '#schemas/policy.ts';
import { SHAPES } from '#schemas/records.ts';
import { QUOTAS, TENANT_QUOTAS, TOPICS } from '#schemas/topics.ts';
import { settingsTable } from '#services/config.ts';
import { exitRows } from '#services/exit.ts';
import { LIMITS } from '#streams/support/limits.ts';

const ROOT = fileURLToPath(new URL('..', import.meta.url));

const row = (...cells: readonly (string | number)[]): string => `| ${cells.join(' | ')} |`;
const table = (head: readonly string[], rows: readonly string[]): string => [row(...head), row(...head.map(() => '---')), ...rows].join('\n');

const rate = (bytes: number | undefined): string => (bytes === undefined ? '' : `${bytes / 1_048_576} MiB/s`);

/** The first sentence at a file's head. */
function purpose(path: string): string {
  const head = /^(?:#!.*\n)?(?:\/\*\*([\s\S]*?)\*\/|((?:\/\/.*\n)+))/.exec(readFileSync(`${ROOT}/${path}`, 'utf8'));
  const text = (head?.[1] ?? head?.[2] ?? '')
    .replace(/^\s*(\*|\/\/) ?/gm, '')
    .replace(/\s+/g, ' ')
    .trim();
  return /^.*?[.:](?= |$)/.exec(text)?.[0].replace(/[.:]$/, '') ?? text;
}

function fileMap(): string {
  const folders = ['schemas', 'streams', 'services', 'infra'];
  const paths = folders
    .flatMap((folder) => (readdirSync(`${ROOT}/${folder}`, { recursive: true }) as string[]).map((path) => `${folder}/${path}`))
    .filter((path) => /\.(ts|mjs|js)$/.test(path) && !path.endsWith('.d.ts'))
    .sort();
  const byFolder = Map.groupBy(paths, dirname);
  return [...byFolder].map(([folder, of]) => [`**${folder}/**`, '', ...of.map((path) => `- \`${basename(path)}\` ${purpose(path)}`)].join('\n')).join('\n\n');
}

const TABLES: Readonly<Record<string, () => string>> = {
  settings: settingsTable,
  files: fileMap,
  topics: () =>
    table(
      ['Topic', 'Holds', 'Cleanup', 'Written by', 'Read by'],
      Object.entries(TOPICS).map(([name, { holds, cleanup, writers, readers }]) => row(`\`${name}\``, holds, cleanup, writers.join(', '), readers.join(', '))),
    ),
  quotas: () =>
    table(
      ['Principal', 'Writes at most', 'Reads at most'],
      Object.entries({ ...QUOTAS, 'producer-<tenant>': TENANT_QUOTAS.producer, 'auditor-<tenant>': TENANT_QUOTAS.auditor }).map(([name, of]) =>
        row(`\`${name}\``, rate(of.producer_byte_rate), rate(of.consumer_byte_rate)),
      ),
    ),
  limits: () =>
    table(
      ['Limit', 'Asked at', 'Unit'],
      LIMITS.map(({ name, at, unit }) => row(name, at, unit)),
    ),
  policy: () =>
    table(
      ['Field', 'Set by', 'Bounds', 'Default', 'Unit'],
      [
        ...Object.entries(POLICY).map(([name, { by, min, max, fallback, unit }]) => row(`\`${name}\``, by, `${min} to ${max}`, fallback, unit)),
        ...Object.entries(OTHER_POLICY).map(([name, { by, bounds, fallback, unit }]) => row(`\`${name}\``, by, bounds, fallback, unit)),
      ],
    ),
  exits: () =>
    table(
      ['Exit code', 'Of', 'Meaning'],
      exitRows().map((cells) => row(...cells)),
    ),
  errors: () =>
    table(
      ['Code', 'Class', 'Meaning'],
      Object.entries(ERRORS).map(([code, { class: kind, title }]) => row(`\`${code}\``, kind, title)),
    ),
};

/** Replaces what stands between `<!-- table:NAME -->` and `<!-- /table -->`. */
export function withTables(markdown: string): string {
  return markdown.replace(/(<!-- table:(\w+) -->)[\s\S]*?(<!-- \/table -->)/g, (all, open: string, name: string, close: string) => {
    const make = TABLES[name];
    return make ? `${open}\n\n${make()}\n\n${close}` : all;
  });
}

export function avscFiles(): ReadonlyMap<string, string> {
  return new Map(Object.entries(SHAPES).map(([name, { avro }]) => [`schemas/avsc/${name}.avsc`, `${JSON.stringify(avro, null, 2)}\n`]));
}

export const DOCUMENTS = ['README.md', 'ARCHITECTURE.md'];

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  mkdirSync(`${ROOT}/schemas/avsc`, { recursive: true });
  for (const [path, text] of avscFiles()) writeFileSync(`${ROOT}/${path}`, text);
  for (const path of DOCUMENTS) writeFileSync(`${ROOT}/${path}`, withTables(readFileSync(`${ROOT}/${path}`, 'utf8')));
}
