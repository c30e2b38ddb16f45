/** What an answer cites: the numbers of a model's text made those of its citations, and passages quoted where no model is asked. */
import type { Citation } from '../turns.ts';
import { rank } from './offline-model.ts';
import type { Passage } from './retrieval.ts';

/** What a passage may quote. */
const QUOTED = 600;
const MOST_QUOTED = 2;

export type Drafted = { readonly text: string; readonly citations: readonly Citation[] };

/** The top passages that are about the question, as they stand. undefined: none is. */
export function quoted(question: string, passages: readonly Passage[]): Drafted | undefined {
  const top = rank(passages, question).slice(0, MOST_QUOTED);
  if (top.length === 0) return undefined;
  return cited(top.map(({ passage, place }) => `${passage.heading} [${place + 1}]\n${quote(passage.text)}`).join('\n\n'), passages);
}

/** Whole lines; a fence that is opened is closed. */
function quote(text: string): string {
  if (text.length <= QUOTED) return closed(text);
  const cut = text.slice(0, QUOTED);
  return closed(`${cut.slice(0, Math.max(cut.lastIndexOf('\n'), cut.lastIndexOf(' '), 1)).trimEnd()} …`);
}

function closed(text: string): string {
  const fences = text.match(/^[ \t]*(?:```|~~~)/gm) ?? [];
  return fences.length % 2 === 0 ? text : `${text}\n${fences.at(-1)?.trim()}`;
}

const CODE_OR_CITATION = /(```[\s\S]*?(?:```|$)|`[^`\n]*`)|\s?\[(\d+)\]/g;

/** Numbers what the text cites from 1 in its own order, so that [n] names the n-th citation; a number that names no passage goes. */
export function cited(text: string, passages: readonly Passage[]): Drafted {
  const found = new Map<string, { readonly number: number; readonly citation: Citation }>();
  const numbered = text.replace(CODE_OR_CITATION, (whole, code: string | undefined, at: string) => {
    if (code !== undefined) return code;
    const passage = passages[Number(at) - 1];
    if (!passage) return '';
    const { document, heading, version } = passage;
    const key = `${document}\n${heading}`;
    const { number } = found.get(key) ?? { number: found.size + 1 };
    found.set(key, { number, citation: { document, heading, version } });
    return `${/^\s/.test(whole) ? whole[0] : ''}[${number}]`;
  });
  return { text: numbered, citations: [...found.values()].map(({ citation }) => citation) };
}
