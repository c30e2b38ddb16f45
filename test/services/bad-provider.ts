/** An OpenAI-compatible provider as a real HTTP server that misbehaves as it is told, and counts what it was asked. */
import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** `stall` never answers; `half` breaks off within its body; `garbage` is no JSON; `empty` is JSON of something else; `slow` answers in 400 ms. */
export type Behaviour = 'ok' | 'slow' | 'stall' | 'half' | 'garbage' | 'empty' | 'mute_usage' | `${number}` | `${number}, retry after ${number}`;
export type Call = { readonly model: string; readonly key: string | undefined; readonly maxTokens: number; readonly said: Behaviour };

const SLOW_MS = 400;
export const USAGE = { prompt_tokens: 900, completion_tokens: 40, total_tokens: 940 };

export class BadProvider {
  readonly calls: Call[] = [];
  /** By model, or by `key model`. */
  readonly behaviour = new Map<string, Behaviour | ((call: number, prompt: string) => Behaviour)>();
  /** What it says that a call has used. */
  usage: object = USAGE;
  #server: Server | undefined;
  #port = 0;

  async start(port = 0): Promise<void> {
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (data: Buffer) => (body += data.toString()));
      request.on('end', () => this.#answer(JSON.parse(body), body, request.headers.authorization?.replace('Bearer ', ''), response));
    });
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
    this.#server = server;
    this.#port = (server.address() as AddressInfo).port;
  }
  get url(): string {
    return `http://127.0.0.1:${this.#port}/v1`;
  }
  get port(): number {
    return this.#port;
  }
  async stop(): Promise<void> {
    this.#server?.closeAllConnections();
    await new Promise((resolve) => (this.#server ? this.#server.close(resolve) : resolve(undefined)));
  }

  /** Every model, whatever the key. */
  set(behaviour: Behaviour | ((call: number, prompt: string) => Behaviour)): void {
    this.behaviour.clear();
    this.behaviour.set('*', behaviour);
  }
  of(model: string): readonly Call[] {
    return this.calls.filter((call) => call.model === model);
  }

  #answer(
    { model, max_tokens }: { readonly model: string; readonly max_tokens: number },
    prompt: string,
    key: string | undefined,
    response: ServerResponse,
  ): void {
    const found = this.behaviour.get(`${key} ${model}`) ?? this.behaviour.get(model) ?? this.behaviour.get('*') ?? 'ok';
    const said = typeof found === 'function' ? found(this.calls.length, prompt) : found;
    this.calls.push({ model, key, maxTokens: max_tokens, said });
    const json = (status: number, body: unknown, headers = {}) =>
      response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
    const text = JSON.stringify(completion(model, said === 'mute_usage' ? undefined : this.usage));
    if (said === 'stall') return;
    if (said === 'ok' || said === 'mute_usage') json(200, JSON.parse(text));
    else if (said === 'slow') setTimeout(() => json(200, JSON.parse(text)), SLOW_MS);
    else if (said === 'empty') json(200, { hello: 'world' });
    else if (said === 'garbage') response.writeHead(200, { 'content-type': 'application/json' }).end('<html>not what you think</html>');
    else if (said === 'half') {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': text.length });
      response.write(text.slice(0, text.length / 2), () => response.destroy());
    } else {
      const [status, seconds] = said.split(', retry after ');
      json(Number(status), { error: { message: 'no', type: 'x' } }, seconds === undefined ? {} : { 'retry-after': seconds });
    }
  }
}

function completion(model: string, usage: object | undefined) {
  const message = { role: 'assistant', content: `As the documentation says, this is how it is done (${model}) [1].` };
  return { id: 'x', object: 'chat.completion', created: 1, model, choices: [{ index: 0, message, finish_reason: 'stop' }], ...(usage && { usage }) };
}
