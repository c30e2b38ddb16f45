/** Words of a question or a text, as retrieval and the offline model compare them: lower case, without stop words, lightly stemmed. */

const STOP = new Set(
  'a an and another any are as at be been but by can could did do does for from get had has have how i if in into is it its just like make me mean my need no not of on one or our out please should so some than that the their them then there these they this to up us use used using via want was way we what when where which while who why will with would you your tell about work ever many much'.split(
    ' ',
  ),
);
/** What one does to anything: such a word says little about what a question is about. */
const GENERIC = new Set(
  'add allow change configure create custom define different difference enable find handle open own set setup start turn write read'.split(' ').map(stem),
);

/** Endings only: enough to match `validation` with `validate`, little enough to stay predictable. */
function stem(word: string): string {
  let root = word;
  if (root.length > 4 && root.endsWith('ies')) root = `${root.slice(0, -3)}y`;
  else if (root.length > 3 && root.endsWith('s') && !root.endsWith('ss')) root = root.slice(0, -1);
  if (root.length > 7 && root.endsWith('ization')) root = root.slice(0, -5);
  else if (root.length > 6 && root.endsWith('tion')) root = root.slice(0, -3);
  else if (root.length > 5 && root.endsWith('ing')) root = root.slice(0, -3);
  else if (root.length > 5 && root.endsWith('er')) root = root.slice(0, -2);
  else if (root.length > 4 && root.endsWith('ed')) root = root.slice(0, -2);
  if (root.length > 3 && /([bdglmnprt])\1$/.test(root)) root = root.slice(0, -1);
  return root.length > 3 && root.endsWith('e') ? root.slice(0, -1) : root;
}

export function normalise(word: string): string | null {
  const lower = word.toLowerCase();
  return lower.length < 2 || STOP.has(lower) ? null : stem(lower);
}

/** `setErrorHandler` is itself, and `set`, `Error`, `Handler`; `FST_ERR_CODE` is itself, and its parts. */
export function tokens(text: string): string[] {
  const found: string[] = [];
  for (const word of text.split(/[^\p{L}\p{N}_]+/u)) {
    if (word === '') continue;
    const parts = word.split(/_+|(?<=\p{Ll})(?=\p{Lu})/u).filter((part) => part !== '');
    if (parts.length > 1) found.push(word);
    found.push(...parts);
  }
  return found;
}

export function terms(text: string): readonly string[] {
  return tokens(text).flatMap((word) => normalise(word) ?? []);
}

export const isGeneric = (term: string): boolean => GENERIC.has(term);
