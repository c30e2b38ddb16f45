/** Server-sent events out of a stream of bytes (WHATWG HTML, 9.2): chunks may cut a line or a letter anywhere. */
export type ServerEvent = { readonly id: string; readonly type: string; readonly data: string };

export class SseParser {
  readonly #decoder = new TextDecoder();
  #rest = '';
  #id = '';
  #type = '';
  #data: string[] = [];

  push(bytes: Uint8Array): readonly ServerEvent[] {
    const events: ServerEvent[] = [];
    const text = this.#rest + this.#decoder.decode(bytes, { stream: true });
    // A carriage return at the end may be half of a line's end.
    const held = text.endsWith('\r') ? text.length - 1 : text.length;
    const lines = text.slice(0, held).split(/\r\n|\n|\r/);
    this.#rest = (lines.pop() ?? '') + text.slice(held);
    for (const line of lines) {
      const event = this.#line(line);
      if (event) events.push(event);
    }
    return events;
  }

  #line(line: string): ServerEvent | undefined {
    if (line === '') return this.#dispatch();
    const colon = line.indexOf(':');
    if (colon === 0) return undefined;
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'data') this.#data.push(value);
    else if (field === 'event') this.#type = value;
    else if (field === 'id') this.#id = value;
    return undefined;
  }

  #dispatch(): ServerEvent | undefined {
    const event = this.#data.length === 0 ? undefined : { id: this.#id, type: this.#type || 'message', data: this.#data.join('\n') };
    this.#type = '';
    this.#data = [];
    return event;
  }
}

export async function* serverEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<ServerEvent> {
  const parser = new SseParser();
  for await (const chunk of body) yield* parser.push(chunk);
}
