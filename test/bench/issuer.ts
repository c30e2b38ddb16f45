/** An issuer of the benchmark's own: the file that a gateway reads, and tokens. */
import { generateKeyPairSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { mintToken, type TokenOf } from '#infra/local/issuer.ts';

const NAME = 'http://127.0.0.1/bench';

export class BenchIssuer {
  readonly #keys = generateKeyPairSync('ed25519');

  writeTo(file: string): void {
    const jwk = { ...this.#keys.publicKey.export({ format: 'jwk' }), kid: 'local', alg: 'EdDSA', use: 'sig' };
    writeFileSync(file, JSON.stringify([{ issuer: NAME, jwks: { keys: [jwk] }, tenants: '*', roles: ['end_user', 'operator'] }]));
  }

  token(of: TokenOf): Promise<string> {
    return mintToken({ issuer: { name: NAME, privateJwk: this.#keys.privateKey.export({ format: 'jwk' }) } }, of);
  }
}
