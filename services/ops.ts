/**
 * What every process has: logs, /metrics, /healthz and /readyz on loopback, a clean end, and a watchdog: a wedged process dies loudly
 * (invariant 11), so that it is restarted.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { flushCompileCache } from 'node:module';
import { Worker } from 'node:worker_threads';
import pino, { type Logger } from 'pino';
import { collectDefaultMetrics, Registry } from 'prom-client';
import { EvenkeelError } from '#schemas/errors.ts';
import { type Config, loadConfig, SECRET_SETTINGS } from './config.ts';

/** Exit codes of every service. usage: a setting is missing or wrong; fatal, wedged: start it again. */
export const EXIT = { ok: 0, usage: 2, fatal: 70, wedged: 75 } as const;
/** The event loop must turn at least this often. */
const WEDGED_AFTER_MS = 30_000;
const SECRETS = [...SECRET_SETTINGS, 'password', 'authorization', 'token'];
const CLOSE_WITHIN_MS = 10_000;

export type Started = {
  /** What it still waits for; empty when ready. */
  readonly waitingFor: () => readonly string[];
  /** More pages of the ops port: internal, loopback only. */
  readonly pages?: Readonly<Record<string, (query: URLSearchParams) => unknown>>;
  close(): Promise<void>;
};
export type Context = { readonly config: Config; readonly log: Logger; readonly metrics: Registry; readonly fail: (error: Error) => void };

export function createLogger({ instance, logLevel }: Pick<Config, 'instance' | 'logLevel'>): Logger {
  return pino({ base: { instance }, level: logLevel, redact: [...SECRETS.flatMap((name) => [name, `*.${name}`, `*.*.${name}`]), 'req.headers'] });
}

/** Runs a service from its settings to its end. */
export async function runMain(start: (context: Context) => Promise<Started>, wedgedAfterMs = WEDGED_AFTER_MS): Promise<void> {
  const config = configOrExit();
  const log = createLogger(config);
  const metrics = new Registry();
  collectDefaultMetrics({ register: metrics });
  const fail = (error: Error): never => {
    log.fatal({ err: error }, error.message);
    return process.exit(EXIT.fatal);
  };
  process.on('uncaughtException', fail);
  process.on('unhandledRejection', (reason) => fail(reason instanceof Error ? reason : new Error(String(reason))));
  watchEventLoop(wedgedAfterMs);
  let started: Started | undefined;
  const server = createServer((request, response) => void answer(request, response, metrics, () => (closing ? undefined : started)));
  server.listen(config.opsPort, '127.0.0.1');
  server.on('error', (cause) => fail(new EvenkeelError('setting_invalid', `EVENKEEL_OPS_PORT ${config.opsPort} cannot be listened on`, { cause })));
  let closing = false;
  const stop = async (signal: string): Promise<void> => {
    closing = true;
    log.info(`${signal}: closing`);
    setTimeout(() => process.exit(EXIT.fatal), CLOSE_WITHIN_MS).unref();
    await started?.close();
    process.exit(EXIT.ok);
  };
  process.once('SIGTERM', () => void stop('SIGTERM'));
  process.once('SIGINT', () => void stop('SIGINT'));
  try {
    started = await start({ config, log, metrics, fail });
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

async function answer(request: IncomingMessage, response: ServerResponse, metrics: Registry, started: () => Started | undefined): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://ops');
  const json = (status: number, body: unknown) => response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  const page = started()?.pages?.[url.pathname];
  try {
    if (url.pathname === '/metrics') response.writeHead(200, { 'content-type': metrics.contentType }).end(await metrics.metrics());
    else if (url.pathname === '/healthz') json(200, { alive: true });
    else if (url.pathname === '/readyz') {
      const waiting = started()?.waitingFor() ?? ['its start, or its end'];
      json(waiting.length === 0 ? 200 : 503, { ready: waiting.length === 0, waiting_for: waiting });
    } else if (page) json(200, await page(url.searchParams));
    else json(404, { pages: ['/metrics', '/healthz', '/readyz', ...Object.keys(started()?.pages ?? {})] });
  } catch (error) {
    json(500, { error: (error as Error).message });
  }
}

/**
 * From a thread of its own: a blocked event loop cannot watch itself. It counts missed beats instead of comparing clocks, so that a process
 * that was suspended as a whole is not taken for wedged. The exit is asked for through the inspector, which interrupts running JavaScript;
 * what blocks in native code, or has a debugger's port open, does not go that way, and is killed.
 */
function watchEventLoop(wedgedAfterMs: number): void {
  const beatMs = Math.min(1_000, wedgedAfterMs / 10);
  const beat = new Int32Array(new SharedArrayBuffer(4));
  setInterval(() => Atomics.add(beat, 0, 1), beatMs).unref();
  const watch = `
    const { workerData: { beat, beatMs, most, code } } = require('node:worker_threads');
    const { Session } = require('node:inspector');
    let [seen, missed] = [-1, 0];
    const watching = setInterval(() => {
      const now = Atomics.load(beat, 0);
      missed = now === seen ? missed + 1 : 0;
      seen = now;
      if (missed < most) return;
      clearInterval(watching);
      require('node:fs').writeSync(2, '{"level":60,"msg":"wedged: the event loop has stood still, exiting"}\\n');
      setTimeout(() => process.kill(process.pid, 'SIGKILL'), 2_000);
      const session = new Session();
      session.connectToMainThread();
      session.post('Runtime.evaluate', { expression: 'process.reallyExit(' + code + ')' });
    }, beatMs);`;
  new Worker(watch, { eval: true, workerData: { beat, beatMs, most: Math.ceil(wedgedAfterMs / beatMs), code: EXIT.wedged } }).unref();
}
