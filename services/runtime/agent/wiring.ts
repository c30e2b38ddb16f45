/** The agent on its real parts: models, their guards, the cache of answers, and the metrics of all three. */
import { Counter, Gauge, type Registry } from 'prom-client';
import type { Config } from '#services/config.ts';
import { loadPrices } from '#services/prices.ts';
import { loadSecrets } from '#services/secrets.ts';
import type { Agent } from '../turns.ts';
import { createAgent } from './agent.ts';
import { AnswerCache } from './answer-cache.ts';
import type { Drafted } from './citations.ts';
import { modelsOf, requirePrices } from './models.ts';
import { Providers } from './providers.ts';
import type { Knowledge } from './retrieval.ts';
import { RetryBudget } from './retry-budget.ts';

export type AgentWiring = { readonly config: Config; readonly knowledge: Knowledge; readonly metrics: Registry };

/** Breakers that are named in metrics; the platform's own are always. */
const MOST_NAMED = 50;

/** @throws EvenkeelError `setting_invalid` when a model has no price or no key */
export function wireAgent({ config, knowledge, metrics }: AgentWiring): Agent {
  const { modelConcurrency: concurrency, modelTimeoutMs: timeoutMs, breakerMs } = config;
  const models = modelsOf(config, loadSecrets(config.secretsFile));
  const prices = loadPrices(config.pricesFile);
  requirePrices(models, prices, Date.now());
  const providers = new Providers({ concurrency, timeoutMs, breakerMs });
  const answers = new AnswerCache<Drafted>(config.answerCacheBytes);
  const registers = [metrics];
  const called = new Counter({
    name: 'evenkeel_model_calls_total',
    help: 'Calls of models, by what came of them',
    labelNames: ['model', 'outcome'],
    registers,
  });
  const retried = new Counter({ name: 'evenkeel_model_retries_total', help: 'Calls made a second time: at most a tenth of the first', registers });
  const lookups = new Counter({ name: 'evenkeel_answer_cache_lookups_total', help: 'Cached answers asked for', labelNames: ['result'], registers });
  for (const result of ['hit', 'miss']) lookups.inc({ result }, 0);
  new Gauge({
    name: 'evenkeel_answer_cache_bytes',
    help: 'Memory of the cached answers',
    registers,
    collect() {
      this.set(answers.bytes);
    },
  });
  breakerGauge(metrics, providers);
  const watch = { called: (model: string, outcome: string) => called.inc({ model, outcome }), retried: () => retried.inc() };
  const lookedUp = (hit: boolean) => lookups.inc({ result: hit ? 'hit' : 'miss' });
  return createAgent({ knowledge, models, calls: { prices, providers, retries: new RetryBudget(), watch }, answers, lookedUp });
}

/** Of tenants' own credentials at most so many are named; the rest counts as `other`. */
function breakerGauge(metrics: Registry, providers: Providers): void {
  new Gauge({
    name: 'evenkeel_breaker_open',
    help: 'Breakers that keep calls from a provider',
    labelNames: ['credential', 'model'],
    registers: [metrics],
    collect() {
      this.reset();
      const named = new Set<string>();
      for (const { credential, model, open } of providers.states()) {
        if (named.size < MOST_NAMED || credential === 'platform') named.add(credential);
        this.inc({ credential: named.has(credential) ? credential : 'other', model }, Number(open));
      }
    },
  });
}
