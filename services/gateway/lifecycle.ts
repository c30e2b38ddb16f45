/** What clients wait for: verdicts, answers of commands, a request's stages. Fed by the folded history, whole transactions only. */
import type { Event } from '#schemas/events.ts';
import type { Instant, Offset, RequestId, TenantId } from '#schemas/ids.ts';

export type Happened = { readonly event: Event; readonly offset: Offset; readonly at: Instant };
type Listener = (happened: Happened) => void;

export class Lifecycle {
  readonly #listeners = new Map<string, Set<Listener>>();

  happened(happened: Happened): void {
    const { event } = happened;
    if ('request' in event) this.#tell(`${event.tenant}/${event.request}`, happened);
    if ('command' in event) this.#tell(`${event.tenant}/command/${event.command}`, happened);
    this.#tell('*', happened);
  }

  onRequest(tenant: TenantId, request: RequestId, listener: Listener): () => void {
    return this.#add(`${tenant}/${request}`, listener);
  }
  onAny(listener: Listener): () => void {
    return this.#add('*', listener);
  }

  /** The first event that `wanted` takes, or undefined after `ms`. Listening starts at once; the time starts with `run`. */
  async first(tenant: TenantId, id: string, wanted: (event: Event) => boolean, ms: number, run: () => Promise<unknown>): Promise<Happened | undefined> {
    let found: (happened: Happened | undefined) => void = () => undefined;
    const happened = new Promise<Happened | undefined>((resolve) => {
      found = resolve;
    });
    const stop = this.#add(`${tenant}/${id}`, (each) => wanted(each.event) && found(each));
    try {
      await run();
      const timer = setTimeout(() => found(undefined), ms);
      const result = await happened;
      clearTimeout(timer);
      return result;
    } finally {
      stop();
    }
  }

  #add(key: string, listener: Listener): () => void {
    const set = this.#listeners.get(key) ?? new Set();
    this.#listeners.set(key, set.add(listener));
    return () => {
      set.delete(listener);
      if (set.size === 0) this.#listeners.delete(key);
    };
  }

  #tell(key: string, happened: Happened): void {
    for (const listener of this.#listeners.get(key) ?? []) listener(happened);
  }
}
