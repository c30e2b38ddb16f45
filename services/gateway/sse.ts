/** Server-sent events (WHATWG HTML, 9.2): one JSON object an event, a comment as heartbeat, an end when either side is done. */
import type { FastifyReply, FastifyRequest } from 'fastify';
import { Problem } from './problems.ts';

export interface EventStream {
  send(event: string, data: unknown, id?: number | null): void;
  onClose(run: () => void): void;
  end(): void;
}
const HEARTBEAT_MS = 15_000;
/** A reader that does not read is let go: its buffer is not ours to keep. */
const MOST_UNREAD_BYTES = 1_048_576;
const LONGEST_TIMER_MS = 2_147_483_647;

/** `until`: when the right to read ends. */
export function eventStream(_request: FastifyRequest, reply: FastifyReply, until: number): EventStream {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, {
    ...(reply.getHeaders() as Record<string, string>),
    'content-type': 'text/event-stream',
    'cache-control': 'no-store',
    'x-accel-buffering': 'no',
  });
  // The client knows at once that it is heard, whatever stands between.
  raw.write(': here\n\n');
  const closers: (() => void)[] = [];
  const heartbeat = setInterval(() => raw.write(': still here\n\n'), HEARTBEAT_MS);
  const expiry = setTimeout(() => close(), Math.min(Math.max(0, until - Date.now()), LONGEST_TIMER_MS));
  let closed = false;
  const close = () => {
    if (closed) return;
    closed = true;
    clearInterval(heartbeat);
    clearTimeout(expiry);
    for (const run of closers) run();
    raw.end();
  };
  raw.once('close', close);
  return {
    send(event, data, id) {
      if (closed) return;
      raw.write(`${id === undefined || id === null ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      if (raw.writableLength > MOST_UNREAD_BYTES) close();
    },
    onClose(run) {
      if (closed) run();
      else closers.push(run);
    },
    end: close,
  };
}

/** One tenant's open streams cannot take all sockets. */
export class StreamBound {
  readonly #open = new Map<string, number>();
  readonly #most: number;
  constructor(most: number) {
    this.#most = most;
  }

  /** Its return value gives the place back. @throws Problem `overloaded` */
  take(owner: string): () => void {
    const open = this.#open.get(owner) ?? 0;
    if (open >= this.#most)
      throw new Problem('overloaded', `${open} streams are open for ${owner}, the most there may be; close one`, { limit: this.#most, observed: open });
    this.#open.set(owner, open + 1);
    return () => {
      const left = (this.#open.get(owner) ?? 1) - 1;
      if (left > 0) this.#open.set(owner, left);
      else this.#open.delete(owner);
    };
  }
}
