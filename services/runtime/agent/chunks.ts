/**
 * Markdown by heading: what one answer can cite. Fenced code is never read as headings or cut open, and every chunk is bounded, so that
 * the prompt of an answer, and with it its worst case, is bounded too.
 */

export type Chunk = {
  /** The headings above, outermost first: `Hooks › onRequest`. */
  readonly heading: string;
  readonly text: string;
};
type Block = { readonly lines: readonly string[]; readonly fenced: boolean };

export const MOST_CHARACTERS = 1_500;
const HEADING = /^(#{1,6})\s+(.+?)\s*#*\s*$/;
const FENCE = /^\s*(`{3,}|~{3,})(.*)$/;
/** `[name]: address` serves other lines' links; as text it holds many words and says nothing. */
const LINK_DEFINITION = /^\s*\[[^\]]+\]:\s*\S+/;

export function chunkMarkdown(markdown: string, title: string): readonly Chunk[] {
  const chunks: Chunk[] = [];
  const path: string[] = [];
  let blocks: Block[] = [];
  let lines: string[] = [];
  let fence: string | undefined;
  const endBlock = (fenced = false) => {
    if (lines.length > 0) blocks.push({ lines, fenced });
    lines = [];
  };
  const endSection = () => {
    endBlock(fence !== undefined);
    const heading = path.filter(Boolean).join(' › ') || title;
    for (const text of pack(blocks)) chunks.push({ heading, text });
    blocks = [];
  };
  for (const line of bare(markdown).split('\n')) {
    const mark = FENCE.exec(line);
    if (fence !== undefined) {
      lines.push(line);
      if (mark?.[1]?.startsWith(fence) && mark[2]?.trim() === '') {
        endBlock(true);
        fence = undefined;
      }
      continue;
    }
    const heading = HEADING.exec(line);
    if (mark) {
      endBlock();
      fence = mark[1];
      lines.push(line);
    } else if (heading) {
      endSection();
      path.length = (heading[1]?.length ?? 1) - 1;
      path.push(plain(heading[2] ?? ''));
    } else if (line.trim() === '') endBlock();
    else if (!LINK_DEFINITION.test(line)) lines.push(line);
  }
  endSection();
  return chunks;
}

/** Without front matter, and with one kind of line end. */
function bare(markdown: string): string {
  const text = markdown.replace(/^\uFEFF/, '').replace(/\r\n?/g, '\n');
  return text.startsWith('---\n') ? text.replace(/^---\n[\s\S]*?\n---(\n|$)/, '') : text;
}

/** A heading's words without markup. */
function plain(heading: string): string {
  return heading
    .replace(/<[^>]*>/g, '')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/[*`]|\\(?=_)/g, '')
    .trim();
}

/** As many blocks together as fit. */
function pack(blocks: readonly Block[]): readonly string[] {
  const parts: string[] = [];
  for (const text of blocks.flatMap(bounded)) {
    const last = parts.at(-1);
    if (last !== undefined && last.length + text.length + 2 <= MOST_CHARACTERS) parts[parts.length - 1] = `${last}\n\n${text}`;
    else parts.push(text);
  }
  return parts;
}

/** A block that is too long is cut between lines; each part of fenced code gets its fence again. */
function bounded({ lines, fenced }: Block): readonly string[] {
  const whole = fenced
    ? lines.join('\n')
    : lines
        .join('\n')
        .replace(/<!--[\s\S]*?-->/g, '')
        .trim();
  if (whole.length <= MOST_CHARACTERS) return whole === '' ? [] : [whole];
  const open = fenced ? (lines[0] ?? '').slice(0, 100) : '';
  const close = fenced ? (FENCE.exec(open)?.[1] ?? '```') : '';
  const room = MOST_CHARACTERS - open.length - close.length - 2;
  const parts: string[] = [];
  let part = '';
  for (const line of (fenced ? lines.slice(1, isClosed(lines) ? -1 : undefined) : whole.split('\n')).flatMap((each) => slices(each, room))) {
    if (part !== '' && part.length + line.length + 1 > room) {
      parts.push(part);
      part = '';
    }
    part = part === '' ? line : `${part}\n${line}`;
  }
  if (part !== '') parts.push(part);
  return fenced ? parts.map((code) => `${open}\n${code}\n${close}`) : parts;
}

function isClosed(lines: readonly string[]): boolean {
  return lines.length > 1 && FENCE.exec(lines.at(-1) ?? '')?.[2]?.trim() === '';
}

/** Between words where there are any. */
function slices(line: string, most: number): readonly string[] {
  const parts: string[] = [];
  let rest = line;
  while (rest.length > most) {
    const space = rest.lastIndexOf(' ', most);
    const at = space > most / 2 ? space : most;
    parts.push(rest.slice(0, at));
    rest = rest.slice(at).trimStart();
  }
  return rest === '' && parts.length > 0 ? parts : [...parts, rest];
}
