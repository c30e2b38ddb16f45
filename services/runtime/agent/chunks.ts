/** Markdown by heading: what one answer can cite. Fenced code is never cut at a `#`, and long sections are cut at paragraphs. */

export type Chunk = {
  /** The headings above, outermost first: `Hooks › onRequest`. */
  readonly heading: string;
  readonly text: string;
};

const MOST_CHARACTERS = 1_600;
const HEADING = /^(#{1,6})\s+(.+?)\s*#*\s*$/;
const FENCE = /^\s*(```|~~~)/;

export function chunkMarkdown(markdown: string, title: string): readonly Chunk[] {
  const chunks: Chunk[] = [];
  const path: string[] = [];
  let lines: string[] = [];
  let fence: string | undefined;
  const flush = () => {
    const text = lines.join('\n').trim();
    lines = [];
    if (text.length === 0) return;
    const heading = path.filter(Boolean).join(' › ') || title;
    for (const part of cut(text)) chunks.push({ heading, text: part });
  };
  for (const line of withoutFrontMatter(markdown).split('\n')) {
    const mark = FENCE.exec(line)?.[1];
    if (mark) fence = fence === undefined ? mark : fence === mark ? undefined : fence;
    const heading = fence === undefined ? HEADING.exec(line) : null;
    if (!heading) {
      lines.push(line);
      continue;
    }
    flush();
    const level = heading[1]?.length ?? 1;
    path.length = level - 1;
    path[level - 1] = plain(heading[2] ?? '');
  }
  flush();
  return chunks;
}

function withoutFrontMatter(markdown: string): string {
  return markdown.startsWith('---\n') ? markdown.replace(/^---\n[\s\S]*?\n---\n/, '') : markdown;
}

/** A heading's words without markup. */
function plain(heading: string): string {
  return heading
    .replace(/<[^>]*>/g, '')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[*_`]/g, '')
    .trim();
}

/** Cuts between paragraphs, never within a fence. */
function cut(text: string): readonly string[] {
  if (text.length <= MOST_CHARACTERS) return [text];
  const parts: string[] = [];
  let part = '';
  let fenced = false;
  for (const paragraph of text.split(/\n{2,}/)) {
    if (part !== '' && !fenced && part.length + paragraph.length > MOST_CHARACTERS) {
      parts.push(part);
      part = '';
    }
    part = part === '' ? paragraph : `${part}\n\n${paragraph}`;
    if (((paragraph.match(/^\s*(```|~~~)/gm) ?? []).length & 1) === 1) fenced = !fenced;
  }
  return part === '' ? parts : [...parts, part];
}
