// Installs what is missing, and nothing else: packages, Node 24 among them, a Java, the broker and the registry.
import { existsSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { downloadParts, hasLocalParts, hasMaven, installPackage, run, withProgress } from './download.mjs';
import { Failure } from './failure.mjs';
import { ensureJava, findJava } from './java.mjs';

/** @param {string} root @param {(line: string) => void} say @param {boolean} local whether Kafka and the registry run here */
export async function setup(root, say, local) {
  await setupPackages(root, say);
  if (!local) return;
  await ensureJava(say);
  if (hasLocalParts()) return;
  // Maven is no better off than we were: it may have found no Java either.
  if (!hasMaven()) process.env.JAVA_HOME ||= dirname(dirname(findJava()));
  await downloadParts(say);
}

/** @param {string} root @param {(line: string) => void} say */
async function setupPackages(root, say) {
  const installed = join(root, 'node_modules/.package-lock.json');
  // A second of grace: a checkout and an install write both files at about the same time.
  const stale = !existsSync(installed) || statSync(installed).mtimeMs < statSync(join(root, 'package-lock.json')).mtimeMs - 1_000;
  if (!stale && existsSync(join(root, 'node_modules/.bin/node'))) return;
  await withProgress('installing packages', say, () => run('npm', ['ci', '--no-audit', '--no-fund', '--prefix', root]));
}

const CHROMIUM = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** For the tests of the page. @param {(line: string) => void} say */
export async function setupChromium(say) {
  if (CHROMIUM.some((path) => existsSync(path))) return;
  await installPackage('chromium', say).catch((error) => {
    throw new Failure(
      `The page is tested in Chromium, and there is none here. Install it (Debian: apt-get install chromium), then try again. Why: ${error.message}`,
    );
  });
}
