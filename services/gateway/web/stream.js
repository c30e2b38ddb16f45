// @ts-nocheck browser code
/** Server-sent events over fetch, so that the token travels in a header and never in an address. */

export class Refused extends Error {
  constructor(status, { title, detail } = {}) {
    super(detail ? `${title}: ${detail}` : `The gateway says ${status}.`);
    this.status = status;
  }
}

async function call(path, token, accept, signal) {
  const response = await fetch(path, { headers: { authorization: `Bearer ${token}`, accept }, signal, cache: 'no-store' });
  if (!response.ok) throw new Refused(response.status, await response.json().catch(() => ({})));
  return response;
}

export async function read(path, token, signal) {
  return (await call(path, token, 'application/json', signal)).json();
}

export async function* events(path, token, signal) {
  const { body } = await call(path, token, 'text/event-stream', signal);
  let rest = '';
  for await (const text of chunks(body.pipeThrough(new TextDecoderStream()))) {
    const blocks = (rest + text).split('\n\n');
    rest = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(block.split('\n').map((line) => [line.slice(0, line.indexOf(':')), line.slice(line.indexOf(':') + 2)]));
      if (fields.data) yield { type: fields.event, data: JSON.parse(fields.data) };
    }
  }
}

async function* chunks(stream) {
  const reader = stream.getReader();
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      yield value;
    }
  } finally {
    reader.cancel().catch(() => undefined);
  }
}
