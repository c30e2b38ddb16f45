/**
 * Secrets by reference: settings and policies hold names, one file of JSON holds the values: `{"openai": "sk-…", "acme/openai": "sk-…"}`.
 * A tenant's reference is looked up below the tenant's own name, so that no policy can name another's (invariant 8).
 */
import { readFileSync } from 'node:fs';
import { EvenkeelError } from '#schemas/errors.ts';
import type { TenantId } from '#schemas/ids.ts';

export type Secrets = { platform(name: string): string | undefined; tenant(tenant: TenantId, name: string): string | undefined };

/** None where no file is named. @throws EvenkeelError `setting_invalid`; what the file holds is never shown */
export function loadSecrets(file: string | undefined): Secrets {
  const values = new Map(file === undefined ? [] : entriesOf(file));
  return {
    platform: (name) => (name.includes('/') ? undefined : values.get(name)),
    tenant: (tenant, name) => values.get(`${tenant}/${name}`),
  };
}

function entriesOf(file: string): readonly (readonly [string, string])[] {
  const invalid = (why: string) => new EvenkeelError('setting_invalid', `EVENKEEL_SECRETS_FILE ${file}: ${why}`);
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(file, 'utf8'));
  } catch (error) {
    // A parser's message quotes the file.
    throw invalid(error instanceof SyntaxError ? 'it is not JSON' : (error as Error).message);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw invalid('an object of names and secrets');
  return Object.entries(json).map(([name, value]) => {
    if (typeof value !== 'string' || value === '') throw invalid(`${name}: a text that is not empty`);
    return [name, value] as const;
  });
}
