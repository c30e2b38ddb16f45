/** Reads YAML, by the parser that @fastify/swagger brings. */
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';

const { parse } = createRequire(createRequire(import.meta.url).resolve('@fastify/swagger'))('yaml') as {
  parse: (text: string, options: { readonly merge: boolean }) => unknown;
};

export const readYaml = <T>(path: string): T => parse(readFileSync(path, 'utf8'), { merge: true }) as T;
