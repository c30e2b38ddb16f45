/** Server-sent events (WHATWG HTML, 9.2): one JSON object an event, a comment as heartbeat, an end when either side is done. */
import type { FastifyReply, FastifyRequest } from 'fastify';

export interface EventStream {
  send(event: string, data: unknown, id?: number): void;
  onClose(run: () => void): void;
  end(): void;
}
const HEARTBEAT_MS = 15_000;
/** A reader that does not read is let go: its buffer is not ours to keep. */
const MOST_UNREAD_BYTES = 1_048_576;

export function eventStream(request: FastifyRequest, reply: FastifyReply): EventStream {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, { ...(reply.getHeaders() as Record<string, string>), 'content-type': 'text/event-stream', 'cache-control': 'no-store', 'x-accel-buffering': 'no' });
  const closers: (() => void)[] = [];
  const heartbeat = setInterval(() => raw.write(': still here\n\n'), HEARTBEAT_MS);
  let closed = false;
  const close = () => {
    if (closed) return;
    closed = true;
    clearInterval(heartbeat);
    for (const run of closers) run();
    raw.end();
  };
  request.raw.socket.once('close', close);
  raw.once('close', close);
  return {
    send(event, data, id) {
      if (closed) return;
      raw.write(`${id === undefined ? '' : `id: ${id}\n`}event: ${event}\ndata: ${JSON.stringify(data)}\n\n`);
      if (raw.writableLength > MOST_UNREAD_BYTES) close();
    },
    onClose(run) {
      if (closed) run();
      else closers.push(run);
    },
    end: close,
  };
}
