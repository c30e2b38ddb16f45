// Waiting on conditions, with a bound.
import { connect, createServer } from 'node:net';
import { Failure } from './failure.mjs';

const pause = (/** @type {number} */ ms) => new Promise((resolve) => setTimeout(resolve, ms));

/** @param {string} what @param {number} ms @param {() => Promise<boolean>} condition */
export async function until(what, ms, condition) {
  for (const end = Date.now() + ms; Date.now() < end; await pause(50)) if (await condition()) return;
  throw new Failure(`${what} did not become ready within ${Math.round(ms / 1_000)} s.`);
}

/** @param {number} port @returns {Promise<boolean>} */
export function listens(port) {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port }, () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => resolve(false));
  });
}

/** @param {string} url @returns {Promise<boolean>} */
export async function answers(url) {
  try {
    return (await fetch(url, { signal: AbortSignal.timeout(1_000) })).ok;
  } catch {
    return false;
  }
}

/** Asks as a service will: a port may be taken by a socket that listens to nobody. @param {number} port @returns {Promise<string | undefined>} why not, as a code */
export function cannotListen(port) {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', (error) => resolve(/** @type {NodeJS.ErrnoException} */ (error).code ?? 'unknown'));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(undefined)));
  });
}

/** @returns {Promise<number>} */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}
