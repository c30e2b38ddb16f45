/** LiteLLM's proxy from PyPI, in a virtual environment that is kept: one worker, a mock response, no budgets. */
import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cached, run, withProgress } from '#infra/local/download.mjs';
import { answers, freePort, until } from '#infra/local/wait.mjs';

const VERSION = '1.108.7';
const HOME = cached(`litellm-${VERSION}`);
const READY_MS = 120_000;

/** @throws when Python, or the package, is not to be had: a peer that cannot start is an error */
export async function startLiteLlm(dir: string): Promise<{ readonly url: string; readonly key: string; readonly child: ChildProcess }> {
  if (!existsSync(join(HOME, 'installed'))) await withProgress('fetching LiteLLM from PyPI', console.error, install);
  const [port, config] = [await freePort(), join(dir, 'litellm.yaml')];
  writeFileSync(
    config,
    'model_list:\n  - model_name: mock\n    litellm_params: {model: openai/mock, api_key: none, mock_response: "Set `trustProxy` to true."}\n',
  );
  const args = ['--config', config, '--host', '127.0.0.1', '--port', String(port), '--num_workers', '1'];
  const key = `sk-${randomBytes(32).toString('hex')}`;
  const env = { ...process.env, LITELLM_LOG: 'ERROR', LITELLM_MASTER_KEY: key };
  const child = spawn(join(HOME, 'bin', 'litellm'), args, { cwd: dir, stdio: ['ignore', 'ignore', 'pipe'], env });
  let complaint = '';
  child.stderr.on('data', (data: Buffer) => {
    complaint = (complaint + data.toString()).slice(-2_000);
  });
  const url = `http://127.0.0.1:${port}`;
  await until('LiteLLM', READY_MS, () => {
    if (child.exitCode !== null) throw new Error(`LiteLLM ended with ${child.exitCode} at its start: ${complaint}`);
    return answers(`${url}/health/liveliness`);
  });
  return { url, key, child };
}

async function install(): Promise<void> {
  rmSync(HOME, { recursive: true, force: true });
  await run('python3', ['-m', 'venv', HOME]);
  await run(join(HOME, 'bin', 'pip'), ['install', '--quiet', `litellm[proxy]==${VERSION}`]);
  writeFileSync(join(HOME, 'installed'), VERSION);
}
