/** The gateway as the command line calls it: JSON and event streams, errors as what happened and what to do. */
import { CommandError } from './command.ts';
import { type ServerEvent, serverEvents } from './sse.ts';

export type GatewayReply = { readonly status: number; readonly body: unknown };

export class Gateway {
  readonly #url: string;
  readonly #token: string;

  constructor(url: string, token: string) {
    this.#url = url.replace(/\/+$/, '');
    this.#token = token;
  }

  post(path: string, body: unknown, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<GatewayReply> {
    return this.#call(path, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body), signal });
  }

  put(path: string, body: unknown, headers: Readonly<Record<string, string>>, signal: AbortSignal): Promise<GatewayReply> {
    return this.#call(path, { method: 'PUT', headers: { 'content-type': 'application/json', ...headers }, body: JSON.stringify(body), signal });
  }

  get(path: string, signal: AbortSignal): Promise<GatewayReply> {
    return this.#call(path, { signal });
  }

  async *events(path: string, signal: AbortSignal): AsyncGenerator<ServerEvent> {
    const response = await this.#fetch(path, { headers: { accept: 'text/event-stream' }, signal });
    if (response.status !== 200 || !response.body) return;
    yield* serverEvents(response.body);
  }

  async #call(path: string, init: RequestInit): Promise<GatewayReply> {
    const response = await this.#fetch(path, init);
    const text = await response.text();
    try {
      return { status: response.status, body: text === '' ? {} : JSON.parse(text) };
    } catch {
      return { status: response.status, body: {} };
    }
  }

  async #fetch(path: string, init: RequestInit): Promise<Response> {
    try {
      return await fetch(this.#url + path, { ...init, headers: { ...init.headers, authorization: `Bearer ${this.#token}` } });
    } catch (cause) {
      if (init.signal?.aborted) throw cause;
      const why = ((cause as Error).cause as Error | undefined)?.message ?? (cause as Error).message;
      throw new CommandError(`No gateway answers at ${this.#url} (${why}).`, 'Start everything with npm start; npm run status shows what runs.', { cause });
    }
  }
}
