/** The command line: `npm run ask`, `npm run tenant`, `npm run token`, `npm run explain`, `npm run replay`, `npm run audit`. */
import { dispatch } from './dispatch.ts';
import { processTerminal } from './terminal.ts';

process.exitCode = await dispatch(process.argv.slice(2), processTerminal());
