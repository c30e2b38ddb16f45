/**
 * An extractive model in this process, behind the AI SDK's interface like any other: it answers with the sentences and the code of the
 * passages that hold most of the question's words, and says UNKNOWN when they hold too few. Deterministic, no key, no network.
 */
import type { LanguageModelV4, LanguageModelV4CallOptions } from '@ai-sdk/provider';
import { readPrompt, UNKNOWN } from './prompt.ts';
import { terms } from './words.ts';

type Sentence = { readonly passage: number; readonly at: number; readonly text: string; readonly score: number };
type Read = { readonly id: number; readonly heading: string; readonly text: string };

const CHARACTERS_A_TOKEN = 4;
/** Of the question's words, this share must stand in the best passage. */
const LEAST_COVERAGE = 0.5;
const MOST_SENTENCES = 3;
const MOST_CODE = 900;

export const estimateTokens = (text: string): number => Math.ceil(text.length / CHARACTERS_A_TOKEN);

export function offlineModel(delayMs: number): LanguageModelV4 {
  return {
    specificationVersion: 'v4',
    provider: 'evenkeel',
    modelId: 'offline-extractive',
    supportedUrls: {},
    async doGenerate(options) {
      if (delayMs > 0) await delay(delayMs, options.abortSignal);
      const prompt = promptText(options);
      const answer = extract(prompt);
      const text = answer.slice(0, (options.maxOutputTokens ?? 1_000) * CHARACTERS_A_TOKEN);
      const [input, output] = [estimateTokens(prompt), estimateTokens(text)];
      return {
        content: [{ type: 'text', text }],
        finishReason: { unified: text.length < answer.length ? 'length' : 'stop', raw: undefined },
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
    signal?.addEventListener('abort', () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

function promptText({ prompt }: LanguageModelV4CallOptions): string {
  return prompt.flatMap((message) => (message.role === 'user' ? message.content.map((part) => (part.type === 'text' ? part.text : '')) : [])).join('\n');
}

/** Pure: the answer to a prompt. */
export function extract(prompt: string): string {
  const { passages, question } = readPrompt(prompt);
  const asked = new Set(terms(question));
  if (asked.size === 0 || passages.length === 0) return UNKNOWN;
  const weights = rarity(asked, passages);
  const ranked = passages.map((passage) => ({ passage, score: coverage(`${passage.heading} ${passage.text}`, asked, weights) })).sort((a, b) => b.score - a.score || a.passage.id - b.passage.id);
  for (const { passage, score } of ranked) {
    if (score < LEAST_COVERAGE) break;
    const chosen = sentencesOf(passage, asked, weights);
    if (chosen.length === 0) continue;
    const code = codeOf(passage, asked);
    const words = chosen.map(({ text }) => text).join(' ');
    return `${words} [${passage.id}]${code ? `\n\n${code}` : ''}`;
  }
  return UNKNOWN;
}

/** A word that few passages hold says more. A word that none holds weighs most: the question is about something else. */
function rarity(asked: ReadonlySet<string>, passages: readonly Read[]): ReadonlyMap<string, number> {
  const sets = passages.map(({ heading, text }) => new Set(terms(`${heading} ${text}`)));
  return new Map([...asked].map((term) => [term, 1 + Math.log((1 + sets.length) / (1 + sets.filter((set) => set.has(term)).length))]));
}

function coverage(text: string, asked: ReadonlySet<string>, weights: ReadonlyMap<string, number>): number {
  const held = new Set(terms(text));
  let [sum, all] = [0, 0];
  for (const term of asked) {
    const weight = weights.get(term) ?? 1;
    all += weight;
    if (held.has(term)) sum += weight;
  }
  return all === 0 ? 0 : sum / all;
}

function sentencesOf({ id, text }: Read, asked: ReadonlySet<string>, weights: ReadonlyMap<string, number>): readonly Sentence[] {
  const prose = text.replace(/(```|~~~)[\s\S]*?(\1|$)/g, '\n\n');
  const sentences = prose
    .split(/\n{2,}|(?<=[.!?:])\s+(?=[A-Z`*[])|\n(?=\s*[-*|>]|\d+\. )/)
    .map(tidy)
    .filter((sentence) => sentence.length > 20 && !sentence.startsWith('|') && !/^<|^\[.*\]$/.test(sentence))
    .map((sentence, at) => ({ passage: id, at, text: sentence, score: coverage(sentence, asked, weights) }));
  const top = [...sentences].sort((a, b) => b.score - a.score || a.at - b.at).slice(0, MOST_SENTENCES);
  return top.filter(({ score }, rank) => rank === 0 || score > 0).sort((a, b) => a.at - b.at);
}

function tidy(sentence: string): string {
  return sentence
    .replace(/\s+/g, ' ')
    .replace(/!?\[([^\]]*)\]\([^)]*\)/g, '$1')
    .replace(/^\s*(?:[-*>]|\d+\.)\s+/, '')
    .replace(/<\/?[a-z][^>]*>/gi, '')
    .replace(/\*\*/g, '')
    .trim();
}

function codeOf({ text }: Read, asked: ReadonlySet<string>): string | undefined {
  const blocks = [...text.matchAll(/```[\w-]*\n[\s\S]*?\n```/g)].map(([block]) => block).filter((block) => block.length <= MOST_CODE);
  const held = (block: string) => terms(block).filter((term) => asked.has(term)).length;
  return blocks.sort((a, b) => held(b) - held(a))[0];
}
