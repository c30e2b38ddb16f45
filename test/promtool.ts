/** Prometheus's own tool: the promtool on the PATH, or Debian's, unpacked into the cache. Nothing is installed on the machine. */
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { cached, once, run, runs, withProgress } from '#infra/local/download.mjs';
import { Failure } from '#infra/local/failure.mjs';

const FETCHED = cached('promtool');

/** @throws Failure with what to do, where there is neither a promtool nor Debian's packages */
export async function findPromtool(): Promise<string> {
  if (runs('promtool')) return 'promtool';
  await once(FETCHED, (part) => withProgress('fetching promtool, of Debian’s package prometheus (19 MB)', console.error, () => fetchInto(part))).catch(
    (error: Error) => {
      throw new Failure(
        `The alert rules are evaluated by promtool, and there is none here. Put it on the PATH (it comes with Prometheus; Debian: apt-get install prometheus), then try again. Why: ${error.message}`,
      );
    },
  );
  return join(FETCHED, 'promtool');
}

async function fetchInto(part: string): Promise<void> {
  const unpacked = join(part, 'unpacked');
  mkdirSync(unpacked);
  const download = () => run('apt-get', ['download', '-qq', 'prometheus'], { cwd: unpacked });
  // A new machine has no lists of packages, and old lists name packages that are gone. Only root may fetch them.
  await download().catch(() => run('apt-get', ['update', '-qq']).then(download));
  const [archive = ''] = readdirSync(unpacked);
  await run('dpkg', ['-x', archive, '.'], { cwd: unpacked });
  await run('usr/bin/promtool', ['--version'], { cwd: unpacked });
  renameSync(join(unpacked, 'usr/bin/promtool'), join(part, 'promtool'));
  rmSync(unpacked, { recursive: true });
}
