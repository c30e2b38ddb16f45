/** An issuer of the benchmark's own: gateways that believe it, and tokens. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mintToken, type TokenOf } from '#infra/local/issuer.ts';
import { freePort } from '#infra/local/wait.mjs';
import type { BenchPlatform } from './platform.ts';

const NAME = 'http://127.0.0.1/bench';

export class BenchIssuer {
  readonly #keys = generateKeyPairSync('ed25519');

  /** Starts one. Resolves to its address. */
  async startGateway(platform: BenchPlatform, name = 'gateway'): Promise<string> {
    const [file, port] = [join(platform.dir, 'issuers.json'), await freePort()];
    const jwk = { ...this.#keys.publicKey.export({ format: 'jwk' }), kid: 'local', alg: 'EdDSA', use: 'sig' };
    writeFileSync(file, JSON.stringify([{ issuer: NAME, jwks: { keys: [jwk] }, tenants: '*', roles: ['end_user', 'operator'] }]));
    await platform.run(name, 'services/gateway/main.ts', 'gateway', { EVENKEEL_HTTP_PORT: String(port), EVENKEEL_ISSUERS_FILE: file });
    return `http://127.0.0.1:${port}`;
  }

  token(of: TokenOf): Promise<string> {
    return mintToken({ issuer: { name: NAME, privateJwk: this.#keys.privateKey.export({ format: 'jwk' }) } }, of);
  }
}
