// What can be typed after npm start, and what is said when it cannot.
import { parseArgs } from 'node:util';
import { UsageFailure } from './failure.mjs';
import { DEFAULT_PORT } from './ports.mjs';

const COMMANDS = ['start', 'setup', 'status'];
/** The last port that is derived from the base is base + 17. */
const HIGHEST_PORT = 65_500;

export const HELP = `npm start [-- options]          starts Kafka, the schema registry, gateway, runtimes and auditor
npm run status [-- --json]      shows what runs; exits 1 when something is not ready
node infra/start.mjs setup      installs what is missing, and starts nothing

  --runtimes N   how many runtime processes share the partitions, 1 to 8 (default 1)
  --reset        throw all local state away first; what was downloaded is kept
  --json         status as one JSON object with a top-level "ready"
  --help         this

EVENKEEL_PORT (default 8080) is the gateway's port; the others follow it.
EVENKEEL_HOME (default .evenkeel) is where state, secrets and logs are kept.
With KAFKA_BROKERS, KAFKA_USERNAME, KAFKA_PASSWORD and SCHEMA_REGISTRY_URL set, that cluster is used and none is started.

Exit codes: 0 done, or ended when asked to; 1 something failed or is not ready; 2 the call was wrong.

Examples
  npm start
  npm start -- --runtimes 2
  npm start -- --reset
  EVENKEEL_PORT=9000 npm start
  npm run status -- --json`;

/**
 * @param {readonly string[]} args @param {Readonly<Record<string, string | undefined>>} env
 * @throws {UsageFailure} one line that names what was typed and what it takes
 */
export function parseOptions(args, env) {
  const { values, positionals } = parsed(args);
  const [command = 'start', ...more] = positionals;
  if (!COMMANDS.includes(command)) throw new UsageFailure(`There is no command ${command}: there are ${COMMANDS.join(', ')}.`);
  if (more.length > 0) throw new UsageFailure(`${command} takes no further words, and got ${more.join(' ')}.`);
  const { reset = false, json = false, help = false } = values;
  return { command, reset, json, help, runtimes: integer('--runtimes', values.runtimes, 1, 8, 1), port: basePort(env) };
}

/** @param {readonly string[]} args */
function parsed(args) {
  const boolean = /** @type {const} */ ({ type: 'boolean' });
  try {
    return parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { runtimes: { type: 'string' }, reset: boolean, json: boolean, help: { ...boolean, short: 'h' } },
    });
  } catch (error) {
    // Node's first sentence: what follows it is about programs that take their options elsewhere.
    const [what] = /** @type {Error} */ (error).message.split(/\.\s/, 1);
    throw new UsageFailure(`${what}. npm start -- --help says what there is.`);
  }
}

/** @param {Readonly<Record<string, string | undefined>>} env */
function basePort(env) {
  return integer('EVENKEEL_PORT', env.EVENKEEL_PORT || undefined, 1, HIGHEST_PORT, DEFAULT_PORT);
}

/** @param {string} name @param {string | undefined} text @param {number} min @param {number} max @param {number} fallback */
function integer(name, text, min, max, fallback) {
  if (text === undefined) return fallback;
  const number = /^\d+$/.test(text) ? Number(text) : Number.NaN;
  if (!(number >= min && number <= max)) throw new UsageFailure(`${name} takes a number from ${min} to ${max}, and got ${text}.`);
  return number;
}
