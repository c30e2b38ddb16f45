/** The runtime's process. */
import { runMain } from '../ops.ts';
import { wireAgent } from './agent/wiring.ts';
import { startRuntime } from './start.ts';

await runMain((context) => startRuntime(context, wireAgent));
