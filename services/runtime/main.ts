/** The runtime's process. */
import { runMain } from '../ops.ts';
import { loadPrices } from '../prices.ts';
import { createAgent } from './agent/agent.ts';
import { startRuntime } from './start.ts';

await runMain((context) => startRuntime(context, (parts) => createAgent({ ...parts, prices: loadPrices(parts.config.pricesFile) })));
