/** A demo tenant's documents, read from its installed package. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { DemoTenant } from './tenants.ts';

export type DemoDocument = { readonly id: string; readonly title: string; readonly content: string; readonly digest: string };
const PACKAGES = fileURLToPath(new URL('../../node_modules', import.meta.url));
const MOST_TITLE = 300;

export function documentsOf({ package: name, docs }: DemoTenant): { readonly version: string; readonly documents: readonly DemoDocument[] } {
  const home = join(PACKAGES, name);
  const { version } = JSON.parse(readFileSync(join(home, 'package.json'), 'utf8')) as { version: string };
  const folder = join(home, docs);
  const files = (readdirSync(folder, { recursive: true }) as string[]).filter((file) => file.endsWith('.md')).sort();
  const documents = files.map((file) => {
    const content = readFileSync(join(folder, file), 'utf8');
    // The digest covers what is sent: a new version of the package is sent again, even where its text is the same.
    return { id: file, title: titleOf(content) || file, content, digest: createHash('sha256').update(`${version}\n${content}`).digest('hex') };
  });
  return { version, documents };
}

/** The first heading outside fenced code, without markup. */
export function titleOf(markdown: string): string {
  const heading = /^#{1,6}\s+(.+)$/m.exec(markdown.replace(/^(```|~~~)[\s\S]*?^\1/gm, ''))?.[1] ?? '';
  return heading
    .replace(/<[^>]*>|[`*]/g, '')
    .trim()
    .slice(0, MOST_TITLE);
}
