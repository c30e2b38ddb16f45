/**
 * What every process has: logs, /metrics, /healthz and /readyz on loopback, a clean end, and a watchdog. Ready: it does its work now, and
 * was not asked to end. Healthy: nothing stands still; what does is named before the watchdog ends the process.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { flushCompileCache } from 'node:module';
import pino, { type Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { EvenkeelError } from '#schemas/errors.ts';
import { type Config, loadConfig, SECRET_SETTINGS } from './config.ts';
import { EXIT } from './exit.ts';
import { CALL_HEADER } from './internal.ts';
import { Watchdog, watchEventLoop } from './watchdog.ts';

const SECRETS = [...SECRET_SETTINGS, 'password', 'authorization', 'token'];
const CLOSE_WITHIN_MS = 10_000;

/** Path and query, and the signature that came with them (internal.ts). */
export type Call = { readonly target: string; readonly signature: string | undefined };
export type Started = {
  /** What it still waits for; empty when ready. */
  readonly waitingFor: () => readonly string[];
  /** More pages of the ops port: internal, loopback only. */
  readonly pages?: Readonly<Record<string, (query: URLSearchParams, call: Call) => unknown>>;
  close(): Promise<void>;
};
export type Context = {
  readonly config: Config;
  readonly log: Logger;
  readonly metrics: Registry;
  readonly watchdog: Watchdog;
  /** Ends the process; where only its disk has failed, what it holds is handed over first. */
  readonly fail: (error: Error) => void;
};

export function createLogger({ instance, logLevel }: Pick<Config, 'instance' | 'logLevel'>): Logger {
  return pino({ base: { instance }, level: logLevel, redact: [...SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), 'req.headers'] });
}

/** Runs a service from its settings to its end. */
export async function runMain(start: (context: Context) => Promise<Started>): Promise<void> {
  const config = configOrExit();
  const log = createLogger(config);
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  let started: Started | undefined;
  /** The exit code of an end that has begun. */
  let ending: number | undefined;
  const end = async (code: number): Promise<void> => {
    if (ending !== undefined) return;
    ending = code;
    setTimeout(() => process.exit(code === EXIT.ok ? EXIT.fatal : code), CLOSE_WITHIN_MS).unref();
    await started?.close();
    process.exit(code);
  };
  const fail = (error: Error): void => {
    // One partition after the other says it of the same disk.
    if (ending === EXIT.disk) return log.error({ err: error }, error.message);
    log.fatal({ err: error }, error.message);
    const code = error instanceof EvenkeelError ? error.code : undefined;
    if (code === 'disk_failed') return void end(EXIT.disk);
    process.exit(code === 'wedged' ? EXIT.wedged : EXIT.fatal);
  };
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', (reason) => fail(reason instanceof Error ? reason : new Error(String(reason))));
  watchEventLoop(config.wedgedAfterMs);
  const watchdog = new Watchdog(config.wedgedAfterMs, (what) =>
    fail(new EvenkeelError('wedged', `nothing has moved for ${config.wedgedAfterMs} ms: ${what.join(', ')}`)),
  );
  const state = (): State => ({ started, closing: ending !== undefined, standing: watchdog.standing });
  const server = createServer((request, response) => void answer(request, response, metrics, state()));
  server.listen(config.opsPort, config.opsHost);
  server.on('error', (cause) =>
    fail(new EvenkeelError('setting_invalid', `EVENKEEL_OPS_PORT ${config.opsPort} cannot be listened on at ${config.opsHost}`, { cause })),
  );
  const stop = (signal: string): Promise<void> => {
    log.info(`${signal}: closing`);
    return end(EXIT.ok);
  };
  process.once('SIGTERM', () => void stop('SIGTERM'));
  process.once('SIGINT', () => void stop('SIGINT'));
  try {
    started = await start({ config, log, metrics, watchdog, fail });
    // Where NODE_COMPILE_CACHE is set. Otherwise it is written at the end, which a kill leaves out.
    flushCompileCache();
  } catch (error) {
    fail(error as Error);
  }
}

function configOrExit(): Config {
  try {
    return loadConfig();
  } catch (error) {
    console.error((error as Error).message);
    return process.exit(EXIT.usage);
  }
}

type State = { readonly started: Started | undefined; readonly closing: boolean; readonly standing: readonly string[] };

async function answer(request: IncomingMessage, response: ServerResponse, metrics: Registry, state: State): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://ops');
  const json = (status: number, body: unknown) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const pages = state.closing ? undefined : state.started?.pages;
  const page = pages?.[url.pathname];
  try {
    if (url.pathname === '/metrics') response.writeHead(200, { 'content-type': metrics.contentType }).end(await metrics.metrics());
    else if (url.pathname === '/healthz') json(state.standing.length === 0 ? 200 : 503, { alive: state.standing.length === 0, standing: state.standing });
    else if (url.pathname === '/readyz') {
      const waiting = waitingFor(state);
      json(waiting.length === 0 ? 200 : 503, { ready: waiting.length === 0, waiting_for: waiting });
    } else if (page) json(200, await page(url.searchParams, { target: request.url ?? '', signature: request.headers[CALL_HEADER]?.toString() }));
    else json(404, { pages: ['/metrics', '/healthz', '/readyz', ...Object.keys(pages ?? {})] });
  } catch (error) {
    json(statusOf(error as Error), { error: (error as Error).message });
  }
}

function statusOf(error: Error): number {
  if (!(error instanceof EvenkeelError)) return 500;
  return error.code === 'forbidden' ? 403 : error.code === 'unavailable' ? 503 : 500;
}

function waitingFor({ started, closing, standing }: State): readonly string[] {
  if (closing) return ['its end: it was asked to close'];
  return [...(started?.waitingFor() ?? ['its start']), ...standing];
}
