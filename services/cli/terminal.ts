/** Where a command writes: answers on standard output, everything else on standard error. */
import type { Terminal } from './command.ts';

const CLEAR_LINE = '\r\x1b[2K';

/** stdout holds the answer alone, so that it can be piped; status and notes go to stderr. */
export function processTerminal(): Terminal {
  const live = process.stderr.isTTY === true;
  endWithReader();
  return {
    live,
    out: (line) => process.stdout.write(`${line}\n`),
    note: (line) => process.stderr.write(`${line}\n`),
    status: (line) => {
      if (live) process.stderr.write(CLEAR_LINE + line);
    },
  };
}

/** A reader that has seen enough (`| head`) closes the pipe: that is no failure. */
export function endWithReader(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(0);
    throw error;
  });
}
