// Installs what is missing, and nothing else: packages, Node 24 among them, the broker and the registry.
import { spawnSync } from 'node:child_process';
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { downloadKafka, downloadRegistry, run } from './download.mjs';
import { Failure } from './failure.mjs';

/** @param {string} root @param {(line: string) => void} say */
export async function setup(root, say) {
  const installed = join(root, 'node_modules/.package-lock.json');
  const stale = !existsSync(installed) || statSync(installed).mtimeMs < statSync(join(root, 'package-lock.json')).mtimeMs - 1_000;
  if (stale || !existsSync(join(root, 'node_modules/.bin/node'))) {
    say('installing packages');
    await run('npm', ['ci', '--no-audit', '--no-fund', '--prefix', root]);
  }
  const ownKafka = Boolean(process.env.KAFKA_BROKERS);
  if (!ownKafka) await Promise.all([downloadKafka(say), downloadRegistry(say)]);
}

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** For the tests of the page. @param {(line: string) => void} say */
export function setupChromium(say) {
  if (CHROMIUM.some((path) => existsSync(path))) return;
  if (process.getuid?.() !== 0 || spawnSync('apt-get', ['--version']).status !== 0)
    throw new Failure('The page is tested in Chromium, and there is none: install it (Debian: apt-get install chromium).');
  say('installing Chromium');
  spawnSync('apt-get', ['update', '-qq']);
  const done = spawnSync('apt-get', ['install', '-y', '-qq', 'chromium'], { encoding: 'utf8', env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } });
  if (done.status !== 0) throw new Failure(`Chromium could not be installed:\n${done.stderr.slice(-500)}`);
}
