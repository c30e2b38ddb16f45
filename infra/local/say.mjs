// What people read: progress, what is ready, what runs. Colours where a person looks at a terminal.
import { DEMO_TENANTS } from './home.mjs';
import { addresses } from './parts.mjs';

const colours = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (/** @type {number} */ code, /** @type {string} */ text) => (colours ? `\x1b[${code}m${text}\x1b[0m` : text);
const bold = (/** @type {string} */ text) => paint(1, text);
const began = Date.now();

/** A line of progress, with the seconds since the start. @param {string} line */
export const say = (line) => console.log(`${paint(2, `${((Date.now() - began) / 1_000).toFixed(1).padStart(5)} s`)}  ${line}`);

/** @param {boolean} good */
export const mark = (good) => (good ? paint(32, '●') : paint(31, '✗'));

/** @param {{ name: string, port: number, pid: number, ready: boolean, alive: boolean }} process */
export function statusLine({ name, port, pid, ready, alive }) {
  const state = ready ? 'ready' : alive ? 'not ready' : 'ended';
  return `${mark(ready)} ${name.padEnd(12)} ${state.padEnd(10)} port ${String(port).padEnd(6)} pid ${pid}`;
}

/** @param {import('./parts.mjs').Place} place */
export function readyBlock(place) {
  const { ports, home } = place;
  const { brokers, registryUrl } = addresses(place);
  const metrics = [ports.gatewayOps, ...ports.runtimes, ports.auditorOps].map((port) => `:${port}`).join(' ');
  return `
${mark(true)} ${bold('Evenkeel is ready')}

  live page   ${bold(`http://127.0.0.1:${ports.gateway}/`)}    log in with: npm run token -- --role operator
  API         http://127.0.0.1:${ports.gateway}/docs
  metrics     http://127.0.0.1${metrics} /metrics
  Kafka       ${brokers}    registry ${registryUrl}
  tenants     ${DEMO_TENANTS.join(', ')}
  logs        ${home}/logs

  try         ${bold('npm run ask -- --tenant fastify "How do I add a hook?"')}

Ctrl-C ends it; what happened is kept.
`;
}
