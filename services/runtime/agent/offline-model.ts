/**
 * An extractive model in this process, behind the AI SDK's interface like any other: it answers with the sentences and the code of the
 * passages that hold most of the question's words, and says UNKNOWN when they hold too few. Deterministic, no key, no network.
 */
import type { LanguageModelV4, LanguageModelV4CallOptions } from '@ai-sdk/provider';
import { type Read, readPrompt, UNKNOWN } from './prompt.ts';
import { isGeneric, terms } from './words.ts';

type Weights = ReadonlyMap<string, number>;
type Sentence = { readonly at: number; readonly sentence: string; readonly score: number };
type Ranked<P> = { readonly passage: P; readonly place: number; readonly score: number };

const CHARACTERS_A_TOKEN = 4;
/** Of the question's words, by weight, this share must stand in a passage. */
const LEAST_COVERAGE = 0.6;
/** A passage whose heading names the question may lack more of its words. */
const SUBJECT = 0.3;
const NAMED = 0.2;
/** A generic word ("add", "create") weighs this much of another. */
const GENERIC_WEIGHT = 0.3;
/** What a heading that names the question adds, and what each place in retrieval's order takes. */
const HEADING = 0.6;
const PLACE = 0.05;
/** A section opens with what it is about. */
const OPENING = 0.1;
const MOST_SENTENCES = 3;
const LEAST_SENTENCE = 20;
const MOST_CODE = 900;

export const estimateTokens = (text: string): number => Math.ceil(text.length / CHARACTERS_A_TOKEN);

/** In the `brief` one, a sentence or two and no code. */
const BRIEF = 280;

export function offlineModel(delayMs: number, { name, brief }: { readonly name: string; readonly brief: boolean }): LanguageModelV4 {
  return {
    specificationVersion: 'v4',
    provider: 'evenkeel',
    modelId: name,
    supportedUrls: {},
    async doGenerate(options) {
      if (delayMs > 0) await delay(delayMs, options.abortSignal);
      const prompt = promptText(options);
      const most = (options.maxOutputTokens ?? 1_000) * CHARACTERS_A_TOKEN;
      const text = extract(prompt, brief ? Math.min(most, BRIEF) : most);
      const [input, output] = [estimateTokens(prompt), estimateTokens(text)];
      return {
        content: [{ type: 'text', text }],
        finishReason: { unified: 'stop', raw: undefined },
        usage: {
          inputTokens: { total: input, noCache: input, cacheRead: undefined, cacheWrite: undefined },
          outputTokens: { total: output, text: output, reasoning: undefined },
        },
        warnings: [],
      };
    },
    doStream: () => Promise.reject(new Error('answers are not streamed: their rules run on the whole text')),
  };
}

function delay(ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    if (signal?.aborted) stop();
    else signal?.addEventListener('abort', stop, { once: true });
  });
}

function promptText({ prompt }: LanguageModelV4CallOptions): string {
  return prompt.flatMap((message) => (message.role === 'user' ? message.content.map((part) => (part.type === 'text' ? part.text : '')) : [])).join('\n');
}

/** Pure: the answer to a prompt, in at most so many characters. */
export function extract(prompt: string, most = Number.POSITIVE_INFINITY): string {
  const { passages, question } = readPrompt(prompt);
  const weights = rarity(new Set(terms(question)), passages);
  for (const { passage } of rank(passages, question)) {
    const code = codeOf(passage, weights);
    const sentences = sentencesOf(passage, weights);
    // A section about more than one thing may name the subject in a list, and what would be quoted be another entry.
    if (![passage.heading, code ?? '', ...sentences.map(({ sentence }) => sentence)].some((said) => isTelling(said, weights))) continue;
    if (sentences.length > 0) return within(sentences, code, `[${passage.id}]`, most);
    if (code) return within([{ sentence: `${passage.heading}:`, score: 1, at: 0 }], code, `[${passage.id}]`, most);
  }
  return UNKNOWN;
}

/** Whole sentences, best first, then the code, as far as there is room; what is said keeps its citation. */
function within(sentences: readonly Sentence[], code: string | undefined, citation: string, most: number): string {
  const [best] = sentences;
  let kept: readonly Sentence[] = [];
  const said = (chosen: readonly Sentence[]) => [...chosen.toSorted((a, b) => a.at - b.at).map(({ sentence }) => sentence), citation].join(' ');
  for (const sentence of sentences) if (said([...kept, sentence]).length <= most) kept = [...kept, sentence];
  if (kept.length === 0) return `${best?.sentence.slice(0, Math.max(most - citation.length - 3, 0))} … ${citation}`.slice(-most);
  const text = said(kept);
  return code && text.length + code.length + 2 <= most ? `${text}\n\n${code}` : text;
}

/** The passages that may hold the answer, best first; none when they are about something else. */
export function rank<P extends Pick<Read, 'heading' | 'text'>>(passages: readonly P[], question: string): readonly Ranked<P>[] {
  const weights = rarity(new Set(terms(question)), passages);
  return passages
    .flatMap((passage, place) => {
      const heading = terms(passage.heading);
      const held = [...heading, ...terms(passage.text)];
      const [covered, named] = [share(held, weights), share(heading, weights) * precision(heading, weights)];
      const subject = SUBJECT * share(heading, weights) + (isNamed(passage.heading, weights) ? NAMED : 0);
      if (covered + subject < LEAST_COVERAGE || !isAbout(held, new Set(heading), weights)) return [];
      return [{ passage, place, score: covered + HEADING * named - PLACE * place }];
    })
    .sort((a, b) => b.score - a.score || a.place - b.place);
}

/** Whether one heading of the path is asked for whole: `Redaction`, of a question about redacting. */
function isNamed(path: string, weights: Weights): boolean {
  return path.split(' › ').some((heading) => {
    const words = terms(heading);
    return words.some((word) => !isGeneric(word)) && words.every((word) => weights.has(word));
  });
}

/** A heading of many other words is about something narrower. */
function precision(heading: readonly string[], weights: Weights): number {
  const words = new Set(heading);
  return words.size === 0 ? 0 : Math.sqrt([...words].filter((word) => weights.has(word)).length / words.size);
}

function isTelling(text: string, weights: Weights): boolean {
  return terms(text).some((term) => weights.has(term) && !isGeneric(term));
}

/** A word in passing is not a subject: one that says something stands in the heading, or more than once. */
function isAbout(held: readonly string[], heading: ReadonlySet<string>, weights: Weights): boolean {
  const telling = [...weights.keys()].filter((term) => !isGeneric(term));
  const subjects = telling.length > 0 ? telling : [...weights.keys()];
  return subjects.some((term) => heading.has(term) || held.filter((each) => each === term).length > 1);
}

/** A word that few passages hold says more. A word that none holds weighs most: the question is about something else. */
function rarity(asked: ReadonlySet<string>, passages: readonly Pick<Read, 'heading' | 'text'>[]): Weights {
  const sets = passages.map(({ heading, text }) => new Set(terms(`${heading} ${text}`)));
  const weight = (term: string) => (isGeneric(term) ? GENERIC_WEIGHT : 1 + Math.log((1 + sets.length) / (1 + sets.filter((set) => set.has(term)).length)));
  return new Map([...asked].map((term) => [term, weight(term)]));
}

/** Of the asked words' weight, how much is held: 0 to 1. */
function share(held: readonly string[], weights: Weights): number {
  const set = new Set(held);
  let [sum, all] = [0, 0];
  for (const [term, weight] of weights) {
    all += weight;
    if (set.has(term)) sum += weight;
  }
  return all === 0 ? 0 : sum / all;
}

/** The best sentences, best first. */
function sentencesOf({ text }: Read, weights: Weights): readonly Sentence[] {
  const prose = text.replace(/(```+|~~~+)[\s\S]*?(\1|$)/g, '\n\n');
  const sentences = prose
    .split(/\n{2,}|(?<=[.!?:])\s+(?=[A-Z`*[_])|\n(?=\s*(?:[-*+|>]|\d+\.) )/)
    .map(tidy)
    .filter(isSentence)
    .map((sentence, at) => ({ at, sentence, score: share(terms(sentence), weights) + (at === 0 ? OPENING : 0) }));
  const top = sentences.sort((a, b) => b.score - a.score || a.at - b.at).slice(0, MOST_SENTENCES);
  return top.filter(({ score }, place) => place === 0 || score > 0);
}

/** Not a table's row, not markup, and not the line that announces a list which is not quoted. */
function isSentence(sentence: string): boolean {
  return sentence.length > LEAST_SENTENCE && !/^[|<]|^\[.*\]$/.test(sentence) && !/^[^.!?]{0,40}:$/.test(sentence);
}

function tidy(sentence: string): string {
  return sentence
    .replace(/\s+/g, ' ')
    .replace(/!?\[([^\]]*)\](?:\([^)]*\)|\[[^\]]*\])/g, '$1')
    .replace(/^\s*(?:[-*+>]|\d+\.)\s+/, '')
    .replace(/<\/?[a-z][^>]*>/gi, '')
    .replace(/\*\*|\b__|__\b/g, '')
    .trim();
}

/** The passage's code that holds most of what was asked; of equals, the first. */
function codeOf({ text }: Read, weights: Weights): string | undefined {
  const blocks = [...text.matchAll(/```[\w-]*\n[\s\S]*?\n```/g)].map(([block]) => block).filter((block) => block.length <= MOST_CODE);
  const scored = blocks.map((block) => ({ block, score: share(terms(block), weights) }));
  return scored.sort((a, b) => b.score - a.score)[0]?.block;
}
