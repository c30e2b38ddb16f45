/** Whether the data folder takes writes: who cannot keep a store should not join a group that would give it partitions. */
import { open, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { EvenkeelError } from '#schemas/errors.ts';
import { DiskPatience } from '#streams/engine/disk-patience.ts';
import { clock } from './clock.ts';

/** About a large transaction's batch. */
const PROBE = Buffer.alloc(1_048_576);
const AGAIN_MS = 500;

/** Returns once it does. @throws EvenkeelError `disk_failed` when it has not for as long as a task would wait */
export async function writable(dataDir: string, warn: (message: string, error: Error) => void): Promise<void> {
  const patience = new DiskPatience(clock);
  for (;;) {
    try {
      return await probe(join(dataDir, 'probe'));
    } catch (cause) {
      const error = new EvenkeelError('store_unwritable', `${dataDir} takes no writes: ${(cause as Error).message}`, { cause });
      warn('waiting for the disk', error);
      patience.failed(error);
      await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
    }
  }
}

async function probe(path: string): Promise<void> {
  try {
    const file = await open(path, 'w');
    // Not synced: a full disk says so at once, and a busy one takes seconds.
    try {
      await file.writeFile(PROBE);
    } finally {
      await file.close();
    }
  } finally {
    await rm(path, { force: true });
  }
}
