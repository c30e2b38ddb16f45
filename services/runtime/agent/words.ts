/** Words of a question or a text, as retrieval and the offline model compare them: lower case, without stop words, lightly stemmed. */

const STOP = new Set(
  'a an and are as at be been but by can could did do does for from had has have how i if in into is it its like me my need no not of on or our should so some than that the their them then there these they this to up us use used using want was we what when where which while who why will with would you your please tell about get make any'.split(' '),
);

/** Plural and verb endings only: enough to match `hooks` with `hook`, little enough to stay predictable. */
function stem(word: string): string {
  if (word.length > 5 && word.endsWith('ing')) return word.slice(0, -3);
  if (word.length > 4 && word.endsWith('ies')) return `${word.slice(0, -3)}y`;
  if (word.length > 4 && word.endsWith('ed')) return word.slice(0, -2);
  if (word.length > 3 && word.endsWith('s') && !word.endsWith('ss')) return word.slice(0, -1);
  return word;
}

export function normalise(word: string): string | null {
  const lower = word.toLowerCase();
  return lower.length < 2 || STOP.has(lower) ? null : stem(lower);
}

export function terms(text: string): readonly string[] {
  return text.split(/[^\p{L}\p{N}]+/u).flatMap((word) => normalise(word) ?? []);
}
