/** What was asked of `npm run bench`: which benchmark, of which size, and how it is told. */
import { noPositionals, UsageError } from '#services/cli/command.ts';
import { optionsOf, wholeOption } from '../options.ts';

/** By name: what it does, and whether its size can be another. */
export const NAMES = {
  backlog: { what: "a million queued requests of one tenant: memory, and another tenant's p95", sizes: ['small', 'requests'] },
  commit: { what: "a transaction's duration on a broker of its own", sizes: [] },
  fair: { what: 'what nine tenants notice of a tenth that floods, over Kafka and HTTP, and a thousand at once', sizes: ['small'] },
  fold: { what: 'restoring a ledger of 2 M cost events, against Kafka Streams (Maven and a JDK needed)', sizes: ['small'] },
  gateway: {
    what: "submitted, accepted and answered requests over HTTP, beside a bare Fastify + kafkajs and LiteLLM's proxy (Python needed)",
    sizes: ['small'],
  },
  idle: { what: 'what a started platform costs when nothing happens (npm start first)', sizes: [] },
  join: { what: "from a runtime's start, or its predecessor's end, to all partitions open", sizes: [] },
  pipeline: { what: 'the whole life of a request, sustained, beside a bare client loop', sizes: ['requests'] },
  restart: { what: 'kill -9 with a million queued requests: how soon the next life dispatches, with and without its disk', sizes: ['small'] },
  slow: { what: 'ten thousand effects of 2 s in flight, beside effects that take no time', sizes: ['small'] },
  snapshot: { what: 'transactions while a snapshot is written, and what a lost disk costs with and without one', sizes: ['small'] },
} as const satisfies Readonly<Record<string, { readonly what: string; readonly sizes: readonly ('small' | 'requests')[] }>>;
export type Name = keyof typeof NAMES;

const sized = (size: 'small' | 'requests') => Object.entries(NAMES).flatMap(([name, { sizes }]) => ((sizes as readonly string[]).includes(size) ? [name] : []));
export const HELP = `npm run bench -- NAME [--json]

Measures on this machine, with a broker of its own. A target is a ratio to a peer, or to the same thing undisturbed, within one run.

${Object.entries(NAMES)
  .map(([name, { what }]) => `  ${name.padEnd(10)}${what}`)
  .join('\n')}

  --requests N  another number of requests, for ${sized('requests').join(' and ')}
  --small       a small size, for development, of ${sized('small').join(', ')}: its figures say nothing, and no target is met
  --json        one JSON object on standard output, for machines

Exit codes: 0 the target was met; 1 it was missed, or nothing could be measured; 2 the call was wrong.

Examples:
  npm run bench -- commit
  npm run bench -- fold --json`;

const OPTIONS = {
  json: { type: 'boolean', default: false },
  small: { type: 'boolean', default: false },
  requests: { type: 'string' },
  help: { type: 'boolean', short: 'h', default: false },
} as const;

const asked = optionsOf('bench', OPTIONS, ({ json, small, requests, help }, [name, ...more]) => {
  noPositionals(more);
  if (help) return { json, small, requests: undefined, name: undefined };
  if (name === undefined) throw new UsageError(`which benchmark? There are ${Object.keys(NAMES).join(', ')}`);
  if (!isName(name)) throw new UsageError(`there is no benchmark ${name}: there are ${Object.keys(NAMES).join(', ')}`);
  if (small) mustTake(name, 'small');
  if (requests !== undefined) mustTake(name, 'requests');
  return { json, small, requests: wholeOption('requests', requests, 1), name };
});

function isName(name: string): name is Name {
  return Object.hasOwn(NAMES, name);
}

function mustTake(name: Name, size: 'small' | 'requests'): void {
  if (!sized(size).includes(name)) throw new UsageError(`${name} has one size: --${size} is for ${sized(size).join(', ')}`);
}

/** `ASKED`: undefined when it was help. */
export const { json: JSON_ASKED, name: ASKED, requests: REQUESTS_ASKED } = asked;
/** A size for development. */
export const SMALL = asked.small;
