/** What can be cited: sections by heading, bounded, with code whole. */
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { chunkMarkdown, MOST_CHARACTERS } from '#services/runtime/agent/chunks.ts';

const headings = (markdown: string) => chunkMarkdown(markdown, 'Title').map(({ heading }) => heading);

test('a section is named by the headings above it', () => {
  expect(headings('# Hooks\n\none\n\n## onRequest\n\ntwo\n\n### `done`\n\nthree\n\n## onSend\n\nfour')).toEqual([
    'Hooks',
    'Hooks › onRequest',
    'Hooks › onRequest › done',
    'Hooks › onSend',
  ]);
});

test('what stands above the first heading is named by the title, a skipped level leaves no hole', () => {
  expect(headings('before\n\n# A\n\nx\n\n#### D\n\ny\n\n## [B](b.md) <a id="b"></a>\n\nz')).toEqual(['Title', 'A', 'A › D', 'A › B']);
});

test('a # in a fence is code, also behind a longer fence, tildes, an indent or an open end', () => {
  expect(headings('# A\n\n```sh\n# install\nnpm i\n```\n\nafter')).toEqual(['A']);
  expect(headings('# A\n\n````md\n```\n# no heading\n```\n````\n\n## B\n\nx')).toEqual(['A', 'A › B']);
  expect(headings('# A\n\n~~~\n# no\n```\n# no\n~~~\n\n## B\n\nx')).toEqual(['A', 'A › B']);
  expect(headings('# A\n\n- item\n  ```\n  # no\n  ```\n\n## B\n\nx')).toEqual(['A', 'A › B']);
  expect(headings('# A\n\n```\n# no\n## no')).toEqual(['A']);
});

test('front matter, comments and link definitions are no text; line ends do not matter', () => {
  const [chunk, ...more] = chunkMarkdown(
    '---\r\ntitle: X\r\n---\r\n# A\r\n\r\n<!-- hidden\nwords -->\r\n\r\nshown\r\n\r\n[a]: https://example.org\r\n',
    'Title',
  );
  expect([chunk, more]).toEqual([{ heading: 'A', text: 'shown' }, []]);
});

test('a chunk is bounded; long code is cut between lines and each part is fenced again', () => {
  const code = Array.from({ length: 200 }, (_, at) => `const variable${at} = ${at};`).join('\n');
  const chunks = chunkMarkdown(`# A\n\n\`\`\`js\n${code}\n\`\`\`\n\n${'word '.repeat(900)}`, 'Title');
  expect(chunks.every(({ text }) => text.length <= MOST_CHARACTERS)).toBe(true);
  for (const { text } of chunks.filter((chunk) => chunk.text.includes('const'))) expect(text.match(/^```/gm)).toHaveLength(2);
  expect(
    chunks
      .map(({ text }) => text)
      .join('\n')
      .match(/const variable/g),
  ).toHaveLength(200);
});

test('whatever is written: bounded, never empty, and no word of it is lost', () => {
  const line = fc.oneof(
    fc.constantFrom('# H', '## H2', '```', '~~~~', '````js', '', '---', '- item'),
    fc.string({ maxLength: 2_000 }),
    fc.constant('x'.repeat(4_000)),
  );
  fc.assert(
    fc.property(fc.array(line, { maxLength: 40 }), (lines) => {
      for (const { heading, text } of chunkMarkdown(`intro\n${lines.join('\n')}`, 'T')) {
        expect(heading.length).toBeGreaterThan(0);
        expect(text.trim().length).toBeGreaterThan(0);
        expect(text.length).toBeLessThanOrEqual(MOST_CHARACTERS);
      }
    }),
    { numRuns: 300 },
  );
  const marked = Array.from({ length: 500 }, (_, at) => `word${at}x`);
  const all = chunkMarkdown(`# A\n\n${marked.join('\n')}\n\n## B\n\n${marked.join(' ')}`, 'T')
    .map(({ text }) => text)
    .join('\n');
  for (const word of marked) expect(all.split(word).length).toBe(3);
});
